"""The text of a program: the walk of :mod:`walk` around the expressions of :mod:`algebra`.

Forward reads and writes once. Backward reads x and its gradient, writes dx, and keeps one sum for each lane and
parameter, from which comes one partial sum for each program and channel; :mod:`totals` has what adds these up.
"""

from __future__ import annotations

import functools
import struct
from dataclasses import dataclass

from bevel.family import Family
from bevel.ops.triton.algebra import Algebra, constants, wanted
from bevel.ops.triton.kernel_terms import KernelTerms, kernel_terms, module_text
from bevel.ops.triton.layout import ARGUMENTS, Tiling
from bevel.ops.triton.totals import partial_rows
from bevel.ops.triton.walk import Walk, indent

_DTYPE = {"double": "tl.float64", "single": "tl.float32", "half": "tl.float32"}


@dataclass(frozen=True)
class Job:
    """What one program text is made for; equal jobs share a text.

    Attributes:
        accuracy: ``double``, ``single`` or ``half``, see :mod:`kernel_terms`.
        walk: how it finds its tiles.
        per_channel: for each parameter, whether it has one value per channel.
        needs: backward only: whether dx, and each parameter's gradient, are wanted. Empty for forward.
    """

    accuracy: str
    walk: Walk
    per_channel: tuple[bool, ...]
    needs: tuple[bool, ...]


def job(tiling: Tiling, accuracy: str, per_channel: tuple[bool, ...], needs: tuple[bool, ...]) -> Job:
    return Job(accuracy, Walk(tiling.kind, tiling.rows, tiling.columns, tiling.divisor), per_channel, needs)


# Numbers that change with the batch and whose divisors no access needs: Triton builds no further binaries for them. A
# flat run's length is not among them, for its divisor keeps the accesses of the last tile wide.
UNSPECIALIZED = ("limit", "trips", "stride", "fixed")


class Program:
    """Write one job's text for one family."""

    def __init__(self, family: Family, job: Job) -> None:
        self.job = job
        self.walk = job.walk
        self.family = family
        self.algebra = Algebra(family, exact=job.accuracy != "half")
        self.terms: KernelTerms | None = kernel_terms(family.kernel, job.accuracy) if self.algebra.smoothed else None
        self.reach = self.terms.reach if self.terms else 0.0
        self.wanted = [i for i, need in enumerate(job.needs[1:]) if need]
        self.backward = bool(job.needs)

    def text(self) -> str:
        """Return the text of the whole module."""
        parts = [] if self.terms is None else [module_text(self.family.kernel, self.job.accuracy, self._used())]
        return "\n\n".join([*parts, self._main()]) + "\n"

    def _used(self) -> tuple[str, ...]:
        return wanted(self._work(near=True))

    def arguments(self) -> list[str]:
        """Return the names of the arguments in order: tensors, constants, numbers of the tiling."""
        tensors = ["x_", "g_", *(["dx_"] if self.job.needs[0] else [])] if self.backward else ["x_", "y_"]
        tensors += ["partial"] if self.wanted else []
        tensors += ["table"] if self.terms and self.terms.panels else []
        tensors += [f"p{i}_" for i in range(len(self.job.per_channel))]
        numbers = [f"k{i}_" for i in range(len(constants(self.family)))]
        if self.job.accuracy == "double":
            numbers = [f"{name}{part}" for name in numbers for part in "abc"]
        return [*tensors, *numbers, *ARGUMENTS[self.walk.kind]]

    def _main(self) -> str:
        unaligned = [f"p{i}_" for i in range(len(self.job.per_channel))]
        body = [
            "pid = tl.program_id(0).to(tl.int64)",
            *self.walk.head(),
            *self._coefficients(),
            *(f"sum_{i} = tl.zeros([{self.walk.rows}, {self.walk.columns}], {self._dtype})" for i in self.wanted),
            *self._loop(),
            *partial_rows(self.walk, self.wanted),
        ]
        return (
            f"@triton.jit(do_not_specialize={list(UNSPECIALIZED)!r}, do_not_specialize_on_alignment={unaligned!r})\n"
            f"def run({', '.join(self.arguments())}):\n" + "\n".join(indent(body))
        )

    @property
    def _dtype(self) -> str:
        return _DTYPE[self.job.accuracy]

    def _coefficients(self) -> list[str]:
        lines = []
        for i in range(len(constants(self.family))):
            if self.job.accuracy == "double":  # a double is three floats: Triton passes float32
                parts = " + ".join(f"tl.cast(k{i}_{part}, tl.float64)" for part in "abc")
                lines.append(f"k{i} = {parts}")
            else:
                lines.append(f"k{i} = tl.cast(k{i}_, tl.float32)")
        for i, per_channel in enumerate(self.job.per_channel):
            address, mask = f"p{i}_", ""
            if per_channel:
                address += " + channel"
                mask = "" if self.walk.kind == "inner" else ", mask=channel < channels, other=1.0"
            value = f"tl.load({address}{mask}).to({self._dtype})"
            if per_channel and self.walk.rows > 1:  # laid out as x is, once and not for every tile
                value = f"tl.broadcast_to({value}, [{self.walk.rows}, {self.walk.columns}])"
            lines.append(f"p{i} = {value}")
        return [*lines, *self.algebra.coefficients()]

    # ---------------------------------------------------------------------------------------------------- the walk

    def _loop(self) -> list[str]:
        """Return the loop over the tiles. A trip reads two before it uses the first, so that both are on their way."""
        names, tiles = (("x", "g") if self.backward else ("x",)), ("trip", "(trip + stride)")
        first, second = (
            [
                *(f"{name} = {name}_{k}.to({self._dtype})" for name in names),
                *self.algebra.positions(),
                *self._branches(),
                *self._store(k, tile),
            ]
            for k, tile in enumerate(tiles)
        )
        body = [*self.walk.fetch(names, tiles), *first, "if trip + stride < trips:", *indent(second)]
        return ["step = 2 * tl.cast(stride, tl.int64)", "for trip in tl.range(start, trips, step):", *indent(body)]

    def _store(self, k: int, trip: str) -> list[str]:
        name = "dx" if self.backward else "y"
        if self.backward and not self.job.needs[0]:
            return []
        return self.walk.put(name, k, trip, f"out.to({name}_.dtype.element_ty)")

    def _branches(self) -> list[str]:
        """Return the branch between the sides: near for a tile with an element that is near a knot, infinite or NaN.

        The bits of floats are ordered as integers are, so that ``bits - bits(reach)``, unsigned, is small for an
        element that is far, and wraps or is large for all others: two integer instructions for each element and one
        reduction decide for the tile.
        """
        near = [*self._near_forms(), *self._work(near=True)]
        if self.reach == float("inf"):
            return near
        bits, integer, infinity = (64, "q", "d") if self.job.accuracy == "double" else (32, "i", "f")
        edge, end = (struct.unpack(integer, struct.pack(infinity, v))[0] for v in (self.reach, float("inf")))
        votes = [f"{number}.to(tl.uint{bits}, bitcast=True) - {edge}" for number in self.algebra.votes()]
        vote = functools.reduce(lambda a, b: f"tl.maximum({a}, {b})", votes)
        if self.walk.masked:
            vote = f"tl.where(keep, {vote}, 0)"
        return [
            f"vote = tl.max({vote})",
            f"if vote >= {end - edge}:",
            *indent(near),
            "else:",
            *indent(self._work(near=False)),
        ]

    def _near_forms(self) -> list[str]:
        used = self._used()
        if self.terms is None or not used:
            return []
        return self.algebra.forms(self.reach, used, ", table" if self.terms.panels else "")

    def _work(self, near: bool) -> list[str]:
        """Return lines that assign ``out`` and add to the sums."""
        algebra = self.algebra
        if not self.backward:
            value = algebra.near_value() if near else algebra.far_value()
            return [*value.lines, f"out = {value.result}"]
        lines = []
        if self.job.needs[0]:
            lines.append(f"out = g * ({algebra.near_slope() if near else algebra.far_slope()})")
        for i in self.wanted:
            part = algebra.partial(i, near)
            if part:
                lines.append(f"sum_{i} += g * ({part})")
        return lines or ["pass"]
