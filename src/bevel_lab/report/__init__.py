"""Judge records, and report the judgement: a page, tables for papers, and every trial as a row.

Its rooms, each of which imports only those before it: ``statistics`` (arrays and tests), ``analysis`` (records grouped
and judged; it draws and phrases nothing), ``figures`` and ``text`` (what is drawn and what is said; neither imports the
other), ``pages`` (whole files). Torch is not imported, so that a report can be made wherever the records are.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bevel_lab.experiment.record import Record
from bevel_lab.report.analysis import score_table, scores
from bevel_lab.report.analysis.across import Across, judge_across
from bevel_lab.report.analysis.cells import Cell, ReportError, judge_cells
from bevel_lab.report.analysis.planning import Plan, plan
from bevel_lab.report.statistics.arrays import POWER
from bevel_lab.report.text import tables

__all__ = ["Judgement", "Plan", "ReportError", "judge", "judge_table", "power"]


def judge(
    records: Sequence[Record], reference: str, margin: float = 0.0, classes: Mapping[str, Sequence[int]] | None = None
) -> Judgement:
    """Judge the records once. The result makes tables, rows and files when they are asked for.

    Args:
        records: records of any number of data sets and models; each pair of them is a cell with its own verdicts.
        reference: label of the activation that the others are compared with.
        margin: largest difference that does not matter, named before the runs, in the unit in which scores are written
            (points for shares of one); 0: equivalence is not asked for.
        classes: predicted classes by the digest that records name, for churn.

    Raises:
        ReportError: if the records cannot be compared, or the reference is not among them.

    Example:
        >>> import bevel_lab
        >>> judged = judge(bevel_lab.Results.read("runs/example").records, "relu")
        >>> [(row["arm"], str(row["verdict"])) for row in judged.verdicts()]
        [('sau:n=5', 'too few seeds')]
    """
    cells = tuple(judge_cells(records, reference, margin))
    return Judgement(cells, judge_across(cells), classes=classes)


def judge_table(
    source: str | Path | Sequence[Mapping[str, Any]],
    *,
    score: str = "",
    arm: str = "",
    seed: str = "",
    cell: Sequence[str] = (),
    reference: str = "",
    lower_is_better: bool | None = None,
    margin: float = 0.0,
    paired: bool | None = None,
) -> Judgement:
    """Judge the scores of any program, one row a run, as :func:`judge` judges records.

    Args:
        source: a CSV file, JSON lines, a folder of these, or rows as mappings of column names to values.
        score, arm, seed: names of columns; "": guessed by their names.
        cell: columns of which each combination is judged by itself, such as data sets; (): guessed.
        reference: the arm that the others are compared with; "": guessed, or the first in the table.
        lower_is_better: whether lower scores are better; None: guessed by the name.
        margin: largest difference that does not matter, in the unit in which scores are written; 0: none.
        paired: whether runs with one seed are a pair; None: where seeds repeat.

    Returns:
        The judgement. Its ``said`` names what was guessed and what is odd.

    Raises:
        bevel.errors.BevelError: if the table cannot be read, or nothing in it can be compared.

    Example:
        >>> rows = [{"model": m, "seed": s, "accuracy": 0.9 + gain * s} for m, gain in (("a", 0), ("b", 1e-3))
        ...         for s in range(1, 9)]
        >>> judged = judge_table(rows, reference="a")
        >>> [(row["arm"], str(row["verdict"])) for row in judged.verdicts()]
        [('b', 'better')]
    """
    rows = (
        score_table.read_rows(Path(source))
        if isinstance(source, str | Path)
        else {f"row {count}": row for count, row in enumerate(source, start=1)}
    )
    if not rows:
        raise ReportError("there are no rows to judge.")
    columns = score_table.find_columns(
        rows, score=score, arm=arm, seed=seed, cell=cell, lower_is_better=lower_is_better
    )
    cells = tuple(scores.cells_of(rows, columns, reference, margin, paired))
    together = judge_across(cells) if all(c.paired for one in cells for _, c in one.others) else None
    return Judgement(cells, together, tuple(columns.said))


def power(
    *,
    sd: float,
    arms: int = 1,
    difference: float | None = None,
    seeds: int | None = None,
    power: float = POWER,
    paired: bool = True,
) -> Plan:
    """Say how many seeds find a difference, or which difference so many seeds find.

    Args:
        sd: standard deviation of the paired difference, or of a run if runs are not paired.
        arms: number of arms beside the reference.
        difference: the true difference that is to be found; or
        seeds: the number of seeds.
        power: probability of finding it.
        paired: whether runs are paired by seed.

    Returns:
        The other of ``difference`` and ``seeds``, and the margin within which equivalence can be shown.

    Raises:
        bevel.errors.InvalidValue: for numbers that make no sense.

    Example:
        >>> found = power(sd=0.3, difference=0.2, arms=5)
        >>> found.seeds, round(power(sd=0.3, seeds=found.seeds, arms=5).difference, 1)
        (30, 0.2)
    """
    return plan(sd, arms, difference, seeds, power, paired)


@dataclass(frozen=True)
class Judgement:
    """The verdicts on a set of records.

    Attributes:
        cells: one model on one data set each; the reference comes first, then the highest mean.
        across: all cells together; None if there is only one, or if their scores have no common unit.
        said: of a table of scores, sentences on what was guessed and on what is odd.
        classes: predicted classes by digest, or None.

    Example:
        >>> rows = [{"model": m, "seed": s, "accuracy": 0.9 + gain * s} for m, gain in (("a", 0), ("b", 1e-3))
        ...         for s in range(1, 9)]
        >>> judge_table(rows, reference="a").answers()
        {'all runs': ['b is better than a by 0.45 points.']}
    """

    cells: tuple[Cell, ...]
    across: Across | None
    said: tuple[str, ...] = ()
    classes: Mapping[str, Sequence[int]] | None = None

    def table(self, columns: int = 80) -> str:
        """Return the verdicts as aligned plain text, for a terminal with so many columns."""
        return tables.plain(tables.blocks(self.cells, self.across, classes=self.classes), columns)

    def answers(self) -> dict[str, list[str]]:
        """Return what was found, in sentences, by cell, and over all cells together if these can be."""
        blocks = tables.blocks(self.cells, self.across, classes=self.classes)
        return {block.title: list(block.answer) for block in blocks if block.answer}

    def verdicts(self) -> list[dict[str, Any]]:
        """Return one row a comparison: those in each cell, then those over all cells (data set and model are empty)."""
        return tables.verdicts(self.cells, self.across)

    def rows(self) -> list[dict[str, Any]]:
        """Return one row a trial: its settings, scores and costs, which suffice to do the statistics again."""
        return tables.results(self.cells)

    def write(self, out: str | Path, title: str = "", command: str = "", notes: Sequence[str] = ()) -> Path:
        """Write ``report.html``, ``table.md``, ``table.tex``, ``results.csv`` (``rows``) and ``verdicts.csv``.

        Scores of a table, which have no records, get ``report.md`` with its figures instead of the first and no
        ``results.csv``.

        Args:
            out: a folder; it is created if it does not exist.
            title: of the page; "": "Activations compared", or "Scores compared" where there are no records.
            command: the shell command that makes these records again, for the page's last section.
            notes: sentences on the protocol, such as how the arms were tuned and with what budget.

        Returns:
            The path of ``report.html``, or ``report.md``.
        """
        blocks, out = tables.blocks(self.cells, self.across, notes, self.classes), Path(out)
        texts = {
            "table.md": tables.markdown(blocks),
            "table.tex": tables.latex(blocks),
            "verdicts.csv": tables.as_csv(self.verdicts()),
        }
        out.mkdir(parents=True, exist_ok=True)
        if rows := self.rows():
            from bevel_lab.report.pages import html  # only here: it imports matplotlib and jinja2

            texts["results.csv"] = tables.as_csv(rows)
            texts["report.html"] = html.render(
                self.cells, self.across, title or self._title, command, notes, self.classes
            )
        else:
            self.write_markdown(out / "report.md", title=title, command=command, notes="\n\n".join(notes))
        for name, text in texts.items():
            (out / name).write_text(text, encoding="utf-8", errors="backslashreplace", newline="\n")
        return out / ("report.html" if rows else "report.md")

    def write_markdown(
        self,
        page: str | Path,
        *,
        title: str = "",
        command: str,
        notes: str = "",
        asked: Sequence[tuple[str, str]] = (),
    ) -> None:
        """Write ``page`` as Markdown, with figures (SVG) and test samples (PNG) as files in ``img/`` beside it.

        Args:
            page: the file to write.
            title: of the page; "": as for ``write``.
            command: what writes the page, for its third line; "": there is no such line.
            notes: Markdown, put under the answers as it is.
            asked: pairs of arms; each is answered in a sentence at the top of the page and has a table below.

        Raises:
            ReportError: if no cell has both arms of a pair.
        """
        from bevel_lab.report.pages import markdown

        title = title or self._title
        markdown.write(
            self.cells, self.across, Path(page), title=title, command=command, notes=notes, asked=asked,
            classes=self.classes,
        )  # fmt: skip

    @property
    def _title(self) -> str:
        return "Activations compared" if any(cell.records for cell in self.cells) else "Scores compared"
