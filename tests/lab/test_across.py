"""Several cells together: each number against scipy's own or a plain loop, and what the report says of them."""

from __future__ import annotations

import csv
import dataclasses
import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from synthetic_records import records

from bevel_lab.experiment.record import Record
from bevel_lab.report import judge
from bevel_lab.report.analysis.across import Across, judge_across
from bevel_lab.report.analysis.cells import Cell, ReportError, judge_cells
from bevel_lab.report.analysis.pairs import judge_pairs
from bevel_lab.report.analysis.published import results
from bevel_lab.report.analysis.throughput import share_of_plain_loop
from bevel_lab.report.statistics import aggregate
from bevel_lab.report.statistics.comparison import Verdict
from bevel_lab.report.text import across, findings, pairs, published, tables, words

PLACES = (("digits", "cnn"), ("mnist", "lenet"), ("cifar100", "resnet18"))
LABELS = ("relu", "sau", "swish", "gelu")


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


@pytest.fixture(scope="module")
def many() -> list[Record]:
    """Three cells; swish is better everywhere, gelu in the third."""
    found = []
    for i, (dataset, model) in enumerate(PLACES):
        effects = {"swish": 0.006, "gelu": 0.008 if i == 2 else 0.0}
        found += records(LABELS, effects=effects, dataset=dataset, model=model, epochs=3, draw=i, seeds=12)
    return found


@pytest.fixture(scope="module")
def judged(many: list[Record]) -> list[Cell]:
    return judge_cells(many, "relu")


@pytest.fixture(scope="module")
def together(judged: list[Cell]) -> Across:
    found = judge_across(judged)
    assert found is not None
    return found


# -- the numbers


def test_the_interquartile_mean_forgets_both_outer_quarters() -> None:
    numbers = np.array([-100.0, 1, 2, 3, 4, 5, 6, 900])
    assert float(aggregate.iqm([numbers])) == 3.5
    assert float(aggregate.iqm([numbers[:3], numbers[3:]])) == 3.5
    np.testing.assert_allclose(aggregate.iqm([np.stack([numbers, 2 * numbers])]), [3.5, 7])


def test_pairs_won_weigh_every_cell_alike() -> None:
    assert float(aggregate.won([np.array([1.0, 1, -1, 0]), np.array([-1.0])])) == pytest.approx((0.625 + 0) / 2)


def test_the_stratified_interval_is_scipys_where_there_is_one_stratum() -> None:
    from scipy import stats as scipy_stats

    row = rng(1).normal(0.2, 1, 30)
    found = aggregate.stratified([row], aggregate.iqm, rng(2), 40_000)
    theirs = scipy_stats.bootstrap(
        (row,), lambda x, axis: scipy_stats.trim_mean(x, 0.25, axis=axis), method="percentile", n_resamples=40_000,
        rng=rng(3),
    ).confidence_interval  # fmt: skip
    assert (found.low, found.high) == pytest.approx(tuple(theirs), abs=0.02)
    assert found.low < found.value < found.high
    assert aggregate.stratified([row], aggregate.iqm, rng(2)) == aggregate.stratified([row], aggregate.iqm, rng(2))
    assert aggregate.stratified([row], aggregate.iqm, rng(2)) != aggregate.stratified([row], aggregate.iqm, rng(4))


def test_strata_are_not_mixed() -> None:
    # without strata the share of the far cell would vary from resample to resample; within them nothing can
    found = aggregate.stratified([np.zeros(5), np.full(5, 9.0)], lambda s: np.concatenate(s, axis=-1).mean(-1), rng())
    assert (found.low, found.value, found.high) == (4.5, 4.5, 4.5)


@pytest.mark.parametrize(("arms", "q"), [(2, 1.960), (4, 2.569), (10, 3.164)])
def test_the_critical_difference_is_that_of_the_tables(arms: int, q: float) -> None:
    # q at 5 % as tabulated by Demšar (2006, table 5a)
    expected = q * math.sqrt(arms * (arms + 1) / (6 * 14))
    assert aggregate.critical_difference(14, arms) == pytest.approx(expected, abs=1e-3)


def test_ranks_are_what_counting_gives() -> None:
    from scipy import stats as scipy_stats

    scores = rng(3).integers(0, 6, (14, 4)) / 10
    found = aggregate.ranks(scores)
    for arm in range(4):
        above = (scores > scores[:, [arm]]).sum(axis=1)
        level = (scores == scores[:, [arm]]).sum(axis=1)
        assert found.mean[arm] == pytest.approx((above + (level + 1) / 2).mean())
    assert found.p == pytest.approx(scipy_stats.friedmanchisquare(*scores.T).pvalue)


def test_too_few_cells_for_ranks_and_arms_that_all_tie() -> None:
    few = aggregate.ranks(np.array([[1.0, 2, 3], [1, 2, 3]]))
    assert not few.possible
    assert few.groups == ((2, 1, 0),)
    tied = aggregate.ranks(np.ones((5, 3)))
    assert (tied.p, tied.mean.tolist()) == (1.0, [2, 2, 2])
    assert math.isnan(aggregate.ranks(np.array([[1.0, 2]] * 9)).p)


def test_groups_are_the_longest_runs_within_the_critical_difference() -> None:
    scores = np.tile(np.array([5.0, 4, 3, 2, 1]), (12, 1))
    found = aggregate.ranks(scores)
    assert 1 < found.critical < 2
    assert found.groups == ((0, 1), (1, 2), (2, 3), (3, 4))


@given(st.lists(st.tuples(st.integers(0, 9), st.integers(0, 9)), min_size=1, max_size=12))
def test_the_front_is_what_no_point_beats(points: list[tuple[int, int]]) -> None:
    front = aggregate.pareto([c for c, _ in points], [g for _, g in points])
    for i, (cost, gain) in enumerate(points):
        beaten = any(c <= cost and g >= gain and (c, g) != (cost, gain) for c, g in points)
        assert beaten == (points[i] not in [points[j] for j in front])
    assert [points[j][0] for j in front] == sorted(points[j][0] for j in front)


# -- cells together


def test_the_average_over_cells_is_one_difference_a_seed(many: list[Record], together: Across) -> None:
    scores = {(r.label, r.trial.dataset, r.trial.seed): r.test["accuracy"] for r in many}
    for standing, c in together.others:
        by_seed = [np.mean([scores[standing.name, d, s] - scores["relu", d, s] for d, _ in PLACES]) for s in range(12)]
        assert c.pairs == 12
        assert c.difference == pytest.approx(np.mean(by_seed))
        assert standing.iqm is not None
        assert standing.iqm.low <= standing.iqm.value <= standing.iqm.high
    best = together.others[0]
    assert (best[0].name, best[1].verdict) == ("swish", Verdict.BETTER)
    assert together.reference.name == "relu"


def test_the_reports_family_is_holm_over_everything(judged: list[Cell], together: Across) -> None:
    p = {(cell.title, arm.name): c.p for cell in judged for arm, c in cell.others}
    order = sorted(p, key=p.__getitem__)
    trainer = 0.0
    for i, key in enumerate(order):
        trainer = max(trainer, min(1.0, p[key] * (len(p) - i)))
        assert together.family[key][0] == pytest.approx(trainer)
    assert together.needed == 9  # nine comparisons: 9 · 2 / 2**9 = 0.035


def test_a_verdict_that_falls_with_the_family_loses_its_mark(together: Across) -> None:
    head, *lines = across.matrix(together)
    assert head[1:] == [cell.title for cell in together.cells]
    found = {(line[0], title): text for line in lines for title, text in zip(head[1:], line[1:], strict=True)}
    for (title, arm), (_, verdict) in together.family.items():
        assert found[arm, title].endswith("*") == (verdict in (Verdict.BETTER, Verdict.WORSE))
    assert any(text.endswith("better*") for text in found.values())


def test_ten_pairs_in_a_large_report_are_said_to_be_too_few() -> None:
    found = [r for d, m in PLACES for r in records(dataset=d, model=m, epochs=1, seeds=9)]
    together = judge_across(judge_cells(found, "relu"))
    assert together is not None
    assert "the report's 21 comparisons would need 11 paired seeds" not in across.notes(together)[0]
    assert "the report's 21 comparisons would need 10 paired seeds" in across.notes(together)[0]


def test_an_arm_that_is_missing_somewhere_is_skipped_and_named(many: list[Record]) -> None:
    kept = [r for r in many if (r.label, r.trial.dataset) != ("gelu", "mnist")]
    found = judge_across(judge_cells(kept, "relu"))
    assert found is not None
    assert found.partial == ("gelu",)
    assert "gelu did not run in every cell and is skipped here." in across.notes(found)
    assert ("cnn on digits", "gelu") in found.family
    line = next(line for line in across.matrix(found) if line[0] == "gelu")
    assert line.count(words.NONE) == 1


def test_a_run_without_a_score_costs_its_seed_and_the_ranks_stay(many: list[Record]) -> None:
    lost = [
        dataclasses.replace(r, test={"loss": math.nan, "accuracy": math.nan})
        if (r.label, r.trial.dataset, r.trial.seed) == ("sau", "mnist", 4)
        else r
        for r in many
    ]
    found = judge_across(judge_cells(lost, "relu"))
    assert found is not None
    assert {s.name: c.pairs for s, c in found.others} == {"swish": 12, "gelu": 12, "sau": 11}
    assert found.ranks is not None


def test_one_cell_or_unlike_metrics_are_not_put_together(many: list[Record]) -> None:
    assert judge_across(judge_cells([r for r in many if r.trial.dataset == "mnist"], "relu")) is None
    other = [
        dataclasses.replace(r, metric="bleu", share=False, test={"bleu": 30.0}) if r.trial.dataset == "mnist" else r
        for r in many
    ]
    assert judge_across(judge_cells(other, "relu")) is None


# -- files and words


def test_the_tables_and_the_page_show_all_of_it(many: list[Record], together: Across, tmp_path: Path) -> None:
    spent = {r.trial.id: 0.9 * r.train_seconds / r.samples for r in many if r.trial.model == "lenet"}
    timed = [dataclasses.replace(r, bare_seconds=spent.get(r.trial.id, 0.0)) for r in many]
    page = judge(timed, "relu").write(tmp_path, notes=["Twenty <trials> an arm."]).read_text()
    markdown, latex = ((tmp_path / name).read_text(encoding="utf-8") for name in ("table.md", "table.tex"))
    for sentence in (*across.answer(together), *across.notes(together)):
        assert tables.escaped(sentence) in markdown
        assert sentence.replace("'", "&#39;").replace("<", "&lt;") in page
    assert "### Across 3 cells" in markdown
    assert "### Published, not reproduced here" in markdown
    assert latex.count(r"\toprule") == len(PLACES) + 3
    assert "Twenty &lt;trials&gt; an arm." in page
    said = page.count("samples a second, 90 % of a plain training loop")
    assert said == 2, "of the cell that was timed, and of all trials that know it"
    slow = [dataclasses.replace(r, bare_seconds=2.79 * r.train_seconds / r.samples) for r in many]
    assert math.isnan(share_of_plain_loop(slow)), "a trial is not faster than the loop that does less"
    with (tmp_path / "verdicts.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 3 * len(PLACES) + 3
    for row in rows:
        if row["dataset"]:
            p, verdict = together.family[f"{row['model']} on {row['dataset']}", row["arm"]]
            assert (float(row["report_p"]), row["report_verdict"]) == (pytest.approx(p), verdict)
        else:
            assert float(row["iqm_low"]) <= float(row["iqm"]) <= float(row["iqm_high"])


def test_figures_over_cells_show_every_cell(together: Across) -> None:
    from bevel_lab.report.figures.across import across_views

    found = {view.title: view for view in across_views(together, "all")}
    assert list(found) == ["Difference over all cells", "Average ranks", "Accuracy beside cost, over all cells"]
    for panel in found["Difference over all cells"].panels:
        assert panel.count("fill-opacity: 0.55") == 3 * len(PLACES)
    for view in found.values():
        assert view.caption.count(". ") == 0
        assert view.caption.endswith(".")
    assert "critical difference 2.71" in found["Average ranks"].panels[0]


def test_two_cells_are_too_few_for_ranks_and_that_is_said(many: list[Record]) -> None:
    from bevel_lab.report.figures.across import across_views

    found = judge_across(judge_cells([r for r in many if r.trial.dataset != "mnist"], "relu"))
    assert found is not None
    assert "2 cells are too few for ranks to tell 4 arms apart" in across.notes(found)[-1]
    (view,) = (view for view in across_views(found, "all") if view.title == "Average ranks")
    assert "critical difference" not in view.panels[0]
    assert "too few for any two to differ" in view.caption


# -- arms with settings of their own


def test_arms_that_were_not_trained_alike_are_said_plainly(tmp_path: Path) -> None:
    plain = records(["relu", "frelu"], seeds=8, epochs=2)
    turns = [
        dataclasses.replace(
            r, label="frelu@alternate=epoch", trial=dataclasses.replace(r.trial, alternate="epoch", lr=0.1)
        )
        for r in records(["frelu"], seeds=8, epochs=2, draw=1)
    ]
    (cell,) = judge_cells(plain + turns, "relu")
    assert {arm.name for arm in cell.arms} == {"relu", "frelu", "frelu@alternate=epoch"}
    assert dict(findings.recipes(cell)) == {
        words.listing([arm.name for arm in cell.arms if "@" not in arm.name]): "lr 0.05, alternate off",
        "frelu@alternate=epoch": "lr 0.1, alternate epoch",
    }
    page = judge(plain + turns, "relu").write(tmp_path).read_text(encoding="utf-8")
    for text in (page, (tmp_path / "table.md").read_text(encoding="utf-8")):
        assert findings.UNLIKE in text
        assert "lr 0.1, alternate epoch" in text
    assert page.count("<dt>frelu@<wbr>alternate=<wbr>epoch</dt>") == 2, "a name may break between its parts only"
    (alike,) = judge_cells(plain, "relu")
    assert findings.recipes(alike) == findings.recipe_notes(alike) == []


# -- published numbers


def test_published_numbers_stand_beside_the_arms_they_are_of(judged: list[Cell]) -> None:
    rows = published.rows(judged)
    assert {(row[0], row[1], row[2]) for row in rows} == {
        ("relu", "resnet18 on cifar100", "78.46 ± 0.15 %, 5 runs"),
        ("swish", "resnet18 on cifar100", "78.60 ± 0.28 %, 5 runs"),
        ("gelu", "resnet18 on cifar100", "78.08 ± 0.26 %, 5 runs"),
    }
    assert all("Swish-T-pytorch" in row[4] for row in rows)


@pytest.mark.parametrize(("spec", "shown"), [("sau:alpha=0.15,n=20000.0", 1), ("sau:alpha=0.15,n=5.0", 0)])
def test_the_papers_gain_is_shown_for_the_papers_activation_only(spec: str, shown: int) -> None:
    found = [
        dataclasses.replace(r, trial=dataclasses.replace(r.trial, activation=spec)) if r.label == "sau" else r
        for r in records(["relu", "sau"], dataset="cifar100", model="preact_resnet50", seeds=6, epochs=1)
    ]
    rows = published.rows(judge_cells(found, "relu"))
    assert len(rows) == shown
    assert all(row[2] == "+2.95 points to relu" and "no evidence" in row[3] for row in rows)


def test_every_published_number_has_a_source_a_model_and_one_number() -> None:
    import bevel

    for result in results():
        assert result.citation
        assert result.activation in bevel.ACTIVATIONS
        assert math.isnan(result.value) != math.isnan(result.difference)
        assert bool(result.reference) == math.isfinite(result.difference)
    table = [r for r in results() if "five seeds" in r.citation]
    assert len(table) == 7 * 7


# -- one arm against another


def test_a_pair_is_answered_in_one_sentence(many: list[Record], judged: list[Cell]) -> None:
    first, second = judge_pairs(judged, [("swish", "sau"), ("sau", "relu")])
    scores = {(r.label, r.trial.dataset, r.trial.seed): r.test["accuracy"] for r in many}
    expected = np.mean([scores["swish", d, s] - scores["sau", d, s] for d, _ in PLACES for s in range(12)])
    assert first.whole.difference == pytest.approx(expected)
    assert pairs.answer(first).startswith(
        "swish is better than sau on the average of 3 cells (mean paired difference +0."
    )
    assert pairs.answer(second).startswith(
        "There is no evidence that sau differs from relu on the average of 3 cells ("
    )
    for pair in (first, second):
        for part in ("95 % interval", "p ", "after Holm", "12 paired seeds"):
            assert part in pairs.answer(pair)
        assert len(pairs.block(pair).rows) == len(PLACES) + 1
    assert first.whole.adjusted == pytest.approx(min(1, 2 * first.whole.p))


def test_a_pair_that_nobody_ran_is_named(judged: list[Cell]) -> None:
    with pytest.raises(ReportError, match="has both 'sau' and 'prelu'; there are gelu, relu, sau, swish"):
        judge_pairs(judged, [("sau", "prelu")])
