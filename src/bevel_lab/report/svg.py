"""From a matplotlib figure to SVG that lives inside a page: themed, titled, and the same bytes every time.

Figures are drawn in the light theme's colours; ``export`` turns each into a CSS variable with that colour as its
fallback, so that the page can change to its dark theme and the same SVG still stands on its own.
"""

from __future__ import annotations

import io
import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from html import escape

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure

INK, MUTED, LINE, PAPER = "#1c2024", "#69717d", "#dfe3e8", "#ffffff"
THEME = {INK: "--ink", MUTED: "--muted", LINE: "--line", PAPER: "--paper"}

# The reference first, in neutral ink, then eleven hues found by search: the closest two are 0.12 apart in Oklab to
# normal, deuteranope and protanope eyes (weighted 1 : 1.5 : 1.5), on white and on dark paper. Beyond them the dash
# and the marker still differ.
LIGHT = ("#40454c", "#097ca9", "#b14c6c", "#5ccb84", "#7c248c", "#ef9e05", "#3e46ca", "#c08eb6", "#977904", "#056506",
         "#43b1fd", "#7e6ef9")  # fmt: skip
DARK = ("#e6e8ed", "#5ea4be", "#f15e8e", "#30f696", "#ab61cc", "#fec33e", "#5486fd", "#eeb1cd", "#baad65", "#6b9625",
        "#6fd7ff", "#b89afe")  # fmt: skip
_DASHES = ("-", (0, (5, 1.6)), (0, (1.4, 1.4)))
_MARKERS = "osD^vPX"

_SETTINGS: dict[str, object] = {
    "svg.fonttype": "none",  # text stays text: selectable, searchable, in the reader's own font
    "text.parse_math": False,  # a label is not a formula
    "font.size": 11,
    "text.color": INK,
    "axes.edgecolor": MUTED,
    "axes.labelcolor": MUTED,
    "axes.linewidth": 0.8,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.titlesize": 11.5,
    "axes.titleweight": 600,
    "axes.titlelocation": "left",
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "xtick.major.size": 3,
    "ytick.major.size": 3,
    "grid.color": LINE,
    "grid.linewidth": 0.8,
    "axes.axisbelow": True,
}


@dataclass(frozen=True)
class Style:
    """How an arm looks in every figure of a report; number 0 is the reference."""

    index: int

    @property
    def color(self) -> str:
        return LIGHT[0] if self.index == 0 else LIGHT[1 + (self.index - 1) % (len(LIGHT) - 1)]

    @property
    def variable(self) -> str:
        return f"--arm-{LIGHT.index(self.color)}"

    @property
    def dash(self) -> str | tuple[int, tuple[float, ...]]:
        return _DASHES[0] if self.index == 0 else _DASHES[(self.index - 1) // 4 % len(_DASHES)]

    @property
    def marker(self) -> str:
        return _MARKERS[self.index % len(_MARKERS)]


@contextmanager
def canvas(width: float, height: float, *, left: float, right: float, top: float, bottom: float) -> Iterator[Axes]:
    """Axes on a figure of the given size and margins in pixels, under settings that no user's style can change."""
    with matplotlib.rc_context():
        matplotlib.rcdefaults()
        matplotlib.rcParams.update(_SETTINGS)
        figure = Figure(figsize=(width / 72, height / 72), dpi=72)
        figure.patch.set_visible(False)
        box = (left / width, bottom / height, (width - left - right) / width, (height - top - bottom) / height)
        axes = figure.add_axes(box)
        axes.patch.set_visible(False)
        yield axes


def export(axes: Axes, *, name: str, title: str, description: str) -> str:
    """The figure as SVG text for inlining. ``name`` must be unique in the page: ids derive from it."""
    matplotlib.rcParams["svg.hashsalt"] = name
    figure = axes.get_figure(root=True)
    assert figure is not None
    out = io.StringIO()
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph .* missing")  # the browser has fonts for every script
        figure.savefig(out, format="svg", metadata=dict.fromkeys(("Creator", "Date", "Format", "Type")))
    body = out.getvalue()
    body = body[body.index('<g id="figure_1">') : body.rindex("</svg>")]
    width, height = (round(inch * 72) for inch in figure.get_size_inches())
    head = (
        f'<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink" role="img" '
        f'viewBox="0 0 {width} {height}" style="max-width: {width}px" '
        f'aria-labelledby="{name}-title {name}-desc">\n'
        f'<title id="{name}-title">{escape(title)}</title>\n<desc id="{name}-desc">{escape(description)}</desc>\n'
    )
    return head + _clean(body) + "</svg>"


def _clean(body: str) -> str:
    """Drop what a page has no use for, and let it theme the rest."""
    used = set(re.findall(r'(?:href="|url\()#([^")]+)', body))
    body = re.sub(r' id="([^"]+)"', lambda m: m[0] if m[1] in used else "", body)
    body = re.sub(r" font-family: [^;\"]*;?", "", body)
    body = re.sub(r' d="[^"]*"', lambda m: re.sub(r"(\.\d\d)\d+", r"\1", m[0]).replace("\n", ""), body)
    variables = THEME | {color: f"--arm-{i}" for i, color in enumerate(LIGHT)}
    return re.sub(
        r' style="[^"]*"',
        lambda m: re.sub(r"#[0-9a-f]{6}", lambda c: f"var({variables[c[0]]}, {c[0]})" if c[0] in variables else c[0], m[0]),
        body,
    )
