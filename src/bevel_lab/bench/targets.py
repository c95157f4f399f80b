"""Targets for the cost of bevel's activations, as data, and how benchmark rows decide them."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from bevel_lab.bench.rows import Row, find

_SAME = ("section", "what", "elements", "layout", "threads", "commit", "size", "timer")  # a row and its base share
MB4, MB33 = 1 << 20, 1 << 23
SHIPPED = ("gate, hardened", "sau, hardened, slopes merged", "sau, one slope a site from the beginning, hardened")
"""What ``bevel.harden`` leaves of a network with one slope a site: ReLUs and Leaky ReLUs."""
OURS = ("sau", "sau:n=1", "frelu(C)", "smooth_frelu(C)")
KERNELS = ("gaussian", "logistic", "laplace", "student", "box", "triangle", "epanechnikov", "biweight", "triweight",
           "cosine", "bump")  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Target:
    """``case`` must cost at most ``limit`` times ``other``, measured in the same run.

    Attributes:
        section, what, elements, layout, dtype, size, timer: the rows that decide it; "" and () mean any. A layout also
            means those that it is the first word of: ``nchw`` means ``nchw 56``.
        other_dtype: dtype of ``other``; "" means the same as the case's.
        about: words that a page puts after the case's name.
    """

    case: str
    other: str
    limit: float
    section: str = "speed"
    what: str = "both"
    elements: tuple[int, ...] = (MB4, MB33)
    layout: str = "nchw"
    dtype: str = "float32"
    other_dtype: str = ""
    about: str = ""
    size: str = ""
    timer: str = ""

    def measured(self, rows: Sequence[Row]) -> list[tuple[Row, float]]:
        """Return every row that decides the target, with the measured ratio."""
        found: list[tuple[Row, float]] = []
        for row in find(rows, section=self.section, what=self.what, case=self.case):
            wanted = ((self.dtype, row.dtype), (self.size, row.size), (self.timer, row.timer))
            if (self.elements and row.elements not in self.elements) or any(a and a != b for a, b in wanted):
                continue
            if self.layout and not f"{row.layout} ".startswith(f"{self.layout} "):
                continue
            same = {name: getattr(row, name) for name in _SAME}
            others = find(rows, **same, case=self.other, dtype=self.other_dtype or row.dtype)
            found += [(row, row.cost / other.cost) for other in others]
        return found


def _cpu(case: str, other: str, limit: float, section: str, about: str, layout: str = "nchw", what: str = "") -> Target:
    """A target of a section that is measured at one size."""
    what = what or {"memory": "bytes", "import": "import", "inference": "call"}.get(section, "step")
    dtype = "" if section == "import" else "float32"
    return Target(case=case, other=other, limit=limit, section=section, what=what, elements=(), layout=layout,
                  dtype=dtype, about=about)  # fmt: skip


CPU: tuple[Target, ...] = (
    Target(case="sau", other="relu", limit=1.05),
    Target(case="sau", other="gelu", limit=0.85),
    Target(case="sau:n=1", other="gelu", limit=1.15),
    Target(case="frelu(C)", other="leaky_relu", limit=1.10),
    Target(case="frelu(C)", other="leaky_relu", limit=1.10, layout="channels_last"),
    Target(case="frelu(C)", other="prelu(C)", limit=0.30),
    Target(case="frelu(C)", other="prelu(C)", limit=0.30, layout="channels_last"),
    Target(case="smooth_frelu(C)", other="gelu", limit=1.5),
    *(Target(case=f"mollified({kernel})", other="gelu", limit=1.5, layout="kernels") for kernel in KERNELS),
    *(
        Target(case=case, other=f"{how} {case}", limit=limit)
        for case in OURS
        for how, limit in (("formula", 1 / 15), ("compiled", 1 / 2.5))
    ),
    *(Target(case=c, other=c, limit=0.65, dtype="bfloat16", other_dtype="float32", elements=(MB33,)) for c in OURS),
    *(Target(case=case, other="gelu", limit=3.0, elements=(1000,)) for case in OURS),
    _cpu("sau", "relu", 1.0, "memory", "bytes saved"),
    _cpu("frelu(C)", "relu", 1.001, "memory", "bytes saved"),
    *(_cpu(case, "relu", 1.02, "network", "bytes kept by a network", "", "bytes") for case in ("sau", "frelu")),
    _cpu("smooth_frelu", "relu", 1.06, "network", "bytes kept by a network", "", "bytes"),
    *(
        _cpu(case, "relu", limit, "network", "training step", net)
        for net, limit in (("ResNet-18", 1.03), ("compiled ResNet-18", 1.02))
        for case in ("sau", "frelu")
    ),
    *(_cpu("lab", "plain", 1.03, "loop", "training step", layout=model) for model in ("cnn", "resnet20")),
    _cpu("bevel", "torch", 1.2, "import", "", layout=""),
    *(_cpu(case, "relu", 1.05, "inference", "ResNet-18, one image", layout="") for case in SHIPPED),
)


H200_TO_H100 = 4.8 / 3.35  # of the bandwidths of their memories, by NVIDIA's data sheets; their processors are alike


def _gpu(case: str, other: str, limit: float, section: str, what: str, about: str = "", **asked: str) -> Target:
    """A target for every size, layout and dtype of a section, but for those that are asked for."""
    said = {"both": "forward and backward"}.get(what, what)
    wanted = {"layout": "", "dtype": "", **asked}
    words = [about.format(said) if about else said, *(v for k, v in asked.items() if k == "size" and v)]
    return Target(case=case, other=other, limit=limit, section=section, what=what, elements=(),
                  about=", ".join(words), **wanted)  # fmt: skip


_SHARES: tuple[tuple[tuple[str, ...], str, str, str, dict[str, float]], ...] = (
    # cases, pass, dtype, layout, and by size the share of a clone's rate on an H100
    (("sau", "frelu"), "forward", "bfloat16", "flat", {"64 MB": 0.90, "256 MB": 0.95}),
    (("sau",), "backward", "", "flat", {"64 MB": 0.86, "256 MB": 0.93}),
    (("frelu(C)",), "backward", "", "nchw", {"64 MB": 0.88, "256 MB": 0.95}),
    (("frelu(C)",), "backward", "", "channels_last", {"64 MB": 0.85, "256 MB": 0.92}),
    *(
        (("sau:n=1", "smooth_frelu(C)"), what, dtype, "", {"": share})
        for what in ("forward", "backward")
        for dtype, share in (("bfloat16", 0.65), ("float32", 0.85))
    ),
)


def _passes(faster: float) -> Iterator[Target]:
    """Targets of single passes on a card whose memory is so much faster than an H100's.

    Arithmetic (0.65) takes the same time there, and what a pass takes beyond a clone does, too.
    """
    for names, what, dtype, layout, sizes in _SHARES:
        for name, (size, share) in itertools.product(names, sizes.items()):
            limit = faster / share if share < 0.8 else 1 + faster * (1 / share - 1)
            asked = {"dtype": dtype, "layout": layout, "size": size}
            about = "{}, NCHW, time a byte moved" if layout == "nchw" else "{}, time a byte moved"
            yield _gpu(name, "copy", limit, "kernel", what, about, **asked)


_CALLS = (
    _gpu("sau", "relu", 1.05, "eager", "both", size="256 MB", timer="device"),
    _gpu("sau", "relu", 1.10, "eager", "both", size="64 MB", timer="device"),
    _gpu("frelu(C)", "prelu(C)", 0.5, "eager", "both", timer="device"),
    _gpu("sau", "formula sau", 0.2, "eager", "both", timer="device"),
    _gpu("sau", "gelu", 1.5, "small", "both", "{}, 10,000 elements, Python included", timer="wall"),
    *(
        _gpu("compiled", "eager", 1.0, "fused", what, "{}, with its neighbors", timer="device")
        for what in ("forward", "both")
    ),
    _gpu("sau", "relu", 1.03, "training", "step", "ResNet-50 step in bfloat16", timer="wall"),
    _gpu("sau", "relu", 1.10, "training", "peak", "peak memory of the same"),
)
GPU = {"H100": (*_passes(1.0), *_CALLS), "H200": (*_passes(H200_TO_H100), *_CALLS)}
