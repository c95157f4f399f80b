"""``bevel show``: show one activation in words, numbers and a plot."""

from __future__ import annotations

import sys
from argparse import Namespace
from pathlib import Path
from typing import TYPE_CHECKING

from bevel_lab.cli._parser import Parser

if TYPE_CHECKING:
    from torch import nn

    from bevel_lab.training.shape import Curves

SHOWN = range(-3, 4)
"""Where numbers are shown."""


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
    from bevel_lab.training.shape import REACH, bound, curves, error, far_slopes

    spec, png = arguments.spec, arguments.png
    if png is not None and png.suffix.lower() != ".png":
        raise InvalidValue(f"--png must name a file that ends in .png; got {str(png)!r}.")
    module = bevel.create(spec).eval()  # in training some are random
    entry = bevel.ACTIVATIONS[spec.strip().partition(":")[0]]
    drawn = curves(module)
    if not bool((drawn.value.isfinite() & drawn.slope.isfinite()).all()):
        raise LabError(f"{spec} is not finite everywhere on [-{REACH:g}, {REACH:g}]; give it other arguments.")
    start = start_of(spec) if arguments.open else ""  # refused before anything is printed
    learnt = {name: values[0] for name, values in parameter_values(module).items()}
    if arguments.json:
        print(as_json({
            "spec": spec, "canonical": bevel.canonical(spec), "summary": entry.summary, "formula": entry.formula,
            "learnt": learnt, "error": dict(zip(("proven", "measured"), error(module), strict=True)),
            "slope": {**dict(zip(("far_left", "far_right"), far_slopes(module), strict=True)),
                      **dict(zip(("lowest", "highest"), drawn.extremes, strict=True))},
            "citations": entry.citations, 
            "at": {f"{v}": dict(zip(("value", "slope"), drawn.at(v), strict=True)) for v in SHOWN},
        }))  # fmt: skip
    else:
        print(filled(f"{_title(spec)}: {entry.summary}", room(), rest="  "))
        _say("formula", entry.formula)
        _say("in full", bevel.canonical(spec))
        _say("learnt", ", ".join(f"{name} = {first:g}" for name, first in learnt.items()) or "nothing")
        _say("bound", bound(module))
        _say("slope", _slopes(module, drawn))
        for i, citation in enumerate(entry.citations):
            _say("" if i else "source", citation)
        print("\n" + f"{'x':>10}" + "".join(f"{v:>9g}" for v in SHOWN))
        for name, numbers in zip(("value", "slope"), zip(*map(drawn.at, SHOWN), strict=True), strict=True):
            print(f"{name:>10}" + "".join(f"{number:>9.4f}" for number in numbers))
        both = (("value", drawn.value), ("slope", drawn.slope))
        left, right = (plot(drawn.x.tolist(), y.tolist(), name) for name, y in both)
        print("\n" + "\n".join(beside(left, right)))
    said = sys.stderr if arguments.json else sys.stdout
    if start:
        print(f"\nexplorer: {_open(start)}", file=said)
    if png is not None:
        _draw(spec, drawn, png)
        print(f"\nplot: {png}", file=said)
    return 0


def _title(spec: str) -> str:
    """What the catalog's line is about: the name without arguments, whose values it may state."""
    name, colon, _ = spec.strip().partition(":")
    return f"{spec} is {name} with arguments of its own; {name}" if colon else spec


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


def _slopes(module: nn.Module, drawn: Curves) -> str:
    from bevel_lab.training.shape import REACH, far_slopes

    (left, right), (low, high) = far_slopes(module), drawn.extremes
    return f"{left:.4g} far left, {right:.4g} far right; from {low:.4g} to {high:.4g} on [-{REACH:g}, {REACH:g}]"


def _draw(spec: str, drawn: Curves, path: Path) -> None:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    from bevel_lab.errors import LabError

    figure = Figure(figsize=(6, 4), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots()
    axes.axhline(0, color="0.8", linewidth=0.8)
    axes.axvline(0, color="0.8", linewidth=0.8)
    axes.plot(drawn.x.numpy(), drawn.value.numpy(), label="value")
    axes.plot(drawn.x.numpy(), drawn.slope.numpy(), linestyle="--", label="slope")
    axes.set(title=spec, xlabel="x")
    axes.legend(frameon=False)
    try:
        figure.savefig(path, dpi=150, format="png")
    except OSError as error:
        raise LabError(f"cannot write {path} ({error.strerror}); choose another --png.") from error
