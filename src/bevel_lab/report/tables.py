"""The verdict table as plain text, Markdown and LaTeX, and the trials behind it as CSV."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Sequence
from typing import Any

from bevel_lab.record import Record
from bevel_lab.report import words
from bevel_lab.report.cells import Cell, diverged

_LATEX = {"\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "±": r"$\pm$",
          "−": "$-$", "–": "--", "×": r"$\times$", "<": r"$<$", ">": r"$>$", "|": r"\textbar{}",
          **{c: f"\\{c}" for c in "&%$#_{}"}}  # fmt: skip


def plain(cells: Sequence[Cell]) -> str:
    """For a terminal: the answer, then the aligned table, cell by cell."""
    blocks = []
    for cell in cells:
        head, *rows = _grid(cell)
        widths = [max(map(len, column)) for column in zip(head, *rows, strict=True)]
        lines = [_aligned(line, widths) for line in (head, ["─" * width for width in widths], *rows)]
        blocks.append("\n".join((cell.title, "", *lines, "", *words.answer(cell), *words.caveats(cell))))
    return "\n\n\n".join(blocks) + "\n"


def markdown(cells: Sequence[Cell]) -> str:
    """A table a cell, for a README or an issue."""
    blocks = []
    for cell in cells:
        head, *rows = ([_markdown(text) for text in line] for line in _grid(cell))
        rule = [":--" if i < 2 else "--:" for i in range(len(head))]
        table = "\n".join(f"| {' | '.join(line)} |" for line in (head, rule, *rows))
        notes = "\n".join(_markdown(note) for note in (*words.answer(cell), *words.caveats(cell)))
        blocks.append(f"### {_markdown(cell.title)}\n\n{table}\n\n{notes}\n")
    return "\n".join(blocks)


def latex(cells: Sequence[Cell]) -> str:
    """A booktabs table a cell, for a paper that loads that package."""
    blocks = []
    for cell in cells:
        head, *rows = (" & ".join(_tex(text) for text in line) + r" \\" for line in _grid(cell))
        columns = "ll" + "r" * (len(words.COLUMNS) - 2)
        caption = _tex(f"{cell.title}. {' '.join(words.answer(cell))}")
        start = (r"\begin{table}", r"\centering\small", rf"\caption{{{caption}}}", rf"\begin{{tabular}}{{{columns}}}")
        end = (r"\bottomrule", r"\end{tabular}", r"\end{table}", "")
        blocks.append("\n".join((*start, r"\toprule", head, r"\midrule", *rows, *end)))
    return "\n".join(blocks)


def results(cells: Sequence[Cell]) -> str:
    """One row a trial: what was run, what came out, and what it cost; enough to do the statistics again."""
    rows = [_result(arm.name, record) for cell in cells for arm in cell.arms for record in arm.runs.values()]
    out = io.StringIO()
    writer = csv.DictWriter(out, list(dict.fromkeys(key for row in rows for key in row)), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return out.getvalue()


def _result(arm: str, record: Record) -> dict[str, Any]:
    last = record.epochs[-1] if record.epochs else None
    return {
        "arm": arm,
        **record.trial.to_dict(),
        "metric": record.metric,
        "score": record.test[record.metric],
        "diverged": diverged(record),
        **{f"test_{key}": value for key, value in record.test.items()},
        **{f"train_{key}": value for key, value in (last.train.items() if last else ())},
        **{f"validation_{key}": value for key, value in (last.validation.items() if last else ())},
        "parameters": record.parameters,
        "activation_parameters": record.activation_parameters,
        "seconds": record.seconds,
        "train_seconds": record.train_seconds,
        "samples": record.samples,
        "peak_memory": record.peak_memory,
        "saved_bytes": record.saved_bytes,
        "device": record.device,
        "commit": record.commit,
        "started": record.started,
        "id": record.trial.id,
    }


def _grid(cell: Cell) -> list[list[str]]:
    """Header and rows, with the header in the cell's own words."""
    ref = cell.reference.name
    own = {"score": f"test {cell.metric.axis}", "interval": "95 % interval", "difference": f"vs {ref}",
           "time": "time ×", "memory": "memory ×"}  # fmt: skip
    head = [own.get(column, column) for column in words.COLUMNS]
    return [head, *(list(words.row(arm, cell.metric)) for arm in cell.arms)]


def _aligned(texts: Sequence[str], widths: Sequence[int]) -> str:
    """Words to the left, numbers to the right."""
    padded = [
        text.ljust(width) if i < 2 else text.rjust(width)
        for i, (text, width) in enumerate(zip(texts, widths, strict=True))
    ]
    return "  ".join(padded).rstrip()


def _markdown(text: str) -> str:
    """Nothing in a label may act as markup."""
    text = text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return re.sub(r"([\\`*_|\[\]#~$])", r"\\\1", text).replace("\n", " ")


def _tex(text: str) -> str:
    return "".join(_LATEX.get(character, character) for character in text)
