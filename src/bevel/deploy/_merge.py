"""Give activations with a slope a channel one a side, where the measured change of the output allows it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from bevel.deploy._kinked import corner
from bevel.deploy._model import Example, hooked, in_double, largest_change, one_corner, replace, right_slope
from bevel.kernel import SHARP
from bevel.nn import Activation
from bevel.surgery._install import Edits
from bevel.surgery._route import shield
from bevel.terms import as_numbers


@dataclass(frozen=True)
class Merged:
    """What became of one activation with a slope a channel.

    Attributes:
        old: its class.
        new: the class that took its place; None if it stayed.
        change: largest change of the example's output by it alone; None if it was not measured.
        reason: why it stayed; "" if it did not.
    """

    old: str
    new: str | None
    change: float | None
    reason: str


@dataclass
class _Slopes:
    """The slopes of one activation, float64, one a channel along ``dim``, and a hook that weighs them by its inputs."""

    right: Tensor
    left: Tensor
    dim: int
    weights: dict[str, Tensor] = field(default_factory=dict)

    def __call__(self, module: nn.Module, x: Tensor, output: Any) -> None:
        x = x.detach()
        axes = [axis for axis in range(x.dim()) if axis != self.dim % x.dim()]
        for side, part in (("right", x.clamp(min=0)), ("left", x.clamp(max=0))):
            squares = in_double(part).square()
            total = (squares.sum(axes) if axes else squares).cpu()
            self.weights[side] = self.weights.get(side, torch.zeros_like(total)) + total

    def merged(self, side: str) -> Tensor:
        """The slope that changes the activation's output least on the example, in squares; the mean where no x was."""
        slopes, weights = self.right if side == "right" else self.left, self.weights[side]
        return (slopes * weights).sum() / weights.sum() if float(weights.sum()) > 0 else slopes.mean()

    def candidates(self, module: nn.Module) -> list[nn.Module]:
        """What may take its place, the plainest first."""
        one = torch.ones((), dtype=torch.float64)
        pairs = [(one, self.merged("left"))]
        if not bool((self.right == 1).all()):
            pairs.append((self.merged("right"), self.merged("left")))
        like = next(module.parameters(), None)
        return [corner(a.reshape(1), b.reshape(1), self.dim, like) for a, b in pairs]


def _slopes(module: nn.Module) -> _Slopes | None:
    """Read an activation as one sharp corner at 0 with several slopes a side; None if it is none."""
    if type(module) is nn.PReLU:
        left, right, dim = as_numbers(module.weight), torch.ones(1, dtype=torch.float64), 1
    elif isinstance(module, Activation) and module.family.kernel is SHARP and one_corner(module.coefficients()[0]):
        left, right, dim = as_numbers(module.coefficients()[0].left), right_slope(module), module.dim
    else:
        return None
    right, left = right + 0 * left, left + 0 * right
    return _Slopes(right, left, dim) if left.numel() > 1 else None


def merge_slopes(
    model: nn.Module, sites: Mapping[str, nn.Module], tolerance: float, batch: Example, edits: Edits
) -> tuple[dict[str, Merged], float]:
    """Put one slope a side where all of them together change the example's output by at most ``tolerance``.

    Args:
        model: the model; what is not kinked in it is left alone.
        sites: its activations by name.
        tolerance: the largest change.
        batch: the example.
        edits: the journal of the replacements.

    Returns:
        What became of each activation with several slopes a side, and the change that all of them made.
    """
    found = {name: slopes for name, m in sites.items() if (slopes := _slopes(m)) is not None}
    with hooked({sites[name]: slopes for name, slopes in found.items()}):
        before = batch.run(model)

    def change(chosen: Mapping[str, nn.Module]) -> float:
        with hooked({sites[name]: _instead(new) for name, new in chosen.items()}):
            return largest_change(before, batch.run(model))

    result: dict[str, Merged] = {}
    alone: dict[str, tuple[float, nn.Module]] = {}
    for name, slopes in found.items():
        old = type(sites[name]).__name__
        if not slopes.weights:
            result[name] = Merged(old, None, None, "the example does not run it, so that one slope was not tried")
            continue
        with torch.inference_mode(False):  # what is made under it could never be trained
            tried = [(change({name: new}), new) for new in slopes.candidates(sites[name])]
        alone[name] = next((c for c in tried if c[0] <= tolerance), tried[-1])
    chosen: dict[str, nn.Module] = {}
    total = 0.0
    for name, (by_itself, new) in sorted(alone.items(), key=lambda item: item[1][0]):
        together = change({**chosen, name: new}) if by_itself <= tolerance else by_itself
        old = type(sites[name]).__name__
        if together <= tolerance:
            chosen[name], total = new, together
            result[name] = Merged(old, type(new).__name__, by_itself, "")
        else:
            others = "" if by_itself > tolerance else "with the others "
            why = f"one slope a side would {others}change the output by {together:.1e}"
            result[name] = Merged(old, None, by_itself, why)
    for name, new in chosen.items():
        replace(model, sites[name], new, edits)
    return result, total


def _instead(new: nn.Module) -> Any:
    """A hook that gives another activation's output."""
    hidden = shield(new)
    return lambda module, x, output: hidden(x)
