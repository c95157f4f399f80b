"""Replace smooth activations by their kinked functions where a proven bound allows it."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Never

import torch
from torch import Tensor, nn

from bevel._bound import error_bound
from bevel._checks import check_positive
from bevel.deploy._fold import prelu
from bevel.deploy._model import (
    Example,
    largest_change,
    one_corner,
    refuse_wrapped,
    replace,
    right_slope,
    table,
)
from bevel.family import Affine, Family, Slot
from bevel.kernel import SHARP
from bevel.nn import Activation, FReLU
from bevel.nn._base import FormulaActivation
from bevel.surgery._arguments import Where, activation_modules, model_kwargs
from bevel.surgery._copy import copy_model
from bevel.surgery._install import Edits
from bevel.terms import as_numbers


@dataclass(frozen=True)
class HardenRow:
    """What became of one smooth activation.

    Attributes:
        name: its qualified name.
        old: its class.
        new: the class that took its place; None if it stayed.
        bound: a proven bound on ``|smooth − kinked|``; None if none is known.
        reason: why it stayed; "" if it did not.
    """

    name: str
    old: str
    new: str | None
    bound: float | None
    reason: str


@dataclass(frozen=True, eq=False)
class Hardened:
    """What :func:`harden` did.

    Attributes:
        model: the model with kinked activations.
        rows: one :class:`HardenRow` per smooth activation of bevel's; prints as a table.
        change: largest absolute change of the example's output, inf if its shapes changed; None without an example.
    """

    model: nn.Module
    rows: tuple[HardenRow, ...]
    change: float | None

    def __str__(self) -> str:
        cells = [("activation", "was", "is", "bound", "reason")]
        for r in self.rows:
            bound = "-" if r.bound is None else f"{r.bound:.1e}"
            cells.append((r.name, r.old, r.new or r.old, bound, r.reason or "-"))
        measured = "not measured" if self.change is None else f"{self.change:.1e}"
        return f"{table(cells)}\nlargest change of the example's output: {measured}"


def harden(
    model: nn.Module,
    tolerance: float,
    *example: Any,
    kwargs: Mapping[str, Any] | None = None,
    where: Where = None,
    inplace: bool = False,
    **unknown: Never,
) -> Hardened:
    """Replace each smooth activation by its kinked function where ``|smooth − kinked| ≤ tolerance`` is proven.

    A ReLU, LeakyReLU, PReLU, ReLU6 or Hardtanh where the function is one, else FReLU or the engine's unsmoothed form.

    Args:
        model: any bare model.
        tolerance: largest absolute error allowed at each activation's own output, finite and >= 0.
        *example: the model's positional arguments, one batch of any size, to measure the change of its output on;
            default none.
        kwargs: the model's keyword arguments in one dictionary, as ``torch.export.export`` has it; default none.
        where: which activations: a name, glob patterns of names, or a function of a :class:`bevel.surgery.Site`;
            default all.
        inplace: whether to change the given model; default False, which changes a copy.

    Returns:
        A :class:`Hardened`: the model, a table with one row per smooth activation, and the measured change.

    Raises:
        InvalidValue: for a tolerance that is negative or not finite, other keywords, or a model wrapped in DDP or FSDP.

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
    before = batch.run(model) if batch else None
    model = model if inplace else copy_model(model)
    sites = activation_modules(model, (Activation, FormulaActivation), where)
    edits = Edits(model)
    try:
        rows = tuple(_harden_one(model, n, m, tolerance, edits) for n, m in sites.items() if not _is_kinked(m))
        return Hardened(model, rows, largest_change(before, batch.run(model)) if batch else None)
    except BaseException:
        edits.undo()
        raise


def _is_kinked(module: nn.Module) -> bool:
    return isinstance(module, Activation) and module.family.kernel is SHARP


def _harden_one(model: nn.Module, name: str, module: nn.Module, tolerance: float, edits: Edits) -> HardenRow:
    """Replace one activation if its bound allows it."""
    old = type(module).__name__
    if not isinstance(module, Activation):
        return HardenRow(name, old, None, None, f"{old} has no kinked function with a proven bound")
    terms, n = module.coefficients()
    bound = error_bound(terms, module.family.kernel, n)
    if bound is None:
        return HardenRow(name, old, None, None, "no bound is proven for this form with this kernel")
    if not bound <= tolerance:
        return HardenRow(name, old, None, bound, f"its bound exceeds {tolerance:g}")
    with torch.inference_mode(False):  # what is made under it could never be trained
        new = kinked(module)
    replace(model, module, new, edits)
    return HardenRow(name, old, type(new).__name__, bound, "")


class Kinked(Activation):
    """The unsmoothed function of an activation, with its parameters (but for a learnt n, which has no meaning here)."""

    def __init__(self, soft: Activation) -> None:
        super().__init__(soft.num_parameters, dim=soft.dim)
        used = sorted({i for slot in soft.family.terms.flat() if isinstance(slot, Affine) for i in slot.indices()})
        place = {old: new for new, old in enumerate(used)}
        for i in used:
            name = soft.arguments[i]
            self._initial[name] = soft.values()[i].detach().clone()
            setattr(self, name, nn.Parameter(soft.values()[i].detach().clone()))
            self.arguments = (*self.arguments, name)

        def moved(slot: Slot) -> Slot:
            return slot.renumbered(place) if isinstance(slot, Affine) else slot

        terms = soft.family.terms.with_flat([moved(s) for s in soft.family.terms.flat()])
        none: tuple[Slot, ...] = (0.0,) * len(terms.knots)
        self.family = Family(dataclasses.replace(terms, c0=none, c1=none, multiplies_cdf=False), SHARP, 1.0)


def kinked(module: Activation) -> nn.Module:
    """Make the plainest module that computes the activation's kinked function at its present parameters."""
    terms, _ = module.coefficients()
    if one_corner(terms):
        return _slopes(module, right_slope(module), as_numbers(terms.left))
    numbers = [c for c in terms.flat() if isinstance(c, float)]
    if not terms.curve and len(terms.knots) == 2 and len(numbers) == len(terms.flat()):  # nothing is learnt
        low, high = numbers[2], numbers[3]
        if numbers[:8] == [0.0, low, low, high, 1.0, -1.0, 0.0, 0.0]:
            return nn.ReLU6() if (low, high) == (0.0, 6.0) else nn.Hardtanh(low, high)
    return Kinked(module)


def _slopes(module: Activation, right: Tensor, left: Tensor) -> nn.Module:
    right, left = right + 0 * left, left + 0 * right
    parameters = module.values()
    device = parameters[0].device if parameters else torch.device("cpu")
    if bool((right == 1).all()):
        if bool((left == left[0]).all()):
            return nn.LeakyReLU(float(left[0])) if float(left[0]) else nn.ReLU()
        if module.dim == 1:
            return prelu(left, device, parameters[0].dtype)
    new = FReLU(right.numel(), dim=module.dim)
    if parameters:
        new.to(device, parameters[0].dtype)
    with torch.no_grad():
        new.positive.copy_(right)
        new.negative.copy_(left)
    return new
