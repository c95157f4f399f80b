"""How arms are trained, as data: the protocols, the controls that come along, tuning, and the experiments' files."""

from __future__ import annotations

import collections
import dataclasses
import json
import math
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import synthetic_records as synthetic

from bevel.errors import InvalidValue, UnknownName
from bevel_lab.cli import _settings, compare, main, run
from bevel_lab.experiment import ledger, protocols, settings, tuning
from bevel_lab.experiment.arm import RECIPE
from bevel_lab.experiment.experiment import Experiment, place
from bevel_lab.experiment.ledger import LEDGER
from bevel_lab.experiment.record import Record
from bevel_lab.experiment.trial import Trial
from bevel_lab.training.activations import ActivationFactory

EXPERIMENTS = sorted((Path(__file__).parents[2] / "experiments").glob("*.toml"))


def resolved(path: Path, *flags: str) -> Experiment:
    return settings.resolve(settings.read(path) | _settings.given(run.parser().read([str(path), *flags])))


def written(folder: Path, text: str) -> Path:
    path = folder / "experiment.toml"
    path.write_text(text)
    return path


# ------------------------------------------------------------------------------------------------------- the protocols


def test_the_papers_protocol_is_what_is_public_of_it() -> None:
    expected = {"epochs": 200, "batch_size": 128, "lr": 0.1, "momentum": 0.9, "weight_decay": 5e-4, "warmup": 0.0,
                "augment": True, "validation": 0.02}  # fmt: skip
    assert protocols.protocol("paper").recipe == expected
    trial = Trial(activation="relu", **expected)
    assert (trial.optimizer, trial.schedule) == ("sgd", "cosine")
    quick = protocols.protocol("quick").recipe
    same = ("batch_size", "lr", "momentum", "weight_decay", "augment")
    assert {name: quick[name] for name in same} == {name: expected[name] for name in same}
    assert quick["epochs"] == 10


@pytest.mark.parametrize("name", protocols.names())
def test_every_protocol_is_a_whole_recipe(name: str, tmp_path: Path) -> None:
    found = protocols.protocol(name)
    assert found.summary
    assert set(found.recipe) <= set(RECIPE)
    assert (found.tune is not None) == (name == "fair")
    one = resolved(written(tmp_path, f'activations = ["relu"]\nprotocol = "{name}"\n'))
    assert {key: one.recipe[key] for key in found.recipe} == found.recipe
    assert one.tuning == found.tune


def test_a_tune_table_changes_what_it_names_of_the_protocols(tmp_path: Path) -> None:
    found = protocols.protocol("fair").tune
    assert found
    one = resolved(written(tmp_path, 'activations = ["relu"]\nprotocol = "fair"\n[tune]\ntrials = 3\n'))
    assert one.tuning == dataclasses.replace(found, trials=3)
    own = "[tune.space.lr]\nlow = 0.1\nhigh = 0.2\n"
    two = resolved(written(tmp_path, f'activations = ["relu"]\nprotocol = "fair"\n{own}'))
    assert two.tuning is not None
    assert (two.tuning.trials, set(two.tuning.space)) == (found.trials, {"lr"})


def test_protocols_are_found_by_name_and_flags_win_over_them(tmp_path: Path) -> None:
    assert protocols.names() == ["fair", "paper", "quick"]
    with pytest.raises(UnknownName, match="unknown protocol 'papr'; did you mean 'paper'"):
        protocols.protocol("papr")
    path = written(tmp_path, 'activations = ["relu"]\nprotocol = "paper"\nepochs = 90\n')
    assert resolved(path).recipe["epochs"] == 90
    assert resolved(path, "--epochs", "3").recipe["epochs"] == 3
    assert resolved(path).recipe["lr"] == 0.1


# -------------------------------------------------------------------------------------------------------- the controls


@pytest.mark.parametrize(
    ("named", "added"),
    [
        ("relu", ["swish"]),
        ("sau", ["leaky_relu:negative_slope=0.15", "prelu:init=0.25", "prelu:init=0.15", "swish"]),
        ("sau:n=5", ["leaky_relu:negative_slope=0.15", "prelu:init=0.25", "prelu:init=0.15", "swish"]),
        ("frelu", ["prelu", "frelu@alternate=epoch", "swish"]),
        ("frelu@alternate=epoch", ["prelu", "frelu", "swish"]),
        ("swish", []),
    ],
)
def test_controls_come_along_unless_they_are_declined(named: str, added: list[str], tmp_path: Path) -> None:
    first = list(dict.fromkeys(["relu", named]))
    path = written(tmp_path, f'activations = {first}\nprotocol = "quick"\n')
    assert [one.label for one in resolved(path).arms] == first + added
    assert [one.label for one in resolved(path, "--no-controls").arms] == first


def test_the_relatives_of_frelus_paper_come_if_asked_for(tmp_path: Path) -> None:
    path = written(tmp_path, 'activations = ["relu", "frelu", "pelu"]\nmore_controls = true\n')
    labels = [one.label for one in resolved(path).arms]
    assert labels == ["relu", "frelu", "pelu", "prelu", "frelu@alternate=epoch", "apl", "rrelu", "swish"]
    assert "apl" not in [one.label for one in resolved(path, "--no-more-controls", "--controls").arms]
    with pytest.raises(InvalidValue, match="more_controls adds to the controls"):
        resolved(path, "--no-controls")


def test_a_control_that_is_named_already_is_not_named_twice(tmp_path: Path) -> None:
    path = written(tmp_path, 'activations = ["relu", "prelu", "sau", "frelu"]\nprotocol = "quick"\n')
    labels = [one.label for one in resolved(path).arms]
    assert labels == ["relu", "prelu", "sau", "frelu", "leaky_relu:negative_slope=0.15", "prelu:init=0.15",
                      "frelu@alternate=epoch", "swish"]  # fmt: skip


@pytest.mark.parametrize(
    ("flags", "added"),
    [
        (["--alternate", "epoch"], ["frelu@alternate=", "swish"]),
        (["--alternate", "step"], ["frelu@alternate=epoch", "frelu@alternate=", "swish"]),
        ([], ["frelu@alternate=epoch", "swish"]),
    ],
)
def test_a_control_that_is_an_arm_under_the_recipe_is_left_out(flags: list[str], added: list[str]) -> None:
    asked = ["--protocol", "quick", "--activations", "prelu", "frelu", "--reference", "prelu", *flags]
    found = settings.resolve(_settings.given(compare.parser().read(asked)))
    assert [one.label for one in found.arms] == ["prelu", "frelu", *added]
    assert len({trial.id for trial, _ in found.base_trials()}) == len(found.arms)


def test_frelus_prelu_is_per_channel(tmp_path: Path) -> None:
    path = written(tmp_path, 'activations = ["frelu"]\nprotocol = "quick"\nmodel = "mlp"\n')
    jobs = {label: trial for trial, label in resolved(path).base_trials()}
    module = ActivationFactory(jobs["prelu"].activation)(128)
    assert [len(p) for p in module.parameters()] == [128]


# ----------------------------------------------------------------------------------------------- the experiments' files


@pytest.mark.parametrize("path", EXPERIMENTS, ids=lambda path: path.stem)
def test_every_experiment_of_the_repository_can_be_resolved(path: Path) -> None:
    found = resolved(path)
    assert found.reference in [one.label for one in found.arms]
    assert len(found.trials()) == (0 if found.tuning else len(found.arms) * len(found.cells) * found.seeds)
    heads = {one.activation.partition(":")[0] for one in found.arms}
    assert "relu" in heads or path.stem.startswith("evidence-alternation"), "which compares FReLU with itself"


def test_there_are_experiments() -> None:
    assert {"sau-cifar100", "frelu-cifar100", "fair-cifar100"} <= {path.stem for path in EXPERIMENTS}


def test_a_dry_run_prints_the_grid_and_writes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    path = written(
        tmp_path,
        'activations = ["relu", "sau:n=5"]\nprotocol = "fair"\ncontrols = false\nseeds = 3\ndataset = "digits"\n'
        'model = ["mlp", "cnn"]\nepochs = 2\ntrain_limit = 100\nbatch_size = 25\n',
    )
    monkeypatch.chdir(tmp_path)
    assert main(["run", path.name, "--dry-run"]) == 0
    out = capsys.readouterr().out
    rows = [re.split(r"\s{2,}", line) for line in out.splitlines() if "digits" in line]
    assert [row[:4] for row in rows] == [
        [arm, "digits", model, "15"] for model in ("mlp", "cnn") for arm in ("relu", "sau:n=5")
    ]
    assert all(row[4].endswith(" ms") and "MiB" in row[6] for row in rows)
    assert "60 trials, about" in out
    assert "MiB beside the data." in out
    assert "at most" not in out, "the peak of a few steps is a lower bound"
    assert "COCO's metrics come on top" in out
    assert "tuning: 12 trials an arm over lr 0.01 to 0.5 (log), weight_decay 1e-05 to 0.005 (log)" in out
    assert list(tmp_path.iterdir()) == [path]


# ------------------------------------------------------------------------------------------------------------- tuning

FAIR = """
title = "Tuned arms"
protocol = "fair"
controls = false
activations = ["relu", "sau:n=5"]
seeds = 2
dataset = "digits"
model = "mlp"
epochs = 2
train_limit = 200
batch_size = 25
workers = 1
[tune]
trials = 2
[tune.space.lr]
low = 0.001
high = 0.2
log = true
"""
BUDGET = "2 trials an arm over lr 0.001 to 0.2 (log), judged on the validation split"


@pytest.fixture(scope="module")
def fair(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """(file, folder) of an experiment that was tuned and run."""
    folder = tmp_path_factory.mktemp("fair")
    file = written(folder, FAIR)
    command = [
        sys.executable,
        Path(__file__).parent.joinpath("support", "tuning_guard.py"),
        "run",
        file,
        "--out",
        folder / "out",
    ]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    assert f"tuning: {BUDGET}, for 2 arms." in done.stderr
    return file, folder / "out"


def _records(folder: Path) -> list[Record]:
    return list(ledger.parse(folder / LEDGER)[0].values())


def _tuned(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / "experiment.json").read_text())["tuned"]
    return found


@pytest.mark.process
def test_every_arm_gets_the_same_trials_and_the_best_on_the_validation_split(fair: tuple[Path, Path]) -> None:
    tried = _records(fair[1] / "tuning")
    assert collections.Counter(r.label for r in tried) == {"relu": 2, "sau:n=5": 2}
    for record in tried:
        assert record.trial.tuning
        assert record.test == record.epochs[-1].validation
        assert 0.001 <= record.trial.lr <= 0.2
    for arm in ("relu", "sau:n=5"):
        own = [r for r in tried if r.label == arm]
        assert [r.trial.seed for r in own] == [tuning.SEED, tuning.SEED + 1]
        assert own[0].trial.lr != own[1].trial.lr
        best = max(own, key=lambda r: r.epochs[-1].validation["accuracy"])
        assert _tuned(fair[1])[place(("digits", "mlp"), arm)] == {"lr": best.trial.lr}
        compared = [r for r in _records(fair[1]) if r.label == arm]
        assert [(r.trial.seed, r.trial.lr, r.trial.tuning) for r in compared] == [
            (seed, best.trial.lr, False) for seed in range(2)
        ]
        assert all(r.test["accuracy"] != r.epochs[-1].validation["accuracy"] for r in compared)


@pytest.mark.process
def test_the_report_prints_the_budget(fair: tuple[Path, Path], tmp_path: Path) -> None:
    file, folder = fair
    html = (folder / "report.html").read_text(encoding="utf-8")
    sentence = f"Every arm was tuned first, in each cell: {BUDGET}. The test part was not read for it."
    assert sentence in html
    assert sentence in (folder / "table.md").read_text(encoding="utf-8").replace("\\", "")
    assert f"bevel run {folder / 'experiment.toml'} --out {folder}" in html
    assert (folder / "experiment.toml").read_bytes() == file.read_bytes(), "the file that was asked for, as it is"
    assert main(["report", str(folder), "--page", str(tmp_path / "page.md")]) == 0
    assert sentence in (tmp_path / "page.md").read_text(encoding="utf-8")


@pytest.mark.process
def test_a_search_that_stopped_between_rounds_makes_the_same_choice(
    fair: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file, folder = fair
    (tmp_path / "tuning").mkdir()
    lines = (folder / "tuning" / LEDGER).read_bytes().splitlines(keepends=True)
    (tmp_path / "tuning" / LEDGER).write_bytes(b"".join(lines[:2]))
    assert {Record.from_json(line.decode()).trial.seed for line in lines[:2]} == {tuning.SEED}
    state = json.loads((folder / "experiment.json").read_text()) | {"tuned": {}}
    (tmp_path / "experiment.json").write_text(json.dumps(state))
    assert main(["status", str(tmp_path)]) == 0
    said = capsys.readouterr().out
    assert "4 trials missing" in said
    assert said.count("to be tuned") == 2
    assert main(["run", str(file), "--out", str(tmp_path)]) == 0
    assert _tuned(tmp_path) == _tuned(folder)
    for part in (".", "tuning"):
        again, before = ({r.trial.id: r.result for r in _records(where / part)} for where in (tmp_path, folder))
        assert again == before


@pytest.mark.process
def test_what_is_done_is_not_done_again(
    fair: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file, folder = fair
    kept = shutil.copytree(folder, tmp_path / "kept")
    assert main(["status", str(folder)]) == 0
    said = capsys.readouterr().out
    assert f"{folder}: complete" in said
    assert said.count("2 of 2") == 2
    assert main(["run", str(file), "--out", str(folder)]) == 0
    for name in (LEDGER, f"tuning/{LEDGER}", "experiment.json", "report.html"):
        assert (folder / name).read_bytes() == (kept / name).read_bytes()
    capsys.readouterr()
    other = written(tmp_path, FAIR.replace("trials = 2", "trials = 3"))
    assert main(["run", str(other), "--out", str(folder)]) == 2
    assert "holds another experiment (tuning is '2 trials an arm" in capsys.readouterr().err


def test_a_run_without_a_score_is_never_the_choice_even_where_scores_are_negative() -> None:
    """Scores below 0 as R² has them; a missing score must not pass for a 0."""
    (base,) = synthetic.records(["relu"], seeds=1, epochs=1)
    scores, found = [math.nan, -0.5, -0.25, math.nan], dict[str, Record]()
    asked: list[Trial] = []

    def attempt(jobs: list[tuning.Job]) -> bool:
        for trial, _ in jobs:
            asked.append(trial)
            found[trial.id] = dataclasses.replace(base, trial=trial, metric="r2", test={"r2": scores[len(asked) - 1]})
        return True

    budget = tuning.Tuning.read({"trials": 4, "space": {"lr": {"low": 0.01, "high": 0.1}}})
    (point,) = tuning.search(budget, [(base.trial, "relu")], found, attempt).values()
    assert point == {"lr": asked[2].lr}
    assert len(asked) == 4


def test_a_grid_tries_every_combination_at_a_part_of_the_length_with_one_seed() -> None:
    budget = tuning.Tuning.read({"length": 0.3333, "space": {"lr": [0.1, 0.2], "momentum": [0.5, 0.9]}})
    (base,) = synthetic.records(["relu"], seeds=1, epochs=1)
    whole = dataclasses.replace(base.trial, epochs=30, measures=True)
    found = dict[str, Record]()

    def attempt(jobs: list[tuning.Job]) -> bool:
        for trial, _ in jobs:
            score = {0.1: 0.5, 0.2: 0.75}[trial.lr] + trial.momentum / 10
            found[trial.id] = dataclasses.replace(base, trial=trial, test={"accuracy": score})
        return True

    (point,) = tuning.search(budget, [(whole, "relu")], found, attempt).values()
    assert point == {"lr": 0.2, "momentum": 0.9}
    tried = [record.trial for record in found.values()]
    assert [(one.lr, one.momentum) for one in tried] == [(0.1, 0.5), (0.1, 0.9), (0.2, 0.5), (0.2, 0.9)]
    assert {(one.seed, one.epochs, one.tuning, one.measures) for one in tried} == {(tuning.SEED, 10, True, False)}
    assert budget.trials == 4
    assert str(budget) == (
        "lr 0.1, 0.2, momentum 0.5, 0.9, one trial each with one seed that is not used again, at 0.33 of the length, "
        "judged on the validation split"
    )
    assert tuning.Tuning.read(dataclasses.asdict(budget)) == budget
    assert budget.edges([point]) == [], "of two values each is an end"


def test_the_best_at_an_end_of_a_grid_is_said() -> None:
    budget = tuning.Tuning.read({"space": {"lr": [0.4, 0.1, 0.2], "momentum": [0.5, 0.9]}})
    points = [{"lr": lr, "momentum": 0.9} for lr in (0.4, 0.2, 0.4, 0.1)]
    assert budget.edges(points) == [
        "lr 0.1, the smallest tried, was best for 1 of 4 arms; a better one may lie beyond.",
        "lr 0.4, the largest tried, was best for 2 of 4 arms; a better one may lie beyond.",
    ]
    assert budget.edges([{"lr": 0.2, "momentum": 0.9}]) == []
    ranges = tuning.Tuning.read({"trials": 4, "space": {"lr": {"low": 0.01, "high": 0.1}}})
    assert ranges.edges([{"lr": 0.1}]) == []


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("trials = 0", "tune.trials must be a whole number, at least 1; got 0."),
        ("trials = 2", "tune.space must name at least one field"),
        ("trials = 2\n[tune.space.epochs]\nlow = 1\nhigh = 2", "tune.space must hold numbers of the recipe"),
        ("trials = 2\n[tune.space.lr]\nlow = 2\nhigh = 1", "low < high"),
        ("trials = 2\n[tune.space.lr]\nlow = 0\nhigh = 1\nlog = true", "needs low > 0"),
        ("trials = 2\nlength = 0\n[tune.space.lr]\nlow = 1\nhigh = 2", "tune.length must be a share of the epochs"),
        ("[tune.space.lr]\nlow = 1\nhigh = 2", "tune.trials must say how many points"),
        ("[tune.space]\nlr = [0.1, 0.1]", "tune.space.lr must be different numbers"),
        ("[tune.space]\nlr = []", "tune.space.lr must be different numbers"),
        ("[tune.space]\nlr = [0.1]\nmomentum = { low = 0.1, high = 0.9 }", "lists of values only, or ranges only"),
        ("tries = 2", "[tune] must have trials, space and length; got tries."),
    ],
)
def test_a_wrong_search_is_named(text: str, words: str, tmp_path: Path) -> None:
    with pytest.raises(InvalidValue) as caught:
        resolved(written(tmp_path, f'activations = ["relu"]\n[tune]\n{text}\n'))
    assert words in str(caught.value)


def test_an_arm_that_sets_what_is_tuned_is_refused(tmp_path: Path) -> None:
    path = written(tmp_path, 'activations = ["relu", "sau@lr=0.5"]\nprotocol = "fair"\n')
    with pytest.raises(InvalidValue, match="tuning chooses lr; an arm that sets it itself cannot be tuned"):
        resolved(path)


# ---------------------------------------------------------------------------------------------------------- the task


def test_a_task_may_be_named_and_must_then_be_the_data_sets(tmp_path: Path) -> None:
    text = 'activations = ["sau"]\ntask = "{}"\ndataset = "bccd"\nmodel = "ssd_small"\n'
    found = resolved(written(tmp_path, text.format("detection")))
    assert {trial.task for trial, _ in found.base_trials()} == {"detection"}
    with pytest.raises(
        InvalidValue, match=r"task is 'video' and data set 'bccd' is for detection; choose another data"
    ):
        resolved(written(tmp_path, text.format("video")))
