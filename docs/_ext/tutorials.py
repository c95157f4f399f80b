"""Tutorials run again when what they run has changed: sphinx-gallery itself looks at a tutorial's own text only."""

from __future__ import annotations

import hashlib
from pathlib import Path

from sphinx.application import Sphinx

_SOURCES = ("src/**/*.py", "native/**/*.cpp", "native/**/*.h", "examples/*.py")
_NOTE = "made-with"
"""In the folder of tutorials that were run: the digest of what they ran with."""


def digest(root: Path) -> str:
    """Digest of the library, the lab and the examples that lie in the repository ``root``."""
    found = hashlib.sha256()
    for path in sorted(path for pattern in _SOURCES for path in root.glob(pattern)):
        found.update(path.relative_to(root).as_posix().encode() + b"\0" + path.read_bytes() + b"\0")
    return found.hexdigest()


def forget(learn: Path, made_with: str) -> None:
    """Take away the sums by which sphinx-gallery knows tutorials in ``learn`` that ran with something else."""
    note = learn / _NOTE
    if note.is_file() and note.read_text() == made_with:
        return
    for kept in learn.glob("*.py.md5"):
        kept.unlink()
    learn.mkdir(exist_ok=True)
    note.write_text(made_with)


def _begin(app: Sphinx) -> None:
    forget(Path(app.srcdir) / "learn", digest(Path(app.srcdir).parent))


def setup(app: Sphinx) -> dict[str, bool]:
    app.connect("builder-inited", _begin, priority=0)  # before sphinx-gallery, which runs them then
    return {"parallel_read_safe": True, "parallel_write_safe": True}
