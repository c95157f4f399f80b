"""The report: what it says, that it escapes and repeats itself, and that a browser draws all of it."""

from __future__ import annotations

import cProfile
import csv
import dataclasses
import json
import math
import re
import subprocess
import sys
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from browser import open_page, requests
from hypothesis import given, settings
from hypothesis import strategies as st
from synthetic_records import ARMS, records

from bevel_lab import report
from bevel_lab.cli import main
from bevel_lab.experiment.record import Epoch, Record
from bevel_lab.report import ReportError, judge
from bevel_lab.report.analysis import colors
from bevel_lab.report.analysis.cells import Cell, judge_cells
from bevel_lab.report.pages import compact
from bevel_lab.report.statistics import comparison
from bevel_lab.report.text import across, findings, method, words

if TYPE_CHECKING:
    from bevel_lab.report.figures.cell import View

HOSTILE = '<script>alert("a & b")</script>'
AWKWARD = ["relu", HOSTILE, "$x^{2$", "漢字 😀", "a|b_{c}\\d%#~", "mollified:f=relu6,kernel=epanechnikov,n=2"]
EFFECTS = {"swish": 0.008, "tanh": -0.02}


@pytest.fixture(scope="module")
def eight() -> list[Record]:
    return records(effects={"swish": 0.008, "gelu": 0.006, "frelu": -0.008})


@pytest.fixture(scope="module")
def troubled() -> list[Record]:
    """Two cells that share only the reference; diverged runs, runs without a score, labels that are markup."""
    first = records(effects={"swish": 0.008}, diverged={("frelu", 3), ("frelu", 7)}, scoreless={("sau", 2)})
    return first + records(AWKWARD, dataset="mnist", model="lenet", seeds=4, draw=1)


@pytest.fixture(scope="module")
def written(eight: list[Record], tmp_path_factory: pytest.TempPathFactory) -> Path:
    return judge(eight, "relu").write(tmp_path_factory.mktemp("report") / "new" / "folder", title="Eight <activations>")


@pytest.fixture(scope="module")
def written_troubled(troubled: list[Record], tmp_path_factory: pytest.TempPathFactory) -> Path:
    return judge(troubled, "relu").write(tmp_path_factory.mktemp("troubled"))


@pytest.fixture(scope="module")
def written_three(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three cells with the same three arms, and published numbers for one of them."""
    places = (("digits", "cnn"), ("mnist", "lenet"), ("cifar100", "resnet18"))
    found = [r for d, m in places for r in records(["relu", "gelu", "sau"], dataset=d, model=m, epochs=3)]
    return judge(found, "relu").write(tmp_path_factory.mktemp("three"), notes=["A note."])


@pytest.fixture(scope="module")
def eight_views(eight: list[Record]) -> list[View]:
    from bevel_lab.report.figures.cell import cell_views

    return cell_views(only(eight), "c")


def only(found: list[Record], reference: str = "relu") -> Cell:
    (cell,) = judge_cells(found, reference)
    return cell


def text_of(html: str) -> str:
    """What a reader sees."""

    class Text(HTMLParser):
        def __init__(self) -> None:
            super().__init__()
            self.parts: list[str] = []
            self.hidden = 0

        def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
            self.hidden += tag in ("style", "script")

        def handle_endtag(self, tag: str) -> None:
            self.hidden -= tag in ("style", "script")

        def handle_data(self, data: str) -> None:
            if not self.hidden:
                self.parts.append(data)

    parser = Text()
    parser.feed(html)
    return " ".join(" ".join(parser.parts).split())


# -- the answer in words


def test_the_headline_says_who_is_better_and_what_is_not_known(eight: list[Record]) -> None:
    cell = only(eight)
    by_name = {arm.name: c for arm, c in cell.others}
    better = sorted(("swish", "gelu"), key=lambda name: -by_name[name].difference)
    sizes = [f"{100 * by_name[name].difference:.2f}" for name in better]
    assert findings.answer(cell) == [
        f"{better[0]} and {better[1]} are better than relu by {sizes[0]} and {sizes[1]} points.",
        f"frelu is worse than relu by {-100 * by_name['frelu'].difference:.2f} points.",
        "For the other 4 there is no evidence of a difference.",
    ]
    assert any("four times in five" in note for note in findings.caveats(cell))


def test_the_headline_of_many_arms_names_the_nearest_and_the_farthest(eight: list[Record]) -> None:
    cell = only(eight)
    (near, one), (far, other) = (next((a, c) for a, c in cell.others if a.name == name) for name in ("gelu", "swish"))
    if one.difference > other.difference:
        near, one, far, other = far, other, near, one
    sizes = f"{100 * one.difference:.2f} ({near.name}) to {100 * other.difference:.2f} points ({far.name})"
    many = [(near, one), (far, other)] * 2
    assert words.differences(many, "relu", cell.metric) == [f"All 4 others are better than relu, by {sizes}."]
    some = words.differences([*many, *[o for o in cell.others if o[0].name == "frelu"]], "relu", cell.metric)
    assert some[0] == f"4 of the 5 others are better than relu, by {sizes}."
    alike = words.differences([(near, one)] * 4, "relu", cell.metric)
    assert alike == [f"All 4 others are better than relu, by {100 * one.difference:.2f} points each."]
    assert some[1].startswith("frelu is worse than relu by ")


def test_the_headline_when_nothing_is_found() -> None:
    assert findings.answer(only(records(["relu", "gelu", "silu"]))) == [
        "There is no evidence that any of the 2 activations differs from relu."
    ]
    assert findings.answer(only(records(["relu", "gelu"]))) == ["There is no evidence that gelu differs from relu."]


def test_the_headline_when_there_is_too_little() -> None:
    assert findings.answer(only(records(seeds=4))) == ["4 paired seeds are too few for a verdict: 9 would do."]
    assert findings.answer(only(records(seeds=1))) == ["1 paired seed is too few for a verdict: 9 would do."]
    assert findings.answer(only(records(["relu"]))) == ["Only relu was run: there is nothing to compare it with."]


def test_an_arm_with_too_few_pairs_is_named(eight: list[Record]) -> None:
    kept = [r for r in eight if r.label != "sau" or r.trial.seed < 5]
    cell = only(kept)
    assert findings.answer(cell)[-1] == "5 paired seeds are too few for a verdict on sau: 9 would do."
    assert "sau is compared on the 5 seeds for which both it and relu have a score" in " ".join(findings.caveats(cell))


def test_lost_runs_are_counted_and_said(troubled: list[Record], written_troubled: Path) -> None:
    assert "2 of 10 diverged" in text_of(written_troubled.read_text(encoding="utf-8"))
    cell = judge_cells(troubled, "relu")[0]
    notes = findings.caveats(cell)
    assert "1 of 10 runs of sau diverged and has no score." in notes
    assert "2 of 10 runs of frelu diverged; their scores count all the same." in notes
    assert any(note.startswith("sau is compared on the 9 seeds") for note in notes)
    frelu = next(arm for arm in cell.arms if arm.name == "frelu")
    scores = [r.test["accuracy"] for r in troubled if r.label == "frelu"]
    assert frelu.summary.mean == pytest.approx(np.mean(scores))


def test_a_metric_that_is_no_share_keeps_its_unit() -> None:
    scaled = [
        dataclasses.replace(r, metric="bleu", share=False, test={"bleu": 30 * r.test["accuracy"]})
        for r in records(["relu", "gelu"], effects={"gelu": 0.02})
    ]
    (sentence,) = findings.answer(only(scaled))
    assert re.fullmatch(r"gelu is better than relu by 0\.[56]\d BLEU\.", sentence)
    other = [dataclasses.replace(r, metric="gain", test={"gain": r.test["bleu"]}) for r in scaled]
    (sentence,) = findings.answer(only(other))
    assert re.fullmatch(r"gelu is better than relu by 0\.[56]\d\d\d\.", sentence)


@pytest.mark.parametrize(
    ("key", "share", "axis", "said"),
    [
        ("map_50", True, "mAP@50 (%)", "mAP@50 0.1220"),
        ("bleu", False, "BLEU", "BLEU 12.20"),
        ("top1", True, "Top-1 (%)", "Top-1 0.1220"),
        ("miou", True, "mIoU (%)", "mIoU 0.1220"),
        ("pixel_accuracy", True, "pixel accuracy (%)", "pixel accuracy 0.1220"),
    ],
)
def test_metrics_have_the_names_that_papers_use(key: str, share: bool, axis: str, said: str) -> None:
    value = 0.122 if share else 12.2
    found = [dataclasses.replace(r, metric=key, share=share, test={key: value}) for r in records(["relu"], seeds=2)]
    assert str(found[0]) == f"relu, seed 0: {said}"
    assert only(found).metric.axis == axis
    assert findings.row(only(found).arms[0], only(found).metric)[2] == "12.20 ± 0.00"


def test_all_that_was_measured_is_in_the_report(eight: list[Record], tmp_path: Path) -> None:
    assert findings.measured(only(eight)) == [], "the loss alone is no other metric"
    found = [dataclasses.replace(r, test=r.test | {"top_5": 0.9 + r.trial.seed / 200}) for r in eight]
    lost = dataclasses.replace(found[0], test={"accuracy": 0.9, "loss": 0.1})
    text = text_of(judge([lost, *found[1:]], "relu").write(tmp_path).read_text(encoding="utf-8"))
    whole, less = (0.9 + np.arange(start, 10) / 200 for start in (0, 1))
    (other, first) = (f"{scores.mean():.4f} ± {scores.std(ddof=1):.4f}" for scores in (whole, less))
    assert first != other
    assert "activation loss top 5" in text
    rows = text[text.index(findings.MEASURED) : text.index(findings.AS_RECORDED)]
    assert (rows.count(first), rows.count(other)) == (1, 7)
    assert (tmp_path / "table.md").read_text(encoding="utf-8").count(f"| {other} |\n") == 7
    assert "top 5" in (tmp_path / "table.tex").read_text(encoding="utf-8")


def test_numbers_have_a_true_minus_and_a_dash_where_there_is_none() -> None:
    assert words.number(-0.126, sign=True) == "−0.13"
    assert words.number(-0.004, sign=True) == "+0.00"
    assert words.number(math.nan) == words.number(math.inf) == "–"
    assert (words.p_value(0.00099), words.p_value(0.0499)) == ("<0.001", "0.050")
    assert words.listing(["a", "b", "c"]) == "a, b and c"
    drawn = [words.setting(value) for value in (0.041836718264519853, 0.05, 1e-05, 0.0005, 1.0)]
    assert drawn == ["0.04184", "0.05", "1e-05", "0.0005", "1.0"]


# -- many records, and scores of any size


def test_the_work_of_a_report_grows_with_its_records_and_not_with_their_square() -> None:
    """Records of one cell: the recipes of 3,000 were compared all with all, twice, for minutes."""

    def counted(call: Callable[[], Any]) -> tuple[int, Any]:
        """The calls that are made in it, which no other load changes."""
        profile = cProfile.Profile()
        found = profile.runcall(call)
        return sum(entry.callcount for entry in profile.getstats()), found

    work = []
    for seeds in (100, 200):
        many = records(["relu", "gelu"], seeds=seeds, epochs=1)
        judging, (cell, *_) = counted(lambda many=many: judge_cells(many, "relu"))
        describing, rows = counted(lambda cell=cell: method.protocol(cell.records))
        work.append(np.array([judging, describing]))
        assert dict(rows)["seeds"] == f"0–{seeds - 1}"
    assert np.all(work[1] < 2.5 * work[0]), "twice the records take about twice the work, to judge and to describe"


@pytest.mark.parametrize("power", [-300, -110, 110, 300])
def test_scores_of_any_size_give_the_same_verdicts(power: int, tmp_path: Path) -> None:
    def times(factor: float) -> list[Record]:
        plain = records(["relu", "gelu", "swish"], effects={"swish": 0.008}, seeds=8, epochs=1)
        return [dataclasses.replace(r, share=False, test={"accuracy": r.test["accuracy"] * factor}) for r in plain]

    unit = 2.0 ** round(power * math.log2(10))  # a power of two, so that not even rounding differs
    found, expected = (only(times(factor)) for factor in (unit, 1.0))
    for (arm, c), (other, d) in zip(found.others, expected.others, strict=True):
        assert (arm.name, c.verdict, c.p, c.improvement) == (other.name, d.verdict, d.p, d.improvement)
        sizes = [c.difference, c.low, c.high, c.detectable, arm.summary.mean, arm.summary.sd]
        usual = [d.difference, d.low, d.high, d.detectable, other.summary.mean, other.summary.sd]
        assert [size / unit for size in sizes] == usual
    judge(times(unit), "relu").write(tmp_path)
    assert max(map(len, (tmp_path / "table.md").read_text(encoding="utf-8").splitlines())) < 300


@pytest.mark.parametrize("scores", [[1.7e308, -1.7e308] * 3, [1e308, -1e308, 1.0, 0.0, 5.0, 1e-300], [1e160] * 6])
def test_scores_at_the_edge_of_float64_do_not_stop_a_report(scores: list[float], tmp_path: Path) -> None:
    sign = {"relu": 1.0, "gelu": -1.0, "sau": 0.5}
    found = [
        dataclasses.replace(
            r,
            share=False,
            test={"accuracy": scores[r.trial.seed] * sign[r.label]},
            epochs=[Epoch(train={"loss": scores[r.trial.seed]}, validation={"accuracy": 1e160}, seconds=1.0)] * 2,
        )
        for dataset in ("digits", "other")
        for r in records(list(sign), seeds=6, epochs=2, dataset=dataset)
    ]
    page = judge(found, "relu").write(tmp_path).read_text(encoding="utf-8")
    assert "nan" not in re.sub(r"<svg.*?</svg>", "", page, flags=re.S)


def test_cells_of_one_size_share_the_simulation_of_the_smallest_effect(monkeypatch: pytest.MonkeyPatch) -> None:
    scores = {arm: {seed: (seed * k) % 7 / 7 for seed in range(8)} for k, arm in enumerate(("relu", "gelu"), 2)}
    first, again = np.random.default_rng(3), np.random.default_rng(3)
    expected = comparison.compare(scores, "relu", first)
    monkeypatch.setattr("bevel_lab.report.statistics.power.smallest_effect", None)
    assert comparison.compare(scores, "relu", again) == expected
    assert again.bit_generator.state == first.bit_generator.state


def test_a_page_of_many_cells_draws_the_scores_alone_and_says_so(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    from bevel_lab.report.pages import html

    cells = [r for name in ("a", "b") for r in records(["relu", "gelu"], seeds=2, epochs=2, dataset=name)]
    judgement = judge(cells, "relu")
    words = "more than 1 cells the page draws the scores alone"
    full = judgement.write(tmp_path).read_text(encoding="utf-8")
    monkeypatch.setattr(html, "CELLS_IN_FULL", 1)
    short_page = judgement.write(tmp_path).read_text(encoding="utf-8")
    assert (words in full, words in short_page) == (False, True)
    assert "c1-training-loss-title" in full
    assert "c1-scores-own-title" in short_page
    assert "c1-training-loss-title" not in short_page


# -- what makes no report


def test_wrong_input_is_named(eight: list[Record]) -> None:
    with pytest.raises(ReportError, match="no records"):
        judge([], "relu")
    with pytest.raises(ReportError, match=r"no arm is called 'rleu'; there are frelu, gelu, .*, swish"):
        judge(eight, "rleu")
    other = records(["gelu"], dataset="mnist")
    with pytest.raises(ReportError, match="cnn on mnist has no run of the reference 'relu'; it has gelu"):
        judge(eight + other, "relu")
    with pytest.raises(ReportError, match="relu with seed 0, cnn on digits: there are two records"):
        judge([*eight, eight[0]], "relu")
    longer = [r for r in records(["relu"], epochs=3) if r.trial.seed == 9]
    with pytest.raises(ReportError, match=r"not trained alike \(epochs 12 and 3\)"):
        judge([r for r in eight if r.label != "relu" or r.trial.seed != 9] + longer, "relu")
    with pytest.raises(ReportError, match="headline metric 'top5' is not among loss, accuracy"):
        judge([dataclasses.replace(r, metric="top5") for r in eight], "relu")
    mixed = [dataclasses.replace(r, metric="loss") if r.label == "gelu" else r for r in eight]
    with pytest.raises(ReportError, match=r"different metrics \(accuracy, loss\)"):
        judge(mixed, "relu")


def test_nothing_is_written_for_wrong_input(eight: list[Record], tmp_path: Path) -> None:
    with pytest.raises(ReportError):
        judge(eight, "nobody").write(tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_activations_that_share_a_label_are_told_apart() -> None:
    found = records(["relu", "sau"])
    other = [
        dataclasses.replace(r, trial=dataclasses.replace(r.trial, activation="sau:alpha=0.5"))
        for r in found
        if r.label == "sau"
    ]
    assert {arm.name for arm in only(found + other).arms} == {"relu", "sau:alpha=0.15", "sau:alpha=0.5"}


# -- the files


def test_the_files_that_depend_on_nothing_but_the_records(eight: list[Record], written: Path, tmp_path: Path) -> None:
    assert written.name == "report.html"
    shuffled = [eight[i] for i in np.random.default_rng(0).permutation(len(eight))]
    again = judge(shuffled, "relu").write(tmp_path, title="Eight <activations>")
    for name in ("report.html", "table.md", "table.tex", "results.csv", "verdicts.csv"):
        assert (again.parent / name).read_bytes() == (written.parent / name).read_bytes(), name


def test_a_report_can_be_made_from_a_ledger(tmp_path: Path) -> None:
    made = records(["relu", "sau"], seeds=4, epochs=3, diverged={("relu", 1)}, scoreless={("sau", 2)})
    read = [Record.from_json(record.to_json()) for record in made]
    assert (
        judge(read, "relu").write(tmp_path / "a").read_bytes() == judge(made, "relu").write(tmp_path / "b").read_bytes()
    )
    spoiled = json.loads(made[0].to_json())
    for site in spoiled["sites"]:  # what a ledger makes of a curve or parameter that is not a number
        site["curve_after"][3] = None
        site["after"], site["before"] = {"weight": [None, 0.2]}, {"weight": [0.25, 0.25]}
    judge([Record.from_json(json.dumps(spoiled)), *made[1:]], "relu").write(tmp_path)


def test_the_page_starts_with_the_answer_and_holds_every_part(eight: list[Record], written: Path) -> None:
    text = text_of(written.read_text(encoding="utf-8"))
    cell = only(eight)
    parts = [
        "Eight <activations>",
        findings.answer(cell)[0],
        "verdict",
        "Test accuracy",
        "Training",
        "The activations, before and after training",
        "What was learned, layer by layer",
        "Cost beside accuracy",
        "What was compared",
        "sau(x)",
        "sau:alpha=0.15",
        "How it was done",
        "20 % of the training part held out",
        "How it was judged",
        "Where it comes from",
        "torch 2.11.0",
        "To run it again",
        "What to cite",
        "Biswas et al., SAU, ECCV 2022",
    ]
    places = [text.find(part, 5) for part in parts]
    assert -1 not in places
    assert places == sorted(places)
    for arm in cell.arms:
        for cell_text in findings.row(arm, cell.metric):
            assert cell_text in text
    assert all(record.trial.id in text for record in eight)
    assert text.count("Biswas et al.") == 1


def test_the_command_is_shown_when_it_is_known() -> None:
    from bevel_lab.report.pages import html

    few = judge_cells(records(["relu"], seeds=1), "relu")
    assert "bevel compare relu &lt;x&gt;" in html.render(few, None, "t", "bevel compare relu <x>")
    assert "from bevel_lab.training.run import run_trial" in html.render(few, None, "t")


def test_the_page_needs_nothing_from_anywhere(written_troubled: Path) -> None:
    page = written_troubled.read_text(encoding="utf-8")
    assert not re.search(r"<(script|link|img|iframe|object|embed)\b", page)
    assert not re.search(r"@import|url\((?!#)", page)
    assert not re.search(r'(href|src)="(?!#)', page)
    assert "w3.org" in page  # the SVG's namespace, the only address in it
    assert not re.search(r"https?://(?!www\.w3\.org/)", page)


def test_a_label_is_never_markup(written_troubled: Path) -> None:
    page = written_troubled.read_text(encoding="utf-8")
    assert "&lt;script&gt;alert(" in page
    text = text_of(page)
    for label in AWKWARD:
        assert label in text
    markdown = (written_troubled.parent / "table.md").read_text(encoding="utf-8")
    assert "<script" not in markdown
    assert r"a\|b\_{c}\\d%\#\~" in markdown
    rows = [line for line in markdown.splitlines() if line.startswith("|")]
    # the cells' tables, the one over cells, and the difference in each of two cells
    widths = {len(findings.COLUMNS) + 1, len(across.COLUMNS) + 1, 2 + 2}
    assert {len(re.findall(r"(?<!\\)\|", row)) for row in rows} == widths
    latex = (written_troubled.parent / "table.tex").read_text(encoding="utf-8")
    assert r"a\textbar{}b\_\{c\}\textbackslash{}d\%\#\textasciitilde{}" in latex
    assert r"\$x\textasciicircum{}\{2\$" in latex


def test_latex_rows_are_complete(written: Path) -> None:
    latex = (written.parent / "table.tex").read_text(encoding="utf-8")
    rows = [line for line in latex.splitlines() if line.endswith(r"\\")]
    assert len(rows) == 1 + len(ARMS)
    assert {len(re.findall(r"(?<!\\)&", row)) for row in rows} == {len(findings.COLUMNS) - 1}
    assert latex.count(r"\toprule") == latex.count(r"\bottomrule") == 1
    assert r"smooth\_frelu" in latex


def test_the_statistics_can_be_done_again_from_the_results(eight: list[Record], written: Path) -> None:
    with (written.parent / "results.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == len(eight)
    assert set(eight[0].trial.to_dict()) | {"arm", "score", "diverged", "id", "commit", "device"} <= set(rows[0])
    scores = {(row["arm"], row["seed"]): float(row["score"]) for row in rows}
    for arm, c in only(eight).others:
        differences = [scores[arm.name, str(s)] - scores["relu", str(s)] for s in range(10)]
        assert c.difference == pytest.approx(np.mean(differences))


def test_rows_and_verdicts_are_dicts_that_the_files_repeat(eight: list[Record], written: Path) -> None:
    judged = judge(eight, "relu")
    for name, rows in (("results.csv", judged.rows()), ("verdicts.csv", judged.verdicts())):
        with (written.parent / name).open(encoding="utf-8", newline="") as file:
            assert list(csv.DictReader(file)) == [{key: str(value) for key, value in row.items()} for row in rows]
    assert len(judged.rows()) == len(eight)
    assert {row["arm"]: row["verdict"] for row in judged.verdicts()} == {
        arm.name: str(c.verdict) for arm, c in judged.cells[0].others
    }


def test_a_report_judges_once(
    eight: list[Record], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    compact.write(eight, tmp_path / "all.jsonl")
    families = []
    real = comparison.compare
    monkeypatch.setattr(comparison, "compare", lambda *args, **more: families.append(args) or real(*args, **more))
    assert main(["report", str(tmp_path / "all.jsonl"), "--out", str(tmp_path / "out")]) == 0
    assert len(families) == 1
    assert "report.html" in capsys.readouterr().out


def test_the_terminal_table_is_aligned(eight: list[Record]) -> None:
    lines = judge(eight, "relu").table(200).splitlines()
    head, rule, *rows = lines[2 : 4 + len(ARMS)]
    edges = [m.end() for m in re.finditer("─+", rule)]
    assert len(edges) == len(findings.COLUMNS)
    for line in (head, *rows):
        for edge in edges[2:]:
            assert line[edge : edge + 2].strip() == ""
    assert rows[0].split()[:2] == ["relu", "reference"]
    assert "better" in lines[5]
    assert lines[-1].startswith("No evidence is not proof")


def test_settings_that_differ_between_arms_are_said() -> None:
    from bevel_lab.report.pages import html

    tuned = [
        dataclasses.replace(r, trial=dataclasses.replace(r.trial, lr=0.1)) if r.label == "gelu" else r
        for r in records(["relu", "gelu"], seeds=2)
    ]
    assert "lr 0.05 (relu) and 0.1 (gelu)" in text_of(html.render(judge_cells(tuned, "relu"), None, "t"))


def test_time_is_compared_on_one_device_only() -> None:
    found = records(["relu", "gelu"], seeds=4)
    moved = [dataclasses.replace(r, device="cuda") if (r.label, r.trial.seed) == ("gelu", 1) else r for r in found]
    slow = [dataclasses.replace(r, train_seconds=1e6) if (r.label, r.trial.seed) == ("gelu", 1) else r for r in moved]
    assert only(moved).arms[1].cost == only(slow).arms[1].cost
    assert only(found).arms[1].cost.memory == pytest.approx(1.2)


def test_records_without_curves_times_or_epochs_still_make_a_page(tmp_path: Path) -> None:
    from bevel_lab.report.figures.cell import cell_views

    bare = [
        dataclasses.replace(r, epochs=[], sites=[], samples=0, train_seconds=0.0, saved_bytes=0, citations=[])
        for r in records(["relu", "gelu"], seeds=2)
    ]
    (cell,) = judge_cells(bare, "relu")
    assert [view.title for view in cell_views(cell, "c")] == ["Test accuracy"]
    assert judge(bare, "relu").write(tmp_path).exists()


@pytest.mark.parametrize("lost", ["relu", "gelu"])
def test_an_arm_that_lost_every_run_is_shown_without_a_score(lost: str, tmp_path: Path) -> None:
    gone = {(lost, seed) for seed in range(7)}
    found = records(["relu", "gelu"], seeds=7, epochs=1, scoreless=gone)
    cell = only(found)
    assert findings.answer(cell) == ["0 paired seeds are too few for a verdict: 6 would do."]
    assert f"7 of 7 runs of {lost} diverged and have no score." in findings.caveats(cell)
    assert findings.row(cell.arms[1], cell.metric)[3:9] == ("–",) * 6
    assert "gelu" in text_of(judge(found, "relu").write(tmp_path).read_text(encoding="utf-8"))


def test_more_arms_than_colours_still_make_a_page(tmp_path: Path) -> None:
    labels = ["relu", *(f"arm{i}" for i in range(14))]
    found = records(labels, seeds=2, epochs=2, diverged={("arm3", 0), ("arm3", 1)})
    judge([dataclasses.replace(r, sites=[]) for r in found], "relu").write(tmp_path)
    assert (tmp_path / "results.csv").read_text().count("\n") == 1 + 2 * 15


# -- figures


def test_figures_do_not_listen_to_the_users_style(eight: list[Record], eight_views: list[View]) -> None:
    import matplotlib

    from bevel_lab.report.figures.cell import cell_views

    with matplotlib.rc_context({"font.size": 30, "axes.grid": True, "svg.fonttype": "path", "lines.linewidth": 9}):
        assert cell_views(only(eight), "c") == eight_views
        assert matplotlib.rcParams["font.size"] == 30


def test_every_figure_has_a_title_a_description_and_a_one_sentence_caption(eight_views: list[View]) -> None:
    for view in eight_views:
        assert view.caption.count(". ") == 0
        assert view.caption.endswith(".")
        for panel in view.panels:
            assert re.search(r"<title id=.*?>.+</title>\n<desc id=.*?>.+</desc>", panel)


def test_captions_speak_of_what_is_drawn(eight_views: list[View]) -> None:
    from bevel_lab.report.figures.cell import cell_views

    captions = {view.title: view.caption for view in eight_views}
    one = {view.title: view.caption for view in cell_views(only(records(["relu", "leaky_relu"], seeds=1)), "c")}
    for title, words_ in (
        ("Test accuracy", ("interval", "small dot")),
        ("Training", ("band",)),
        ("The activations, before and after training", ("band",)),
        ("Cost beside accuracy", ("bars are",)),
    ):
        assert all(word in captions[title] and word not in one[title] for word in words_), one[title]
    assert "cross" not in captions["Test accuracy"]
    lost = only(records(["relu", "gelu"], diverged={("gelu", 3)}))
    assert "crosses are diverged runs" in cell_views(lost, "c", ["scores"])[0].caption


def test_no_line_strikes_through_a_name(eight_views: list[View]) -> None:
    for panel in (panel for view in eight_views for panel in view.panels):
        assert panel.count("<text ") == panel.count("paint-order: stroke; stroke: var(--paper, #ffffff)") > 0


def test_the_score_of_every_run_is_in_the_page(eight: list[Record], written: Path) -> None:
    head, *rows = findings.seeds(only(eight))
    assert head == ("seed", *(arm.name for arm in only(eight).arms))
    text = text_of(written.read_text(encoding="utf-8"))
    table = text[text.index(findings.EVERY_RUN) :]
    assert " ".join(" ".join(row) for row in rows) in table
    scores = {(r.label, r.trial.seed): f"{100 * r.test['accuracy']:.2f}" for r in eight}
    assert {(arm, int(row[0])): score for row in rows for arm, score in zip(head[1:], row[1:], strict=True)} == scores


def test_a_citation_is_a_link_where_it_has_a_number(tmp_path: Path) -> None:
    said = "A <b>: C. LNCS 1, doi:10.1007/978-3_19, arXiv:2109.13210"
    found = [dataclasses.replace(r, citations=[said]) for r in records(["relu"], seeds=2, epochs=1)]
    page = judge(found, "relu").write(tmp_path).read_text(encoding="utf-8")
    doi, arxiv = "https://doi.org/10.1007/978-3_19", "https://arxiv.org/abs/2109.13210"
    assert f'A &lt;b&gt;: C. LNCS 1, <a href="{doi}">doi:10.1007/978-3_19</a>, <a href="{arxiv}">arXiv' in page


def test_every_seed_is_in_the_picture(eight_views: list[View]) -> None:
    own, paired = eight_views[0].panels
    for panel, arms in ((own, 8), (paired, 7)):
        assert panel.count("fill-opacity: 0.55") == 10 * arms


@given(st.lists(st.floats(-100, 400), max_size=12))
@settings(max_examples=200)
def test_labels_keep_apart_in_order_and_inside(wanted: list[float]) -> None:
    from bevel_lab.report.figures.labels import apart

    placed = np.array(apart(wanted, 13, 0, 300))
    order = np.argsort(wanted, kind="stable")
    assert (np.diff(placed[order]) >= 13 - 1e-6).all()
    assert (placed >= -1e-6).all()
    assert (placed <= 300 + 1e-6).all()


def test_labels_with_room_stay_where_they_are() -> None:
    from bevel_lab.report.figures.labels import apart

    assert apart([50, 10, 90], 13, 0, 100) == pytest.approx([50, 10, 90])
    assert apart([50, 50], 10, 0, 100) == pytest.approx([45, 55])


def test_long_labels_keep_both_ends() -> None:
    from bevel_lab.report.figures.labels import short

    assert short("relu") == "relu"
    assert short("mollified:f=relu6,kernel=epanechnikov,n=2") == "mollified:…chnikov,n=2"
    assert len(short("x" * 99)) == 22


def _lab(color: str) -> dict[str, Any]:
    """Oklab coordinates as seen by normal, deuteranope and protanope eyes (Machado 2009, severity 1)."""
    seen = {
        "normal": np.eye(3),
        "deuteranope": [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.01182, 0.04294, 0.968881]],
        "protanope": [
            [0.152286, 1.052583, -0.204868],
            [0.114503, 0.786281, 0.099216],
            [-0.003882, -0.048116, 1.051998],
        ],
    }
    lms = [[0.4122214708, 0.5363325363, 0.0514459929], [0.2119034982, 0.6806995451, 0.1073969566],
           [0.0883024619, 0.2817188376, 0.6299787005]]  # fmt: skip
    lab = [[0.2104542553, 0.793617785, -0.0040720468], [1.9779984951, -2.428592205, 0.4505937099],
           [0.0259040371, 0.7827717662, -0.808675766]]  # fmt: skip
    srgb = np.array([int(color[i : i + 2], 16) / 255 for i in (1, 3, 5)])
    linear = np.where(srgb <= 0.04045, srgb / 12.92, ((srgb + 0.055) / 1.055) ** 2.4)
    return {eye: lab @ np.cbrt(lms @ np.clip(m @ linear, 0, 1)) for eye, m in seen.items()}


@pytest.mark.parametrize("name", ["LIGHT", "DARK"])
def test_colours_are_distinct_to_colour_blind_eyes(name: str) -> None:
    from bevel_lab.report.figures import svg

    palette = getattr(svg, name)
    assert len(palette) == 12
    labs = [_lab(color) for color in palette]
    apart_ = {
        eye: min(np.linalg.norm(a[eye] - b[eye]) for i, a in enumerate(labs) for b in labs[:i]) for eye in labs[0]
    }
    assert apart_["normal"] >= 0.13
    assert min(apart_.values()) >= 0.09


@pytest.mark.parametrize("name", ["LIGHT", "DARK"])
def test_colours_stand_out_from_the_paper(name: str, written: Path) -> None:
    """WCAG 2.2: 3 for what is drawn, 4.5 for words."""
    from bevel_lab.report.figures import svg

    palette, paper = getattr(svg, name), svg.PAPER if name == "LIGHT" else "#14171b"

    def contrast(color: str) -> float:
        srgb = np.array([[int(c[i : i + 2], 16) / 255 for i in (1, 3, 5)] for c in (color, paper)])
        linear = np.where(srgb <= 0.04045, srgb / 12.92, ((srgb + 0.055) / 1.055) ** 2.4)
        low, high = sorted(linear @ [0.2126, 0.7152, 0.0722])
        return float((high + 0.05) / (low + 0.05))

    assert min(map(contrast, palette)) >= 3
    page = written.read_text(encoding="utf-8")
    start = page.index(f"--paper: {paper}")
    for word in ("good", "bad"):
        found = re.search(rf"--{word}: (#\w+)", page[start:])
        assert found
        assert contrast(found[1]) >= 4.5


def test_arms_keep_their_colour_between_reports() -> None:
    from bevel_lab.report.figures import svg

    alone = {name: colors.numbers({name})[name] for name in [*colors.HOMES, "sau:n=5", "tanh", "my_own"]}
    many = colors.numbers({*colors.HOMES})
    assert many == {name: alone[name] for name in colors.HOMES}
    few = colors.numbers({"sau", "gelu", "sau:n=5", "tanh"})
    assert {name: few[name] for name in ("sau", "gelu")} == {name: alone[name] for name in ("sau", "gelu")}
    assert len(set(few.values())) == 4
    crowd = colors.numbers({f"arm{i}" for i in range(3 * colors.HUES)})
    assert sorted(crowd.values()) == list(range(1, 3 * colors.HUES + 1))
    assert len(svg.LIGHT) == 1 + colors.HUES


def test_arms_keep_their_colour_in_every_cell() -> None:
    from bevel_lab.report.figures import svg

    found = records(["relu", "gelu", "swish"]) + records(["relu", "swish"], dataset="mnist", effects={"swish": 0.1})
    first, second = ({arm.name: arm.index for arm in cell.arms} for cell in judge_cells(found, "relu"))
    assert second.items() <= first.items()
    assert first["relu"] == 0
    styles = [(svg.Style(i).color, str(svg.Style(i).dash)) for i in range(1, 24)]
    assert len(set(styles)) == len(styles)


# -- imports and browser


ROOMS = {"statistics": 0, "analysis": 1, "figures": 2, "text": 2, "pages": 3}


def test_its_rooms_import_only_what_lies_below_them() -> None:
    folder = Path(report.__file__).parent
    paths = list(folder.glob("*/*.py"))
    assert {path.parent.name for path in paths} == set(ROOMS)
    for path in paths:
        room = path.parent.name
        for other in re.findall(r"from bevel_lab\.report\.(\w+)", path.read_text(encoding="utf-8")):
            assert other == room or ROOMS[other] < ROOMS[room], f"{path.relative_to(folder)} imports {other}"


@pytest.mark.process
def test_torch_is_never_imported_and_what_draws_only_when_a_page_is_written() -> None:
    code = (
        "import sys, bevel_lab.report; loaded = set(sys.modules); "
        "print(sorted({m.split('.')[0] for m in loaded} & {'torch', 'matplotlib', 'jinja2', 'PIL'}), "
        "sorted(m for m in loaded if m.startswith('bevel.')))"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[] ['bevel.errors']"


@pytest.mark.process
def test_the_command_does_without_torch(tmp_path: Path) -> None:
    path = tmp_path / "few.jsonl"
    path.write_text("".join(r.to_json() + "\n" for r in records(["relu", "gelu"], seeds=2, epochs=2)), encoding="utf-8")
    code = "import sys; from bevel_lab.cli import main; sys.exit(main() or 'torch' in sys.modules)"
    asked = [sys.executable, "-c", code, "report", str(path), "--out", str(tmp_path / "out")]
    subprocess.run(asked, capture_output=True, check=True)
    assert (tmp_path / "out" / "report.html").is_file()


DRAWN = """
return [...document.querySelectorAll('figure svg')].filter(svg => svg.getClientRects().length).map(svg => {
    const box = svg.getBoundingClientRect(), marks = svg.querySelectorAll('path, use');
    return [box.width, box.height, [...marks].filter(mark => mark.getBoundingClientRect().width > 0).length,
            box.width / svg.viewBox.baseVal.width];
});
"""
TABLES = """
return [...document.querySelectorAll('table')].filter(table => table.getClientRects().length).map(table => {
    const box = table.parentElement;
    const cue = getComputedStyle(box).backgroundImage.includes('gradient');
    return [box.scrollWidth - box.clientWidth, cue, box.tabIndex];
});
"""
CLIPPED = "return [...document.querySelectorAll('pre')].filter(e => e.scrollWidth > e.clientWidth).length;"
IDS = "return [...document.querySelectorAll('[id]')].map(element => element.id);"
DANGLING = """
return [...document.querySelectorAll('use')].map(use => use.href.baseVal.slice(1))
    .concat([...document.querySelectorAll('[clip-path]')].map(e => e.getAttribute('clip-path').slice(5, -1)))
    .filter(id => !document.getElementById(id));
"""


@pytest.mark.parametrize("width", [1200, 390])
@pytest.mark.parametrize("which", ["written", "written_troubled", "written_three"])
def test_a_browser_draws_every_figure_and_asks_for_nothing(
    browser: Any, which: str, width: int, request: pytest.FixtureRequest
) -> None:
    path: Path = request.getfixturevalue(which)
    # learned parameters: eight panels; the second cell has no arm with parameters, and six arms; over cells five more
    three = 3 * (2 + 2 + 3 + 1 + 2) + 2 + 1 + 2
    expected = {"written": 2 + 2 + 8 + 8 + 2, "written_troubled": 22 + 2 + 2 + 6 + 0 + 2, "written_three": three}[which]
    open_page(browser, path, width)
    drawn = browser.execute_script(DRAWN)
    assert len(drawn) == expected
    for figure_width, height, marks, scale in drawn:
        assert scale >= (1 if width < 640 else 0.95), "a phone gets figures of its own, not small ones"
        assert figure_width > 100
        assert height > 60
        assert marks >= 4
    assert browser.execute_script("return document.documentElement.scrollWidth") <= width
    assert all(cue and reached == 0 for hidden, cue, reached in browser.execute_script(TABLES) if hidden)
    assert browser.execute_script(CLIPPED) == 0
    assert browser.execute_script(DANGLING) == []
    ids = browser.execute_script(IDS)
    assert len(ids) == len(set(ids))
    assert browser.get_log("browser") == []
    assert requests(browser) == [path.as_uri()]


def test_a_table_over_several_cells_fits_a_small_window(browser: Any, written_three: Path) -> None:
    open_page(browser, written_three, 900)
    assert [hidden for hidden, *_ in browser.execute_script(TABLES)][:2] == [0, 0]


def test_both_themes_reach_page_and_figures(browser: Any, written: Path) -> None:
    seen = []
    for theme in ("light", "dark"):
        features = {"features": [{"name": "prefers-color-scheme", "value": theme}]}
        browser.execute_cdp_cmd("Emulation.setEmulatedMedia", features)
        open_page(browser, written, 1200)
        seen.append(
            browser.execute_script(
                "const style = e => getComputedStyle(document.querySelector(e));"
                "return [style('html').backgroundColor, style('figure svg text').fill];"
            )
        )
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": []})
    (light_paper, light_text), (dark_paper, dark_text) = seen
    assert light_paper == "rgb(255, 255, 255)"
    assert dark_paper == "rgb(20, 23, 27)"
    assert light_text != dark_text
