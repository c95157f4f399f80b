"""What bevel wants its activations to cost, as data: a row each, judged from benchmark rows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from bevel_lab.bench.rows import Row, find

MB4, MB33 = 1 << 20, 1 << 23


@dataclass(frozen=True, kw_only=True)
class Target:
    """``case`` must cost at most ``limit`` times ``other``.

    Attributes:
        section, what, elements, layout: which rows; an empty ``elements`` means any.
        dtype, other_dtype: of the case and of what it is compared with.
    """

    case: str
    other: str
    limit: float
    section: str = "speed"
    what: str = "both"
    elements: tuple[int, ...] = (MB4, MB33)
    layout: str = "nchw"
    dtype: str = "float32"
    other_dtype: str = "float32"

    def measured(self, rows: Sequence[Row]) -> list[tuple[Row, float]]:
        """Every measured ratio, with the row of the case."""
        found: list[tuple[Row, float]] = []
        for row in find(rows, section=self.section, what=self.what, case=self.case, dtype=self.dtype):
            if row.layout != self.layout or (self.elements and row.elements not in self.elements):
                continue
            for base in find(rows, section=self.section, what=self.what, case=self.other, dtype=self.other_dtype):
                same = (base.elements, base.layout, base.threads) == (row.elements, row.layout, row.threads)
                if same and base.commit == row.commit:
                    found.append((row, row.median / base.median))
        return found


def _against_formulas(case: str) -> list[Target]:
    return [
        Target(case=case, other=f"formula {case}", limit=1 / 15),
        Target(case=case, other=f"compiled {case}", limit=1 / 2.5),
    ]


def _one_kink(kernel: str) -> Target:
    return Target(case=f"mollified({kernel})", other="gelu", limit=1.5, layout="kernels")


KERNELS = ("gaussian", "logistic", "laplace", "student", "box", "triangle", "epanechnikov", "biweight", "triweight")

TARGETS: tuple[Target, ...] = (
    Target(case="sau", other="relu", limit=1.05),
    Target(case="sau", other="gelu", limit=0.85),
    Target(case="sau:n=1", other="gelu", limit=1.15),
    Target(case="frelu(C)", other="leaky_relu", limit=1.10),
    Target(case="frelu(C)", other="leaky_relu", limit=1.10, layout="channels_last"),
    Target(case="frelu(C)", other="prelu(C)", limit=0.30),
    Target(case="frelu(C)", other="prelu(C)", limit=0.30, layout="channels_last"),
    Target(case="smooth_frelu(C)", other="gelu", limit=1.5),
    *(_one_kink(kernel) for kernel in (*KERNELS, "cosine", "bump")),
    *_against_formulas("sau"),
    *_against_formulas("sau:n=1"),
    *_against_formulas("frelu(C)"),
    *_against_formulas("smooth_frelu(C)"),
    *(
        Target(case=case, other=case, limit=0.65, dtype="bfloat16", elements=(MB33,))
        for case in ("sau", "sau:n=1", "frelu(C)", "smooth_frelu(C)")
    ),
    *(
        Target(case=case, other="gelu", limit=3.0, elements=(1000,))
        for case in ("sau", "sau:n=1", "frelu(C)", "smooth_frelu(C)")
    ),
    Target(case="sau", other="relu", limit=1.0, section="memory", what="bytes", elements=()),
    Target(case="frelu(C)", other="relu", limit=1.001, section="memory", what="bytes", elements=()),
    Target(case="sau", other="relu", limit=1.02, section="step", what="step", elements=()),
    *(
        Target(case="lab", other="bare", limit=1.03, section="loop", what="step", elements=(), layout=model)
        for model in ("cnn", "resnet20")
    ),
    Target(
        case="bevel", other="torch", limit=1.2, section="import", what="import", elements=(), layout="", dtype="",
        other_dtype="",
    ),
)  # fmt: skip
