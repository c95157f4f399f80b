"""What the trained models make of a few test samples: one table a cell, one row a sample, one column an arm."""

from __future__ import annotations

import base64
import binascii
import io
import warnings
from dataclasses import dataclass

from PIL import Image

from bevel_lab.experiment.record import Picture
from bevel_lab.report.analysis.cells import Arm, Cell

TITLE = "What it sees"
NONE = "–"
SEED = 0
"""The seed whose records carry pictures."""
PNG = "data:image/png;base64,"
END = b"IEND\xaeB`\x82"
"""The last chunk of a PNG file."""
UNREADABLE = "(an image that cannot be read)"
HEIGHTS = (96, 168)
WIDEST = 560
"""On the page, in pixels: small images grow by whole factors up to the first height, large ones shrink to the second;
a strip of a clip's frames may be as wide as ``WIDEST``."""


@dataclass(frozen=True)
class Shown:
    """A field of the table: text, or the bytes of a PNG file and its size in pixels."""

    text: str
    png: bytes = b""
    width: int = 0
    height: int = 0

    @property
    def uri(self) -> str:
        """The image for a page, encoded again, so that no text of a record reaches the page."""
        return PNG + base64.b64encode(self.png).decode("ascii")

    @property
    def drawn(self) -> tuple[int, int]:
        """Width and height on the page, in pixels."""
        small, large = HEIGHTS
        grow = min(small // self.height, WIDEST // self.width)
        factor = grow if grow > 1 else min(1.0, large / self.height, WIDEST / self.width)
        return max(1, round(self.width * factor)), max(1, round(self.height * factor))


@dataclass(frozen=True)
class Gallery:
    """The table of a cell.

    Attributes:
        head: names of the columns: sample, given (if any sample has something to show there), truth, every arm.
        rows: (title of a sample, its fields); each field comes with a description in words.
    """

    head: list[str]
    rows: list[tuple[str, list[tuple[str, Shown]]]]

    @property
    def caption(self) -> str:
        return f"Test samples as the models of seed {SEED} see them; a few samples illustrate, and decide nothing."


def gallery(cell: Cell) -> Gallery | None:
    """Return the cell's table, or None if no record has pictures."""
    found = {arm.name: _guesses(arm) for arm in cell.arms}
    keys = dict.fromkeys(key for guesses in found.values() for key in guesses)
    if not keys:
        return None
    shows_given = any(given for _, given, _ in keys)
    rows = []
    for title, given, truth in keys:
        row = [("given", given)] if shows_given else []
        row.append(("truth", truth))
        row += [(f"guess of {arm}", guesses.get((title, given, truth), NONE)) for arm, guesses in found.items()]
        rows.append((title, [(f"{title}: {what}", shown(content)) for what, content in row]))
    return Gallery(["sample", *(["given"] if shows_given else []), "truth", *found], rows)


def _guesses(arm: Arm) -> dict[tuple[str, str, str], str]:
    """(title, given, truth) of a sample → the arm's guess."""
    pictures = arm.runs[SEED].pictures if SEED in arm.runs else []
    return {(picture.title, picture.given, picture.truth): picture.guess for picture in pictures}


def is_text(picture: Picture) -> bool:
    """Whether a picture consists of words only."""
    return not any(part.startswith(PNG) for part in (picture.given, picture.truth, picture.guess))


def shown(content: str) -> Shown:
    """Return text as it is, and a PNG data URI as an image if it is a whole PNG file and nothing else."""
    if not content.startswith(PNG):
        return Shown(content)
    try:
        data = base64.b64decode(content.removeprefix(PNG), validate=True)
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(io.BytesIO(data), formats=["PNG"]) as image:
                width, height = image.size
                image.verify()
        if not data.endswith(END):
            raise ValueError("something follows the image")
    except (binascii.Error, OSError, SyntaxError, ValueError, Image.DecompressionBombWarning,
            Image.DecompressionBombError):  # fmt: skip
        return Shown(UNREADABLE)
    return Shown("", data, width, height)
