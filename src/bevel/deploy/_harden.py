"""Replace smooth activations by their kinked functions where a proven bound allows it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Never

import torch
from torch import nn

from bevel._bound import error_bound
from bevel._checks import check_positive
from bevel.deploy._kinked import kinked
from bevel.deploy._merge import Merged, merge_slopes
from bevel.deploy._model import Example, changes_made, largest_change, refuse_wrapped, replace, table
from bevel.errors import InvalidValue
from bevel.kernel import SHARP
from bevel.nn import Activation
from bevel.nn._base import FormulaActivation
from bevel.surgery._arguments import Where, activation_modules, model_kwargs
from bevel.surgery._copy import copy_model
from bevel.surgery._install import Edits


@dataclass(frozen=True)
class HardenRow:
    """What became of one activation.

    Attributes:
        name: its qualified name.
        old: its class.
        new: the class that took its place; None if it stayed.
        bound: a proven bound on ``|smooth − kinked|``; None if none is known, or it was kinked already.
        reason: why it stayed, or why it kept a slope a channel; "" if neither.
        change: largest ``|smooth − kinked|`` at this activation on the example, given the smooth model's own input;
            None without an example, or where there is nothing to compare.
        merged: largest change of the example's output that one slope a side made, this activation alone; None if it
            was not tried.

    Example:
        >>> import torch, bevel
        >>> row = bevel.harden(torch.nn.Sequential(bevel.SAU(n=1000.0)), 1e-3).rows[0]
        >>> row.new, f"{row.bound:.1e}"
        ('LeakyReLU', '4.0e-04')
    """

    name: str
    old: str
    new: str | None
    bound: float | None
    reason: str
    change: float | None = None
    merged: float | None = None


@dataclass(frozen=True, eq=False)
class Hardened:
    """What :func:`harden` did.

    Attributes:
        model: the model with kinked activations.
        rows: one :class:`HardenRow` per smooth activation of bevel's and, with ``merge``, per activation that had a
            slope a channel; prints as a table.
        change: largest absolute change of the example's output, inf if its shapes changed or a NaN came or went; None
            without an example.
        merged: the part of it that ``merge`` made; None without it.

    Example:
        >>> import torch, bevel
        >>> hardened = bevel.harden(torch.nn.Sequential(bevel.SAU(n=1000.0)), 1e-3, torch.randn(8, 4))
        >>> type(hardened.model[0]).__name__, hardened.change < 1e-3
        ('LeakyReLU', True)
    """

    model: nn.Module
    rows: tuple[HardenRow, ...]
    change: float | None
    merged: float | None = None

    def __str__(self) -> str:
        cells = [("activation", "was", "is", "bound", "measured", "reason")]
        cells += [
            (r.name, r.old, r.new or r.old, _short(r.bound), _short(r.change), r.reason or "-") for r in self.rows
        ]
        measured = "not measured" if self.change is None else f"{self.change:.1e}"
        merged = "" if self.merged is None else f", {self.merged:.1e} of it by one slope a site"
        return f"{table(cells)}\nlargest change of the example's output: {measured}{merged}"


def _short(number: float | None) -> str:
    return "-" if number is None else f"{number:.1e}"


def harden(
    model: nn.Module,
    tolerance: float,
    *example: Any,
    kwargs: Mapping[str, Any] | None = None,
    where: Where = None,
    merge: float | None = None,
    inplace: bool = False,
    **unknown: Never,
) -> Hardened:
    """Replace each smooth activation by its kinked function where ``|smooth − kinked| ≤ tolerance`` is proven.

    torch's own module where the function is one: ReLU, LeakyReLU, PReLU, ReLU6, Hardtanh, Hardswish, Hardsigmoid, a
    shrink or a Threshold; else FReLU, ReLUSquared, or the engine's unsmoothed form.

    With ``merge``, every PReLU and FReLU that then has a slope a channel gets one a side, wherever in the network it
    is: the least-squares one on the example, and 1 on the right if that will do, which makes it a LeakyReLU. Runtimes
    fuse that into the convolution before it, and PReLU they do not. Those that change the output least go first, as
    long as all together change it by at most ``merge``. FReLU's positive slopes are better folded first
    (:func:`fold`); a second ``harden`` of the folded model merges what is left.

    Args:
        model: any bare model.
        tolerance: largest absolute error allowed at each activation's own output, finite and >= 0.
        *example: the model's positional arguments, one batch of any size, to measure changes on; default none.
        kwargs: the model's keyword arguments in one dictionary, as ``torch.export.export`` has it; default none.
        where: which activations: a name, glob patterns of names, or a function of a :class:`bevel.surgery.Site`;
            default all.
        merge: largest absolute change of the example's output that one slope a site may make, finite and >= 0;
            default None, which keeps a slope a channel.
        inplace: whether to change the given model; default False, which changes a copy.

    Returns:
        A :class:`Hardened`: the model, a table with one row per smooth activation of bevel's, and the measured change.

    Raises:
        InvalidValue: for a tolerance that is negative or not finite, ``merge`` without an example, other keywords, a
            model wrapped in DDP or FSDP, or where ``where`` picks nothing.

    Example:
        >>> import torch, bevel
        >>> model = torch.nn.Sequential(torch.nn.Linear(4, 6), bevel.SAU(6))
        >>> result = bevel.harden(model, 1e-4, torch.randn(8, 4))
        >>> type(result.model[1]).__name__, result.change <= 1e-4
        ('LeakyReLU', True)
    """
    arguments = model_kwargs(harden, kwargs, unknown)
    check_positive(tolerance, "tolerance", zero=True, hint="It is in the unit of the activations' output.")
    refuse_wrapped(model)
    batch = Example(example, arguments)
    if merge is not None:
        check_positive(merge, "merge", zero=True, hint="It is in the unit of the model's output.")
        if not batch:
            raise InvalidValue("merge= measures on an example; got none: bevel.harden(model, 1e-3, x, merge=0.1).")
    model = model if inplace else copy_model(model)
    kinds = (Activation, FormulaActivation, *([nn.PReLU] if merge is not None else []))
    sites = activation_modules(model, kinds, where)
    edits = Edits(model)
    try:
        before, rows, hard = _harden_all(model, sites, tolerance, batch, edits)
        total = None
        if merge is not None:
            merged, total = merge_slopes(model, {**sites, **hard}, merge, batch, edits)
            rows = _with_merged(rows, merged, list(sites))
        return Hardened(model, rows, largest_change(before, batch.run(model)) if batch else None, total)
    except BaseException:
        edits.undo()
        raise


def _is_kinked(module: nn.Module) -> bool:
    return isinstance(module, nn.PReLU) or (isinstance(module, Activation) and module.family.kernel is SHARP)


def _harden_all(
    model: nn.Module, sites: Mapping[str, nn.Module], tolerance: float, batch: Example, edits: Edits
) -> tuple[Any, tuple[HardenRow, ...], dict[str, nn.Module]]:
    """Replace what its bound allows; return the example's output before that, the rows, and what was put in."""
    smooth = {name: m for name, m in sites.items() if not _is_kinked(m)}
    found = {name: made for name, m in smooth.items() if (made := _bounded(m)) is not None}
    pairs = {smooth[name]: new for name, (_, new) in found.items()}
    before, changes = changes_made(model, batch, pairs) if batch else (None, {})
    rows, hard = [], {}
    for name, module in smooth.items():
        old, change = type(module).__name__, changes.get(module)
        if name not in found:
            known = isinstance(module, Activation)
            why = "no bound is proven for this form with this kernel"
            why = why if known else f"{old} has no kinked function with a proven bound"
            rows.append(HardenRow(name, old, None, None, why))
            continue
        bound, new = found[name]
        if not bound <= tolerance:
            rows.append(HardenRow(name, old, None, bound, f"its bound exceeds {tolerance:g}", change))
            continue
        replace(model, module, new, edits)
        hard[name] = new
        rows.append(HardenRow(name, old, type(new).__name__, bound, "", change))
    return before, tuple(rows), hard


def _bounded(module: nn.Module) -> tuple[float, nn.Module] | None:
    """The bound and the kinked module; None where no bound is proven."""
    if not isinstance(module, Activation):
        return None
    terms, n = module.coefficients()
    bound = error_bound(terms, module.family.kernel, n)
    if bound is None:
        return None
    with torch.inference_mode(False):  # what is made under it could never be trained
        return bound, kinked(module)


def _with_merged(rows: tuple[HardenRow, ...], merged: Mapping[str, Merged], order: list[str]) -> tuple[HardenRow, ...]:
    """Put what became of the slopes into the rows, in the model's order."""
    found = {row.name: row for row in rows}
    for name, m in merged.items():
        row = found.get(name, HardenRow(name, m.old, None, None, ""))
        new = m.new or row.new
        found[name] = HardenRow(name, row.old, new, row.bound, m.reason, row.change, m.change)
    return tuple(found[name] for name in order if name in found)
