"""Judge records, and report the judgement: a page, tables for papers, and every trial as a row.

Its rooms, each of which imports only those before it: ``statistics`` (arrays and tests), ``analysis`` (records grouped
and judged; it draws and phrases nothing), ``figures`` and ``text`` (what is drawn and what is said; neither imports the
other), ``pages`` (whole files). Torch is not imported, so that a report can be made wherever the records are.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bevel_lab.experiment.record import Record
from bevel_lab.report.analysis.across import Across, judge_across
from bevel_lab.report.analysis.cells import Cell, ReportError, judge_cells
from bevel_lab.report.text import tables

__all__ = ["TITLE", "Judgement", "ReportError", "judge"]

TITLE = "Activations compared"


def judge(records: Sequence[Record], reference: str) -> Judgement:
    """Judge the records once. The result makes tables, rows and files when they are asked for.

    Args:
        records: records of any number of data sets and models; each pair of them is a cell with its own verdicts.
        reference: label of the activation that the others are compared with.

    Raises:
        ReportError: if the records cannot be compared, or the reference is not among them.
    """
    cells = tuple(judge_cells(records, reference))
    return Judgement(cells, judge_across(cells))


@dataclass(frozen=True)
class Judgement:
    """The verdicts on a set of records.

    Attributes:
        cells: one model on one data set each; the reference comes first, then the highest mean.
        across: all cells together; None if there is only one, or if their scores have no common unit.
    """

    cells: tuple[Cell, ...]
    across: Across | None

    def table(self) -> str:
        """Return the verdicts as aligned plain text for a terminal."""
        return tables.plain(tables.blocks(self.cells, self.across))

    def verdicts(self) -> list[dict[str, Any]]:
        """Return one row a comparison: those in each cell, then those over all cells (data set and model are empty)."""
        return tables.verdicts(self.cells, self.across)

    def rows(self) -> list[dict[str, Any]]:
        """Return one row a trial: its settings, scores and costs, which suffice to do the statistics again."""
        return tables.results(self.cells)

    def write(self, out: str | Path, title: str = TITLE, command: str = "", notes: Sequence[str] = ()) -> Path:
        """Write ``report.html``, ``table.md``, ``table.tex``, ``results.csv`` (``rows``) and ``verdicts.csv``.

        Args:
            out: a folder; it is created if it does not exist.
            title: of the page.
            command: the shell command that makes these records again, for the page's last section.
            notes: sentences on the protocol, such as how the arms were tuned and with what budget.

        Returns:
            The path of ``report.html``.
        """
        from bevel_lab.report.pages import html  # only here: it imports matplotlib and jinja2

        blocks = tables.blocks(self.cells, self.across, notes)
        texts = {
            "table.md": tables.markdown(blocks),
            "table.tex": tables.latex(blocks),
            "results.csv": tables.as_csv(self.rows()),
            "verdicts.csv": tables.as_csv(self.verdicts()),
            "report.html": html.render(self.cells, self.across, title, command, notes),
        }
        out = Path(out)
        out.mkdir(parents=True, exist_ok=True)
        for name, text in texts.items():
            (out / name).write_text(text, encoding="utf-8", newline="\n")
        return out / "report.html"

    def write_markdown(
        self,
        page: str | Path,
        *,
        title: str = TITLE,
        command: str,
        notes: str = "",
        asked: Sequence[tuple[str, str]] = (),
    ) -> None:
        """Write ``page`` as Markdown, with figures (SVG) and test samples (PNG) as files in ``img/`` beside it.

        Args:
            page: the file to write.
            title: of the page.
            command: what writes the page, for its first line.
            notes: Markdown, put under the answers as it is.
            asked: pairs of arms; each is answered in a sentence at the top of the page and has a table below.

        Raises:
            ReportError: if no cell has both arms of a pair.
        """
        from bevel_lab.report.pages import markdown

        markdown.write(self.cells, self.across, Path(page), title=title, command=command, notes=notes, asked=asked)
