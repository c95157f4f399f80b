"""Any kinked function with any kernel, as a module."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from torch import Tensor

from bevel.errors import InvalidValue, did_you_mean
from bevel.family import Family
from bevel.kernel import Kernel, as_kernel
from bevel.kinked import PiecewiseLinear, as_function
from bevel.nn._base import Activation, Entry, ParameterBuilder

GROUPS = ("left", "offset", "knots", "jumps", "steps", "n")


class Mollified(Activation):
    """``f * phi_n`` for a kinked ``f`` and a kernel; any group of its numbers can be learnt.

    Args:
        f: a ``PiecewiseLinear`` of numbers, or the name of one in ``bevel.kinked.FUNCTIONS``, e.g. ``"relu6"``.
        kernel: approximate identity or its name.
        n: sharpness, finite and > 0.
        learn: which groups are parameters: names out of ``left, offset, knots, jumps, steps, n``, as an iterable or
            joined by ``+``. They are named ``left``, ``knots_0``, …; a learnt n is stored as ``log_n``.
        num_parameters: 1 (shared) or the channel count.
        dim: channel axis of per-channel parameters.
        inplace: accepted and ignored.

    Shape: any; the output has the input's shape and dtype.
    """

    def __init__(
        self,
        f: PiecewiseLinear | str = "relu",
        kernel: str | Kernel = "gaussian",
        n: float = 1.0,
        learn: Iterable[str] | str = (),
        num_parameters: int = 1,
        dim: int = 1,
        inplace: bool = False,
    ) -> None:
        super().__init__(num_parameters, dim)
        self.f, kernel = as_function(f), as_kernel(kernel)
        chosen = [g for g in learn.split("+") if g] if isinstance(learn, str) else list(learn)
        for group in chosen:
            if group not in GROUPS:
                raise InvalidValue(f"learn names groups of coefficients; got {group!r}; {did_you_mean(group, GROUPS)}")
        self.given = {"f": f, "kernel": kernel.name, "n": n, "learn": "+".join(chosen)}
        build = ParameterBuilder(self)
        terms = self.f.terms.with_flat([build.add(*c) for c in self._coefficients(chosen)])
        sharpness = build.add_sharpness(n, "n" in chosen)
        self.family = Family(terms, kernel, sharpness, log_n="n" in chosen)
        terms.check(self.family.kernel)

    def _coefficients(self, chosen: Sequence[str]) -> Iterator[tuple[str, float, bool]]:
        """Name, number and whether it is learnt, in the order of ``Terms.flat``."""
        for name, number in zip(self.f.terms.names(), self.f.terms.flat(), strict=True):
            if isinstance(number, Tensor):
                raise InvalidValue("f's coefficients must be numbers; name those to learn in learn=.")
            yield name, number, name.partition("_")[0] in chosen


ENTRIES = {
    "mollified": Entry(
        factory=Mollified,
        formula="(f * φₙ)(x) = left·x + offset + Σ jumpᵢ·w·ramp(uᵢ) + Σ stepᵢ·cdf(uᵢ)",
        summary="any kinked function smoothed by any kernel; any of its numbers can be learnt",
    )
}
