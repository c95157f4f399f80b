"""The text of a program: the walk of :mod:`walk` around the expressions of :mod:`algebra`.

Forward reads and writes once. Backward reads x and its gradient, writes dx, and keeps one sum for each lane and
parameter, from which comes one partial sum for each program and channel; :mod:`totals` has what adds these up. Where
the output was kept, backward reads y and finds x from it in registers (:mod:`inverse`).
"""

from __future__ import annotations

import functools
import struct
from dataclasses import dataclass
from typing import Any

from bevel.family import Family
from bevel.ops.triton.algebra import Algebra
from bevel.ops.triton.bent import HELPERS, BentAlgebra
from bevel.ops.triton.expressions import constants, wanted
from bevel.ops.triton.inverse import Inverse
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
        source: ``x``, or ``y`` where the pass is given the output and finds x; without ``needs`` it writes that x.
        moved: second pass only, whose ``needs`` are of (g, x, *parameters): whether the gradient g, and the cotangents
            of dx and of each parameter's gradient, are given. Empty for the others.
        every: second pass only: what stands for the cotangent of dx where it is not given.
    """

    accuracy: str
    walk: Walk
    per_channel: tuple[bool, ...]
    needs: tuple[bool, ...]
    source: str = "x"
    moved: tuple[bool, ...] = ()
    every: float = 0.0


def job(tiling: Tiling, accuracy: str, per_channel: tuple[bool, ...], needs: tuple[bool, ...], *rest: Any) -> Job:
    """Return the job of a tiling; ``rest`` is what a :class:`Job` has after ``needs``."""
    return Job(accuracy, Walk(tiling.kind, tiling.rows, tiling.columns, tiling.divisor), per_channel, needs, *rest)


# Numbers that change with the batch and whose divisors no access needs: Triton builds no further binaries for them. A
# flat run's length is not among them, for its divisor keeps the accesses of the last tile wide.
UNSPECIALIZED = ("limit", "trips", "stride", "fixed")


class Program:
    """Write one job's text for one family."""

    def __init__(self, family: Family, job: Job) -> None:
        self.job = job
        self.walk = job.walk
        self.family = family
        written = BentAlgebra if family.terms.curve else Algebra
        self.algebra: Algebra = written(family, exact=job.accuracy != "half")
        self.terms: KernelTerms | None = kernel_terms(family.kernel, job.accuracy) if self.algebra.smoothed else None
        self.reach = self.terms.reach if self.terms else 0.0
        self.wanted = [i for i, need in enumerate(job.needs[1:]) if need]
        self.backward = bool(job.needs)
        self.table = ", table" if self.terms and self.terms.panels else ""
        self.inverse: Inverse | None = None
        if job.source == "y":
            self.inverse = Inverse(self.algebra, job.accuracy, self.reach, "y", self.table)

    @property
    def reads(self) -> tuple[str, ...]:
        """The tensors of x's shape that it reads."""
        return (self.job.source, "g") if self.backward else (self.job.source,)

    @property
    def writes(self) -> dict[str, str]:
        """The tensors of x's shape that it writes, and the variables that hold what goes there."""
        if self.backward:
            return {"dx": "out"} if self.job.needs[0] else {}
        return {"x": "x"} if self.inverse else {"y": "out"}

    def text(self) -> str:
        """Return the text of the whole module."""
        functions = {"forms": self._used(), "inverse_forms": self.inverse.wanted() if self.inverse else ()}
        used = {name: forms for name, forms in functions.items() if forms}
        parts = [] if self.terms is None else [module_text(self.family.kernel, self.job.accuracy, used)]
        parts += [HELPERS.strip()] if self.family.terms.curve else []
        return "\n\n".join([*parts, self._main()]) + "\n"

    def _used(self) -> tuple[str, ...]:
        return wanted(self._work(near=True))

    def arguments(self) -> list[str]:
        """Return the names of the arguments in order: tensors, constants, numbers of the tiling."""
        tensors = [f"{name}_" for name in (*self.reads, *self.writes)]
        tensors += ["partial"] if self.wanted else []
        tensors += ["table"] if self.table else []
        tensors += [f"{name}_" for name in self._vectors()]
        numbers = [f"k{i}_" for i in range(len(constants(self.family)))]
        if self.job.accuracy == "double":
            numbers = [f"{name}{part}" for name in numbers for part in "abc"]
        return [*tensors, *numbers, *ARGUMENTS[self.walk.kind]]

    def _vectors(self) -> list[str]:
        """Return the names of the parameters, and of what else has their shapes."""
        return [*(f"p{i}" for i in range(len(self.job.per_channel))), *self._given()]

    def _given(self) -> list[str]:
        return []

    def _main(self) -> str:
        unaligned = [f"{name}_" for name in self._vectors()]
        body = [
            "pid = tl.program_id(0).to(tl.int64)",
            *self.walk.head(),
            *self._coefficients(),
            *(self.inverse.head() if self.inverse else []),
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
        for name in self._vectors():
            per_channel = self.job.per_channel[int(name[1:])]
            address, mask = f"{name}_", ""
            if per_channel:
                address += " + channel"
                mask = "" if self.walk.kind == "inner" else ", mask=channel < channels, other=1.0"
            value = f"tl.load({address}{mask}).to({self._dtype})"
            if per_channel and self.walk.rows > 1:  # laid out as x is, once and not for every tile
                value = f"tl.broadcast_to({value}, [{self.walk.rows}, {self.walk.columns}])"
            lines.append(f"{name} = {value}")
        return [*lines, *self.algebra.coefficients()]

    # ---------------------------------------------------------------------------------------------------- the walk

    def _loop(self) -> list[str]:
        """Return the loop over the tiles. A trip reads two before it uses the first, so that both are on their way."""
        tiles = ("trip", "(trip + stride)")
        first, second = (
            [
                *(f"{name} = {name}_{k}.to({self._dtype})" for name in self.reads),
                *self._tile(tile),
                *(line for name, value in self.writes.items() for line in self._store(name, k, tile, value)),
            ]
            for k, tile in enumerate(tiles)
        )
        body = [*self.walk.fetch(self.reads, tiles), *first, "if trip + stride < trips:", *indent(second)]
        return ["step = 2 * tl.cast(stride, tl.int64)", "for trip in tl.range(start, trips, step):", *indent(body)]

    def _tile(self, trip: str) -> list[str]:
        """Return the lines between what a tile brings and what is stored of it."""
        if self.inverse is None:
            return [*self.algebra.positions(), *self._branches()]
        found = self.inverse.lines(self.walk.masked or self.walk.kind == "packed")
        lost = "{0} = tl.where(told, {0}, float('nan'))"
        if not self.backward:
            return [*found, lost.format("x")]
        side = [] if self.algebra.smoothed else ["right_0 = y > 0"]  # x may be rounded to 0, on the left
        return [*found, lost.format("g"), *self.algebra.positions(), *side, *self._branches()]

    def _store(self, name: str, k: int, trip: str, value: str) -> list[str]:
        return self.walk.put(name, k, trip, f"{value}.to({name}_.dtype.element_ty)")

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
        return self.algebra.forms(self.reach, used, self.table)

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
