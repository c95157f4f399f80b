"""Tables of scores that anyone's program wrote: read, with columns that are guessed where they are not named."""

from __future__ import annotations

import csv
import io
import json
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bevel.errors import InvalidValue, UnknownName, did_you_mean
from bevel_lab.report.analysis.cells import ReportError
from bevel_lab.report.analysis.metric import Metric

Row = Mapping[str, Any]

ARMS = ("arm", "method", "algorithm", "activation", "variant", "treatment", "system", "optimizer", "model", "name")
SEEDS = ("seed", "run", "repeat", "replicate", "fold", "trial")
CELLS = ("cell", "dataset", "data_set", "data", "task", "benchmark", "environment", "env", "problem", "model")
SCORES = (
    "score", "accuracy", "test_accuracy", "acc", "test_acc", "top1", "f1", "auc", "auroc", "map", "miou", "iou", "bleu",
    "reward", "return", "loss", "test_loss", "error", "rmse", "mse", "mae", "perplexity", "wer", "cer", "fid",
)  # fmt: skip
"""Names of columns that are taken for what they say, the likeliest first."""
LOWER = (
    "loss", "error", "err", "rmse", "mse", "mae", "perplexity", "ppl", "wer", "cer", "fid", "nll", "latency", "time",
)  # fmt: skip
SHARES = (
    "accuracy", "acc", "top1", "top5", "f1", "auc", "auroc", "map", "miou", "iou", "precision", "recall", "dice",
)  # fmt: skip
MISSING = ("", "nan", "na", "n/a", "null", "none", "-", "–")


@dataclass
class Columns:
    """Which column means what.

    Attributes:
        score, arm: names of columns.
        seed: the column that pairs runs, or "" where there is none.
        cell: columns that tell apart what is judged by itself, such as data sets; () where there is one cell.
        metric: what the scores are.
        said: sentences on what was guessed, and on what is odd in the table.
    """

    score: str
    arm: str
    seed: str
    cell: tuple[str, ...]
    metric: Metric
    said: list[str] = field(default_factory=list)


def read_rows(source: Path) -> dict[str, Row]:
    """Read a CSV file, JSON lines, or all of these in a folder: where a row stands → its text, numbers or None.

    Raises:
        ReportError: if there is nothing to read, or a file is damaged.
    """
    if source.is_dir():
        files = sorted(path for path in source.iterdir() if path.suffix in (".csv", ".tsv", ".jsonl"))
        if not files:
            raise ReportError(f"{source} has no .csv, .tsv or .jsonl file.")
        return {where: row for path in files for where, row in read_rows(path).items()}
    try:
        text = source.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise ReportError(f"{source} is no text in UTF-8; save it as CSV or JSON lines.") from error
    if text.lstrip().startswith("["):
        raise ReportError(f"{source} must hold one JSON object a line; got a JSON array; write it as JSON lines.")
    rows = _json_lines(source, text) if text.lstrip().startswith("{") else _csv(source, text)
    if not rows:
        raise ReportError(f"{source} has no row of scores; give a table with a header and one row a run.")
    return rows


def _csv(source: Path, text: str) -> dict[str, Row]:
    head = text.partition("\n")[0]
    delimiter = max(",;\t", key=head.count)
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter)
    names = next(reader, [])
    rows: dict[str, Row] = {}
    for fields in filter(None, reader):  # an empty line is no row
        where = f"{source}, line {reader.line_num}"
        if len(fields) != len(names):
            raise ReportError(
                f"{where} must have {len(names)} fields as the header has; got {len(fields)}; correct it."
            )
        rows[where] = dict(zip(names, fields, strict=True))
    return rows


def _json_lines(source: Path, text: str) -> dict[str, Row]:
    rows: dict[str, Row] = {}
    for number, line in enumerate(text.split("\n"), start=1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except json.JSONDecodeError as error:
            raise ReportError(f"{source}, line {number}: it is no JSON ({error.msg}).") from None
        if not isinstance(row, dict):
            raise ReportError(f"{source}, line {number}: it is no JSON object.")
        if "trial" in row and "sites" in row:
            raise ReportError(f"{source} holds bevel's own records; `bevel report {source}` judges them.")
        plain = {key: value for key, value in row.items() if not isinstance(value, dict | list)}
        rows[f"{source}, line {number}"] = plain
    return rows


def find_columns(
    placed: Mapping[str, Row],
    *,
    score: str = "",
    arm: str = "",
    seed: str = "",
    cell: Sequence[str] = (),
    lower_is_better: bool | None = None,
) -> Columns:
    """Return the columns that are named, and guess the others; for the arguments see ``read_rows``, ``judge_table``."""
    rows = list(placed.values())
    names = list(dict.fromkeys(name for row in rows for name in row))
    for asked in (score, arm, seed, *cell):
        if asked and asked not in names:
            raise UnknownName(f"there is no column {asked!r}; {did_you_mean(asked, names)}")
    said: list[str] = []
    arm = arm or _first(names, ARMS)
    if not arm:
        raise InvalidValue(f"no column looks like the arm's name; say which with --arm. There are {', '.join(names)}.")
    seed = seed or _first([name for name in names if name != arm], SEEDS)
    cells = tuple(cell) or _cells(rows, [name for name in names if name not in (arm, seed, score)])
    score = score or _score(rows, names, {arm, seed, *cells}, said)
    where = f", cells {' and '.join(cells)}" if cells else ", all rows in one cell"
    guessed = f"Read: score {score}, arm {arm}, {f'seed {seed}' if seed else 'no seed'}{where}"
    metric, reason = _metric(placed, score, lower_is_better)
    better = "lower" if metric.lower_is_better else "higher"
    said.insert(0, f"{guessed}; {better} is better{reason}.")
    return Columns(score, arm, seed, cells, metric, said)


def number(value: Any, where: str) -> float:
    """Read a score; NaN where there is none."""
    if isinstance(value, bool):
        raise ReportError(f"{where}: a score must be a number; got {value}.")
    if value is None or (isinstance(value, str) and value.strip().lower() in MISSING):
        return math.nan
    try:
        found = float(value.strip().rstrip("%") if isinstance(value, str) else value)
    except (TypeError, ValueError):
        raise ReportError(f"{where}: a score must be a number; got {value!r}.") from None
    return found if math.isfinite(found) else math.nan


def _score(rows: Sequence[Row], names: Sequence[str], taken: set[str], said: list[str]) -> str:
    """The column of scores: by its name, or the only one of numbers."""
    free = [name for name in names if name not in taken]
    known = _known(free, SCORES)
    if not known:
        known = [name for name in free if _numeric(row.get(name) for row in rows)]
        if len(known) > 1:
            raise InvalidValue(f"several columns could be the score; say which with --score: {', '.join(known)}.")
    if not known:
        raise InvalidValue(f"no column looks like a score; say which with --score. There are {', '.join(names)}.")
    if len(known) > 1 and known[0].lower() != "score":
        said.append(f"{', '.join(known[1:])} could be the score, too; --score names another than {known[0]}.")
    return known[0]


def _cells(rows: Sequence[Row], free: Sequence[str]) -> tuple[str, ...]:
    """Columns that tell cells apart by their names; others than data set and model only if they differ."""
    known = [name for name in free if "_".join(_words(name)) in CELLS]
    return tuple(n for n in known if n in ("dataset", "model") or len({row.get(n) for row in rows}) > 1)


def _numeric(values: Iterable[Any]) -> bool:
    try:
        return any(math.isfinite(number(value, "")) for value in values)
    except ReportError:
        return False


def _first(names: Sequence[str], known: Sequence[str]) -> str:
    """The name that stands first among the known ones, or ""."""
    return next(iter(_known(names, known)), "")


def _known(names: Sequence[str], known: Sequence[str]) -> list[str]:
    """The names that are known ones, the likeliest first; if none is, those of which a word is: "Run ID", "val/acc"."""
    whole = {name: [known.index(plain)] for name in names if (plain := "_".join(_words(name))) in known}
    parts = {name: [known.index(word) for word in _words(name) if word in known] for name in names}
    found = whole or {name: places for name, places in parts.items() if places}
    return sorted(found, key=lambda name: min(found[name]))


def _words(name: str) -> list[str]:
    return re.findall(r"[a-z]+\d*", name.lower())


def _metric(rows: Mapping[str, Row], score: str, lower_is_better: bool | None) -> tuple[Metric, str]:
    """What the scores are, and why the direction is taken to be so. A report's own ``results.csv`` says it."""
    own = {
        key: {str(row.get(key, "")) for row in rows.values()}
        for key in ("metric", "share", "lower_is_better", "log_scale")
    }
    named = own["metric"].pop() if len(own["metric"]) == 1 else ""
    key = named if named and score == "score" else score
    words = set(_words(key))
    values = [number(row.get(score), f"{where}, {score}") for where, row in rows.items()]
    within = all(0 <= value <= 1 for value in values if value == value)
    share = own["share"] == {"True"} or (own["share"] == {""} and within and bool(words & set(SHARES)))
    if lower_is_better is not None:
        down, reason = lower_is_better, ""
    elif own["lower_is_better"] in ({"True"}, {"False"}):
        down, reason = own["lower_is_better"] == {"True"}, ", as the table says"
    else:
        down = bool(words & set(LOWER))
        reason = ", by its name; --higher-is-better turns it" if down else ", which --lower-is-better turns"
    return Metric(key, share, down, own["log_scale"] == {"True"}), reason
