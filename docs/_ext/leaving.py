"""Pages are read on GitHub and on the site, which have not the same places; the site's links are made here.

- A link to a file of the repository outside ``docs/`` becomes the file's name: the site is one folder.
- A link to a tutorial's program, ``tutorials/NAME.py``, becomes one to the page that is made by running it.
- Bold words become a link to the page that a comment behind them names, ``**gallery**<!-- gallery/index.md -->``: one
  that only the site has. GitHub does not show the comment.
"""

from __future__ import annotations

import re
from pathlib import Path

from sphinx.application import Sphinx

_LINK = re.compile(r"\[([^\]]+)\]\((\.\./[^)]+)\)")
_TUTORIAL = re.compile(r"\]\(tutorials/(\w+)\.py\)")
_ONLY_HERE = re.compile(r"\*\*([^*]+)\*\*<!-- (\S+) -->")


def linked(text: str) -> str:
    """Return a page's text with its links to pages that only the site has."""
    return _ONLY_HERE.sub(r"[\1](\2)", _TUTORIAL.sub(r"](learn/\1.rst)", text))


def _named(app: Sphinx, docname: str, source: list[str]) -> None:
    folder = (Path(app.srcdir) / docname).parent

    def name(found: re.Match[str]) -> str:
        target = (folder / found[2].partition("#")[0]).resolve()
        if target.is_relative_to(Path(app.srcdir).resolve()):
            return found[0]
        if not target.exists():
            raise FileNotFoundError(f"{docname} links to {found[2]}, which does not exist")
        shown = target.relative_to(Path(app.srcdir).resolve().parent).as_posix()
        return f"`{shown}{'/' if target.is_dir() else ''}`"

    source[0] = linked(_LINK.sub(name, source[0]))


def setup(app: Sphinx) -> dict[str, bool]:
    app.connect("source-read", _named)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
