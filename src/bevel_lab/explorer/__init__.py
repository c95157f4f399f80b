"""The explorer: one page that draws any kinked function smoothed by any kernel, without a network or an installation.

Python writes tables of the kernels' forms and of the kinked functions' coefficients into it; what stands in JavaScript
is the engine's sum, drawing and controls.
"""

from __future__ import annotations

import json
from importlib.resources import files
from pathlib import Path

import bevel
from bevel_lab.explorer.start import start_of
from bevel_lab.explorer.tables import tables

__all__ = ["page", "start_of", "write"]

PARTS = ("style.css", "engine.js", "plot.js", "state.js", "app.js")


def page(start: str = "") -> str:
    """Return the explorer as one HTML page.

    Args:
        start: what it opens at, as its own links have it after ``#``; see :func:`start_of`. Default: Leaky ReLU.

    Returns:
        The page's text. A ``#…`` in its address goes before ``start``.

    Example:
        >>> from bevel_lab import explorer
        >>> "f=relu6&amp;kernel=box" in explorer.page("f=relu6&kernel=box&n=2")
        True
    """
    here = files(__package__)
    text = (here / "page.html").read_text(encoding="utf-8")
    for part in PARTS:
        text = text.replace(f"{{{{{part}}}}}", (here / part).read_text(encoding="utf-8"))
    data = json.dumps(tables(), separators=(",", ":"))
    attribute = start.replace("&", "&amp;").replace('"', "&quot;").replace("<", "&lt;")
    text = text.replace("{{version}}", bevel.__version__)
    return text.replace("{{tables}}", data).replace("{{start}}", attribute)


def write(path: Path, start: str = "") -> Path:
    """Write the explorer into a file, and return its path.

    Args:
        path: the file; its folder is made.
        start: as in :func:`page`.

    Returns:
        The path.

    Example:
        >>> import tempfile, pathlib
        >>> from bevel_lab import explorer
        >>> explorer.write(pathlib.Path(tempfile.mkdtemp()) / "explorer.html").stat().st_size > 50_000
        True
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(page(start), encoding="utf-8", errors="backslashreplace")
    return path
