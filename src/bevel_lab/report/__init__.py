"""From records to a judgement: one page, the same table for papers, and every trial as a row.

Neither torch nor bevel is imported, so that a report can be made wherever the records are.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from bevel_lab.record import Record
from bevel_lab.report import page, tables
from bevel_lab.report.cells import ReportError, cells

__all__ = ["ReportError", "verdict_table", "write"]


def write(
    records: Sequence[Record],
    out: Path,
    reference: str,
    title: str = "Activations compared",
    command: str = "",
) -> Path:
    """Judge the records and write ``report.html``, ``table.md``, ``table.tex`` and ``results.csv`` into ``out``.

    Args:
        records: of any number of data sets and models; each pair of them is a section of its own.
        out: a folder, made where it does not exist.
        reference: label of the activation that the others are compared with.
        title: of the page.
        command: the shell command that makes these records again, for the page's last section.

    Returns:
        The path of ``report.html``.

    Raises:
        ReportError: where the records cannot be compared, or the reference is not among them.
    """
    judged = cells(records, reference)
    texts = {
        "table.md": tables.markdown(judged),
        "table.tex": tables.latex(judged),
        "results.csv": tables.results(judged),
        "report.html": page.render(judged, title, command),
    }
    out.mkdir(parents=True, exist_ok=True)
    for name, text in texts.items():
        (out / name).write_text(text, encoding="utf-8", newline="\n")
    return out / "report.html"


def verdict_table(records: Sequence[Record], reference: str) -> str:
    """The verdicts as aligned plain text for a terminal. Raises as ``write`` does."""
    return tables.plain(cells(records, reference))
