"""The report: one HTML file that needs nothing else, and starts with the answer."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jinja2

from bevel_lab.experiment.record import Record
from bevel_lab.report.analysis import published
from bevel_lab.report.analysis.across import Across
from bevel_lab.report.analysis.cells import Arm, Cell
from bevel_lab.report.figures import across as across_figures
from bevel_lab.report.figures import samples
from bevel_lab.report.figures.cell import throughput, views
from bevel_lab.report.figures.svg import DARK, LIGHT, Style
from bevel_lab.report.statistics.paired import Verdict
from bevel_lab.report.text import across as across_text
from bevel_lab.report.text import cell as words
from bevel_lab.report.text.method import _rate, _values, method, protocol, provenance

_TONES = {Verdict.BETTER: "better", Verdict.WORSE: "worse"}


def render(
    cells: Sequence[Cell],
    together: Across | None,
    title: str,
    command: str = "",
    notes: Sequence[str] = (),
) -> str:
    """The page as text. Everything from the records is escaped; only the figures' SVG, which is ours, is not."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        keep_trailing_newline=True,
    )
    records = [record for cell in cells for record in cell.records]
    return environment.get_template("html.j2").render(
        title=title,
        light=LIGHT,
        sees=samples.TITLE,
        also=(words.MEASURED, words.AS_RECORDED),
        dark=DARK,
        cells=[_section(cell, f"c{i}") for i, cell in enumerate(cells)],
        across=_across(together) if together else None,
        published=[dict(zip(published.COLUMNS, row, strict=True)) for row in published.rows(cells)],
        published_label=published.LABEL,
        notes=notes,
        compared=sorted(
            {(arm.name, arm.first.trial.activation, arm.first.formula) for cell in cells for arm in cell.arms}
        ),
        protocol=protocol(records),
        method=method(cells) + (across_text.method(together) if together else []),
        provenance=provenance(records),
        ids=sorted({record.trial.id for record in records}),
        citations=list(dict.fromkeys(source for record in records for source in record.citations)),
        command=command,
        snippet=_snippet(records[0]),
    )


def _across(together: Across) -> dict[str, Any]:
    head, *matrix = across_text.matrix(together)
    styles = {arm.name: Style(arm.index).variable for cell in together.cells for arm in cell.arms}
    return {
        "title": f"Across {len(together.cells)} cells",
        "reference": together.reference.name,
        "answer": across_text.answer(together),
        "notes": across_text.notes(together),
        "rows": [
            {
                "texts": (texts := across_text.row(standing, together.metric)),
                "numbers": (
                    (texts[2], texts[3]),
                    (texts[4], ""),
                    (texts[5], ""),
                    (texts[6], texts[7]),
                    (texts[8], texts[9]),
                ),
                "variable": Style(standing.index).variable,
                "reference": standing.comparison is None,
                "tone": _TONES.get(standing.comparison.verdict, "quiet") if standing.comparison else "quiet",
            }
            for standing in together.standings
        ],
        "head": head,
        "matrix": [(styles[line[0]], line) for line in matrix],
        "views": across_figures.views(together, "all"),
    }


def _section(cell: Cell, prefix: str) -> dict[str, Any]:
    return {
        "title": cell.title,
        "reference": cell.reference.name,
        "metric": cell.metric,
        "answer": words.answer(cell),
        "caveats": words.caveats(cell),
        "setting": _setting(cell),
        "unlike": words.UNLIKE,
        "recipes": words.recipes(cell),
        "rows": [_row(cell, arm) for arm in cell.arms],
        "measured": words.measured(cell),
        "views": views(cell, prefix),
        "gallery": samples.gallery(cell),
    }


def _row(cell: Cell, arm: Arm) -> dict[str, Any]:
    return {
        "texts": words.row(arm, cell.metric),
        "variable": Style(arm.index).variable,
        "formula": arm.first.formula,
        "verdict": str(arm.comparison.verdict) if arm.comparison else words.verdict(None),
        "remark": _remark(arm),
        "reference": arm.comparison is None,
        "tone": _TONES.get(arm.comparison.verdict, "quiet") if arm.comparison else "quiet",
    }


def _remark(arm: Arm) -> str:
    """What belongs beside the verdict."""
    c = arm.comparison
    few = [f"{c.needed} would do"] if c and c.verdict is Verdict.TOO_FEW else []
    lost = [f"{len(arm.diverged)} of {len(arm.runs)} diverged"] if arm.diverged else []
    return ", ".join(few + lost)


def _setting(cell: Cell) -> str:
    """One line on what stands behind the table."""
    counts = sorted({len(arm.runs) for arm in cell.arms})
    seeds = words.count(counts[0], "seed") if len(counts) == 1 else f"{counts[0]} to {counts[-1]} seeds"
    epochs = _values([record.trial.epochs for record in cell.records])
    return (
        f"{words.count(len(cell.arms), 'activation')}, {seeds} each, paired; {cell.model} on {cell.dataset}, "
        f"{epochs} {'epoch' if epochs == '1' else 'epochs'}.{_speed(cell)} "
        f"Positive differences favour the activation."
    )


def _speed(cell: Cell) -> str:
    """The reference's throughput."""
    runs = list(cell.reference.runs.values())
    return f" {cell.reference.name} trains on {_rate(runs)}." if throughput(runs) > 0 else ""


def _snippet(record: Record) -> str:
    fields = "\n".join(f"    {key}={value!r}," for key, value in record.trial.to_dict().items())
    return (
        "from bevel_lab.training.run import run_trial\nfrom bevel_lab.experiment.trial import Trial\n\n"
        f"record = run(Trial(\n{fields}\n))\nprint(record.test)  # {record.test[record.metric]!r} {record.metric}"
    )
