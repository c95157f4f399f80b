"""The explorer as a page of the site, beside the pages that Sphinx writes."""

from __future__ import annotations

from pathlib import Path

from sphinx.application import Sphinx

from bevel_lab import explorer


def _write(app: Sphinx, exception: Exception | None) -> None:
    if exception is None and app.builder.name == "html":
        explorer.write(Path(app.outdir) / "explorer" / "index.html")


def setup(app: Sphinx) -> dict[str, bool]:
    app.connect("build-finished", _write)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
