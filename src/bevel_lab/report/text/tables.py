"""Tables as plain text, Markdown and LaTeX, and the comparisons and trials behind them as rows."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from bevel_lab.report.analysis.across import Across
from bevel_lab.report.analysis.cells import Cell
from bevel_lab.report.statistics.aggregate import Estimate
from bevel_lab.report.text import across, beside, equivalence, findings, published
from bevel_lab.runtime import terminal

_LATEX = {"\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "±": r"$\pm$",
          "−": "$-$", "–": "--", "×": r"$\times$", "<": r"$<$", ">": r"$>$", "|": r"\textbar{}",
          **{c: f"\\{c}" for c in "&%$#_{}"}}  # fmt: skip


@dataclass(frozen=True)
class Block:
    """One table: a title, a header, lines of text, and sentences under it.

    Attributes:
        texts: number of first columns that hold words and not numbers.
        answer: sentences that also go into a caption.
        notes: more sentences.
    """

    title: str
    head: Sequence[str]
    rows: Sequence[Sequence[str]]
    texts: int
    answer: Sequence[str] = ()
    notes: Sequence[str] = ()


Classes = Mapping[str, Sequence[int]]
"""Digest of a record's predictions → the predicted classes."""


def blocks(
    cells: Sequence[Cell], together: Across | None, notes: Sequence[str] = (), classes: Classes | None = None
) -> list[Block]:
    """Return all tables of a report: the cells, the cells together, and published numbers."""
    made = [block for cell in cells for block in cell_blocks(cell, classes)]
    made += [*(across_blocks(together) if together else ()), *published_blocks(cells)]
    return [replace(made[0], notes=[*made[0].notes, *notes]), *made[1:]]


def cell_blocks(cell: Cell, classes: Classes | None = None) -> list[Block]:
    """Return the verdict table, and tables of other metrics and measures if there are any."""
    ref = cell.reference.name
    own = {"activation": cell.noun, "score": f"test {cell.metric.axis}", "interval": "95 % interval",
           "difference": f"vs {ref}", "time": "time ×", "memory": "memory ×"}  # fmt: skip
    head = [own.get(column, column) for column in findings.COLUMNS]
    said = [*findings.caveats(cell), *findings.recipe_notes(cell)]
    rows = [findings.row(arm, cell.metric) for arm in cell.arms]
    made = [_without_costs(Block(cell.title, head, rows, 2, findings.answer(cell), said), cell)]
    if inside := equivalence.table(cell):
        made.append(Block(equivalence.title(cell), inside[0], inside[1:], 2))
    if measured := findings.measured(cell):
        title = f"{findings.MEASURED}: {cell.title}"
        made.append(Block(title, measured[0], measured[1:], 1, notes=[findings.AS_RECORDED]))
    return made + [
        Block(table.title, table.lines[0], table.lines[1:], table.texts, table.answer, [table.note])
        for table in beside.tables(cell, classes or {})
    ]


def _without_costs(block: Block, cell: Cell) -> Block:
    """Drop the columns of time and memory, which scores without records do not have."""
    if cell.records:
        return block
    return replace(block, head=block.head[:-2], rows=[row[:-2] for row in block.rows])


def across_blocks(together: Across) -> list[Block]:
    rows = [across.row(standing, together.metric) for standing in together.standings]
    head, *matrix = across.matrix(together)
    title, columns = f"Across {len(together.cells)} cells", [together.cells[0].noun, *across.COLUMNS[1:]]
    whole = Block(title, columns, rows, 2, across.answer(together), across.notes(together))
    return [
        _without_costs(whole, together.cells[0]),
        Block(f"Difference to {together.reference.name} in each cell", head, matrix, 1),
    ]


def published_blocks(cells: Sequence[Cell]) -> list[Block]:
    """Return the table of published numbers, if there are any."""
    rows = published.rows(cells)
    return [Block(published.TITLE, published.COLUMNS, rows, len(published.COLUMNS))] if rows else []


def plain(tables: Sequence[Block], columns: int) -> str:
    """Write tables for a terminal with so many columns: each is aligned, and its answer follows."""
    parts = []
    for block in tables:
        text = terminal.table(block.head, block.rows, block.texts, columns)
        said = [terminal.filled(sentence, columns) for sentence in (*block.answer, *block.notes)]
        parts.append("\n".join((terminal.filled(block.title, columns), "", *text, *([""] if said else []), *said)))
    return "\n\n\n".join(parts) + "\n"


def markdown(tables: Sequence[Block], level: int = 3) -> str:
    """Write tables as Markdown; ``level`` is the number of hashes before a title."""
    return "\n".join(f"{'#' * level} {escaped(block.title)}\n\n{markdown_table(block)}" for block in tables)


def markdown_table(block: Block) -> str:
    """Write the table and the sentences under it, without the title."""
    head, *rows = ([escaped(text) for text in line] for line in (block.head, *block.rows))
    rule = [":--" if i < block.texts else "--:" for i in range(len(head))]
    table = "\n".join(f"| {' | '.join(line)} |" for line in (head, rule, *rows))
    said = "\n".join(escaped(note) for note in (*block.answer, *block.notes))
    return f"{table}\n" + (f"\n{said}\n" if said else "")


def latex(tables: Sequence[Block]) -> str:
    """Write tables for a paper that loads the package booktabs."""
    parts = []
    for block in tables:
        head, *rows = (" & ".join(_tex(text) for text in line) + r" \\" for line in (block.head, *block.rows))
        columns = "l" * block.texts + "r" * (len(block.head) - block.texts)
        caption = _tex(f"{block.title}. {' '.join(block.answer)}".strip())
        start = (r"\begin{table}", r"\centering\small", rf"\caption{{{caption}}}", rf"\begin{{tabular}}{{{columns}}}")
        end = (r"\bottomrule", r"\end{tabular}", r"\end{table}", "")
        parts.append("\n".join((*start, r"\toprule", head, r"\midrule", *rows, *end)))
    return "\n".join(parts)


def results(cells: Sequence[Cell]) -> list[dict[str, Any]]:
    """Return one row a trial: its settings, scores and costs."""
    return [r.to_row() | {"arm": arm.name} for cell in cells for arm in cell.arms for r in arm.runs.values()]


def verdicts(cells: Sequence[Cell], together: Across | None) -> list[dict[str, Any]]:
    """Return one row a comparison: those in each cell, then those over all cells."""
    rows = []
    for cell in cells:
        for arm, c in cell.others:
            family = together.family[cell.title, arm.name] if together else (c.adjusted, c.verdict)
            rows.append({"dataset": cell.dataset, "model": cell.model, "reference": cell.reference.name}
                        | asdict(c) | {"report_p": family[0], "report_verdict": family[1]})  # fmt: skip
    for standing, c in together.others if together else ():
        rows.append({"dataset": "", "model": "", "reference": cells[0].reference.name} | asdict(c)
                    | _estimates("iqm", standing.iqm) | _estimates("won", standing.won)
                    | {"rank": standing.rank, "time": standing.time, "memory": standing.memory})  # fmt: skip
    return rows


def _estimates(key: str, found: Estimate | None) -> dict[str, float]:
    return {key: found.value, f"{key}_low": found.low, f"{key}_high": found.high} if found else {}


def as_csv(rows: Sequence[dict[str, Any]]) -> str:
    """Write rows as CSV; a column that a row lacks stays empty."""
    out = io.StringIO()
    writer = csv.DictWriter(out, list(dict.fromkeys(key for row in rows for key in row)), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return out.getvalue()


def escaped(text: str) -> str:
    """Escape text for Markdown, so that nothing in a label acts as markup."""
    text = text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return re.sub(r"([\\`*_|\[\]#~$])", r"\\\1", text).replace("\n", " ")


def _tex(text: str) -> str:
    return "".join(_LATEX.get(character, character) for character in text)
