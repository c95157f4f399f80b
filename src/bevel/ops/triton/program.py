"""The text of a program: the walk of :mod:`layout` around the expressions of :mod:`algebra`.

Forward reads and writes once. Backward reads x and its gradient, writes dx, and keeps one sum for each lane and
parameter, from which comes one partial sum for each program and channel. ``add_up`` adds these in a fixed order,
without atomics, so that equal inputs give equal bits.
"""

from __future__ import annotations

import functools
import struct
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass

from bevel.family import Family
from bevel.ops.triton.algebra import Algebra, constants, wanted
from bevel.ops.triton.kernel_terms import KernelTerms, kernel_terms, module_text
from bevel.ops.triton.layout import ARGUMENTS, Tiling

_DTYPE = {"double": "tl.float64", "single": "tl.float32", "half": "tl.float32"}


@dataclass(frozen=True)
class Job:
    """What one program text is made for; equal jobs share a text.

    Attributes:
        accuracy: ``double``, ``single`` or ``half``, see :mod:`kernel_terms`.
        kind, rows, columns, divisor: of the tiling.
        per_channel: for each parameter, whether it has one value per channel.
        needs: backward only: whether dx, and each parameter's gradient, are wanted. Empty for forward.
        ahead: tiles loaded ahead.
    """

    accuracy: str
    kind: str
    rows: int
    columns: int
    divisor: int
    per_channel: tuple[bool, ...]
    needs: tuple[bool, ...]
    ahead: int


def job(tiling: Tiling, accuracy: str, per_channel: tuple[bool, ...], needs: tuple[bool, ...], ahead: int) -> Job:
    return Job(accuracy, tiling.kind, tiling.rows, tiling.columns, tiling.divisor, per_channel, needs, ahead)


# Numbers that change with the batch and whose divisors no access needs: Triton builds no further binaries for them. A
# flat run's length is not among them, for its divisor keeps the accesses of the last tile wide.
UNSPECIALIZED = ("limit", "trips", "stride", "fixed", "rows")

# Numbers that may exceed an int32 become int64. Lanes stay int32: a tile has more than one row only if rows are short.
_HEAD = {
    "flat": """
        start = pid
        lanes = tl.arange(0, {columns})[None, :]
    """,
    "inner": """
        inner = tl.cast(inner_q, tl.int64) * {divisor}
        channel = pid % channels
        turn = pid // channels
        start = turn // fixed
        base = (((turn % fixed) * channels + channel) * inner_q) * {divisor}
        lanes = tl.arange(0, {columns})[None, :]
    """,
    "outer": """
        inner = inner_q * {divisor}
        block = (pid % blocks) * {rows}
        turn = pid // blocks
        first = (turn % fixed) * {columns}
        start = turn // fixed
        down = tl.arange(0, {rows})[:, None]
        across = tl.arange(0, {columns})[None, :]
        base = (block * inner_q) * {divisor} + first
        lanes = down * inner + across
        channel = block + down
        keep = (channel < channels) & (first + across < inner)
    """,
    "columns": """
        channels = tl.cast(channels_q, tl.int64) * {divisor}
        block = (pid % blocks) * {columns}
        start = pid // blocks
        down = tl.arange(0, {rows})[:, None]
        across = tl.arange(0, {columns})[None, :]
        lanes = down * (channels_q * {divisor}) + across
        channel = block + across
        keep = channel < channels
    """,
}

# A tile's first offset, and which of its lanes exist. Wide loads need whole tiles: a flat run is masked only at its
# end, because a mask narrows every load that it is part of.
_ADDRESS = {
    "flat": ("{trip} * {columns}", "length - {trip} * {columns}"),
    "inner": ("base + {trip} * {columns}", "inner - {trip} * {columns}"),
    "outer": ("base + (({trip} * channels) * inner_q) * {divisor}", "keep & ({trip} + 0 * down < trips)"),
    "columns": ("block + (({trip} * {rows}) * channels_q) * {divisor}", "keep & ({trip} * {rows} + down < limit)"),
}

_RUN = """
@triton.jit
def fetch(pointer, lanes, left):
    if left >= {columns}:
        value = tl.load(pointer + lanes)
    else:
        value = tl.load(pointer + lanes, mask=lanes < left, other=0.0)
    return value


@triton.jit
def put(pointer, lanes, left, value):
    if left >= {columns}:
        tl.store(pointer + lanes, value)
    else:
        tl.store(pointer + lanes, value, mask=lanes < left)
"""

_MASKED = """
@triton.jit
def fetch(pointer, lanes, here):
    return tl.load(pointer + lanes, mask=here, other=0.0)


@triton.jit
def put(pointer, lanes, here, value):
    tl.store(pointer + lanes, value, mask=here)
"""


class Program:
    """Write one job's text for one family."""

    def __init__(self, family: Family, job: Job) -> None:
        self.job = job
        self.family = family
        self.algebra = Algebra(family, exact=job.accuracy != "half")
        self.terms: KernelTerms | None = kernel_terms(family.kernel, job.accuracy) if self.algebra.smoothed else None
        self.reach = self.terms.reach if self.terms else 0.0
        self.wanted = [i for i, need in enumerate(job.needs[1:]) if need]
        self.backward = bool(job.needs)

    def text(self) -> str:
        """Return the text of the whole module."""
        run = _RUN if self.job.kind in ("flat", "inner") else _MASKED
        parts = [] if self.terms is None else [module_text(self.family.kernel, self.job.accuracy, self._used())]
        return "\n\n".join([*parts, run.format(columns=self.job.columns).strip(), self._main()]) + "\n"

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
        return [*tensors, *numbers, *ARGUMENTS[self.job.kind]]

    def _main(self) -> str:
        shape = {"rows": self.job.rows, "columns": self.job.columns, "divisor": self.job.divisor}
        unaligned = [f"p{i}_" for i in range(len(self.job.per_channel))]
        body = [
            "pid = tl.program_id(0).to(tl.int64)",
            *textwrap.dedent(_HEAD[self.job.kind].format(**shape)).strip().splitlines(),
            *self._coefficients(),
            *(f"sum_{i} = tl.zeros([{self.job.rows}, {self.job.columns}], {self._dtype})" for i in self.wanted),
            *self._walk(),
            *self._partials(),
        ]
        return (
            f"@triton.jit(do_not_specialize={list(UNSPECIALIZED)!r}, do_not_specialize_on_alignment={unaligned!r})\n"
            f"def run({', '.join(self.arguments())}):\n" + textwrap.indent("\n".join(body), "    ")
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
                mask = "" if self.job.kind == "inner" else ", mask=channel < channels, other=1.0"
            lines.append(f"p{i} = tl.load({address}{mask}).to({self._dtype})")
        return [*lines, *self.algebra.coefficients()]

    # ---------------------------------------------------------------------------------------------------- the walk

    def _walk(self) -> list[str]:
        inputs = ("x", "g") if self.backward else ("x",)
        ahead = self.job.ahead
        lines = [line for step in range(ahead) for line in self._fetch(inputs, f"(start + {step} * stride)", step)]
        body = self._fetch(inputs, f"(trip + {ahead} * stride)" if ahead else "trip", ahead)
        body += [f"{name} = {name}_0.to({self._dtype})" for name in inputs]
        body += [*self.algebra.positions(), *self._branches(), *self._store()]
        body += [f"{name}_{step} = {name}_{step + 1}" for step in range(ahead) for name in inputs]
        return [*lines, "for trip in tl.range(start, trips, stride):", *_indent(body)]

    def _at(self, trip: str) -> tuple[str, str]:
        shape = {"rows": self.job.rows, "columns": self.job.columns, "divisor": self.job.divisor}
        offset, left = _ADDRESS[self.job.kind]
        return offset.format(trip=trip, **shape), left.format(trip=trip, **shape)

    def _fetch(self, inputs: Sequence[str], trip: str, step: int) -> list[str]:
        offset, left = self._at(trip)
        return [f"{name}_{step} = fetch({name}_ + {offset}, lanes, {left})" for name in inputs]

    def _store(self) -> list[str]:
        name = "dx" if self.backward else "y"
        if self.backward and not self.job.needs[0]:
            return []
        offset, left = self._at("trip")
        return [f"put({name}_ + {offset}, lanes, {left}, out.to({name}_.dtype.element_ty))"]

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
        if self.job.kind in ("outer", "columns"):
            vote = f"tl.where(keep, {vote}, 0)"
        return [
            f"vote = tl.max({vote})",
            f"if vote >= {end - edge}:",
            *_indent(near),
            "else:",
            *_indent(self._work(near=False)),
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

    def _partials(self) -> list[str]:
        """Return lines that store one row of partial sums, ordered by (parameter, channel)."""
        count = len(self.wanted)
        lines = []
        for order, i in enumerate(self.wanted):
            if self.job.kind == "flat":
                lines.append(f"tl.store(partial + pid * {count} + {order}, tl.sum(sum_{i}))")
                continue
            address = f"partial + ({'start' if self.job.kind == 'columns' else 'turn'} * {count} + {order}) * channels"
            if self.job.kind == "inner":
                lines.append(f"tl.store({address} + channel, tl.sum(sum_{i}))")
                continue
            axis, lane = (
                (1, f"tl.arange(0, {self.job.rows})")
                if self.job.kind == "outer"
                else (0, f"tl.arange(0, {self.job.columns})")
            )
            lines.append(
                f"tl.store({address} + block + {lane}, tl.sum(sum_{i}, {axis}), mask=block + {lane} < channels)"
            )
        return lines


def _indent(lines: Sequence[str]) -> list[str]:
    return [f"    {line}" for line in lines]


def add_up_text(count: int) -> str:
    """Return the text of the second kernel, which adds rows of partial sums to ``count`` results for each channel."""
    outputs = ", ".join(f"out{j}" for j in range(count))
    address = f"partial + ((row + down) * {count} + {{j}}) * channels + channel"
    lines = [
        f"@triton.jit(do_not_specialize={list(UNSPECIALIZED)!r})",
        f"def run({outputs}, partial, rows, channels, ROWS: tl.constexpr, COLUMNS: tl.constexpr):",
        "    channel = (tl.program_id(0).to(tl.int64) * COLUMNS + tl.arange(0, COLUMNS))[None, :]",
        "    down = tl.arange(0, ROWS)[:, None].to(tl.int64)",
        *(f"    sum_{j} = tl.zeros([ROWS, COLUMNS], tl.float64)" for j in range(count)),
        "    for row in tl.range(0, rows, ROWS):",
        "        here = (row + down < rows) & (channel < channels)",
    ]
    lines += [
        f"        sum_{j} += tl.load({address.format(j=j)}, mask=here, other=0.0).to(tl.float64)" for j in range(count)
    ]
    lines.append("    kept = tl.program_id(0).to(tl.int64) * COLUMNS + tl.arange(0, COLUMNS)")
    lines += [
        f"    tl.store(out{j} + kept, tl.sum(sum_{j}, 0).to(out{j}.dtype.element_ty), mask=kept < channels)"
        for j in range(count)
    ]
    return "\n".join(lines) + "\n"
