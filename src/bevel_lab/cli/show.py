"""``bevel show``: show one activation in words, numbers and a plot."""

from __future__ import annotations

import sys
from argparse import Namespace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bevel_lab.cli._parser import Parser

if TYPE_CHECKING:
    from torch import Tensor, nn

REACH, POINTS = 4.0, 801
SHOWN = {v: int((v + REACH) / (2 * REACH) * (POINTS - 1)) for v in range(-3, 4)}
"""Where numbers are shown → index of the point."""


def parser() -> Parser:
    made = Parser(
        "show",
        "Show an activation: formula, distance to the kinked function it smooths, derivative, a plot.",
        "bevel show sau:n=5,alpha=0.25\nbevel show mollified:f=relu6,kernel=biweight,n=2 --png relu6.png",
    )
    made.add_argument("spec", metavar="SPEC", help="spec string")
    made.add_argument("--png", type=Path, metavar="FILE", help="draw the plot into a file")
    made.offers_json()
    made.add_argument("--open", action="store_true", help="open the explorer, a page in the browser, at this function")
    return made


def main(arguments: Namespace) -> int:
    import bevel
    from bevel.errors import InvalidValue
    from bevel_lab.cli._plot import beside, plot
    from bevel_lab.errors import LabError
    from bevel_lab.explorer import start_of
    from bevel_lab.runtime.terminal import as_json, filled, room
    from bevel_lab.training.activations import parameter_values

    spec, png = arguments.spec, arguments.png
    if png is not None and png.suffix.lower() != ".png":
        raise InvalidValue(f"--png must name a file that ends in .png; got {str(png)!r}.")
    module = bevel.create(spec).eval()  # in training some are random
    entry = bevel.ACTIVATIONS[spec.strip().partition(":")[0]]
    x, value, slope = _curves(module)
    if not bool((value.isfinite() & slope.isfinite()).all()):
        raise LabError(f"{spec} is not finite everywhere on [-{REACH:g}, {REACH:g}]; give it other arguments.")
    start = start_of(spec) if arguments.open else ""  # refused before anything is printed
    learnt = {name: values[0] for name, values in parameter_values(module).items()}
    if arguments.json:
        print(as_json({
            "spec": spec, "canonical": bevel.canonical(spec), "summary": entry.summary, "formula": entry.formula,
            "learnt": learnt, "error": dict(zip(("proven", "measured"), error(module), strict=True)),
            "slope": {**dict(zip(("far_left", "far_right"), _far(module), strict=True)), **_extremes(slope)},
            "citations": entry.citations, "at": {f"{v}": {"value": float(value[i]), "slope": float(slope[i])}
                                                 for v, i in SHOWN.items()},
        }))  # fmt: skip
    else:
        print(filled(f"{spec}: {entry.summary}", room(), rest="  "))
        _say("formula", entry.formula)
        _say("in full", bevel.canonical(spec))
        _say("learnt", ", ".join(f"{name} = {first:g}" for name, first in learnt.items()) or "nothing")
        _say("bound", bound(module))
        _say("slope", _slopes(module, slope))
        for i, citation in enumerate(entry.citations):
            _say("" if i else "source", citation)
        print("\n" + f"{'x':>10}" + "".join(f"{v:>9g}" for v in SHOWN))
        for name, curve in (("value", value), ("slope", slope)):
            print(f"{name:>10}" + "".join(f"{float(curve[i]):>9.4f}" for i in SHOWN.values()))
        left, right = (plot(x.tolist(), y.tolist(), name) for name, y in (("value", value), ("slope", slope)))
        print("\n" + "\n".join(beside(left, right)))
    said = sys.stderr if arguments.json else sys.stdout
    if start:
        print(f"\nexplorer: {_open(start)}", file=said)
    if png is not None:
        _draw(spec, x, value, slope, png)
        print(f"\nplot: {png}", file=said)
    return 0


def _open(start: str) -> str:
    """Write the explorer and show it; its address holds nothing, since some systems cut what follows ``#``."""
    import tempfile
    import webbrowser

    from bevel_lab import explorer

    page = explorer.write(Path(tempfile.mkdtemp(prefix="bevel-")) / "explorer.html", start)
    shown = webbrowser.open(page.as_uri())
    return f"{page}{'' if shown else ' (no browser was found; open it yourself)'}"


def _say(name: str, text: str) -> None:
    from bevel_lab.runtime.terminal import entry, room

    print(entry(name, text, min(room(), 100), 10))


def _curves(module: nn.Module) -> tuple[Tensor, Tensor, Tensor]:
    import torch

    x = torch.linspace(-REACH, REACH, POINTS, dtype=torch.float64, requires_grad=True)
    value = module.double()(x[:, None])[:, 0]
    (slope,) = torch.autograd.grad(value.sum(), x)
    return x.detach(), value.detach(), slope


def _far(module: nn.Module) -> list[float]:
    """The slopes far left and far right."""
    import torch

    far = torch.tensor([[-1e6], [1e6]], dtype=torch.float64, requires_grad=True)
    (ends,) = torch.autograd.grad(module(far).sum(), far)
    return [float(end) for end in ends.flatten()]


def _extremes(slope: Tensor) -> dict[str, float]:
    return {"lowest": float(slope.min()), "highest": float(slope.max())}


def _slopes(module: nn.Module, slope: Tensor) -> str:
    (left, right), (low, high) = _far(module), _extremes(slope).values()
    return f"{left:.4g} far left, {right:.4g} far right; from {low:.4g} to {high:.4g} on [-{REACH:g}, {REACH:g}]"


def bound(module: nn.Module) -> str:
    """Say how far the activation is from the kinked function that it smooths."""
    proven, measured = error(module)
    if measured is None:
        return "none is known: it is not one of bevel's smoothings of a kinked function"
    if proven is None:
        return f"at most {measured:.4g} from its kinked function (measured)"
    if proven == 0:
        return "0: it is a kinked function itself"
    return f"at most {proven:.4g} from its kinked function (proven; {measured:.4g} measured)"


def error(module: nn.Module) -> tuple[float | None, float | None]:
    """The distance to the kinked function that it smooths: as proven, and as measured; None where there is none."""
    import bevel
    from bevel._bound import error_bound
    from bevel.kernel import SHARP
    from bevel.terms import at_channel

    if not isinstance(module, bevel.nn.Activation):
        return None, None
    kernel = module.family.kernel
    if kernel is SHARP:
        return 0.0, 0.0
    terms, n = at_channel(*module.coefficients(), 0)
    f = bevel.PiecewiseLinear.of(terms)
    return error_bound(terms, kernel, n), _distance(module, f, 1 / n)


def _distance(module: nn.Module, f: Any, width: float) -> float:
    import torch

    around = torch.linspace(-12, 12, 4801, dtype=torch.float64) * width
    x = torch.cat([around + knot for knot in f.knots] or [around])
    with torch.no_grad():
        return float((module(x[:, None])[:, 0] - f(x)).abs().max())


def _draw(spec: str, x: Tensor, value: Tensor, slope: Tensor, path: Path) -> None:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    from bevel_lab.errors import LabError

    figure = Figure(figsize=(6, 4), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots()
    axes.axhline(0, color="0.8", linewidth=0.8)
    axes.axvline(0, color="0.8", linewidth=0.8)
    axes.plot(x.numpy(), value.numpy(), label="value")
    axes.plot(x.numpy(), slope.numpy(), linestyle="--", label="slope")
    axes.set(title=spec, xlabel="x")
    axes.legend(frameon=False)
    try:
        figure.savefig(path, dpi=150, format="png")
    except OSError as error:
        raise LabError(f"cannot write {path} ({error.strerror}); choose another --png.") from error
