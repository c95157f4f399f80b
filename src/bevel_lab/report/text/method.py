"""What a report says about its method: protocol, statistics and provenance."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from bevel_lab.experiment.record import Record
from bevel_lab.report.analysis import data_facts
from bevel_lab.report.analysis.cells import Cell, recipe
from bevel_lab.report.analysis.throughput import share_of_plain_loop, throughput
from bevel_lab.report.statistics.arrays import LEVEL
from bevel_lab.report.text import equivalence, words


def protocol(records: Sequence[Record]) -> list[tuple[str, str]]:
    """Return (term, text) on what all trials share, and where they differ."""
    recipes = [(recipe(record), record) for record in records]
    fields = {key: _setting(recipes, key) for key in recipes[0][0]}
    share = values_of([f"{100 * record.trial.validation:g} %" for record in records])
    rows = [
        ("seeds", _ranges({record.trial.seed for record in records})),
        ("pairing", "all arms of a seed share split, initial weights, order of samples and augmentation"),
        (
            "split",
            f"{share} of the training part held out for validation, unless the data set brings a part of its own; "
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


def _setting(recipes: Sequence[tuple[Mapping[str, Any], Record]], key: str) -> str:
    """Return a field's value; if arms of one cell differ in it, each value names its arms."""
    found = [(words.setting(fields[key]), record.label) for fields, record in recipes]
    by_cell = {(record.trial.cell, value) for (_, record), (value, _) in zip(recipes, found, strict=True)}
    if len(by_cell) == len({cell for cell, _ in by_cell}):
        return values_of([value for value, _ in found])
    return data_facts.by_value(found)


def method(cells: Sequence[Cell]) -> list[str]:
    arms = sorted({len(cell.others) for cell in cells})
    family = words.count(arms[0], "arm") if len(arms) == 1 else f"{arms[0]} to {arms[-1]} arms"
    scope = " of a model on a data set" if len(cells) > 1 else ""
    compared = [c for cell in cells for _, c in cell.others]
    said = [*_difference(family, scope)] if any(c.paired for c in compared) or not compared else []
    said += [UNPAIRED.format(family=family, scope=scope)] if not all(c.paired for c in compared) else []
    said += [equivalence.METHOD] if any(c.margin for c in compared) else []
    return said


UNPAIRED = (
    "Where no two runs share a seed, better or worse needs a two-sided permutation test of Welch's t with p ≤ 0.05 "
    "after Holm over the {family}{scope}, and a 95 % BCa interval of the difference of the means that excludes zero."
)


def _difference(family: str, scope: str) -> list[str]:
    return [
        f"Better or worse is said only if both hold: the two-sided sign-flip test over paired seeds has p ≤ {LEVEL:g} "
        f"after Holm over the {family}{scope}, and the 95 % BCa bootstrap interval of the mean paired difference "
        f"excludes zero.",
        "Too few seeds is said where even the most extreme outcome could not reach that level: n pairs give p of at "
        "least 2/2ⁿ, times the number of arms.",
        "Smallest detectable: the true difference that the sign-flip test finds with 80 % power at Holm's first step, "
        "simulated for normal differences of the observed spread.",
        "Pairs won: the share of seeds on which the arm beats the reference, a tie counting half.",
        "A diverged run keeps its measured score; a run without a score is skipped with its pair, and both are said.",
    ]


def provenance(records: Sequence[Record]) -> list[tuple[str, str]]:
    packages = sorted({name for record in records for name in record.versions})
    versions = [f"{name} {values_of([r.versions[name] for r in records if name in r.versions])}" for name in packages]
    dates = sorted({record.started[:10] for record in records})
    hours = sum(record.seconds for record in records) / 3600
    return [
        ("versions", ", ".join(versions)),
        ("commit", values_of([record.commit or "unknown" for record in records])),
        ("device", values_of([record.device for record in records])),
        ("run", " to ".join(dict.fromkeys((dates[0], dates[-1])))),
        ("compute", f"{hours:.1f} hours" if hours >= 1 else f"{60 * hours:.1f} minutes"),
        ("throughput", f"{speed(records)} (a trial's mean, median over trials{_timed(records)})"),
        *data_facts.facts(records),
    ]


def speed(records: Sequence[Record]) -> str:
    """Return the throughput, and its share of a plain training loop's if that was timed."""
    text, share = f"{throughput(records):,.0f} samples a second", share_of_plain_loop(records)
    return f"{text}, {100 * share:.0f} % of a plain training loop's" if share > 0 else text


def _timed(records: Sequence[Record]) -> str:
    """Say in how many trials a plain loop was timed, unless that is all or none."""
    timed = sum(record.bare_seconds > 0 for record in records)
    return f"; a plain loop was timed in {timed} of {len(records)}" if 0 < timed < len(records) else ""


def values_of(values: Sequence[object]) -> str:
    """Join the different values."""
    return ", ".join(sorted({str(value) for value in values}))


def _ranges(seeds: set[int]) -> str:
    """Write seeds as ranges: 0–9, 12."""
    runs: list[list[int]] = []
    for seed in sorted(seeds):
        if runs and seed == runs[-1][1] + 1:
            runs[-1][1] = seed
        else:
            runs.append([seed, seed])
    return ", ".join(f"{first}" if first == last else f"{first}–{last}" for first, last in runs)
