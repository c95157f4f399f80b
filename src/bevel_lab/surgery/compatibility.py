"""Try surgery on every architecture, one row each, and write the page that shows the rows.

``python -m bevel_lab.surgery.compatibility`` writes ``docs/compatibility.md``; the tests assert on the same rows.
"""

from __future__ import annotations

import argparse
import copy
import gc
import math
import sys
import time
import warnings
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves

from bevel.nn import Activation
from bevel.surgery import Result, swap
from bevel.surgery._survey import traced_once
from bevel.terms import as_numbers
from bevel_lab.surgery.architectures import ARCHITECTURES, Architecture, Inputs

TARGETS = ("frelu", "sau")
KEEPERS = ("gate", "mollified:n=50")
"""What keeps the function of any network: gates to rounding, kinked functions within a bound."""


@dataclass(frozen=True)
class Swapped:
    """What was measured of one swap that keeps the function.

    Attributes:
        count: sites swapped.
        bound: the largest proven bound of a site.
        excess: the largest amount by which a site was off by more than its bound and rounding; <= 0 is within it.
        deviation: largest difference of the model's outputs before and after, over the largest output.
    """

    count: int
    bound: float
    excess: float
    deviation: float


@dataclass(frozen=True)
class Row:
    """What was measured of one architecture.

    Attributes:
        name: as in ``ARCHITECTURES``.
        units, gates: sites found by function.
        ambiguous: units whose channel axis cannot be told.
        kept: per target, and per keeper, the swap that keeps the function; None where no site's function can be kept.
        left: how many units each of them left alone, by target and reason.
        trained: per target the sites swapped, function kept or not, for a forward and backward in train mode, and
            whether every coefficient of a site that ran got a finite gradient.
        restored: whether after the last restore the state and the output were bit for bit as before.
        seconds: CPU time of all of it.
    """

    name: str
    units: dict[str, int]
    gates: dict[str, int]
    ambiguous: int
    kept: dict[str, Swapped | None]
    left: dict[tuple[str, str], int]
    trained: dict[str, tuple[int, bool]]
    restored: bool
    seconds: float

    @property
    def whole(self) -> list[str]:
        """The keepers that keep every unit's function."""
        total = sum(self.units.values())
        return [to for to in KEEPERS if (found := self.kept.get(to)) is not None and found.count == total]


def tensors(output: Any) -> list[Tensor]:
    """Find the floating tensors of a model's output."""
    return [t for t in tree_leaves(output) if isinstance(t, Tensor) and t.is_floating_point()]


def measure(architecture: Architecture) -> Row:
    """Swap, compare, train a step and restore, on one architecture."""
    start = time.process_time()
    model = architecture.model()
    inputs = architecture.inputs()
    traced = (architecture.traced or architecture.inputs)()
    before, state = _output(model, inputs), _state(model)
    kept: dict[str, Swapped | None] = {}
    left: Counter[tuple[str, str]] = Counter()
    restored = True
    with traced_once():
        for to in (*TARGETS, *KEEPERS):
            result = swap(model, to, *traced[0], kwargs=traced[1], empty_ok=True)
            skipped = (site for site in result.sites.skipped if site.unit)
            left.update((to, site.reason.partition("; preserve=False")[0]) for site in skipped)
            kept[to] = _kept(result, inputs, before) if result.sites.swapped else None
            result.restore()
            restored &= _same_state(model, state)
    trained: dict[str, tuple[int, bool]] = {}
    with traced_once():  # runs the restored model anew
        for to in TARGETS:
            result = swap(model, to, *traced[0], kwargs=traced[1], preserve=False, save="output")
            trained[to] = _train(result, architecture)
            result.restore()
            model.eval().load_state_dict(state)  # the step in train mode moved the statistics of batch norms
            restored &= _same_state(model, state)
    after = _output(model, inputs)
    restored &= _same_state(model, state) and all(map(torch.equal, tensors(before), tensors(after)))
    units = result.sites.counts()
    gates = {k: v - units.get(k, 0) for k, v in result.sites.counts(units=False).items() if v > units.get(k, 0)}
    ambiguous = sum(s.unit and s.axis is None for s in result.sites)
    return Row(
        architecture.name, units, gates, ambiguous, kept, dict(left), trained, restored, time.process_time() - start
    )


def _output(model: nn.Module, inputs: Inputs) -> Any:
    with torch.no_grad():
        return model(*inputs[0], **inputs[1])


def _state(model: nn.Module) -> dict[str, Tensor]:
    return copy.deepcopy(model.state_dict())


def _same_state(model: nn.Module, state: dict[str, Tensor]) -> bool:
    now = model.state_dict()
    return list(now) == list(state) and all(torch.equal(t, now[name]) for name, t in state.items())


def _kept(result: Result, inputs: Inputs, before: Any) -> Swapped:
    """Run the swapped model and check at every site that its change of the output is within the proven bound."""
    worst = [-1.0]
    handles = []
    for site in result.sites.swapped:
        activation = result.activations[site.name]
        old = _old(site.function, activation)
        handles.append(activation.register_forward_hook(_checker(old, site.bound or 0.0, worst)))
    after = _output(result.model, inputs)
    for handle in handles:
        handle.remove()
    bound = max(site.bound or 0.0 for site in result.sites.swapped)
    return Swapped(len(result.sites.swapped), bound, worst[0], _deviation(tensors(before), tensors(after)))


def _old(function: str, activation: nn.Module) -> Callable[[Tensor], Tensor]:
    """What stood at a site: torch's function, with the slope or by the kernel that the new activation took over."""
    # Spelled so that no routed scope takes it for a call of its own: it runs in a hook, inside the model's forward.
    if function in _OTHERS:
        return _OTHERS[function]
    if function == "gelu":
        tanh = isinstance(activation, Activation) and activation.family.kernel.name == "gelu_tanh"
        return _gelu_by_tanh if tanh else lambda x: x * torch.special.ndtr(x)
    assert isinstance(activation, Activation)
    slope = float(as_numbers(activation.coefficients()[0].left)[0])
    return lambda x: torch.where(x > 0, x, slope * x)


def _gelu_by_tanh(x: Tensor) -> Tensor:
    return x / (1 + torch.exp(-math.sqrt(8 / math.pi) * (x + 0.044715 * x**3)))


_OTHERS: dict[str, Callable[[Tensor], Tensor]] = {
    "relu": lambda x: torch.where(x > 0, x, 0.0),
    "relu6": lambda x: x.clamp(0, 6),
    "silu": lambda x: x / (1 + torch.exp(-x)),
    "quick_gelu": lambda x: x / (1 + torch.exp(-1.702 * x)),
    "hardswish": lambda x: x * (x + 3).clamp(0, 6) / 6,
}


def _checker(old: Callable[[Tensor], Tensor], bound: float, worst: list[float]) -> Callable[..., None]:
    def check(module: nn.Module, inputs: tuple[Tensor], output: Tensor) -> None:
        x = inputs[0].detach()
        rounding = 4 * torch.finfo(x.dtype).eps * (x.abs() + bound)  # the result rounds too, also where x is 0
        worst[0] = max(worst[0], float(((output.detach() - old(x)).abs() - bound - rounding).max()))

    return check


def _deviation(before: Sequence[Tensor], after: Sequence[Tensor]) -> float:
    """Largest difference over the largest output; infinite if a detector returns another number of boxes."""
    scale = max((float(t.abs().max()) for t in before if t.numel()), default=0.0)
    if [t.shape for t in before] != [t.shape for t in after]:
        return float("inf")
    off = max((float((a - b).abs().max()) for a, b in zip(before, after, strict=True) if a.numel()), default=0.0)
    return off / scale if scale else off


def _train(result: Result, architecture: Architecture) -> tuple[int, bool]:
    """One forward and backward in train mode."""
    model = result.model.train()
    ran: set[int] = set()
    handles = [m.register_forward_hook(lambda m, *_: ran.add(id(m))) for m in result.activations.values()]
    inputs = (architecture.train_inputs or architecture.inputs)()
    outputs = [t for t in tensors(model(*inputs[0], **inputs[1])) if t.requires_grad]
    torch.stack([t.float().square().mean() for t in outputs]).sum().backward()  # type: ignore[no-untyped-call]
    for handle in handles:
        handle.remove()
    parameters = [p for m in result.activations.values() if id(m) in ran for p in m.parameters()]
    learnt = all(p.grad is not None and bool(torch.isfinite(p.grad).all()) for p in parameters)
    model.zero_grad(set_to_none=True)
    return len(result.activations), bool(ran) and learnt


def rows(names: Iterable[str] = (), progress: bool = False) -> list[Row]:
    """Measure the named architectures, or all."""
    found = []
    for name in names or ARCHITECTURES:
        row = measure(ARCHITECTURES[name])
        found.append(row)
        gc.collect()
        if progress:
            print(f"{row.name}: {row.seconds:.1f} s", file=sys.stderr)
    return found


_HEAD = """# Compatibility

Written by `python -m bevel_lab.surgery.compatibility`; torch {torch}. Random weights, small inputs, float32 on a CPU.

For each architecture: every activation call site that `bevel.find` lists (units, and gates which a swap leaves alone);
then swaps that keep the function, and on how many units: to `gate`, which finds kernel, n and slopes of each site, to
`mollified:n=50`, which smooths the site's own kinked function, to FReLU and to SAU. *Kept whole* names the first of the
first two that keeps every unit. *Bound* is the largest proven bound on a site's own error, checked at every site on
what it really received; *deviation* is the largest change of the model's output over its largest value, which layers
amplify. (A detector ranks its boxes by scores that untrained weights leave nearly equal: there any rounding reorders
them.) Every row was also swapped with `preserve=False, save="output"`, to FReLU and to SAU, run forward and backward in
train mode (*trained*: on how many sites), and restored to the bit.

{columns}
"""


_COLUMNS = (
    *("architecture", "units", "gates", "kept whole", "gate", "bound", "deviation", "mollified", "bound", "deviation"),
    *("FReLU", "deviation", "trained", "SAU", "bound", "deviation", "trained", "restored"),
)


def page(found: Sequence[Row]) -> str:
    """The rows as a page of Markdown."""
    lines = []
    for row in found:
        gate, mollified, frelu, sau = (row.kept[to] for to in (*KEEPERS, *TARGETS))
        cells = [
            row.name,
            _counted(row.units) + (f" ({row.ambiguous} refused: axis ambiguous)" if row.ambiguous else ""),
            _counted(row.gates),
            f"`{row.whole[0]}`" if row.whole else "NO",
            *_swapped(gate),
            *_swapped(mollified),
            *_swapped(frelu, bound=False),
            _steps(row, "frelu"),
            *_swapped(sau),
            _steps(row, "sau"),
            "yes" if row.restored else "NO",
        ]
        lines.append("| " + " | ".join(cells) + " |")
    total = sum(sum(row.units.values()) for row in found)
    seconds = sum(row.seconds for row in found)
    whole = sum(bool(row.whole) for row in found)
    summary = (
        f"{len(found)} architectures, {whole} of them kept whole, {total} units, {seconds:.0f} CPU seconds in all."
    )
    columns = f"| {' | '.join(_COLUMNS)} |\n|{'---|' * len(_COLUMNS)}"
    return _HEAD.format(torch=torch.__version__, columns=columns) + "\n".join(lines) + f"\n\n{_left(found)}{summary}\n"


def _swapped(found: Swapped | None, *, bound: bool = True) -> list[str]:
    """Count, bound and deviation of one swap as cells."""
    if found is None:
        return ["none", *([""] if bound else []), ""]
    return [str(found.count), *([f"{found.bound:.1e}"] if bound else []), f"{found.deviation:.1e}"]


def _left(found: Sequence[Row]) -> str:
    """Units that a swap left alone: how many for which reason, and which spec would keep them."""
    total: Counter[tuple[str, str]] = Counter()
    for row in found:
        total.update(row.left)
    if not total:
        return ""
    lines = [f"| `{to}` | {count} | {reason} |" for (to, reason), count in sorted(total.items())]
    head = "What each swap left alone, and the spec that keeps it:\n\n| to | units | reason |\n|---|---|---|\n"
    return head + "\n".join(lines) + "\n\n"


def _steps(row: Row, to: str) -> str:
    count, learnt = row.trained[to]
    return str(count) if learnt else "FAILED"


def right(row: Row) -> bool:
    """Whether everything that is promised of an architecture held."""
    learnt = all(good for _, good in row.trained.values())
    return row.restored and learnt and all(k is None or k.excess <= 0 for k in row.kept.values())


def _counted(counts: dict[str, int]) -> str:
    return ", ".join(f"{count} {name}" for name, count in counts.items()) or "none"


def main(argv: Sequence[str] | None = None) -> int:
    """Write the page; 1 if anything was found wrong."""
    parser = argparse.ArgumentParser(prog="python -m bevel_lab.surgery.compatibility", description=main.__doc__)
    parser.add_argument("--out", type=Path, default=Path("docs/compatibility.md"))
    parser.add_argument("names", nargs="*", help="architectures (default: all)")
    arguments = parser.parse_args(argv)
    unknown = [n for n in arguments.names if n not in ARCHITECTURES]
    if unknown:
        parser.error(f"unknown architectures {unknown}; known: {', '.join(ARCHITECTURES)}")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the libraries' own remarks on untrained weights
        found = rows(arguments.names, progress=True)
    arguments.out.write_text(page(found), encoding="utf-8")
    wrong = [row.name for row in found if not right(row)]
    for name in wrong:
        print(f"{name}: not as it should be, see {arguments.out}", file=sys.stderr)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
