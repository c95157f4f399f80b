"""Records as data and the page written from them: nothing that a verdict needs is lost, and the pictures are there."""

from __future__ import annotations

import dataclasses
import importlib.util
import math
import re
import shlex
import sys
import xml.etree.ElementTree as ElementTree
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from synthetic_records import records

import bevel
from bevel_lab.cli import main
from bevel_lab.execution.results import Results
from bevel_lab.experiment import ledger, settings
from bevel_lab.experiment.experiment import place
from bevel_lab.experiment.record import Record
from bevel_lab.experiment.tuning import search
from bevel_lab.report import judge
from bevel_lab.report.analysis.across import judge_across
from bevel_lab.report.analysis.cells import judge_cells
from bevel_lab.report.analysis.pairs import judge_pairs
from bevel_lab.report.pages import compact
from bevel_lab.report.text import pairs, tables

PAIRS = [("sau", "prelu"), ("frelu@alternate=epoch", "frelu")]
Written = tuple[Path, Path, list[Record]]


@pytest.fixture(scope="module")
def many() -> list[Record]:
    found = []
    for i, (dataset, model) in enumerate((("digits", "cnn"), ("fashion_mnist", "lenet"))):
        found += records(["relu", "sau", "prelu", "frelu"], dataset=dataset, model=model, draw=i, epochs=4,
                         diverged={("prelu", 3)}, scoreless={("sau", 2)})  # fmt: skip
        turns = records(["frelu"], dataset=dataset, model=model, draw=9 + i, epochs=4)
        found += [
            dataclasses.replace(r, label="frelu@alternate=epoch", trial=dataclasses.replace(r.trial, alternate="epoch"))
            for r in turns
        ]
    return found


@pytest.fixture(scope="module")
def written(many: list[Record], tmp_path_factory: pytest.TempPathFactory) -> Written:
    """(page, file of records, the records read back) of the command line."""
    folder = tmp_path_factory.mktemp("evidence")
    file, page = folder / "data" / "all.jsonl", folder / "docs" / "evidence.md"
    compact.write(many, file)
    page.parent.mkdir()
    (folder / "notes.md").write_text("Two epochs *only*.\n")
    asked = [word for pair in PAIRS for word in ("--pair", *pair)]
    argv = ["report", str(file), "--page", str(page), "--title", "What was seen", "--notes", str(folder / "notes.md")]
    assert main([*argv, *asked]) == 0
    return page, file, list(ledger.parse(file)[0].values())


def test_compact_records_give_the_same_verdicts(many: list[Record], written: Written) -> None:
    _, file, read = written
    assert len(read) == len(many)
    assert judge(read, "relu").table() == judge(many, "relu").table()
    whole = sum(len(record.to_json()) for record in many)
    assert file.stat().st_size < 0.1 * whole
    ours, theirs = ({r.trial.id: r for r in some} for some in (many, read))
    for key, record in theirs.items():
        whole_curve, curve = ours[key].epochs, record.epochs
        kept = dataclasses.replace(ours[key], epochs=curve, sites=[])
        assert record.to_json() == kept.to_json()
        assert curve[-1:] == whole_curve[-1:] or "NaN" in repr(curve[-1]).replace("nan", "NaN")
        for short, full in zip(curve[:-1], whole_curve[:-1], strict=True):
            assert short.validation == {"accuracy": pytest.approx(full.validation["accuracy"], rel=1e-3)}
            assert short.train == {"loss": pytest.approx(full.train["loss"], rel=1e-3, nan_ok=True)}
    assert [r.label for r in read].count("frelu@alternate=epoch") == 20


def test_the_file_does_not_depend_on_the_order_of_the_runs(many: list[Record], tmp_path: Path) -> None:
    compact.write(many, tmp_path / "a")
    compact.write(many[::-1], tmp_path / "b")
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_compact_records_have_the_curves_and_those_of_before_the_last_epoch_only(
    many: list[Record], written: Written, tmp_path: Path
) -> None:
    from bevel_lab.report.figures.cell import cell_views

    *_, read = written
    before = [dataclasses.replace(record, epochs=record.epochs[-1:]) for record in read]
    titles = [[view.title for view in cell_views(judge_cells(some, "relu")[0], "c")] for some in (many, read, before)]
    assert "Training" in titles[0]
    assert titles[1:] == [
        ["Test accuracy", "Training", "Cost beside accuracy"],
        ["Test accuracy", "Cost beside accuracy"],
    ]
    compact.write(before, tmp_path / "before.jsonl")
    compact.write(read, tmp_path / "now.jsonl")
    parts = [Results.read(tmp_path / f"{name}.jsonl") for name in ("before", "now")]
    both = Results.join(parts, "relu").records
    assert [len(record.epochs) for record in both] == [4] * len(read), "one result, and the longer record is kept"


def test_the_end_of_a_curve_is_said_with_it() -> None:
    from bevel_lab.report.figures.cell import cell_views

    views = {n: cell_views(judge_cells(records(["relu", "gelu"], epochs=n), "relu")[0], "c") for n in (9, 30)}
    captions = {n: next(view.caption for view in found if view.title == "Training") for n, found in views.items()}
    assert "last tenth" not in captions[9]
    (change,) = re.findall(r"validation accuracy changed by ([+−][\d.]+) points, mean over the arms", captions[30])
    assert abs(float(change.replace("−", "-"))) < 0.5


def test_the_page_answers_and_shows_what_was_found(many: list[Record], written: Written) -> None:
    page, file, _ = written
    text = page.read_text(encoding="utf-8")
    judged = judge_cells(many, "relu")
    together = judge_across(judged)
    assert together is not None
    for pair in judge_pairs(judged, PAIRS):
        assert f"- {tables.escaped(pairs.answer(pair))}\n" in text
        assert f"### {tables.escaped(pairs.block(pair).title)}\n" in text
    for block in (*(block for cell in judged for block in tables.cell_blocks(cell)), *tables.across_blocks(together)):
        assert tables.markdown_table(block) in text
    assert text.startswith(f"# What was seen\n\nWritten by `bevel report {file} --page {page} --pair sau prelu ")
    for part in (
        "Two epochs *only*.",
        "- commit: 0123456789abcdef",
        "torch 2.11.0",
        "- seeds: 0–9",
        "## How it was ju",
        "paired seeds; 2 of 20 runs of sau diverged; 2 of 20 runs of prelu diverged).",
    ):
        assert part in text


def test_the_pictures_are_files_that_stand_alone(written: Written) -> None:
    page, *_ = written
    named = re.findall(r"!\[[^\]]*\]\((img/[^)]+)\)", page.read_text(encoding="utf-8"))
    assert len(named) == len(set(named)) == 5 + 2 * 6
    assert {path.name for path in (page.parent / "img").iterdir()} == {Path(name).name for name in named}
    for name in named:
        root = ElementTree.parse(page.parent / name).getroot()
        assert float(root.attrib["width"]) > 100
        assert "font-family" in root.attrib["style"]
        assert root.find("{http://www.w3.org/2000/svg}rect") is not None


def test_the_same_records_write_the_same_page(many: list[Record], tmp_path: Path) -> None:
    texts = []
    for order in (1, -1):
        judge(many[::order], "relu").write_markdown(tmp_path / "page.md", title="t", command="c", asked=PAIRS)
        texts.append([(p.name, p.read_bytes()) for p in sorted(tmp_path.rglob("*.*"))])
    assert texts[0] == texts[1]


def test_a_folder_and_files_go_into_one_report(
    many: list[Record], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for dataset in ("digits", "fashion_mnist"):
        compact.write([r for r in many if r.trial.dataset == dataset], tmp_path / f"{dataset}.jsonl")
    files = [str(tmp_path / "digits.jsonl"), str(tmp_path / "fashion_mnist.jsonl")]
    assert main(["report", *files, "--out", str(tmp_path / "out"), "--title", "Both"]) == 0
    assert "Across 2 cells" in capsys.readouterr().out
    read = [r for f in files for r in ledger.parse(Path(f))[0].values()]
    expected = judge(read, "relu").write(tmp_path / "again", "Both")
    assert (tmp_path / "out" / "report.html").read_bytes() == expected.read_bytes()
    for argv, part in (
        (files, "need --out DIR, --page MD or --compact FILE"),
        ([*files, "--page", str(tmp_path / "p.md"), "--pair", "sau", "nobody"], "has both 'sau' and 'nobody'"),
        ([*files, "--out", str(tmp_path / "no"), "--reference", "rleu"], "no arm is called 'rleu'"),
    ):
        assert main(["report", *argv]) == 2
        assert part in capsys.readouterr().err
    assert not (tmp_path / "no").exists()
    assert not (tmp_path / "p.md").exists()


def test_folders_that_share_an_arm_are_joined(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = records(["relu", "gelu", "sau"], seeds=6, scoreless={("relu", 2)})
    arms = {label: [r for r in found if r.label == label] for label in ("relu", "gelu", "sau")}
    later = [dataclasses.replace(r, seconds=9.0, started="2026-01-01T00:00:00+00:00") for r in arms["relu"]]
    compact.write(arms["gelu"] + arms["relu"], tmp_path / "one.jsonl")
    (tmp_path / "two.jsonl").write_text("".join(r.to_json() + "\n" for r in [*later, *arms["sau"]]))
    joined = Results.join([Results.read(tmp_path / name) for name in ("one.jsonl", "two.jsonl")])
    assert len(joined.records) == len({r.trial.id for r in joined.records}) == 18
    assert [len(r.epochs) for r in joined.records if r.label == "relu"] == [12] * 6, "whole records before compact ones"
    assert main(["report", str(tmp_path / "one.jsonl"), str(tmp_path / "two.jsonl"), "--out", str(tmp_path / "r")]) == 0
    capsys.readouterr()
    other = [dataclasses.replace(r, test={**r.test, "accuracy": 0.5}) for r in arms["relu"]]
    compact.write(other, tmp_path / "other.jsonl")
    argv = ["report", str(tmp_path / "one.jsonl"), str(tmp_path / "other.jsonl"), "--out", str(tmp_path / "no")]
    assert main(argv) == 2
    message = capsys.readouterr().err
    assert f"trial {other[0].trial.id} (relu, seed 0) has different results in {tmp_path / 'one.jsonl'} and" in message
    assert str(tmp_path / "other.jsonl") in message
    assert not (tmp_path / "no").exists()


def test_a_damaged_file_of_records_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (record,) = records(["relu"], seeds=1)
    line = compact.compact(record).to_json()
    (tmp_path / "x.jsonl").write_text(f"{line}\n{line.replace('cnn', 'mlp')}\n")
    assert main(["report", str(tmp_path / "x.jsonl"), "--out", str(tmp_path / "out")]) == 2
    assert "x.jsonl, line 2, is damaged" in capsys.readouterr().err


def test_a_diverged_run_is_still_seen_as_one(written: Written) -> None:
    *_, read = written
    lost = [r for r in read if (r.label, r.trial.seed) == ("prelu", 3)]
    assert len(lost) == 2
    assert all(math.isnan(r.epochs[-1].train["loss"]) for r in lost)
    assert {arm.name: len(arm.diverged) for arm in judge_cells(read, "relu")[0].arms}["prelu"] == 1


# ------------------------------------------------------------------------------------------------ what is committed

ROOT = Path(__file__).resolve().parents[2]
COMMITTED = {path: f"evidence-{path.stem}" for path in sorted((ROOT / "evidence").glob("*.jsonl"))}
COMMITTED[ROOT / "evidence" / "aa" / "digits.jsonl"] = "aa-digits"


def _page() -> ModuleType:
    found = importlib.util.spec_from_file_location("evidence_page", ROOT / "docs" / "evidence_page.py")
    assert found is not None
    assert found.loader is not None
    module = importlib.util.module_from_spec(found)
    sys.modules["evidence_page"] = module  # dataclasses look their module up
    found.loader.exec_module(module)
    return module


PAGE = _page()
COMMITTED |= {path: PAGE.FILES[path.stem] for path in COMMITTED if path.stem in PAGE.FILES}


@pytest.mark.parametrize("path", COMMITTED, ids=lambda path: path.stem)
def test_committed_records_are_those_of_their_experiment(path: Path) -> None:
    found = settings.resolve(settings.read(ROOT / "experiments" / f"{COMMITTED[path]}.toml"))
    records, torn = ledger.parse(path)
    assert not torn
    assert len({record.commit for record in records.values()}) == 1, "one state of the code"
    if path.stem not in PAGE.FILES:
        assert set(records) == {trial.id for trial, _ in found.trials()}
        return
    tried = path.parent / "tuning" / path.name
    whole = dataclasses.replace(found, seeds=PAGE.SEEDS)
    if found.tuning:
        best = search(found.tuning, found.base_trials(), ledger.parse(tried)[0], lambda jobs: False)
        whole = dataclasses.replace(whole, tuned={place(t.cell, label): point for (t, label), point in best.items()})
    assert set(records) <= {trial.id for trial, _ in whole.trials()}, "each arm at the rate that its tuning chose"


@pytest.mark.parametrize("rule", ["input", "output"])
def test_ids_are_the_same_whatever_is_kept_for_backward(rule: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bevel.nn.Activation, "_save", rule)  # the default of all modules, which nothing public sets
    for path in COMMITTED:
        for name, record in ledger.parse(path)[0].items():
            assert dataclasses.replace(record.trial).id == name  # a new object: ids are kept with the old one


def test_the_committed_pages_are_what_their_commands_write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    short = "evidence-short"
    found = re.search("^Written by `bevel (.*)`", (ROOT / "docs" / f"{short}.md").read_text("utf-8"), re.MULTILINE)
    assert found
    (tmp_path / "docs").mkdir()
    (tmp_path / "evidence").symlink_to(ROOT / "evidence")
    (tmp_path / "docs" / f"{short}-notes.md").symlink_to(ROOT / "docs" / f"{short}-notes.md")
    monkeypatch.chdir(tmp_path)
    assert main(shlex.split(found[1])) == 0
    PAGE.write(ROOT, tmp_path / "docs")
    pages = [path.name for path in (tmp_path / "docs").glob("*.md") if not path.name.endswith("-notes.md")]
    assert {"evidence.md", f"{short}.md"} <= set(pages)
    for name in pages:
        assert (tmp_path / "docs" / name).read_text("utf-8") == (ROOT / "docs" / name).read_text("utf-8"), name
    figures = {path.name for path in (ROOT / "docs" / "img").glob("evidence-*")}
    assert {path.name for path in (tmp_path / "docs" / "img").iterdir()} == figures
    for name in figures:
        assert (tmp_path / "docs" / "img" / name).read_bytes() == (ROOT / "docs" / "img" / name).read_bytes(), name


def test_the_readme_says_what_the_pages_found() -> None:
    page, readme = (" ".join((ROOT / name).read_text("utf-8").split()) for name in ("docs/evidence.md", "README.md"))
    paired = r".{0,150}mean paired difference (\S+) points, 95 % interval (\S+ to \S+),"
    difference, interval = _only(r"sau is equivalent to prelu:init=0\.15 on the average of 2 cells" + paired, page)
    assert f"within 0.5 points on the average of both ({difference} points, 95 % interval {interval})" in readme
    least, most = _only(r"4 of the 5 others are better than relu, by (\S+) \(leaky\S+ to (\S+) points \(frelu\)", page)
    assert f"by {least} (Leaky ReLU) to {most} points (FReLU)" in readme
    assert r"cnn on fashion\_mnist: frelu, gelu, sau and prelu:init=0.15 are equivalent to relu: the difference" in page
    assert "FReLU, GELU, SAU and PReLU are equivalent to ReLU within 0.5 points" in readme
    second, first = re.findall(r"divides it by (\S+) in the geometric mean", page)
    assert f"by up to {second} where the loss takes second derivatives" in readme
    assert f"by up to {first} where it takes first ones only" in readme
    equal, _ = _only(r"frelu@alternate=epoch is worse than frelu on" + paired, page)
    updates, _ = _only(r"frelu@alternate=epoch,epochs=12 is worse than frelu on" + paired, page)
    assert f"by epoch ({equal} points), even where its weights get as many updates ({updates})" in readme
    diverged, runs = _only(r"(\d+) of (\d+) runs of frelu@alternate=step diverged", page)
    assert f"By step with a momentum of 0.9, {diverged} of {runs} of its trainings diverge" in readme
    without, _ = _only(r"frelu@alternate=step,epochs=12,momentum=0 is worse than frelu@momentum=0 on" + paired, page)
    assert f"without momentum none does, and it is worse by {without.lstrip('−')} points at equal updates" in readme
    assert "momentum=0 diverged" not in page


def _only(pattern: str, text: str) -> tuple[str, ...]:
    (found,) = set(re.findall(pattern, text))
    return tuple(found)


def test_the_page_on_shipping_has_the_table_of_its_records() -> None:
    found = PAGE.judged([PAGE.read(ROOT)[PAGE.SHIPPING]])
    said = "\n".join(PAGE.shipped(found)) if found else "**It has not been run yet**"
    assert said in (ROOT / "docs" / "smooth-to-hard.md").read_text("utf-8")


# -------------------------------------------------------------------------------------------------- the five answers


def _found(name: str, made: list[Record]) -> Any:
    experiment = settings.resolve(settings.read(ROOT / "experiments" / f"{PAGE.FILES[name]}.toml"))
    if made:  # as many arms and cells as there are
        arms, cells = len({record.label for record in made}), len({record.trial.cell for record in made})
        experiment = dataclasses.replace(experiment, arms=experiment.arms[:arms], cells=experiment.cells[:cells])
    return PAGE.Found(name, experiment, Results(made))


def _answers(name: str, made: list[Record], *others: Any) -> str:
    found = {other: _found(other, []) for other in PAGE.FILES} | {other.name: other for other in others}
    return "\n".join(PAGE.answers(found | {name: _found(name, made)})).replace("\\", "")


def test_what_has_begun_has_no_answer_before_it_is_whole() -> None:
    made = [record for record in records(["relu", "gelu"], effects={"gelu": 0.05}) if record.trial.seed < 9]
    begun, whole = _found(PAGE.RESNET, made), _found(PAGE.SHIPPING, records(["relu", "gelu"], dataset="fashion_mnist"))
    assert PAGE.judged([begun]) is None
    (cell,) = PAGE.judged([begun, whole]).cells
    assert cell.title == "cnn on fashion_mnist"
    text = _answers(PAGE.RESNET, made)
    assert "**5. Which activation for which kind of network?**\n" in text
    assert text.count("- Begun, and judged when it is whole: evidence-resnet8-cifar10 (9 of 10 seeds).") == 3
    assert "gelu" not in text


def test_what_has_not_run_has_no_answer() -> None:
    found = {name: _found(name, []) for name in PAGE.FILES}
    lines = [line for line in PAGE.answers(found) if line.startswith("- ")]
    assert len(lines) == 5
    assert all(line.startswith("- Not run yet: ") for line in lines)
    assert "| small-pde | 0 of 600 | 0 of 10 |" in "\n".join(PAGE.progress(found))


@pytest.mark.parametrize(("effect", "words"), [(0.0, "sau is equivalent to prelu:init=0.15"),
                                               (0.02, "sau is better than prelu:init=0.15")])  # fmt: skip
def test_the_first_answer_follows_the_records(effect: float, words: str) -> None:
    text = _answers(PAGE.RESNET, records(["relu", "sau", "prelu:init=0.15"], effects={"sau": effect}))
    assert f"within 0.5 points?** {words} on cnn on digits" in text
    assert "- Not run yet: evidence-lenet-fashion, evidence-cnn-fashion and evidence-shufflenet-cifar100." in text


def test_the_third_answer_names_measures_that_differ_and_churn() -> None:
    made = records(["relu", "gelu"])
    measured = [
        dataclasses.replace(r, measures={"dead_units": 0.3 + r.test["loss"] / 9 - 0.2 * (r.label == "gelu"),
                                         "fgsm_accuracy": r.test["accuracy"]}) for r in made
    ]  # fmt: skip
    text = _answers(PAGE.RESNET, measured)
    assert re.search(
        r"- gelu against relu: better in dead units \(−\d+\.\d\d points\); no evidence in FGSM accuracy\.", text
    )
    assert "** Of 2 comparisons of a measure, smooth activations are better in 1 and worse in 0." in text


def test_the_second_answer_has_a_sentence_for_each_comparison() -> None:
    arms = dict.fromkeys(arm for _, *pair in PAGE.TURNS for arm in pair)
    made = records([*arms], effects={"frelu@alternate=epoch": -0.05, "frelu@alternate=step,momentum=0": 0.05})
    first, then = ([r for r in made if ("momentum=0" in r.label) is without] for without in (False, True))
    text = _answers(PAGE.ALTERNATIONS[0], first)
    assert "- At equal epochs: frelu@alternate=epoch is worse than frelu on cnn on digits (" in text
    assert text.count("\n- At equal updates of the weights: ") == 2
    turns = "** Alternation against none: at equal epochs equivalent (by step), worse (by epoch); at equal updates of"
    assert turns in text
    assert "momentum" not in text.replace("evidence-alternation-no-momentum", "")
    both = _answers(PAGE.ALTERNATIONS[0], first, _found(PAGE.ALTERNATIONS[1], then))
    assert turns in both
    assert "; without momentum at equal epochs better (by step); without momentum at equal updates of the" in both
    assert "- Momentum left out alone: frelu@momentum=0 is equivalent to frelu on cnn on digits" in both
    alone = _answers(PAGE.ALTERNATIONS[1], then)
    assert "** Alternation against none: without momentum at equal epochs better (by step); without" in alone


def test_the_fourth_answer_tells_first_from_second_derivatives() -> None:
    made = []
    for dataset in ("poisson_1d", "poisson_1d_ritz"):
        gain = -1.5 if dataset == "poisson_1d" else 0.0
        made += [
            dataclasses.replace(r, metric="relative_l2", share=False, lower_is_better=True, log_scale=True,
                                test={"relative_l2": 10 ** (r.test["accuracy"] - 3 + gain * (r.label == "sau:n=5"))})
            for r in records(["relu", "sau:n=5"], dataset=dataset, model="pde_mlp")
        ]  # fmt: skip
    text = _answers(PAGE.PDE, made)
    assert "second derivatives (poisson_1d): sau:n=5 have a lower error than relu in every cell" in text.replace(
        " has a", " have a"
    )
    assert "first derivatives only (poisson_1d_ritz): no arm is shown to have a lower error than relu" in text
    assert "takes second derivatives, 1 of 1 arms have a lower error than relu in every cell; the best, sau:n=5" in text
    assert re.search(r"sau:n=5, divides it by 3\d(\.\d)? in the geometric mean\. ", text)
    assert (
        "takes first derivatives only, none of 1 arms is shown to have a lower error than relu in every cell." in text
    )


@pytest.mark.parametrize(("effect", "sentence"), [(0.05, "Better than relu are gelu on cnn on digits."),
                                                  (0.0, "No arm is shown to be better than relu; on cnn on digits the "
                                                        "choice does not matter: all are equivalent to relu."),
                                                  (-0.05, "No arm is shown to be better than relu.")])  # fmt: skip
def test_the_fifth_answer_names_what_is_better_where(effect: float, sentence: str) -> None:
    text = _answers(PAGE.RESNET, records(["relu", "gelu"], effects={"gelu": effect}))
    assert f"**5. Which activation for which kind of network?** {sentence}\n" in text


def test_the_table_of_what_is_shipped_has_both_accuracies_and_their_verdicts() -> None:
    _, replaced, tuned, _ = PAGE.WAYS
    made = records([*PAGE.WAYS], effects={replaced: -0.05})
    shares = {r.trial.id: r.test["accuracy"] + 0.04 * (r.label == tuned) for r in made}
    measured = [dataclasses.replace(r, measures={"int8_accuracy": shares[r.trial.id]}) for r in made]
    lines = PAGE.shipped(PAGE.judged([_found(PAGE.SHIPPING, measured)]))[2:]
    assert [line.split(" | ")[1] for line in lines] == [*PAGE.WAYS.values()]
    by_way = {line.split(" | ")[1]: line.rstrip(" |").split(" | ")[2:] for line in lines}
    assert [score.partition(", ")[2] for score in by_way[PAGE.WAYS[replaced]]] == ["worse", "worse"]
    assert [score.partition(", ")[2] for score in by_way[PAGE.WAYS[tuned]]] == ["equivalent", "better"]
    assert "," not in "".join(by_way["ReLU from the start"])
