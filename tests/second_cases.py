"""For the tests of second derivatives: families of every kind, and what to compare."""

import math
from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

import bevel
from bevel.family import Affine, Family, Slot, parameter
from bevel.kernel import SHARP
from bevel.terms import Terms

OWN = bevel.tabulated(lambda u: 315 / 256 * (1 - u * u) ** 4, 1.0, name="own")
KERNELS = [SHARP, *(k for k in bevel.KERNELS.values() if k.native > 0), OWN]
SHAPES = (((5, 3, 37), False), ((701, 3), False), ((7, 3, 5, 5), True), ((3, 3, 9), False))
LEARNT = {
    "few": "",
    "all": "offset knots steps c0 c1",
    "tails": "c0 c1",
    "gate": "offset knots c0 c1",
    "bends": "offset knots steps",
    "bent gate": "offset knots c0",
}


def case(kernel: bevel.Kernel, kind: str, knots: int, length: int, log_n: bool) -> tuple[Family, list[Tensor]]:
    """Return a family with a parameter for every coefficient that is used, and values for them."""
    parameters: list[Tensor] = []

    def learnt(*values: float) -> tuple[Affine, ...]:
        slots = tuple(parameter(len(parameters) + i) for i in range(len(values)))
        parameters.extend(v + 0.1 * torch.rand(length, dtype=torch.float64) for v in values)
        return slots

    places = (0.1,) if knots == 1 else (-1.0, 0.2, 0.5)
    none, smooth = (0.0,) * knots, kernel.has_moment
    (left,) = learnt(0.3)
    jumps = learnt(*((0.8,) if knots == 1 else (1.0, -2.0, 0.7))) if smooth else none
    groups: dict[str, tuple[Slot, ...]] = {"offset": (-0.2,), "knots": places, "steps": none, "c0": none, "c1": none}
    start = {"offset": (-0.2,), "knots": places, "steps": (0.4,) * knots, "c0": (0.2,) * knots, "c1": (0.3,) * knots}
    for name in LEARNT[kind].split() if smooth else ("offset", "steps"):
        groups[name] = learnt(*start[name])
    curve: tuple[Slot, ...] = ()
    if "be" in kind and kernel.variance != math.inf:
        curve = learnt(0.7, *((1.0, -2.0, 0.4)[:knots]))
    (n,) = learnt(0.5 if log_n else 1.7)
    lines = (groups[name] for name in ("knots", "steps", "c0", "c1"))
    knots_, *others = lines
    terms: Terms[Slot] = Terms(left, groups["offset"][0], knots_, jumps, *others, "gate" in kind, curve)
    return Family(terms, kernel, n, log_n), parameters


def cases(kernel: bevel.Kernel) -> Iterator[tuple[Family, list[Tensor], Tensor, Tensor, list[Tensor]]]:
    """Yield family, parameters, x, g and cotangents of every kind, shape and length of parameters."""
    torch.manual_seed(0)
    for number, kind in enumerate(LEARNT):
        for knots in (1, 3):
            length = 3 if number + knots < 4 else 1
            family, parameters = case(kernel, kind, knots, length, log_n=bool(number % 2))
            shape, last = SHAPES[(number + knots) % len(SHAPES)]
            x, g, a = (torch.randn(shape, dtype=torch.float64) for _ in range(3))
            if last:
                x, g = (t.contiguous(memory_format=torch.channels_last) for t in (x, g))
            yield family, parameters, x, g, [a, *(torch.randn_like(p) for p in parameters)]


def near(found: Sequence[Tensor | None], wanted: Sequence[Tensor | None], most: float) -> None:
    for got, want in zip(found, wanted, strict=True):
        assert (got is None) == (want is None)
        if got is not None and want is not None:
            assert got.dtype == want.dtype
            assert got.shape == want.shape
            far = float((got.double() - want.double()).abs().max())
            assert far <= most * (1 + float(want.double().abs().max()))


def single(tensors: Sequence[Tensor]) -> list[Tensor]:
    return [t.float() for t in tensors]
