"""The report as one HTML file that needs no other file, and that starts with the answer."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

import jinja2
from markupsafe import Markup, escape

from bevel_lab.experiment.record import Record
from bevel_lab.report.analysis.across import Across
from bevel_lab.report.analysis.cells import Arm, Cell
from bevel_lab.report.analysis.throughput import throughput
from bevel_lab.report.figures import samples
from bevel_lab.report.figures.across import across_views
from bevel_lab.report.figures.cell import cell_views
from bevel_lab.report.figures.svg import DARK, LIGHT, Style
from bevel_lab.report.statistics.comparison import Comparison
from bevel_lab.report.text import across, beside, equivalence, findings, method, published, words
from bevel_lab.report.text.tables import Classes

CELLS_IN_FULL = 12
"""Cells up to which the page draws every figure of each; drawing those of forty takes half a minute."""


def render(
    cells: Sequence[Cell],
    together: Across | None,
    title: str,
    command: str = "",
    notes: Sequence[str] = (),
    classes: Classes | None = None,
) -> str:
    """Return the page as text. All text from records is escaped; only the SVG of ``figures`` is not."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        keep_trailing_newline=True,
    )
    environment.globals.update(
        findings=findings, equivalence=equivalence, across=across, samples=samples, published=published, tone=_tone,
        remark=_remark, setting=_setting, linked=_linked, broken=_broken,
        beside=lambda cell: beside.tables(cell, classes or {}),
    )  # fmt: skip
    records = [record for cell in cells for record in cell.records]
    in_full = len(cells) <= CELLS_IN_FULL
    if not in_full:
        notes = [
            *notes,
            f"Of more than {CELLS_IN_FULL} cells the page draws the scores alone, and those for a wide page. Training, "
            "shapes, parameters and cost are drawn in a report on the records of fewer.",
        ]
    return environment.get_template("html.j2").render(
        title=title,
        light=LIGHT,
        dark=DARK,
        cells=cells,
        colors={arm.name: Style(arm.index).variable for cell in cells for arm in cell.arms},
        views=[cell_views(c, f"c{i}", () if in_full else ("scores",), phone=in_full) for i, c in enumerate(cells)],
        together=together,
        together_views=across_views(together, "all", phone=True) if together else (),
        notes=notes,
        compared=sorted({(arm.name, arm.first.trial.activation, arm.first.formula) for c in cells for arm in c.arms}),
        protocol=method.protocol(records),
        method=method.method(cells) + (across.method(together) if together else []),
        provenance=method.provenance(records),
        ids=sorted({record.trial.id for record in records}),
        citations=list(dict.fromkeys(source for record in records for source in record.citations)),
        command=command,
        snippet=_snippet(records[0]),
    )


_SOURCE = re.compile(r"(?P<doi>\bdoi:(10\.\d{4,9}/[^\s,;]+[^\s,;.]))|(?P<arxiv>\barXiv:(\d{4}\.\d{4,5}))")


def _linked(text: str) -> Markup:
    """Escape a citation, and make its DOI and its arXiv number links."""

    def link(found: re.Match[str]) -> str:
        base, number = ("https://doi.org", found[2]) if found["doi"] else ("https://arxiv.org/abs", found[4])
        return f'<a href="{base}/{number}">{found[0]}</a>'

    return Markup(_SOURCE.sub(link, str(escape(text))))


def _broken(name: str) -> Markup:
    """Escape an arm's name, and let it break between its parts."""
    return Markup(re.sub(r"([,:=@])", r"\1<wbr>", str(escape(name))))


def _tone(comparison: Comparison | None) -> str:
    """CSS class of a verdict's field."""
    return str(comparison.verdict) if comparison and comparison.verdict.differs else "quiet"


def _remark(arm: Arm) -> str:
    """Text that stands beside the verdict."""
    c = arm.comparison
    few = [words.remark(c)] if c and words.remark(c) else []
    lost = [f"{len(arm.diverged)} of {len(arm.runs)} diverged"] if arm.diverged else []
    return ", ".join(few + lost)


def _setting(cell: Cell) -> str:
    """One line on the runs behind the table, with the throughput of the reference."""
    counts = sorted({len(arm.runs) for arm in cell.arms})
    seeds = words.count(counts[0], "seed") if len(counts) == 1 else f"{counts[0]} to {counts[-1]} seeds"
    epochs = method.values_of([record.trial.epochs for record in cell.records])
    runs = list(cell.reference.runs.values())
    speed = f" {cell.reference.name} trains on {method.speed(runs)}." if throughput(runs) > 0 else ""
    favor = "Negative" if cell.metric.lower_is_better else "Positive"
    return (
        f"{words.count(len(cell.arms), 'activation')}, {seeds} each, paired; {cell.model} on {cell.dataset}, "
        f"{epochs} {'epoch' if epochs == '1' else 'epochs'}.{speed} {favor} differences favor the activation."
    )


def _snippet(record: Record) -> str:
    fields = "\n".join(f"    {key}={value!r}," for key, value in record.trial.to_dict().items())
    return (
        "from bevel_lab.training.run import run_trial\nfrom bevel_lab.experiment.trial import Trial\n\n"
        f"record = run_trial(Trial(\n{fields}\n))\nprint(record.test)  # {record.test[record.metric]!r} {record.metric}"
    )
