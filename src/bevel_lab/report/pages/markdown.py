"""The report as a Markdown page to commit: answers, tables, and pictures in files beside it."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path

from bevel_lab.report.analysis.across import Across
from bevel_lab.report.analysis.cells import Cell
from bevel_lab.report.analysis.pairs import Pair, judge_pairs
from bevel_lab.report.figures import samples, svg
from bevel_lab.report.figures.across import across_views
from bevel_lab.report.figures.cell import View, cell_views
from bevel_lab.report.text import across, method, pairs, tables
from bevel_lab.report.text.tables import escaped

CELL_FIGURES = ("scores", "training", "cost")
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
    classes: tables.Classes | None = None,
) -> None:
    """Write the page and its images. For the arguments see ``Judgement.write_markdown``."""
    found, files = judge_pairs(cells, asked), _Files(page)
    lines = [f"# {escaped(title)}\n", *([f"Written by `{command}`.\n"] if command else []), *_answers(found, notes)]
    if together:
        first, second = tables.across_blocks(together)
        lines += [tables.markdown([first], 2), tables.markdown([second])]
        lines += [line for view in across_views(together, "all") for line in files.figures(view, "all cells")]
    if found:
        lines += ["## The pairs\n", tables.markdown([pairs.block(pair) for pair in found])]
    for i, cell in enumerate(cells):
        lines += _cell(cell, f"c{i}", files, classes)
    lines += [*(tables.markdown([block], 2) for block in tables.published_blocks(cells)), *_method(cells, together)]
    files.folder.mkdir(parents=True, exist_ok=True)
    for name, content in files.made.items():
        (files.folder / name).write_bytes(content)
    page.write_text("\n".join(lines) + "\n", encoding="utf-8", errors="backslashreplace", newline="\n")


def _answers(found: Sequence[Pair], notes: str) -> Iterator[str]:
    if found:
        yield "## Answers\n"
        yield from (f"- {escaped(pairs.answer(pair))}" for pair in found)
        yield ""
    if notes:
        yield notes.strip() + "\n"


def _cell(cell: Cell, prefix: str, files: _Files, classes: tables.Classes | None) -> Iterator[str]:
    verdicts, *also = tables.cell_blocks(cell, classes)
    yield tables.markdown([verdicts], 2)
    yield from (tables.markdown([block]) for block in also)
    for view in cell_views(cell, prefix, CELL_FIGURES):
        yield from files.figures(view, cell.title)
    if seen := samples.gallery(cell):
        yield from files.table(seen, cell.title)


def _method(cells: Sequence[Cell], together: Across | None) -> Iterator[str]:
    records = [record for cell in cells for record in cell.records]
    sections = [("How it was done", method.protocol), ("Where it comes from", method.provenance)]
    for heading, write in sections if records else ():
        rows = write(records)
        yield f"## {heading}\n"
        yield from (f"- {escaped(term)}: {escaped(text)}" for term, text in rows)
        yield ""
    yield "## How it was judged\n"
    sentences = method.method(cells) + (across.method(together) if together else [])
    yield from (f"- {escaped(sentence)}" for sentence in sentences)


class _Files:
    """Collects the page's images, which are named after it."""

    def __init__(self, page: Path) -> None:
        self.folder, self.stem = page.parent / "img", page.stem
        self.made: dict[str, bytes] = {}

    def figures(self, view: View, place: str) -> Iterator[str]:
        """Yield the view as Markdown, and keep its panels for writing."""
        for i, panel in enumerate(view.panels):
            name = f"{self.stem}-{_slug(place)}-{_slug(view.title)}-{i}.svg"
            self.made[name] = svg.standalone(panel).encode()
            yield f"![{escaped(view.title)}](img/{name})"
        yield ""
        yield escaped(view.caption)
        yield ""

    def table(self, gallery: samples.Gallery, place: str) -> Iterator[str]:
        """Yield the table of test samples as Markdown, and keep its images for writing."""
        yield f"### {samples.TITLE}: {escaped(place)}\n"
        yield f"| {' | '.join(map(escaped, gallery.head))} |"
        yield f"|{' :-- |' * len(gallery.head)}"
        for i, (title, row) in enumerate(gallery.rows):
            stem = f"{self.stem}-{_slug(place)}-sample-{i}"
            fields = [self._field(f"{stem}-{j}.png", words, shown) for j, (words, shown) in enumerate(row)]
            yield f"| {' | '.join([escaped(title), *fields])} |"
        yield f"\n{gallery.caption}\n"

    def _field(self, name: str, words: str, shown: samples.Shown) -> str:
        if not shown.png:
            return escaped(shown.text)
        self.made[name] = shown.png
        return f"![{escaped(words)}](img/{name})"


def _slug(text: str) -> str:
    return re.sub("[^a-z0-9]+", "-", text.lower()).strip("-")
