"""Links of a page to files of the repository outside ``docs/`` become the names of those files on the site.

On GitHub such a link leads somewhere. The site is one folder, and a link out of it would be broken.
"""

from __future__ import annotations

import re
from pathlib import Path

from sphinx.application import Sphinx

_LINK = re.compile(r"\[([^\]]+)\]\((\.\./[^)]+)\)")


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

    source[0] = _LINK.sub(name, source[0])


def setup(app: Sphinx) -> dict[str, bool]:
    app.connect("source-read", _named)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
