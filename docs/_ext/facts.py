"""What a card says of an item, measured or read when the site is built; nothing here is written by hand."""

from __future__ import annotations

import csv
import functools
import inspect
from collections import Counter
from pathlib import Path

import curves
import torch
from torch import nn

import bevel
from bevel.errors import InvalidValue
from bevel.kernel import SHARP
from bevel.nn._gated import GatedFormula
from bevel.ops import may_keep_output
from bevel_lab.training.shape import bound  # the command and the card say the same

__all__ = [
    "bound",
    "compiled",
    "cost",
    "ends",
    "hardened",
    "keeps_relu",
    "kept",
    "onnx",
    "parameters",
    "rule",
    "second",
]

ROWS = Path(__file__).parent.parent / "performance.csv"
SIZES = {"1048576": "4 MB", "8388608": "33 MB"}


@functools.cache
def measured(section: str) -> dict[tuple[str, str], str]:
    """Case and number of elements → time as a multiple of ReLU's: forward and backward, float32, one thread."""
    with ROWS.open(newline="", encoding="utf-8") as file:
        return {
            (row["case"], row["elements"]): row["to_relu"]
            for row in csv.DictReader(file)
            if row["section"] == section and row["what"] == "both" and row["dtype"] == "float32"
            if row["threads"] == "1" and row["layout"] in ("nchw", "kernels")
        }


def cost(name: str) -> str:
    """Say what an activation, or ``mollified(kernel)``, costs beside ReLU, from the committed rows."""
    for section, case in (("speed", name), ("speed", f"{name}(C)"), ("catalog", name)):
        rows = measured(section)
        found = {size: rows[case, count] for count, size in SIZES.items() if (case, count) in rows}
        if found:
            times = ", ".join(f"{float(ratio):.2f} on {size}" for size, ratio in found.items())
            each = ", one slope a channel" if case.endswith("(C)") else ""
            return f"{times} (times ReLU's, forward and backward, float32, one CPU thread{each})"
    return "no committed row measures it"


def kept(module: nn.Module) -> str:
    """Say which tensors of the input's size a forward keeps for backward."""
    x = torch.randn(4, 8, 64, requires_grad=True)
    sizes: dict[int, int] = {}

    def pack(t: torch.Tensor) -> torch.Tensor:
        if t.numel() == x.numel():
            sizes[t.untyped_storage().data_ptr()] = t.numel() * t.element_size()
        return t

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda t: t):
        y = module(x)
    if not sizes:
        return "nothing of the input's size"
    own = {x.untyped_storage().data_ptr(): "its input", y.untyped_storage().data_ptr(): "its output"}
    others = len(sizes.keys() - own.keys())
    names = [own[at] for at in own if at in sizes]
    names += [f"{others} tensor{'s' * (others > 1)} of its own"] * (others > 0)
    return f"{' and '.join(names)} ({sum(sizes.values()) / x.numel():g} bytes an element)"


def rule(module: nn.Module) -> str:
    """Say how what is kept is chosen."""
    if isinstance(module, GatedFormula):
        return "always the input"
    if isinstance(module, bevel.nn.FormulaActivation):
        return "always the input; the formula is evaluated again in backward"
    if not isinstance(module, bevel.nn.Activation):
        return "none: it has no choice" if isinstance(module, bevel.nn.LearnableModule) else "torch's own"
    if not may_keep_output(module.family):
        return "always the input"
    return '`save="auto"`, the output where it tells the input; `act.save = "input"` keeps the input'


def second(name: str) -> str:
    """Say what autograd gives as second derivative, held to differences of the slope where there is no corner."""
    module = bevel.create(
        f"{name}:n=5" if "n" in inspect.signature(bevel.ACTIVATIONS[name].factory).parameters else name
    )
    x = torch.linspace(-3.1, 3.2, 97, dtype=torch.float64)[:, None]
    module, h = module.double().eval(), 1e-5

    def slope(at: torch.Tensor) -> torch.Tensor:
        (found,) = torch.autograd.grad(module(at).sum(), at, create_graph=True)
        return found

    at = x.clone().requires_grad_()
    first = slope(at)
    differences = [(slope((x + d).requires_grad_()) - slope((x + d - h).requires_grad_())).detach() / h for d in (h, 0)]
    right, left = differences
    calm = (right - left).abs() <= 1e-3 * (1 + left.abs())
    try:
        found = torch.autograd.grad(first.sum(), at, allow_unused=True)[0] if first.requires_grad else None
    except RuntimeError:
        return "torch has none"
    found = torch.zeros_like(x) if found is None else found
    wrong = float(((found - (right + left) / 2).abs() / (1 + found.abs()))[calm].max())
    if wrong > 1e-4 or int(calm.sum()) < 80:
        raise ValueError(f"the second derivative of {name} is {wrong:.1g} away from the slope's differences")
    return "0 between its corners" if not found.any() else "by autograd, equal to the slope's differences"


@functools.cache
def _exported() -> dict[str, str]:
    with (ROWS.parent / "exported.csv").open(newline="", encoding="utf-8") as file:
        return {row["activation"]: row["onnx"] for row in csv.DictReader(file)}


def onnx(name: str) -> str:
    """Say which ONNX operators an activation of bevel becomes, one slope a channel, from the committed rows."""
    if name not in _exported():
        return "as torch exports it"
    counts = Counter(_exported()[name].split())
    many = f"{counts.total()} standard operators" if counts.total() > 1 else "1 standard operator"
    return f"{many}: {', '.join(f'{n} × {what}' if n > 1 else what for what, n in counts.items())}"


def compiled(name: str) -> str:
    """Say what tests/integration/test_compile.py holds an activation to."""
    if not bevel.ACTIVATIONS[name].owned:
        return "as torch compiles it"
    return "one graph (`fullgraph=True`), which serves every batch size"


def ends(module: nn.Module) -> tuple[str, str]:
    """Say where the function goes far left and far right: a level, the slope of its line, or the factor of x²."""
    far = (-1e4, 1e4, -2e4, 2e4)
    x = torch.tensor(far, dtype=torch.float64)[:, None].requires_grad_()
    y = module.double().eval()(x)
    (slopes,) = torch.autograd.grad(y.sum(), x)
    values, found = (y.flatten().detach().round(decimals=6) + 0.0).tolist(), slopes.flatten().tolist()

    def end(i: int) -> str:
        square = (found[i + 2] - found[i]) / (2 * (far[i + 2] - far[i]))
        if abs(square) > 1e-6:
            return f"{square:.4g}·x²"
        return f"level {values[i]:.4g}" if abs(found[i]) < 1e-6 else f"slope {found[i]:.4g}"

    return end(0), end(1)


def parameters(module: nn.Module) -> list[tuple[str, str]]:
    """Return name and initial value of every learned parameter."""
    return [(name, f"{float(p.detach().flatten()[0]):g}") for name, p in module.named_parameters()]


def hardened(spec: str) -> str:
    """Say what ``bevel.harden`` makes of an activation when any distance is allowed."""
    result = bevel.harden(nn.Sequential(bevel.create(spec)), 1e6)
    if not result.rows:
        return "nothing to do: it has its corners already" if _kinked(spec) else "it stays: no bound is known for it"
    (row,) = result.rows
    if row.new is None:
        return f"it stays: {row.reason}"
    at = "" if row.bound is None else f", from which it is at most {row.bound:.2g} away at its initial values"
    (new,) = result.model.children()
    slope = f"({new.negative_slope:.4g})" if isinstance(new, nn.LeakyReLU) else ""
    return f"`{row.new}{slope}`{at}" if row.new != "Kinked" else f"its own form without smoothing{at}"


def keeps_relu(name: str) -> bool:
    """Whether ``bevel.swap`` can put the activation into a trained net of ReLUs."""
    try:
        bevel.swap(nn.Sequential(nn.Linear(2, 4), nn.ReLU()), name, torch.randn(3, 2))
    except InvalidValue as error:
        if "preserve=False" not in str(error):
            raise
        return False
    return True


def _kinked(name: str) -> bool:
    """Whether the function is straight between its corners, or one of the engine's that is not smoothed."""
    module = bevel.create(name)
    sharp = isinstance(module, bevel.nn.Activation) and module.family.kernel is SHARP
    return sharp or all(not c.curvature.any() for c in curves.of_activation(name))
