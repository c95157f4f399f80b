"""``404.html``: a host shows it at any address, so it carries its style within and its links from the site's root."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import urlsplit

from sphinx.application import Sphinx

_LINKS = {"index.html": "the front page", "start.html": "start in five minutes", "gallery/index.html": "the gallery"}


def _write(app: Sphinx, exception: Exception | None) -> None:
    if exception is not None or app.builder.name != "html":
        return
    root = urlsplit(app.config.html_baseurl).path.rstrip("/") + "/"
    links = "".join(f'<li><a href="{root}{page}">{text}</a></li>' for page, text in _LINKS.items())
    template = (Path(app.srcdir) / "_templates" / "404.html").read_text(encoding="utf-8")
    page = template.replace("{{links}}", links).replace("{{title}}", app.config.html_title)
    (Path(app.outdir) / "404.html").write_text(page, encoding="utf-8")


def setup(app: Sphinx) -> dict[str, bool]:
    app.connect("build-finished", _write)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
