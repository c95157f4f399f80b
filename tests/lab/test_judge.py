"""``bevel judge``: verdicts on any table of scores, and what it says of odd ones."""

from __future__ import annotations

import csv
import dataclasses
import json
import math
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from synthetic_records import records

from bevel.errors import BevelError
from bevel_lab.cli import main
from bevel_lab.execution.results import Results
from bevel_lab.experiment import folder, settings
from bevel_lab.experiment.record import Record
from bevel_lab.experiment.tuning import Tuning, search
from bevel_lab.report import judge, judge_table, power
from bevel_lab.report.statistics import power as power_of_pairs
from bevel_lab.report.statistics import unpaired
from bevel_lab.report.statistics.arrays import LEVEL
from bevel_lab.report.statistics.comparison import Verdict
from bevel_lab.report.statistics.power import equivalence_power, equivalence_runs
from bevel_lab.report.statistics.sign_flips import sign_flip, within

Rows = list[dict[str, Any]]


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def table(effects: dict[str, float], *, seeds: int = 10, score: str = "accuracy", **fixed: Any) -> Rows:
    """Scores around 0.9 with an sd of 0.003 within a seed; paired by it."""
    draw, shared = rng(3), rng(4).normal(0, 0.02, seeds)
    return [
        {"model": name, "seed": seed, score: 0.9 + shared[seed] + effect + draw.normal(0, 0.003)} | fixed
        for name, effect in effects.items()
        for seed in range(seeds)
    ]


def write(rows: Rows, path: Path, delimiter: str = ",") -> Path:
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, list(dict.fromkeys(key for row in rows for key in row)), delimiter=delimiter)
        writer.writeheader()
        writer.writerows(rows)
    return path


def verdicts(rows: Rows | Path, **options: Any) -> dict[str, Verdict]:
    return {row["arm"]: row["verdict"] for row in judge_table(rows, **options).verdicts()}


# -- the same verdicts as a report's


def test_a_reports_own_results_are_judged_as_the_report_does(tmp_path: Path) -> None:
    made = [
        r
        for d in ("digits", "mnist")
        for r in records(["relu", "gelu", "sau"], seeds=8, epochs=1, dataset=d, effects={"sau": 0.01})
    ]
    own = judge(made, "relu")
    path = write(own.rows(), tmp_path / "results.csv")
    found = judge_table(path, reference="relu")
    for ours, theirs in zip(found.verdicts(), own.verdicts(), strict=True):
        assert {k: str(v) for k, v in ours.items()} | {"time": "", "memory": ""} == {
            k: str(v) for k, v in theirs.items()
        } | {"time": "", "memory": ""}
    assert [cell.title for cell in found.cells] == [cell.title for cell in own.cells]
    assert found.cells[0].metric == own.cells[0].metric
    for ours, theirs in zip(found.cells[0].arms, own.cells[0].arms, strict=True):
        assert (ours.name, ours.index, ours.scores) == (theirs.name, theirs.index, theirs.scores)


@pytest.mark.parametrize("form", ["csv", "semicolons", "jsonl", "folder", "rows"])
def test_every_form_of_a_table_is_read(form: str, tmp_path: Path) -> None:
    rows = table({"base": 0.0, "ours": 0.01})
    source: Any = rows
    if form == "jsonl":
        source = tmp_path / "runs.jsonl"
        source.write_text("".join(json.dumps(row | {"more": {"a": 1}}) + "\n" for row in rows), encoding="utf-8")
    elif form == "folder":
        write(rows[:10], tmp_path / "a.csv")
        write(rows[10:], tmp_path / "b.csv")
        source = tmp_path
    elif form != "rows":
        source = write(rows, tmp_path / "t.csv", ";" if form == "semicolons" else ",")
    judged = judge_table(source)
    assert {row["arm"]: row["verdict"] for row in judged.verdicts()} == {"ours": Verdict.BETTER}
    assert judged.cells[0].metric.points == " points"
    assert judged.said[0].startswith("Read: score accuracy, arm model, seed seed, all rows in one cell; higher is")


@pytest.mark.parametrize("form", ["csv", "jsonl"])
def test_a_name_may_hold_any_character_but_a_line_feed(form: str, tmp_path: Path) -> None:
    odd = "our\u2028\x0b\x85s"  # str.splitlines ends lines there
    rows, source = table({"base": 0.0, odd: 0.01}), tmp_path / f"t.{form}"
    if form == "csv":
        write(rows, source)
    else:
        source.write_text("".join(json.dumps(r, ensure_ascii=False) + "\n" for r in rows), encoding="utf-8")
    assert {row["arm"] for row in judge_table(source).verdicts()} == {odd}


def test_direction_turns_every_rank_share_and_order() -> None:
    """The loss that is lower by as much as the accuracy is higher gives the same words."""
    gains = [r | {"data": d} for d in ("a", "b", "c") for r in table({"base": 0, "mid": 0.007, "ours": 0.01})]
    losses = [{**r, "loss": 1 - r["accuracy"]} for r in gains]
    for row in losses:
        del row["accuracy"]
    up, down = judge_table(gains, reference="base"), judge_table(losses, reference="base")
    assert "lower is better, by its name" in down.said[0]
    assert up.across is not None
    assert down.across is not None
    for a, b in zip(up.verdicts(), down.verdicts(), strict=True):
        assert (a["arm"], a["verdict"]) == (b["arm"], b["verdict"])
        assert a["improvement"] == pytest.approx(b["improvement"])
        assert a["difference"] == pytest.approx(-b["difference"])
        assert (a["low"], a["high"]) == pytest.approx((-b["high"], -b["low"]), abs=2e-4)
    assert [arm.name for arm in down.cells[0].arms] == [arm.name for arm in up.cells[0].arms] == ["base", "ours", "mid"]
    assert [s.rank for s in down.across.standings] == [s.rank for s in up.across.standings] == [3, 1, 2]
    assert "ours and mid are better than base" in down.table()
    assert verdicts(losses, reference="base", lower_is_better=False)["ours"] is Verdict.WORSE


def test_a_record_says_the_direction_and_the_scale_of_its_score(tmp_path: Path) -> None:
    from bevel_lab.report.figures import cost
    from bevel_lab.report.figures.svg import Place

    made = [
        dataclasses.replace(r, test={"error": 10 ** (-r.test["accuracy"])}, metric="error", share=False,
                            lower_is_better=True, log_scale=True)
        for r in records(["relu", "gelu", "sau"], seeds=9, epochs=1, effects={"sau": 0.02, "gelu": -0.02})
    ]  # fmt: skip
    judged = judge(made, "relu")
    (cell,) = judged.cells
    assert [(arm.name, c.verdict) for arm, c in cell.others] == [("sau", Verdict.BETTER), ("gelu", Verdict.WORSE)]
    assert cell.others[0][1].difference == pytest.approx(-0.02, abs=0.005), "a difference of log10"
    assert cell.metric.name == "log10 error"
    page = judged.write(tmp_path).read_text(encoding="utf-8")
    assert "Negative differences favor the activation" in page
    assert "Down is better and left is cheaper" in page
    points = [SimpleNamespace(x=x, y=y) for x, y in ((1.0, 0.5), (2.0, 0.1), (3.0, 0.3))]
    fronts: list[list[int]] = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(cost.plots, "scatter", lambda *_, front, **__: fronts.append(front))
        for sign in (1.0, -1.0):
            cost.cost_panels({"time": points, "memory": []}, Place("x"), "", str, "relu", sign)  # type: ignore[dict-item]
    assert fronts == [[0], [0, 1]]
    again = judge_table(judged.rows(), reference="relu")
    assert [str(row["verdict"]) for row in again.verdicts()] == [str(row["verdict"]) for row in judged.verdicts()]
    assert again.cells[0].metric == cell.metric


def test_tuning_takes_the_lowest_error() -> None:
    one = Tuning(trials=4, space={"lr": {"low": 0.01, "high": 0.5, "log": True}})
    base = records(["relu"], seeds=1, epochs=1)[0]
    for lower in (False, True):
        known: dict[str, Record] = {}

        def run(jobs: list[Any], lower: bool = lower, known: dict[str, Record] = known) -> bool:
            for trial, _ in jobs:
                known[trial.id] = dataclasses.replace(
                    base, trial=trial, test={"error": trial.lr}, metric="error", lower_is_better=lower
                )
            return True

        ((_, point),) = search(one, [(base.trial, "relu")], known, run).items()
        assert point["lr"] == (min if lower else max)(record.trial.lr for record in known.values())


# -- unpaired


def test_welchs_permutation_test_is_scipys() -> None:
    from scipy import stats as scipy_stats

    a, b = rng(1).normal(0, 1, 6), rng(2).normal(1.2, 3, 7)
    exact = scipy_stats.permutation_test(
        (a, b),
        lambda x, y, axis: np.abs(scipy_stats.ttest_ind(x, y, equal_var=False, axis=axis).statistic),
        n_resamples=np.inf,
        alternative="greater",
        vectorized=True,
    )
    assert float(unpaired.welch(a, b, rng())) == pytest.approx(exact.pvalue, abs=1e-12)
    assert float(unpaired.welch(b, a, rng())) == pytest.approx(exact.pvalue, abs=1e-12)
    assert float(unpaired.welch(np.ones(4), np.ones(4), rng())) == 1.0
    assert float(unpaired.welch(np.ones(4), np.zeros(4), rng())) == 2 / math.comb(8, 4)
    many = unpaired.welch(rng(5).normal(0, 1, 12), rng(6).normal(0.9, 1, 12), rng())
    assert float(many) == pytest.approx(
        scipy_stats.ttest_ind(rng(5).normal(0, 1, 12), rng(6).normal(0.9, 1, 12), equal_var=False).pvalue, abs=0.02
    )


@pytest.mark.parametrize(
    ("high", "low", "sd"), [(0.9, 0.8, 0), (91.3, 90.7, 0), (91.3, 90.7, 1e-3), (9130, 9070, 1e-3)]
)
def test_groups_apart_have_the_least_p_despite_rounding(high: float, low: float, sd: float) -> None:
    first, second = high + sd * rng(7).normal(size=(40, 5)), low + sd * rng(8).normal(size=(40, 5))
    assert set(unpaired.welch(first, second, rng())) == {unpaired.least_p(5, 5)[0]}
    assert set(unpaired.within(first, first + sd / 9, high - low, rng())) == {unpaired.least_p(5, 5)[1]}


def test_fewer_than_five_runs_without_pairs_get_no_verdict_and_are_told_so() -> None:
    rows = [row | {"seed": k} for k, row in enumerate(table({"base": 0, "ours": 0.5}, seeds=4))]
    (c,) = [c for _, c in judge_table(rows, margin=200.0).cells[0].others]
    assert (c.paired, c.verdict, c.needed, c.detectable) == (False, Verdict.TOO_FEW, 5, math.inf)
    assert unpaired.equivalence_power(4, 100.0, 1) == 0.0
    assert unpaired.smallest_effect(4, 9, 1) == math.inf


def test_groups_are_compared_where_no_seed_repeats() -> None:
    rows = table({"base": 0, "ours": 0.05, "same": 0}, seeds=9)
    for number, row in enumerate(rows):
        row["seed"] = number
    judged = judge_table(rows)
    c = {arm.name: c for arm, c in judged.cells[0].others}
    assert not c["ours"].paired
    assert (c["ours"].verdict, c["same"].verdict) == (Verdict.BETTER, Verdict.NO_EVIDENCE)
    assert c["ours"].low < c["ours"].difference < c["ours"].high
    assert any(line.startswith("Compared with base as groups (Welch") for line in judged.said)
    uneven = judge_table([row for row in rows if row["model"] != "ours" or row["seed"] % 9 < 6])
    found = {arm.name: c for arm, c in uneven.cells[0].others}
    for name, runs in (("ours", 6), ("same", 9)):
        assert found[name].detectable == pytest.approx(found[name].sd * unpaired.smallest_effect(runs, 9, 2))
    for row in rows:
        del row["seed"]
    assert [r["verdict"] for r in judge_table(rows).verdicts()] == [r["verdict"] for r in judged.verdicts()]
    assert {c.needed for c in c.values()} == {unpaired.runs_needed(2)} == {5}
    with pytest.raises(BevelError, match="pairs need a column that says which runs belong together"):
        judge_table(rows, paired=True)


# -- odd tables


def _changed(change: Callable[[Rows], Any]) -> Rows:
    rows = table({"base": 0.0, "ours": 0.01})
    change(rows)
    return rows


ODD: dict[str, tuple[Callable[[Rows], Any], str]] = {
    "equal duplicates": (lambda rows: rows.append(dict(rows[3])), "1 row repeats another one and count once"),
    "no score": (lambda rows: rows[12].update(accuracy="nan"), "ours has no score in 1 of 10 runs"),
    "equal duplicates without a score": (
        lambda rows: rows.extend([rows.pop() | {"accuracy": "nan"}] * 2),
        "1 row repeats another one and count once",
    ),
    "infinite": (lambda rows: rows[12].update(accuracy=math.inf), "ours has no score in 1 of 10 runs"),
    "missing pairs": (lambda rows: rows.__delitem__(slice(12, 14)), "2 seeds of ours or base have no partner"),
    "ties": (lambda rows: rows[12].update(accuracy=rows[2]["accuracy"]), "ours and base tie on 1 of 10 seeds"),
    "one run": (lambda rows: rows.__delitem__(slice(11, 20)), "ours has one run, which says nothing of the spread"),
    "few runs": (lambda rows: rows.__delitem__(slice(13, 20)), "3 runs of ours are too few for an interval"),
    "no spread": (lambda rows: [r.update(accuracy=0.5) for r in rows[10:]], "ours has the same score in all 10 runs"),
    "text seeds": (lambda rows: [r.update(seed=f"s{r['seed']}") for r in rows], "Seeds such as 's0' are text"),
    "per cent signs": (lambda rows: [r.update(accuracy=f"{r['accuracy']}%") for r in rows], "Scores with a % sign"),
    "two units": (
        lambda rows: [r.update(accuracy=100 * r["accuracy"]) for r in rows[10:]],
        "ours look like per cent and base like fractions of one",
    ),
    "several scores": (lambda rows: [r.update(f1=0.5) for r in rows], "f1 could be the score, too"),
    "guessed reference": (lambda rows: None, "The reference is base, by its name"),
    "no known reference": (lambda rows: [r.update(model=f"m_{r['model']}") for r in rows], "is m_base, the first arm"),
    "a cell without an arm": (
        lambda rows: rows.extend(r | {"task": "b"} for r in rows[:10]),
        "ours has no run in b",
    ),
    "a cell without the reference": (
        lambda rows: rows.extend(r | {"task": "b"} for r in rows[10:]),
        "base has no run in b: nothing is compared there",
    ),
}


@pytest.mark.parametrize("case", ODD)
def test_what_is_odd_is_said(case: str) -> None:
    change, text = ODD[case]
    judged = judge_table(_changed(change))
    assert any(text in line for line in judged.said), judged.said
    assert judged.table()


REFUSED: dict[str, tuple[Callable[[Rows], Any], dict[str, Any], str]] = {
    "unequal duplicates": (
        lambda rows: rows.append(rows[3] | {"accuracy": 0.1}), {}, "base has two scores with seed 3, 0.* and 0.1;",
    ),
    "text for a score": (lambda rows: rows[3].update(accuracy="good"), {}, "row 4, accuracy: .* a number; got 'good'"),
    "no such column": (lambda rows: None, {"score": "acuracy"}, "no column 'acuracy'; did you mean 'accuracy'"),
    "no such arm": (lambda rows: None, {"reference": "relu"}, "no arm is called 'relu'; there are base, ours"),
    "no score column": (lambda rows: [r.pop("accuracy") for r in rows], {}, "no column looks like a score"),
    "no arm column": (lambda rows: [r.pop("model") for r in rows], {}, "no column looks like the arm's name"),
    "which score": (
        lambda rows: [(r.pop("accuracy"), r.update(x=1.0, y=2.0)) for r in rows], {}, "several columns .*: x, y",
    ),
    "empty": (lambda rows: rows.clear(), {}, "there are no rows"),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_be_judged_is_refused(case: str) -> None:
    change, options, text = REFUSED[case]
    with pytest.raises(BevelError, match=text):
        judge_table(_changed(change), **options)


def test_columns_are_known_by_a_word_of_their_names() -> None:
    rows = [
        {"Method": r["model"], "Run ID": r["seed"], "Data Set": d, "val/Top-1 acc": r["accuracy"], "seconds": 3.0}
        for d in ("a", "b")
        for r in table({"base": 0, "ours": 0.01})
    ]
    judged = judge_table(rows)
    assert judged.said[0].startswith("Read: score val/Top-1 acc, arm Method, seed Run ID, cells Data Set; higher is")
    assert judged.cells[0].metric.share


def test_seeds_that_are_equal_numbers_are_one() -> None:
    rows = table({"base": 0, "ours": 0.01})
    for row in rows[10:]:
        row["seed"] = f"0{row['seed']}.0"
    assert judge_table(rows).cells[0].others[0][1].pairs == 10


def test_seeds_beyond_floats_whole_numbers_stay_apart() -> None:
    rows = [row | {"seed": 2**60 + row["seed"]} for row in table({"base": 0, "ours": 0.01})]
    assert set(judge_table(rows).cells[0].reference.scores) == {2**60 + k for k in range(10)}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("model,acc\na,1\n\nb,much\n", "t.csv, line 4, acc: a score must be a number; got 'much'"),
        ("model,acc\na,1\nb\n", "t.csv, line 3 must have 2 fields as the header has; got 1; correct it."),
        ("model,acc\na,1,2\n", "t.csv, line 2 must have 2 fields as the header has; got 3; correct it."),
        ('{"model": "a", "acc": true}\n', "t.csv, line 1, acc: a score must be a number; got True"),
        ("just words\n", "t.csv has no row of scores; give a table with a header and one row a run."),
        ('[{"model": "a", "acc": 1}]', "must hold one JSON object a line; got a JSON array; write it as JSON lines."),
    ],
)
def test_what_is_wrong_in_a_file_is_said_with_its_place(text: str, said: str, tmp_path: Path) -> None:
    write(table({"base": 0, "ours": 0.01}, score="acc"), tmp_path / "a.csv")
    (tmp_path / "t.csv").write_text(text, encoding="utf-8")
    with pytest.raises(BevelError, match=re.escape(said)):
        judge_table(tmp_path)


# -- the command


def test_the_command_prints_and_writes_everything(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = write(table({"base": 0, "ours": 0.01, "same": 0}), tmp_path / "runs.csv")
    out = tmp_path / "judged"
    assert main(["judge", str(path), "--margin", "1", "--reference", "base", "--out", str(out)]) == 0
    said = capsys.readouterr().out
    for part in (
        "Read: score accuracy",
        "ours is better than base by",
        "same is equivalent to base: the difference is",
    ):
        assert part in said
        assert part.split(":")[0] in (out / "report.md").read_text(encoding="utf-8")
    assert sorted(p.name for p in out.iterdir()) == ["img", "report.md", "table.md", "table.tex", "verdicts.csv"]
    assert len(list((out / "img").glob("*.svg"))) == 2
    assert "time ×" not in said
    assert (
        judge_table(path).write(tmp_path / "silent").read_text(encoding="utf-8").startswith("# Scores compared\n\n##")
    )
    assert main(["judge", str(path), "--paired", "--unpaired"]) == 2
    assert main(["judge", str(tmp_path / "none.csv")]) == 2


@pytest.mark.process
def test_judging_imports_no_torch(tmp_path: Path) -> None:
    path = write(table({"base": 0, "ours": 0.01}), tmp_path / "runs.csv")
    code = (
        "import sys; from bevel_lab.cli import main; "
        f"code = main(['judge', {str(path)!r}]); sys.exit(code or 'torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


# -- equivalence


def test_two_one_sided_tests_are_those_of_the_shifted_pairs() -> None:
    d = rng(1).normal(0.1, 0.5, (40, 8))
    found = within(d, 0.5, rng())
    for row, p in zip(d, found, strict=True):
        signs = np.array([[1 - 2 * (k >> i & 1) for i in range(8)] for k in range(256)])
        both = [((signs * x).sum(1) >= x.sum() - 1e-12).mean() for x in (0.5 + row, 0.5 - row)]
        assert float(p) == pytest.approx(max(both))


@pytest.mark.parametrize(("sd", "power"), [(0.5, 0.80), (0.7, 0.37), (1.0, 0.06)])
def test_the_power_of_ten_seeds_at_half_a_point(sd: float, power: float) -> None:
    assert equivalence_power(10, 0.5 / sd, 1) == pytest.approx(power, abs=0.03)
    p = within(rng(2).normal(0, sd, (1_000, 10)), 0.5, rng())
    assert float((p <= LEVEL).mean()) == pytest.approx(power, abs=0.05)


def test_the_seeds_that_settle_it_are_the_fewest() -> None:
    for module, arms, margin in ((power_of_pairs, 1, 0.5), (power_of_pairs, 5, 1.0), (unpaired, 2, 1.0)):
        runs = module.equivalence_runs(margin, arms)
        assert module.equivalence_power(runs, margin, arms) >= 0.8 > module.equivalence_power(runs - 1, margin, arms)


def test_a_verdict_against_a_margin() -> None:
    rows = table({"base": 0, "same": 0, "slightly": 0.005, "much": 0.03})
    judged = judge_table(rows, margin=1.5, reference="base")
    c = {arm.name: c for arm, c in judged.cells[0].others}
    assert {name: one.verdict for name, one in c.items()} == {
        "same": Verdict.EQUIVALENT, "slightly": Verdict.BETTER, "much": Verdict.BETTER,
    }  # fmt: skip
    assert (c["slightly"].within, c["much"].within) == (True, False)
    text = judged.table()
    assert "better, by less than the margin" in text
    assert "same is equivalent to base: the difference is smaller than 1.50 points." in text
    assert "The difference of slightly is smaller than the margin of 1.50 points." in text
    strict = judge_table(rows, margin=0.1, reference="base")
    (same,) = [c for arm, c in strict.cells[0].others if arm.name == "same"]
    assert same.verdict is Verdict.NOT_SETTLED
    assert f"is not settled; {same.settle} seeds would." in strict.table()
    assert same.settle == equivalence_runs(same.margin / same.sd, 3)
    assert {c.verdict for _, c in judge_table(rows).cells[0].others} >= {Verdict.NO_EVIDENCE}


def test_a_report_of_records_shows_what_the_margin_says(tmp_path: Path) -> None:
    made = [
        r
        for d in ("digits", "mnist")
        for r in records(["relu", "gelu", "sau", "frelu"], seeds=10, epochs=1, dataset=d, effects={"sau": 0.006})
    ]
    judged = judge(made, "relu", margin=0.8)
    page = judged.write(tmp_path).read_text(encoding="utf-8")
    assert "Smaller than 0.80 points? cnn on digits" in page
    assert "better<small>by less than the margin</small>" in page.replace("\n", "")
    assert "Equivalent is said where a margin was named" in page
    judged.write_markdown(tmp_path / "page.md", command="", asked=[("gelu", "relu"), ("sau", "relu"), ("sau", "frelu")])
    first, second, third = re.findall("^- (.*)", (tmp_path / "page.md").read_text(encoding="utf-8"), re.MULTILINE)[:3]
    assert first.startswith("gelu is equivalent to relu on the average of 2 cells: the difference is smaller than 0.80")
    assert second.startswith("sau is better than relu on the average of 2 cells, by less than 0.80 points (mean")
    assert third.startswith("sau is better than frelu on the average of 2 cells")
    assert {row["margin"] for row in judged.verdicts()} == {0.008}


def test_without_enough_seeds_no_margin_helps() -> None:
    assert verdicts(table({"base": 0, "same": 0}, seeds=4), margin=50.0) == {"same": Verdict.TOO_FEW}


def test_an_experiment_names_its_margin_before_the_run_and_keeps_it(tmp_path: Path) -> None:
    asked = {"activations": ["gelu"], "model": "mlp", "seeds": 2}
    one, other = (settings.resolve(asked | {"margin": margin}) for margin in (0.5, 1.0))
    assert settings.resolve(settings.amounting_to(one)) == one
    folder.merge(tmp_path, one)
    assert folder.read(tmp_path) == one
    with pytest.raises(BevelError, match=r"another experiment \(margin is 0.5 there and 1.0 here\)"):
        folder.merge(tmp_path, other)
    assert settings.resolve(settings.checked(asked | {"margin": 1})) == other
    for wrong in ("much", True):
        with pytest.raises(BevelError, match=f"margin must be a number; got {wrong!r}"):
            settings.checked({"margin": wrong})
    with pytest.raises(BevelError, match="margin must be a number, at least 0; got -1"):
        settings.resolve(asked | {"margin": -1.0})
    made = records(["relu", "gelu"], seeds=10, epochs=1)
    own, from_file = Results(made, "relu", experiment=one, margin=0.5), Results(made, "relu")
    assert own.judgement.cells[0].others[0][1].margin == pytest.approx(0.005)
    assert Results.join([own]).margin == 0.5
    assert (Results.join([from_file]).margin, Results.join([from_file], margin=0.3).margin) == (0.0, 0.3)
    with pytest.raises(BevelError, match="the margins differ"):
        Results.join([own], margin=0.3)


@pytest.mark.parametrize("seeds", [1, 2, 4, 5])
def test_fewer_than_five_pairs_have_no_interval(seeds: int, tmp_path: Path) -> None:
    made = [r for d in ("a", "b") for r in table({"base": 0, "ours": 0.01}, seeds=seeds, dataset=d)]
    judged = judge_table(made, margin=1.0)
    c, whole = judged.cells[0].others[0][1], judged.across
    assert whole is not None
    found = [c.low, c.high, c.within_low, whole.others[0][1].low]
    found += [e.low for s in whole.standings for e in (s.iqm, s.won) if e]
    assert [math.isfinite(value) for value in found] == [seeds >= 5] * len(found)
    judged.write(tmp_path)
    assert " to +" not in (tmp_path / "table.md").read_text(encoding="utf-8") or seeds >= 5


# -- power


def test_the_seeds_of_a_plan_are_the_fewest_that_find_the_difference() -> None:
    found = power(sd=0.3, difference=0.2, arms=5)
    assert found.difference <= 0.2 < power(sd=0.3, seeds=found.seeds - 1, arms=5).difference
    p = sign_flip(rng(3).normal(0.2, 0.3, (600, found.seeds)), rng(4))
    assert float((p <= LEVEL / 5).mean()) == pytest.approx(0.8, abs=0.05)
    within = equivalence_power(found.seeds, found.margin / 0.3, 5)
    assert within == pytest.approx(0.8, abs=1e-3)
    alone = power(sd=0.3, difference=0.2, paired=False)
    assert alone.seeds > found.seeds
    assert power(sd=0.3, seeds=5, arms=1).difference == math.inf
    many = power(sd=1.0, difference=0.014, paired=False).seeds
    assert 65_536 < many < 100_000, "between a power of two and the most that are tried"
    assert unpaired.smallest_effect(many, many, 1) <= 0.014 < unpaired.smallest_effect(many - 1, many - 1, 1)


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"sd": 0.0, "seeds": 3}, "sd must be a number above 0"),
        ({"sd": 1.0}, "give difference, to learn the seeds, or seeds"),
        ({"sd": 1.0, "seeds": 1}, "seeds must be a whole number, at least 2"),
        ({"sd": 1.0, "difference": -1.0}, "difference must be a number above 0"),
        ({"sd": 1.0, "seeds": 9, "arms": 0}, "arms must be a whole number, at least 1"),
        ({"sd": 1.0, "seeds": 9, "power": 1.0}, "power must lie between 0 and 1"),
        ({"sd": 1.0, "difference": 1e-6, "paired": False}, "no number of seeds below 100,000"),
    ],
)
def test_a_plan_of_impossible_numbers_is_refused(options: dict[str, Any], text: str) -> None:
    with pytest.raises(BevelError, match=text):
        power(**options)


def test_the_power_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["power", "--sd", "0.3", "--seeds", "10", "--arms", "5"]) == 0
    assert capsys.readouterr().out.startswith("10 seeds find a true difference of 0.4")
    path = write(table({"base": 0, "ours": 0.01}), tmp_path / "pilot.csv")
    assert main(["power", str(path)]) == 0
    said = capsys.readouterr().out
    (c,) = [c for _, c in judge_table(path).cells[0].others]
    (found,) = re.findall(r"ours in all runs: 10 seeds find a true difference of ([\d.]+),", said)
    assert float(found) == pytest.approx(100 * c.detectable, rel=0.05), "as the report's detectable difference"
    for flag, rule in (("--seeds", "seeds must be a whole number, at least 2"), ("--difference", "number above 0")):
        assert main(["power", str(path), flag, "0"]) == 2
        assert rule in capsys.readouterr().err
    assert main(["power", "--seeds", "3"]) == 2
    assert "give --sd" in capsys.readouterr().err
