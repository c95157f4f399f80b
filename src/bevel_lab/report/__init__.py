"""From records to a judgement: one page, the same table for papers, and every trial as a row.

Neither torch nor bevel is imported, so that a report can be made wherever the records are.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from bevel_lab.experiment.record import Record
from bevel_lab.report.analysis.across import across
from bevel_lab.report.analysis.cells import ReportError, cells
from bevel_lab.report.pages import html
from bevel_lab.report.text import tables

__all__ = ["TITLE", "ReportError", "verdict_table", "write"]

TITLE = "Activations compared"


def write(
    records: Sequence[Record],
    out: Path,
    reference: str,
    title: str = TITLE,
    command: str = "",
    notes: Sequence[str] = (),
) -> Path:
    """Judge the records and write ``report.html``, ``table.md``, ``table.tex``, ``results.csv`` (a row a trial) and
    ``verdicts.csv`` (a row a comparison) into ``out``.

    Args:
        records: of any number of data sets and models; each pair of them is a section of its own.
        out: a folder, made where it does not exist.
        reference: label of the activation that the others are compared with.
        title: of the page.
        command: the shell command that makes these records again, for the page's last section.
        notes: sentences on the protocol, such as how the arms were tuned and with what budget.

    Returns:
        The path of ``report.html``.

    Raises:
        ReportError: where the records cannot be compared, or the reference is not among them.
    """
    judged = cells(records, reference)
    together = across(judged)
    made = tables.blocks(judged, together, notes)
    texts = {
        "table.md": tables.markdown(made),
        "table.tex": tables.latex(made),
        "results.csv": tables.results(judged),
        "verdicts.csv": tables.verdicts(judged, together),
        "report.html": html.render(judged, together, title, command, notes),
    }
    out.mkdir(parents=True, exist_ok=True)
    for name, text in texts.items():
        (out / name).write_text(text, encoding="utf-8", newline="\n")
    return out / "report.html"


def verdict_table(records: Sequence[Record], reference: str) -> str:
    """The verdicts as aligned plain text for a terminal. Raises as ``write`` does."""
    judged = cells(records, reference)
    return tables.plain(tables.blocks(judged, across(judged)))
