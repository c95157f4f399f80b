"""The report: one HTML file that needs nothing else, and starts with the answer."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jinja2

from bevel_lab.experiment.record import Record
from bevel_lab.report.analysis import data_facts, published
from bevel_lab.report.analysis.across import Across
from bevel_lab.report.analysis.cells import Arm, Cell, recipe
from bevel_lab.report.figures import across as across_figures
from bevel_lab.report.figures import samples
from bevel_lab.report.figures.cell import bare_share, throughput, views
from bevel_lab.report.figures.svg import DARK, LIGHT
from bevel_lab.report.statistics.paired import LEVEL, Verdict
from bevel_lab.report.text import across as across_text
from bevel_lab.report.text import cell as words

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
    styles = {arm.name: arm.style.variable for cell in together.cells for arm in cell.arms}
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
                "variable": standing.style.variable,
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
        "variable": arm.style.variable,
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


def _rate(records: Sequence[Record]) -> str:
    """Throughput, and its share of a bare training loop's where that was timed."""
    share = bare_share(records)
    return f"{throughput(records):,.0f} samples a second" + (
        f", {100 * share:.0f} % of a bare training loop's" if share > 0 else ""
    )


def _timed(records: Sequence[Record]) -> str:
    """In how many trials a bare loop was timed, where it was not in all or none."""
    timed = sum(record.bare_seconds > 0 for record in records)
    return f"; a bare loop was timed in {timed} of {len(records)}" if 0 < timed < len(records) else ""


def protocol(records: Sequence[Record]) -> list[tuple[str, str]]:
    """What every trial shares, and where trials differ."""
    fields = {key: _setting_of(records, key) for key in recipe(records[0])}
    held = _values([f"{100 * record.trial.validation:g} %" for record in records])
    rows = [
        ("seeds", _ranges({record.trial.seed for record in records})),
        ("pairing", "all arms of a seed share split, initial weights, order of samples and augmentation"),
        (
            "split",
            f"{held} of the training part held out for validation, unless the data set brings a part of its own; "
            "the same for every trial",
        ),
        ("test part", "read once, after the last epoch"),
        ("weight decay", f"{fields.pop('weight_decay')}; none on activation parameters, biases and norms"),
    ]
    del fields["validation"]
    rows += [(key, fields.pop(key)) for key in ("model", "dataset", "task")]
    rows.append(("other settings", ", ".join(f"{key} {value}" for key, value in fields.items())))
    parameters = sorted({record.activation_parameters for record in records})
    span = dict.fromkeys((parameters[0], parameters[-1]))
    rows.append(("activation parameters", " to ".join(f"{n:,}" for n in span)))
    return rows


def _setting_of(records: Sequence[Record], key: str) -> str:
    """A field's value; where the arms of one cell differ in it, which arm has which."""
    holders: dict[str, list[str]] = {}
    by_cell: dict[tuple[str, str], set[str]] = {}
    for record in records:
        value = words.setting(recipe(record)[key])
        holders.setdefault(value, []).append(record.label)
        by_cell.setdefault(record.trial.cell, set()).add(value)
    if all(len(values) == 1 for values in by_cell.values()):
        return ", ".join(sorted(holders))
    return " and ".join(f"{value} ({', '.join(dict.fromkeys(sorted(who)))})" for value, who in sorted(holders.items()))


def method(cells: Sequence[Cell]) -> list[str]:
    arms = sorted({len(cell.others) for cell in cells})
    family = words.count(arms[0], "arm") if len(arms) == 1 else f"{arms[0]} to {arms[-1]} arms"
    scope = " of a model on a data set" if len(cells) > 1 else ""
    return [
        f"Better or worse is said only if both hold: the two-sided sign-flip test over paired seeds has p ≤ {LEVEL:g} "
        f"after Holm over the {family}{scope}, and the 95 % BCa bootstrap interval of the mean paired difference "
        f"excludes zero.",
        "Too few seeds is said where even the most extreme outcome could not reach that level: n pairs give p of at "
        "least 2/2ⁿ, times the number of arms.",
        "Smallest detectable: the true difference that the sign-flip test finds with 80 % power at Holm's first step, "
        "simulated for normal differences of the observed spread.",
        "Pairs won: the share of seeds on which the arm beats the reference, a tie counting half.",
        "A diverged run keeps its measured score; a run without a score is left out of its pair, and both are said.",
    ]


def provenance(records: Sequence[Record]) -> list[tuple[str, str]]:
    packages = sorted({name for record in records for name in record.versions})
    versions = [f"{name} {_values([r.versions[name] for r in records if name in r.versions])}" for name in packages]
    dates = sorted({record.started[:10] for record in records})
    hours = sum(record.seconds for record in records) / 3600
    return [
        ("versions", ", ".join(versions)),
        ("commit", _values([record.commit or "unknown" for record in records])),
        ("device", _values([record.device for record in records])),
        ("run", " to ".join(dict.fromkeys((dates[0], dates[-1])))),
        ("compute", f"{hours:.1f} hours" if hours >= 1 else f"{60 * hours:.1f} minutes"),
        ("throughput", f"{_rate(records)} (a trial's mean, median over trials{_timed(records)})"),
        *data_facts.facts(records),
    ]


def _snippet(record: Record) -> str:
    fields = "\n".join(f"    {key}={value!r}," for key, value in record.trial.to_dict().items())
    return (
        "from bevel_lab.training.run import run\nfrom bevel_lab.experiment.trial import Trial\n\n"
        f"record = run(Trial(\n{fields}\n))\nprint(record.test)  # {record.test[record.metric]!r} {record.metric}"
    )


def _values(values: Sequence[object]) -> str:
    """The one value, or all there are."""
    return ", ".join(dict.fromkeys(sorted(str(value) for value in values)))


def _ranges(seeds: set[int]) -> str:
    """0–9, 12."""
    runs: list[list[int]] = []
    for seed in sorted(seeds):
        if runs and seed == runs[-1][1] + 1:
            runs[-1][1] = seed
        else:
            runs.append([seed, seed])
    return ", ".join(f"{first}" if first == last else f"{first}–{last}" for first, last in runs)
