"""The verdict table as plain text, Markdown and LaTeX, and the trials behind it as CSV."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from bevel_lab.report.analysis.across import Across
from bevel_lab.report.analysis.cells import Cell
from bevel_lab.report.statistics.aggregate import Estimate
from bevel_lab.report.text import across, findings, published

_LATEX = {"\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "±": r"$\pm$",
          "−": "$-$", "–": "--", "×": r"$\times$", "<": r"$<$", ">": r"$>$", "|": r"\textbar{}",
          **{c: f"\\{c}" for c in "&%$#_{}"}}  # fmt: skip


@dataclass(frozen=True)
class Block:
    """One table: a title, a header and lines of text, and what is said under it.

    Attributes:
        texts: how many of the first columns hold words rather than numbers.
        answer, notes: sentences; the first also go into a caption.
    """

    title: str
    head: Sequence[str]
    rows: Sequence[Sequence[str]]
    texts: int
    answer: Sequence[str] = ()
    notes: Sequence[str] = ()


def blocks(cells: Sequence[Cell], together: Across | None, notes: Sequence[str] = ()) -> list[Block]:
    """All tables of a report: the cells, the cells together where there are several, and published numbers."""
    made = [block for cell in cells for block in cell_blocks(cell)]
    made += [*(across_blocks(together) if together else ()), *published_blocks(cells)]
    return [replace(made[0], notes=[*made[0].notes, *notes]), *made[1:]]


def cell_blocks(cell: Cell) -> list[Block]:
    """The verdict table, and one of what else was measured where there is something."""
    ref = cell.reference.name
    own = {"score": f"test {cell.metric.axis}", "interval": "95 % interval", "difference": f"vs {ref}",
           "time": "time ×", "memory": "memory ×"}  # fmt: skip
    head = [own.get(column, column) for column in findings.COLUMNS]
    said = [*findings.caveats(cell), *findings.recipe_notes(cell)]
    rows = [findings.row(arm, cell.metric) for arm in cell.arms]
    made = [Block(cell.title, head, rows, 2, findings.answer(cell), said)]
    if measured := findings.measured(cell):
        title = f"{findings.MEASURED}: {cell.title}"
        made.append(Block(title, measured[0], measured[1:], 1, notes=[findings.AS_RECORDED]))
    return made


def across_blocks(together: Across) -> list[Block]:
    rows = [across.row(standing, together.metric) for standing in together.standings]
    head, *matrix = across.matrix(together)
    title = f"Across {len(together.cells)} cells"
    return [
        Block(title, across.COLUMNS, rows, 2, across.answer(together), across.notes(together)),
        Block(f"Difference to {together.reference.name} in each cell", head, matrix, 1),
    ]


def published_blocks(cells: Sequence[Cell]) -> list[Block]:
    """Published numbers of these cells, where there are any."""
    rows = published.rows(cells)
    return [Block(published.TITLE, published.COLUMNS, rows, len(published.COLUMNS))] if rows else []


def plain(tables: Sequence[Block]) -> str:
    """For a terminal: the aligned table, then the answer, block by block."""
    parts = []
    for block in tables:
        widths = [max(map(len, column)) for column in zip(block.head, *block.rows, strict=True)]
        lines = (block.head, ["─" * width for width in widths], *block.rows)
        text = [_aligned(line, widths, block.texts) for line in lines]
        said = ["", *block.answer, *block.notes] if block.answer or block.notes else []
        parts.append("\n".join((block.title, "", *text, *said)))
    return "\n\n\n".join(parts) + "\n"


def markdown(tables: Sequence[Block], level: int = 3) -> str:
    """Headed tables for a README or an issue; ``level`` counts the hashes."""
    return "\n".join(f"{'#' * level} {escaped(block.title)}\n\n{markdown_table(block)}" for block in tables)


def markdown_table(block: Block) -> str:
    """The table and what is said under it, without the title."""
    head, *rows = ([escaped(text) for text in line] for line in (block.head, *block.rows))
    rule = [":--" if i < block.texts else "--:" for i in range(len(head))]
    table = "\n".join(f"| {' | '.join(line)} |" for line in (head, rule, *rows))
    said = "\n".join(escaped(note) for note in (*block.answer, *block.notes))
    return f"{table}\n" + (f"\n{said}\n" if said else "")


def latex(tables: Sequence[Block]) -> str:
    """A booktabs table a block, for a paper that loads that package."""
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
    """One row a trial: what was run, what came out, and what it cost; enough to do the statistics again."""
    return [r.to_row() | {"arm": arm.name} for cell in cells for arm in cell.arms for r in arm.runs.values()]


def verdicts(cells: Sequence[Cell], together: Across | None) -> list[dict[str, Any]]:
    """One row a comparison: in each cell, then over all cells (whose data set and model are empty)."""
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
    """The rows as text; a column that a row lacks stays empty."""
    out = io.StringIO()
    writer = csv.DictWriter(out, list(dict.fromkeys(key for row in rows for key in row)), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return out.getvalue()


def _aligned(texts: Sequence[str], widths: Sequence[int], left: int) -> str:
    """Words to the left, numbers to the right."""
    padded = [
        text.ljust(width) if i < left else text.rjust(width)
        for i, (text, width) in enumerate(zip(texts, widths, strict=True))
    ]
    return "  ".join(padded).rstrip()


def escaped(text: str) -> str:
    """Text for Markdown: nothing in a label may act as markup."""
    text = text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return re.sub(r"([\\`*_|\[\]#~$])", r"\\\1", text).replace("\n", " ")


def _tex(text: str) -> str:
    return "".join(_LATEX.get(character, character) for character in text)
