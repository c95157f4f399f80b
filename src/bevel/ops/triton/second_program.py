"""The text of programs of the second pass, around the expressions of :mod:`second`."""

from __future__ import annotations

from bevel.family import Family
from bevel.ops.triton.bent import BentAlgebra
from bevel.ops.triton.kernel_terms import kernel_terms
from bevel.ops.triton.program import Job, Program
from bevel.ops.triton.second import Second
from bevel.ops.triton.second_bent import BentSecond


def why_not(family: Family) -> str | None:
    """Return why there is no second pass for a family, else None."""
    terms = family.terms
    plain = not terms.multiplies_cdf and all(slot == 0.0 for slot in (*terms.steps, *terms.c0, *terms.c1))
    if plain or family.kernel.reach == 0:
        return None
    if "turn" not in kernel_terms(family.kernel, "single").body:
        return f"the Triton text of kernel {family.kernel.name!r} does not assign turn, the density's derivative"
    return None


class SecondProgram(Program):
    """Write one job's text of the second pass; ``job.moved`` says which of (g, a, *b) are given."""

    def __init__(self, family: Family, job: Job) -> None:
        super().__init__(family, job)
        self.wanted = [i for i, need in enumerate(job.needs[2:]) if need]
        self.moved = [i for i, given in enumerate(job.moved[2:]) if given]
        of = self.algebra
        self.second = BentSecond(of, self.moved) if isinstance(of, BentAlgebra) else Second(of, self.moved)

    @property
    def reads(self) -> tuple[str, ...]:
        return ("x", *(name for name, given in zip("ga", self.job.moved, strict=False) if given))

    @property
    def writes(self) -> dict[str, str]:
        return {name: f"{name}_found" for name, need in zip(("h", "dx"), self.job.needs, strict=False) if need}

    def _given(self) -> list[str]:
        return [f"b{i}" for i in self.moved]

    def _coefficients(self) -> list[str]:
        return [*super()._coefficients(), *self.second.coefficients()]

    def _tile(self, trip: str) -> list[str]:
        """Return the lines of a tile; a g that is not given is 1, but 0 in lanes that do not exist, for the sums."""
        shape, lines = f"[{self.walk.rows}, {self.walk.columns}]", []
        if "g" not in self.reads:
            lines.append(f"g = tl.broadcast_to(tl.where({self.walk.here(trip)}, 1.0, 0.0).to({self._dtype}), {shape})")
        if "a" not in self.reads:
            lines.append(f"a = tl.full({shape}, {self.job.every!r}, {self._dtype})")
        return [*lines, *super()._tile(trip)]

    def _work(self, near: bool) -> list[str]:
        second = self.second
        near = near and self.algebra.smoothed
        lines = second.lines(near)
        for name, value in (("h", second.value(near)), ("dx", f"g * ({second.slope(near)})")):
            if name in self.writes:
                lines.append(f"{name}_found = tl.where(x == x, {value}, x)")
        for i in self.wanted:
            part = second.partial(i, near)
            if part:
                lines.append(f"sum_{i} += g * ({part})")
        return lines
