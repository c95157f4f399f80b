"""The report as a Markdown page that can be committed: answers, tables, and pictures in files beside it."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path

from bevel_lab.report.analysis import pairs
from bevel_lab.report.analysis.across import Across
from bevel_lab.report.analysis.cells import Cell
from bevel_lab.report.figures import across as across_views
from bevel_lab.report.figures import cell as views
from bevel_lab.report.figures import samples as pictures
from bevel_lab.report.figures import svg
from bevel_lab.report.figures.cell import View
from bevel_lab.report.text import across as across_words
from bevel_lab.report.text import tables
from bevel_lab.report.text.method import method, protocol, provenance

CELL_FIGURES = ("scores", "cost")
"""Of a cell's figures, those that a compact record has the numbers for."""


def write(
    cells: Sequence[Cell],
    together: Across | None,
    page: Path,
    *,
    title: str,
    command: str,
    notes: str = "",
    asked: Sequence[tuple[str, str]] = (),
) -> None:
    """Write the page and its images. For the arguments see ``Judgement.write_markdown``."""
    found, files = pairs.pairs(cells, asked), _Files(page)
    text = "\n".join(_lines(cells, together, found, files, (title, command, notes)))
    files.folder.mkdir(parents=True, exist_ok=True)
    for name, content in files.made.items():
        (files.folder / name).write_bytes(content)
    page.write_text(text + "\n", encoding="utf-8", newline="\n")


class _Files:
    """The page's images, named after it."""

    def __init__(self, page: Path) -> None:
        self.folder, self.stem = page.parent / "img", page.stem
        self.made: dict[str, bytes] = {}

    def lines(self, view: View, place: str) -> Iterator[str]:
        """The view as Markdown; its panels are kept to be written."""
        for i, panel in enumerate(view.panels):
            name = f"{self.stem}-{_slug(place)}-{_slug(view.title)}-{i}.svg"
            self.made[name] = svg.standalone(panel).encode()
            yield f"![{tables.escaped(view.title)}](img/{name})"
        yield ""
        yield tables.escaped(view.caption)
        yield ""

    def samples(self, gallery: pictures.Gallery, place: str) -> Iterator[str]:
        """The table of test samples as Markdown; its images are kept to be written."""
        yield f"### {pictures.TITLE}: {tables.escaped(place)}\n"
        yield f"| {' | '.join(map(tables.escaped, gallery.head))} |"
        yield f"|{' :-- |' * len(gallery.head)}"
        for i, (title, row) in enumerate(gallery.fields()):
            stem = f"{self.stem}-{_slug(place)}-sample-{i}"
            fields = [self._field(f"{stem}-{j}.png", words, shown) for j, (words, shown) in enumerate(row)]
            yield f"| {' | '.join([tables.escaped(title), *fields])} |"
        yield f"\n{gallery.caption}\n"

    def _field(self, name: str, words: str, shown: pictures.Shown) -> str:
        if not shown.png:
            return tables.escaped(shown.text)
        self.made[name] = shown.png
        return f"![{tables.escaped(words)}](img/{name})"


def _slug(text: str) -> str:
    return re.sub("[^a-z0-9]+", "-", text.lower()).strip("-")


def _lines(
    judged: Sequence[Cell],
    together: Across | None,
    found: Sequence[pairs.Pair],
    files: _Files,
    texts: tuple[str, str, str],
) -> Iterator[str]:
    title, command, notes = texts
    records = [record for cell in judged for record in cell.records]
    yield f"# {tables.escaped(title)}\n"
    yield f"Written by `{command}`.\n"
    if found:
        yield "## Answers\n"
        yield from (f"- {tables.escaped(pair.answer)}" for pair in found)
        yield ""
    if notes:
        yield notes.strip() + "\n"
    if together:
        first, second = tables.across_blocks(together)
        yield tables.markdown([first], 2)
        yield tables.markdown([second])
        for view in across_views.views(together, "all"):
            yield from files.lines(view, "all cells")
    if found:
        yield "## The pairs\n"
        yield tables.markdown([pair.block for pair in found])
    for i, cell in enumerate(judged):
        verdicts, *also = tables.cell_blocks(cell)
        yield tables.markdown([verdicts], 2)
        yield from (tables.markdown([block]) for block in also)
        for view in views.views(cell, f"c{i}", CELL_FIGURES):
            yield from files.lines(view, cell.title)
        seen = pictures.gallery(cell)
        if seen:
            yield from files.samples(seen, cell.title)
    known = tables.published_block(judged)
    if known:
        yield tables.markdown([known], 2)
    sections = (("How it was done", protocol(records)), ("Where it comes from", provenance(records)))
    for heading, rows in sections:
        yield f"## {heading}\n"
        yield from (f"- {tables.escaped(term)}: {tables.escaped(text)}" for term, text in rows)
        yield ""
    yield "## How it was judged\n"
    sentences = method(judged) + (across_words.method(together) if together else [])
    yield from (f"- {tables.escaped(sentence)}" for sentence in sentences)
