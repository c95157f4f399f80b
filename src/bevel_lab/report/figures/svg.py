"""Export a matplotlib figure as SVG for a page: with themes, titles, and the same bytes every time.

Figures are drawn in the light theme's colors. ``export`` turns each color into a CSS variable with that color as its
fallback, so that the page can switch to its dark theme and the SVG also works on its own.
"""

from __future__ import annotations

import io
import re
import textwrap
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from html import escape
from typing import Any, cast

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure

INK, MUTED, LINE, PAPER = "#1c2024", "#69717d", "#dfe3e8", "#ffffff"
THEME = {INK: "--ink", MUTED: "--muted", LINE: "--line", PAPER: "--paper"}

# The reference comes first, in neutral ink. The eleven hues were found by search: in either theme any two are at least
# 0.13 apart in Oklab to normal eyes, and 0.09 to deuteranope and protanope eyes, and each has a contrast of at least 3
# to the paper. Dashes differ, too, and every figure names its arms.
LIGHT = ("#40454c", "#225ebe", "#774883", "#009172", "#57048c", "#e27902", "#0000cc", "#cf65b0", "#766f00", "#005a00",
         "#6194ee", "#8e51f9")  # fmt: skip
DARK = ("#e6e8ed", "#6a9cba", "#e76086", "#a0ef9c", "#9c5dbe", "#fdcf28", "#5486fd", "#ebadba", "#b8af5d", "#6b9625",
        "#86d2fb", "#a9a0fe")  # fmt: skip
_VARIABLES = THEME | {color: f"--arm-{i}" for i, color in enumerate(LIGHT)}
_DASHES = ("-", (0, (5, 1.6)), (0, (1.4, 1.4)))

_HALO = f"paint-order: stroke; stroke: {PAPER}; stroke-width: 3px; stroke-linejoin: round; "
"""Keeps lines from striking through a name: the paper goes around its letters."""
_PAD = 14  # pixels of margin around a figure that stands alone

_SETTINGS: dict[Any, Any] = {
    "svg.fonttype": "none",  # text stays text, which readers can select and search
    "text.parse_math": False,  # a label is not a formula
    "font.size": 11.5,
    "text.color": INK,
    "axes.edgecolor": MUTED,
    "axes.labelcolor": MUTED,
    "axes.linewidth": 0.8,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "xtick.labelsize": 11,
    "ytick.labelsize": 11,
    "xtick.major.size": 3,
    "ytick.major.size": 3,
    "grid.color": LINE,
    "grid.linewidth": 0.8,
    "axes.axisbelow": True,
}


@dataclass(frozen=True)
class Style:
    """Color and dash of an arm in all figures of a report; index 0 is the reference."""

    index: int

    @property
    def color(self) -> str:
        return LIGHT[0] if self.index == 0 else LIGHT[1 + (self.index - 1) % (len(LIGHT) - 1)]

    @property
    def variable(self) -> str:
        return f"--arm-{LIGHT.index(self.color)}"

    @property
    def dash(self) -> str | tuple[int, tuple[float, ...]]:
        if self.index == 0:
            return _DASHES[0]
        lap, place = divmod(self.index - 1, len(LIGHT) - 1)
        return _DASHES[(place // 4 + lap) % len(_DASHES)]  # a color that is used again gets another dash


WIDE = 460  # pixels of a figure beside another one; the page scales it by up to 1.2
PHONE = 350  # pixels of the same figure drawn for a phone's page


@dataclass(frozen=True)
class Heading:
    """Names of a figure. ``name`` is unique in the page, since ids derive from it; screen readers read the rest."""

    name: str
    title: str
    description: str
    width: int = WIDE

    @property
    def lines(self) -> list[str]:
        """The title, broken where the figure is too narrow for it."""
        return textwrap.wrap(self.title, self.width // 7)

    @property
    def height(self) -> int:
        """Pixels that the title takes above the axes."""
        return 12 + 14 * len(self.lines)

    @property
    def letters(self) -> int:
        """Length of the longest label of an arm."""
        return 22 if self.width >= WIDE else 15


@dataclass(frozen=True)
class Place:
    """Where a view's figures stand: the beginning of their names, and how wide they are."""

    name: str
    width: int = WIDE

    def heading(self, name: object, title: str, description: str) -> Heading:
        return Heading(f"{self.name}-{name}", title, description, self.width)


@lru_cache(maxsize=1)
def _settings() -> dict[str, Any]:
    """All of matplotlib's settings but the backend, which is not needed and would be looked for."""
    with matplotlib.rc_context():
        matplotlib.rcdefaults()
        matplotlib.rcParams.update(_SETTINGS)
        return {key: value for key, value in dict.items(_rc()) if "backend" not in key}


def _rc() -> dict[str, Any]:
    return cast("dict[str, Any]", matplotlib.rcParams)


@contextmanager
def canvas(width: float, height: float, *, left: float, right: float, top: float, bottom: float) -> Iterator[Axes]:
    """Yield axes on a figure of the given size and margins in pixels, under settings that no user's style changes."""
    with matplotlib.rc_context():
        dict.update(_rc(), _settings())  # without checking every value again, figure by figure
        figure = Figure(figsize=(width / 72, height / 72), dpi=72)
        figure.patch.set_visible(False)
        box = (left / width, bottom / height, (width - left - right) / width, (height - top - bottom) / height)
        axes = figure.add_axes(box)
        axes.patch.set_visible(False)
        yield axes


def export(axes: Axes, heading: Heading) -> str:
    """Return the figure as SVG text for a page."""
    name = heading.name
    matplotlib.rcParams["svg.hashsalt"] = name
    figure = cast(Figure, axes.figure)
    out = io.StringIO()
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph .* missing")  # the browser has fonts for all scripts
        figure.savefig(out, format="svg", metadata=dict.fromkeys(("Creator", "Date", "Format", "Type")))
    body = out.getvalue()
    body = body[body.index('<g id="figure_1">') : body.rindex("</svg>")]
    width, height = (round(inch * 72) for inch in figure.get_size_inches())
    head = (
        f'<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink" role="img" '
        f'viewBox="0 0 {width} {height}" style="max-width: {1.2 * width:.0f}px" '
        f'aria-labelledby="{name}-title {name}-desc">\n'
        f'<title id="{name}-title">{escape(heading.title)}</title>\n'
        f'<desc id="{name}-desc">{escape(heading.description)}</desc>\n'
    )
    return head + _clean(body) + "</svg>"


def standalone(svg: str) -> str:
    """Turn an exported figure into a file of its own, with a size, a font and a background."""
    width, height = (int(size) + 2 * _PAD for size in re.findall(r'viewBox="0 0 (\d+) (\d+)"', svg)[0])
    box = f"{-_PAD} {-_PAD} {width} {height}"
    head, rest = svg.split(">", 1)
    font = "font-family: system-ui, 'DejaVu Sans', sans-serif"
    sized = f'viewBox="{box}" width="{width}" height="{height}" style="{font}"'
    head = re.sub(r'viewBox="[^"]*" style="[^"]*"', sized, head)
    paper = f'<rect x="{-_PAD}" y="{-_PAD}" width="{width}" height="{height}" fill="{PAPER}"/>'
    return f"{head}>\n{paper}{rest}"


def _clean(body: str) -> str:
    """Remove what a page does not need, and turn colors into variables."""
    used = set(re.findall(r'(?:href="|url\()#([^")]+)', body))
    body = re.sub(r' id="([^"]+)"', lambda m: m[0] if m[1] in used else "", body)
    body = re.sub(r" font-family: [^;\"]*;?", "", body)
    body = body.replace('<text style="', f'<text style="{_HALO}')
    body = re.sub(r' d="[^"]*"', lambda m: re.sub(r"(\.\d\d)\d+", r"\1", m[0]).replace("\n", ""), body)
    return re.sub(r' style="[^"]*"', lambda m: re.sub("|".join(_VARIABLES), _variable, m[0]), body)


def _variable(color: re.Match[str]) -> str:
    return f"var({_VARIABLES[color[0]]}, {color[0]})"
