"""Any kinked function with any kernel, as a module."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator, Sequence

import torch
from torch import Tensor

from bevel.errors import InvalidValue, did_you_mean
from bevel.family import Family
from bevel.kernel import Kernel, as_kernel
from bevel.kinked import PiecewiseLinear, as_function
from bevel.nn import sau as _sau
from bevel.nn._base import Activation, Device, Entry, ParameterBuilder
from bevel.terms import Coefficient, Terms

GROUPS = ("left", "offset", "knots", "jumps", "steps", "bends", "left_bend", "n")


class Mollified(Activation):
    """``f * phi_n`` for a kinked ``f`` and a kernel; any group of its numbers can be learnt.

    With ``w = 1/n`` and ``uᵢ = (x − knotᵢ)·n``::

        left·x + offset + Σ jumpᵢ·w·ramp(uᵢ) + Σ stepᵢ·cdf(uᵢ)

    and, where f has bends, their half-parabolas smoothed in the same way.

    Args:
        num_parameters: 1 (shared) or the channel count. Default: 1.
        f: a :class:`bevel.PiecewiseLinear` of numbers, or the name of one, e.g. ``"relu6"`` or ``"leaky_relu(0.1)"``.
            Default: ``relu``.
        kernel: approximate identity or its name in ``bevel.KERNELS``. Default: ``gaussian``.
        n: sharpness, finite and > 0. Default: 1.
        learn: which groups are parameters: names out of ``left, offset, knots, jumps, steps, bends, left_bend, n``, as
            an iterable or joined by ``+``. They are called ``left``, ``knots_0``, …; a learnt n is stored as its
            logarithm, ``log_n``. Default: none.
        dim: channel axis of per-channel parameters. Default: 1.
        inplace: accepted and ignored. Default: False.
        device, dtype: of the parameters. Default: torch's default device and dtype.

    Shape:
        input: any; float64, float32, bfloat16 or float16, with ``num_parameters`` channels along ``dim`` if there are
        several. The output has the input's shape and dtype.

    Raises:
        InvalidValue: for a bad count, axis, function, sharpness or group, or a kernel without a first moment where f
            has a change of slope, or without a finite variance where it has a bend.
        UnknownName: for a function or kernel that does not exist.

    Example:
        >>> import torch, bevel
        >>> f = bevel.Mollified(f="hardtanh", kernel="box", n=4.0, learn="jumps+n")
        >>> f(torch.tensor([-2.0, 0.0, 2.0])).tolist()
        [-1.0, 0.0, 1.0]
        >>> [name for name, _ in f.named_parameters()]
        ['jumps_0', 'jumps_1', 'log_n']

    Source: bevel's own, after SAU (ECCV 2022), which convolves Leaky ReLU with the Gaussian; docs/engine.md has the
    mathematics.
    """

    def __init__(
        self,
        num_parameters: int = 1,
        f: PiecewiseLinear | str = "relu",
        kernel: str | Kernel = "gaussian",
        n: float = 1.0,
        *,
        learn: Iterable[str] | str = (),
        dim: int = 1,
        inplace: bool = False,
        device: Device = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__(num_parameters, dim=dim)
        self.f, kernel = as_function(f), as_kernel(kernel)
        chosen = [g for g in learn.split("+") if g] if isinstance(learn, str) else list(learn)
        for group in chosen:
            if group not in GROUPS:
                raise InvalidValue(
                    f"learn must name groups of coefficients; got {group!r}; {did_you_mean(group, GROUPS)}"
                )
        self.given = {"f": f, "kernel": kernel.name, "n": n, "learn": "+".join(chosen)}
        build = ParameterBuilder(self, device=device, dtype=dtype)
        numbers = self.f.terms
        if not numbers.curve and {"bends", "left_bend"}.intersection(chosen):  # they start from 0
            numbers = dataclasses.replace(numbers, curve=(0.0,) * (1 + len(numbers.knots)))
        terms = numbers.with_flat([build.add(*c) for c in _coefficients(numbers, chosen)])
        sharpness = build.add_sharpness(n, "n" in chosen)
        self.family = Family(terms, kernel, sharpness, log_n="n" in chosen)
        terms.check(self.family.kernel)


def _coefficients(terms: Terms[Coefficient], chosen: Sequence[str]) -> Iterator[tuple[str, float, bool]]:
    """Name, number and whether it is learnt, in the order of ``Terms.flat``."""
    for name, number in zip(terms.names(), terms.flat(), strict=True):
        if isinstance(number, Tensor):
            raise InvalidValue("f's coefficients must be numbers; name those to learn in learn=.")
        group = name if name in GROUPS else name.partition("_")[0]
        yield name, number, group in chosen


ENTRIES = {
    "mollified": Entry(
        factory=Mollified,
        formula="(f * φₙ)(x) = left·x + offset + Σ jumpᵢ·w·ramp(uᵢ) + Σ stepᵢ·cdf(uᵢ)",
        summary="any kinked function smoothed by any kernel; any of its numbers can be learnt",
        citations=(_sau.CITATION,),
        latex=r"(f * \varphi_n)(x) = f(x) + \sum_i \frac{j_i}{n}\,\mathrm{excess}(v_i) \pm \sum_i "
        r"s_i\,\mathrm{survival}(v_i),\quad v_i = n\,|x - k_i|",
        use="A clip, a threshold or any other kinked function that must be differentiable, with a proven error.",
        avoid="For one kink with two slopes: `smooth_frelu` says the same with fewer arguments.",
    )
}
