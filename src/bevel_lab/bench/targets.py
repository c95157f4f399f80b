"""Targets for the cost of bevel's activations, as data, and how benchmark rows decide them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from bevel_lab.bench.rows import Row, find

MB4, MB33 = 1 << 20, 1 << 23
OURS = ("sau", "sau:n=1", "frelu(C)", "smooth_frelu(C)")
KERNELS = ("gaussian", "logistic", "laplace", "student", "box", "triangle", "epanechnikov", "biweight", "triweight",
           "cosine", "bump")  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Target:
    """``case`` must cost at most ``limit`` times ``other``, measured in the same run.

    Attributes:
        section, what, elements, layout, dtype: the rows that decide it; "" and () mean any.
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

    def measured(self, rows: Sequence[Row]) -> list[tuple[Row, float]]:
        """Return every row that decides the target, with the measured ratio."""
        found: list[tuple[Row, float]] = []
        for row in find(rows, section=self.section, what=self.what, case=self.case):
            wanted = ((self.layout, row.layout), (self.dtype, row.dtype))
            if (self.elements and row.elements not in self.elements) or any(a and a != b for a, b in wanted):
                continue
            same = {name: getattr(row, name) for name in ("section", "what", "elements", "layout", "threads", "commit")}
            others = find(rows, **same, case=self.other, dtype=self.other_dtype or row.dtype)
            found += [(row, row.cost / other.cost) for other in others]
        return found


def _cpu(case: str, other: str, limit: float, section: str, about: str, layout: str = "nchw") -> Target:
    """A target of a section that is measured at one size."""
    what = {"memory": "bytes", "import": "import"}.get(section, "step")
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
    _cpu("sau", "relu", 1.02, "step", "ResNet-18 step"),
    *(_cpu("lab", "plain", 1.03, "loop", "training step", layout=model) for model in ("cnn", "resnet20")),
    _cpu("bevel", "torch", 1.2, "import", "", layout=""),
)


def _gpu(case: str, other: str, limit: float, section: str, what: str, about: str = "") -> Target:
    """A target for every size, layout and dtype of a section."""
    said = {"both": "forward and backward"}.get(what, what)
    return Target(case=case, other=other, limit=limit, section=section, what=what, elements=(), layout="", dtype="",
                  about=about.format(said) if about else said)  # fmt: skip


GPU: tuple[Target, ...] = (
    *(
        _gpu(case, "copy", 1 / 0.9, "kernel", what, "{}, time a byte moved")
        for case in ("sau", "frelu", "frelu(C)")
        for what in ("forward", "backward")
    ),
    _gpu("sau", "relu", 1.05, "eager", "both"),
    _gpu("frelu(C)", "prelu(C)", 0.5, "eager", "both"),
    _gpu("sau", "formula sau", 0.2, "eager", "both"),
    *(_gpu("sau", "gelu", 3.0, "small", what, "{}, 10,000 elements") for what in ("forward", "both")),
    *(_gpu("compiled", "eager", 1.0, "fused", what, "{}, with its neighbors") for what in ("forward", "both")),
    _gpu("sau", "relu", 1.03, "training", "step", "ResNet-50 step in bfloat16"),
    _gpu("sau", "relu", 1.10, "training", "peak", "peak memory of the same"),
)
