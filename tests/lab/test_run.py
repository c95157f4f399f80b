"""``bevel_lab.run``: an experiment from Python, and what it gives back."""

from __future__ import annotations

import doctest
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest
from recording_watcher import RecordingWatcher
from small_trials import RECIPE

import bevel_lab
from bevel.errors import InvalidValue, UnknownName
from bevel_lab import report
from bevel_lab.cli import main
from bevel_lab.errors import LabError
from bevel_lab.execution.executor import Driver, Executor, Setup, perform, with_failure
from bevel_lab.experiment.events import Begun, EpochDone, Event, Failure, Watcher
from bevel_lab.experiment.experiment import Experiment
from bevel_lab.experiment.ledger import Ledger
from bevel_lab.experiment.trial import Job

ASKED: dict[str, Any] = RECIPE | {"activations": ["relu", "sau:n=5"], "seeds": 2, "epochs": 1}


class Here(Executor):
    """An executor of a user's own: every trial in this process."""

    def run(self, jobs: list[Job], ledger: Ledger, setup: Setup, watcher: Watcher) -> list[Failure]:
        driver = Driver(jobs, ledger, setup, watcher)
        for job in driver.todo:
            for event in with_failure(job, perform(job, setup)):
                driver.hear(event)
        return driver.failures


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> bevel_lab.Results:
    return bevel_lab.run(ASKED, out=tmp_path_factory.mktemp("run"), executor=Here())


def _loaded(code: str) -> set[str]:
    """The packages that a program has loaded at its end."""
    code += "\nimport sys; print(*{m.split('.')[0] for m in sys.modules} | {m for m in sys.modules if 'bevel' in m})"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return set(done.stdout.split())


@pytest.mark.process
def test_the_package_is_light_until_something_is_asked_of_it() -> None:
    assert not _loaded("import bevel_lab; dir(bevel_lab)") & {"torch", "numpy", "rich", "bevel"}
    assert "bevel_lab.execution.run" in _loaded("import bevel_lab; bevel_lab.run")
    with pytest.raises(AttributeError, match="has no attribute 'runn'"):
        _ = bevel_lab.runn  # type: ignore[attr-defined]
    assert {"Experiment", "Ray", "Results", "Torchrun", "Workers", "run"} <= set(dir(bevel_lab))
    assert all(getattr(bevel_lab, name) for name in bevel_lab.__all__)


@pytest.mark.process
def test_the_examples_of_the_public_names_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    runner = doctest.DocTestRunner(verbose=False)
    names = dict.fromkeys(("run", *bevel_lab.__all__), bevel_lab)  # the others read what run writes
    for name, home in (names | dict.fromkeys(report.__all__, report)).items():
        public = getattr(home, name)
        known = vars(home) if home is report else {name: public}
        found = doctest.DocTestFinder(recurse=False).find(public, name, globs=dict(known))
        assert sum(len(test.examples) for test in found), f"{name} has no example"
        for test in found:
            runner.run(test)
    assert runner.summarize().failed == 0


def test_results_hold_records_a_table_and_on_demand_verdicts_and_a_report(results: bevel_lab.Results) -> None:
    assert [(r.label, r.trial.seed) for r in results.records] == [
        ("relu", 0), ("sau:n=5", 0), ("relu", 1), ("sau:n=5", 1),
    ]  # fmt: skip
    assert (results.missing, results.failures, results.torn) == (0, [], "")
    assert not (results.folder / "report.html").exists(), "nobody asked for it"
    rows = results.table
    assert [row["arm"] for row in rows] == ["relu", "sau:n=5"] * 2
    assert [row["score"] for row in rows] == [record.test["accuracy"] for record in results.records]
    for row in rows:
        assert list(row) == list(rows[0])
        assert {"dataset", "model", "seed", "lr", "test_loss", "validation_accuracy", "seconds", "id"} <= set(row)
        assert all(value is None or isinstance(value, str | int | float) for value in row.values()), "no nested values"
    (verdict,) = results.verdicts
    assert (verdict["arm"], verdict["reference"]) == ("sau:n=5", "relu")
    assert results.report() == results.folder / "report.html"
    assert f"bevel run {results.folder / 'experiment.toml'} --out" in results.report().read_text()
    again = bevel_lab.Results.read(results.folder)
    assert again.records == results.records


@pytest.mark.process
def test_verdicts_and_report_are_loaded_when_they_are_asked_for(results: bevel_lab.Results) -> None:
    read = f"import bevel_lab; found = bevel_lab.Results.read({str(results.folder)!r}); found.table"
    assert not {name for name in _loaded(read) if name.startswith("bevel_lab.report")}
    assert "bevel_lab.report" in _loaded(f"{read}; found.verdicts")


@pytest.mark.process
def test_a_mapping_a_file_and_an_experiment_are_one_experiment(
    results: bevel_lab.Results, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    before = {record.trial.id: record.result for record in results.records}
    toml = (results.folder / "experiment.toml").read_text()
    assert tomllib.loads(toml) == ASKED
    Path("asked.toml").write_text(f"# mine\n{toml}workers = 7\n")
    asked = bevel_lab.run("asked.toml", executor=Here(), seeds=1)
    assert asked.folder == Path("runs/asked")
    assert tomllib.loads(Path("runs/asked/experiment.toml").read_text()) == ASKED | {"seeds": 1}
    bevel_lab.run(Path("asked.toml"), out="runs/asked", executor=Here())
    assert Path("runs/asked/experiment-2.toml").read_text() == Path("asked.toml").read_text(), "comments and all"
    whole = Experiment.resolve(["relu", "sau:n=5"], "relu", 2, RECIPE | {"epochs": 1})
    third = bevel_lab.run(whole, executor=Here(), title="Mine")
    assert third.folder == Path("runs/digits-mlp")
    assert third.experiment == results.experiment
    for found in (bevel_lab.Results.read("runs/asked"), third):
        assert {record.trial.id: record.result for record in found.records} == before
    assert "<title>Mine</title>" in third.report("elsewhere").read_text()
    assert main(["run", "runs/digits-mlp/experiment.toml", "--out", "again"]) == 0, "as its report says"
    assert bevel_lab.Results.read("again").experiment == whole


def test_what_is_wrong_is_said_before_anything_is_run(tmp_path: Path) -> None:
    whole = Experiment.resolve(["gelu"], "relu", 2, RECIPE)
    for experiment, settings, words in (
        (whole, {"seeds": 3, "lr": 1.0}, "an Experiment says lr, seeds itself"),
        ({"activations": "relu"}, {}, "activations must be a list of texts; got 'relu'"),
        (ASKED, {"workers": 0}, "workers must be a whole number, at least 1; got 0"),
        ({}, {}, "name what to compare"),
    ):
        with pytest.raises(InvalidValue, match=words):
            bevel_lab.run(experiment, out=tmp_path / "none", **settings)
    with pytest.raises(UnknownName, match="unknown key 'sedes'; did you mean 'seeds'"):
        bevel_lab.run(ASKED, out=tmp_path / "none", sedes=3)
    with pytest.raises(LabError, match="holds no experiment"):
        bevel_lab.Results.read(tmp_path / "none")
    assert list(tmp_path.iterdir()) == []


def test_every_event_is_told_and_reads_as_a_line(tmp_path: Path) -> None:
    events: list[Event] = []
    asked = ASKED | {"seeds": 1, "activations": ["relu"], "epochs": 2}
    bevel_lab.run(asked, out=tmp_path, executor=Here(), on_progress=events.append)
    begun, first, second, record = events
    assert isinstance(begun, Begun)
    assert isinstance(first, EpochDone)
    assert first.epoch.train["loss"] > 0
    assert [str(event) for event in (begun, first, second)] == [
        "1 trial is to be run.", "relu, seed 0: epoch 1 of 2", "relu, seed 0: epoch 2 of 2",
    ]  # fmt: skip
    assert str(record).startswith("relu, seed 0: accuracy 0.")
    assert bevel_lab.run(asked, out=tmp_path, executor=Here(), on_progress=events.append).records == [record]
    assert str(events[-1]) == "1 of 1 trial is done already."


def test_an_interruption_is_passed_on_with_how_far_it_came(tmp_path: Path) -> None:
    def stop(event: Event) -> None:
        if isinstance(event, EpochDone) and event.label == "sau:n=5":
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt, match=r"interrupted: 1 of 4 trials are done; the same command goes on\."):
        bevel_lab.run(ASKED, out=tmp_path, executor=Here(), on_progress=stop)
    found = bevel_lab.Results.read(tmp_path)
    assert (len(found.records), found.lacking) == (1, "3 of 4 trials have no result yet.")


def test_a_trial_that_fails_is_in_the_results(tmp_path: Path) -> None:
    class Broken(Here):
        def run(self, jobs: list[Job], ledger: Ledger, setup: Setup, watcher: Watcher) -> list[Failure]:
            failure = Failure(*jobs[0], "it broke", "here")
            watcher(failure)
            return [failure, *super().run(jobs[1:], ledger, setup, watcher)]

    watch = RecordingWatcher()
    found = bevel_lab.run(ASKED, out=tmp_path, executor=Broken(), on_progress=watch)
    assert [failure.reason for failure in found.failures] == ["it broke"]
    assert found.missing == 1
    assert watch.notes == [f"1 trial failed, see {tmp_path / 'failures.txt'}; the same command tries it again."]
    assert "it broke\nhere" in (tmp_path / "failures.txt").read_text()


@pytest.mark.process
def test_a_run_stops_when_its_time_is_over_says_what_it_left_out_and_goes_on_later(tmp_path: Path) -> None:
    asked = {"activations": ["relu", "gelu"], "model": "mlp", "epochs": 1, "train_limit": 100, "seeds": 1, "workers": 1}
    said: list[str] = []
    watch = lambda event: said.append(str(event))  # noqa: E731
    stopped = bevel_lab.run(asked | {"minutes": 1e-6}, out=tmp_path, on_progress=watch)
    assert (stopped.records, stopped.missing, stopped.failures) == ([], 2, [])
    words = "2 of 2 trials were not reached (by seed: relu from 0, gelu from 0)"
    assert said[-1] == f"the time is over: {words}; the same command goes on."
    tuned = asked | {"minutes": 1e-6, "tune": {"space": {"lr": [0.01, 0.1]}}}
    assert bevel_lab.run(tuned, out=tmp_path / "tuned", on_progress=watch).records == []
    assert sum("the time is over: 2 of 2 trials" in text for text in said) == 2
    assert bevel_lab.run(asked, out=tmp_path).missing == 0
    said.clear()
    grid = asked | {"tune": {"space": {"lr": [0.01, 1e-6, 1e-9]}}, "channels_last": True}
    assert len(bevel_lab.run(grid, out=tmp_path / "grid", on_progress=watch).records) == 2
    assert "images and weights are in channels_last, in float32, one thread a trial." in said
    assert "tuning chose lr 0.01 for relu; lr 0.01 for gelu." in said
    assert "lr 0.01, the largest tried, was best for 2 of 2 arms; a better one may lie beyond." in said


@pytest.mark.process
def test_a_worker_that_is_ended_leaks_no_lock_of_a_progress_bar(tmp_path: Path) -> None:
    """torch.fx makes a bar when it exports the model to eight bits; Python said at the end that its lock was leaked."""
    asked = ["--activations", "relu", "--model", "cnn", "--epochs", "1", "--seeds", "1", "--train-limit", "64"]
    command = [sys.executable, "-m", "bevel_lab", "compare", *asked, "--measures", "--workers", "1", "--out", "out"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    assert "leaked" not in done.stderr


def test_a_time_limit_is_for_workers_of_this_machine(tmp_path: Path) -> None:
    with pytest.raises(InvalidValue, match="--minutes is for workers on this machine"):
        bevel_lab.run({"activations": ["relu"], "minutes": 1, "ray": "auto"}, out=tmp_path)
