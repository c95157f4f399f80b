"""Everything that a repeated call of a family needs for one layout of its input."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from bevel.family import Family
from bevel.ops.triton import layout
from bevel.ops.triton.expressions import constants
from bevel.ops.triton.kernel_terms import ACCURACY
from bevel.ops.triton.launch import Launcher, built, compiled, processors, table_on
from bevel.ops.triton.layout import Tuning
from bevel.ops.triton.program import Job, Program, job
from bevel.ops.triton.second_program import SecondProgram
from bevel.ops.triton.totals import add_up_text, adding

_MOST = 4096  # number of texts that are kept
_written: dict[tuple[Hashable, Job], tuple[Any, bool]] = {}
_seconds: dict[Hashable, Launcher] = {}


@dataclass(frozen=True)
class Pass:
    """One pass, built: its launch, the numbers it is told, and its rows of partial sums."""

    launch: Launcher
    numbers: tuple[float | int, ...]
    partials: int
    second: Launcher | None = None


class Plan:
    """The passes of a family for one layout of x on one device, each built when it is first called.

    Args:
        family: the functions.
        known: what families of one function share, see ``backend``.
        view: x as (outer, channels, inner).
        x: a tensor of the layout.
        per_channel: for each parameter, whether it has one value per channel.
        tuning: the tile and the grid.
    """

    def __init__(
        self, family: Family, known: Hashable, view: tuple[int, int, int], x: Tensor, per_channel: tuple[bool, ...],
        tuning: Tuning,
    ) -> None:  # fmt: skip
        self.family = family
        self.known = known
        self.view = view
        self.per_channel = per_channel
        self.tuning = tuning
        self.accuracy = ACCURACY[x.dtype]
        self.channels = view[1]
        self.processors = processors(x.get_device())
        numbers = constants(family)
        split = tuple(part for n in numbers for part in _thirds(n)) if self.accuracy == "double" else numbers
        self.constants: tuple[float, ...] = split
        self.shared: tuple[Tensor, ...] | None = None
        self._passes: dict[Hashable, Pass] = {}

    def forward(self, x: Tensor, parameters: Sequence[Tensor], source: str = "x") -> Tensor:
        """Return y of x, or x of y where that is what ``source`` says is given."""
        y = torch.empty_like(x)
        found = self._passes.get(source)
        if found is None:
            found = self._passes[source] = self._built([x, y], parameters, [], (), source)
        found.launch(x, y, *self._tables(), *parameters, *found.numbers)
        return y

    def backward(
        self, g: Tensor, x: Tensor, parameters: Sequence[Tensor], needs: tuple[bool, ...], source: str = "x"
    ) -> list[Tensor | None]:
        """Return the gradients of (x, *parameters) from x, or from y where that is what ``source`` says is given."""
        dx = torch.empty_like(x) if needs[0] else None
        tensors: list[Tensor] = [x, g] if dx is None else [x, g, dx]
        wanted = [i for i, need in enumerate(needs[1:]) if need]
        key = (needs, source, g.data_ptr() % 16 == 0)
        found = self._passes.get(key)
        if found is None:
            of = [parameters[i] for i in wanted]
            found = self._passes[key] = self._built(tensors, parameters, of, needs, source)
        return [dx, *self._launched(found, tensors, parameters, parameters, wanted)]

    def second(
        self,
        g: Tensor | None,
        x: Tensor,
        parameters: Sequence[Tensor],
        cotangents: Sequence[Tensor | None],
        needs: tuple[bool, ...],
        every: float,
    ) -> list[Tensor | None]:
        """Return the gradients of (g, x, *parameters), see ``Backend.second``."""
        a, *of_parameters = cotangents
        read = [x, *(t for t in (g, a) if t is not None)]
        found_gx = [torch.empty_like(x) if need else None for need in needs[:2]]
        tensors = [*read, *(t for t in found_gx if t is not None)]
        vectors = [*parameters, *(b for b in of_parameters if b is not None)]
        wanted = [i for i, need in enumerate(needs[2:]) if need]
        moved = (g is not None, *(c is not None for c in cotangents))
        key = (needs, moved, every, *(t.data_ptr() % 16 == 0 for t in read))
        found = self._passes.get(key)
        if found is None:
            of = [parameters[i] for i in wanted]
            found = self._passes[key] = self._built(tensors, vectors, of, needs, "x", moved, every)
        return [*found_gx, *self._launched(found, tensors, vectors, parameters, wanted)]

    def _launched(
        self,
        found: Pass,
        tensors: Sequence[Tensor],
        vectors: Sequence[Tensor],
        parameters: Sequence[Tensor],
        wanted: Sequence[int],
    ) -> list[Tensor | None]:
        """Launch a pass, and return the sums of the wanted parameters."""
        grads: list[Tensor | None] = [None] * len(parameters)
        if found.second is None:
            found.launch(*tensors, *self._tables(), *vectors, *found.numbers)
            return grads
        partial = self._partial(found.partials * len(wanted) * self.channels, tensors[0].device)
        found.launch(*tensors, partial, *self._tables(), *vectors, *found.numbers)
        sums = [self._gradient(parameters[i], self.per_channel[i]) for i in wanted]
        found.second(*sums, partial, found.partials, self.channels)
        for i, total in zip(wanted, sums, strict=True):
            alone = self.per_channel[i] or self.channels == 1
            # Where other coefficients are per channel, a shared one has a sum per channel; these are added up.
            grads[i] = total if alone else total.sum(0, keepdim=True).to(parameters[i].dtype)
        return grads

    def _built(
        self,
        tensors: Sequence[Tensor],
        vectors: Sequence[Tensor],
        of: Sequence[Tensor],
        needs: tuple[bool, ...],
        source: str,
        moved: tuple[bool, ...] = (),
        every: float = 0.0,
    ) -> Pass:
        """Build a pass, then size its grid by the registers that the built program takes.

        Args:
            tensors, vectors: what it is given of x's shape and of the parameters' shapes.
            of: the parameters whose sums it makes.
            needs, source, moved, every: as in :class:`bevel.ops.triton.program.Job`.
        """
        kind = "second" if moved else "bent" if self.family.terms.curve else source
        tile = self.tuning.lanes(self.accuracy, kind)
        warps, most = self.tuning.warps, self.tuning.per_processor
        cut = layout.tiling(*self.view, self.processors * most, tile)
        made = job(cut, self.accuracy, self.per_channel, needs, source, moved, every)
        function, tabled = written(self.family, self.known, made)
        if self.shared is None:
            self.shared = (table_on(self.family.kernel, tensors[0].device, self.accuracy),) if tabled else ()
        sums = [self._partial(0, tensors[0].device)] if of else []
        given = [*tensors, *sums, *self.shared, *vectors, *self.constants, *cut.numbers]
        kernel = built(function, warps, given)
        if kernel is not None:
            most = min(most, layout.resident(kernel.n_regs, warps))
            cut = layout.tiling(*self.view, self.processors * most, tile)
        launch = Launcher(function, (cut.programs, 1, 1), warps, kernel=kernel)
        second = self._second(cut.partials, of) if of else None
        return Pass(launch, (*self.constants, *cut.numbers), cut.partials, second)

    def _second(self, partials: int, parameters: Sequence[Tensor]) -> Launcher:
        """Return the second stage, which plans share where they have the same binary and grid."""
        cut = adding(partials, self.channels)
        dtypes = tuple(p.dtype for p in parameters)
        key = (cut.rows, cut.columns, self.channels, self.per_channel, self.accuracy, dtypes, parameters[0].device)
        found = _seconds.get(key)
        if found is None:
            if len(_seconds) >= _MOST:
                _seconds.clear()
            text, grid = add_up_text(len(parameters)), (cut.blocks, len(parameters), 1)
            found = _seconds[key] = Launcher(compiled(text), grid, cut.warps, (cut.rows, cut.columns))
        return found

    def _tables(self) -> tuple[Tensor, ...]:
        return self.shared or ()

    def _partial(self, length: int, device: torch.device) -> Tensor:
        dtype = torch.float64 if self.accuracy == "double" else torch.float32
        return torch.empty(length, dtype=dtype, device=device)

    def _gradient(self, parameter: Tensor, per_channel: bool) -> Tensor:
        if per_channel or self.channels == 1:
            return torch.empty(parameter.shape, dtype=parameter.dtype, device=parameter.device)
        return torch.empty(self.channels, dtype=torch.float64, device=parameter.device)


def written(family: Family, known: Hashable, made: Job) -> tuple[Any, bool]:
    """Return a program and whether it reads its kernel's table. Writing its text takes half a millisecond."""
    found = _written.get((known, made))
    if found is None:
        if len(_written) >= _MOST:
            _written.clear()
        program = SecondProgram(family, made) if made.moved else Program(family, made)
        tabled = bool(program.terms and program.terms.panels)
        found = _written[known, made] = compiled(program.text()), tabled
    return found


def _thirds(number: float) -> tuple[float, float, float]:
    """Write a double as the sum of three floats."""
    high = float(torch.tensor(number, dtype=torch.float32))
    middle = float(torch.tensor(number - high, dtype=torch.float32))
    return high, middle, number - high - middle
