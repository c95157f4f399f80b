"""Many trials over processes that may be killed at any moment: nothing is lost, nothing is repeated wrongly."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import psutil
import pytest
from recording_watcher import RecordingWatcher
from small_trials import RECIPE, full_disk, trial
from waiting import PATIENCE, until

from bevel_lab.cli import main
from bevel_lab.data.source import Source
from bevel_lab.execution.executor import Setup
from bevel_lab.execution.progress import progress_display
from bevel_lab.execution.workers import Workers
from bevel_lab.experiment import folder, ledger
from bevel_lab.experiment.events import Begun, EpochDone, Failure, Note
from bevel_lab.experiment.experiment import Experiment
from bevel_lab.experiment.ledger import LEDGER, Ledger
from bevel_lab.experiment.trial import Job, Trial
from bevel_lab.training.run import run_trial

pytestmark = pytest.mark.process
ARMS = ["relu", "prelu"]
SLOW: dict[str, Any] = RECIPE | {"epochs": 300}
"""Trials of several seconds, so that a kill finds them half done."""


def _setup(out: Path) -> Setup:
    return Setup(Source(), "cpu", out / "checkpoints", state_every=0)


def _jobs(recipe: dict[str, Any], seeds: int) -> list[Job]:
    return Experiment.resolve(ARMS, "relu", seeds, recipe).trials()


def _undisturbed(jobs: list[Job]) -> dict[str, Any]:
    return {one.id: run_trial(one, label=label).result for one, label in jobs}


def _results(out: Path) -> dict[str, Any]:
    return {key: record.result for key, record in ledger.parse(out / LEDGER)[0].items()}


# ---------------------------------------------------------------------------------------------------- worker processes


def test_workers_give_what_one_process_gives_and_say_what_they_cannot_do(tmp_path: Path) -> None:
    good, watch = _jobs(RECIPE, 2), RecordingWatcher()
    wrong: list[Job] = [(trial(dataset="mnist"), "no data"), (trial(task="none"), "no task")]
    with Ledger(tmp_path) as book:
        book.append(run_trial(good[0][0]))
        failures = Workers(2).run([*good[:2], *wrong, *good[2:]], book, _setup(tmp_path), watch)
    assert _results(tmp_path) == _undisturbed(good)
    assert {r.trial.id for r in watch.records} == {t.id for t, _ in good[1:]}, "what was done is not done again"
    for one, _ in good[1:]:
        assert [done for key, done in watch.epochs if key == one.id] == [1, 2, 3]
    assert failures == watch.failures
    reasons = {f.label: f.reason for f in failures}
    assert "there is no folder data/MNIST/raw" in reasons["no data"]
    assert "unknown task 'none'" in reasons["no task"]
    assert list((tmp_path / "checkpoints").iterdir()) == []
    assert not multiprocessing.active_children()


def test_a_killed_worker_is_named_and_its_trial_goes_on_until_it_dies_twice_without_an_epoch(tmp_path: Path) -> None:
    unlucky, once, fatal = trial("erelu", epochs=12), trial("rrelu", epochs=6), trial(epochs=400)  # two are random
    setup, killed = _setup(tmp_path), list[int]()
    moments = [(unlucky, 3), (unlucky, 7), (once, 2)]

    def kill(one: Trial, done: int) -> None:
        # twice with epochs between; or again and again, each time without the checkpoint to come any further from
        doomed, moment = moments[len(killed)] if len(killed) < len(moments) else (fatal, 0)
        if one == fatal or (one == doomed and done >= moment):
            for worker in multiprocessing.active_children():
                killed.append(worker.pid or 0)
                os.kill(killed[-1], signal.SIGKILL)
                worker.join()
        if one == fatal:
            setup.state(fatal).unlink(missing_ok=True)

    watch = RecordingWatcher(kill)
    with Ledger(tmp_path) as book:
        failures = Workers(1).run([(unlucky, "erelu"), (once, "rrelu"), (fatal, "fatal")], book, setup, watch)
    for pid, note, name in zip(killed[:3], watch.notes[:3], ("erelu", "erelu", "rrelu"), strict=True):
        assert f"process {pid}" in note
        assert f"{name}, seed 0, was killed by SIGKILL (out of memory?); the trial goes on from its last" in note
    assert all("fatal, seed 0, was killed" in note for note in watch.notes[3:])
    assert len(watch.notes) > 3, "it was given another chance"
    for one in (unlucky, once):
        reached = [done for key, done in watch.epochs if key == one.id]
        assert reached == sorted(set(reached)), "it went on from its checkpoint"
        assert reached[-1] == one.epochs
    assert _results(tmp_path) == {one.id: run_trial(one).result for one in (unlucky, once)}
    assert [f.trial for f in failures] == [fatal]
    assert f"process {killed[-1]}" in failures[0].reason
    assert failures[0].reason.endswith("was killed by SIGKILL (out of memory?), 2 times in a row")


def test_leftovers_are_tidied(tmp_path: Path) -> None:
    jobs, setup = _jobs(RECIPE, 1), _setup(tmp_path)
    setup.states.mkdir()
    done, half = setup.state(jobs[0][0]), setup.state(jobs[1][0])
    for path in (done, half, half.with_name(f"{half.name}.99.part")):
        path.touch()
    with Ledger(tmp_path) as book:
        book.append(run_trial(jobs[0][0]))
        Workers(1).run(jobs[:1], book, setup, RecordingWatcher())
    assert list(setup.states.iterdir()) == [half]


# ----------------------------------------------------------------------------------------------------- the whole thing


def test_a_worker_in_the_middle_of_an_epoch_dies_with_its_driver(tmp_path: Path) -> None:
    program = Path(__file__).parent.joinpath("support", "stuck_worker.py")
    driver = subprocess.Popen([sys.executable, str(program), str(tmp_path)], stdout=subprocess.PIPE, text=True)
    assert driver.stdout is not None
    worker = psutil.Process(int(driver.stdout.readline()))
    assert driver.stdout.readline() == "stuck\n"
    driver.kill()
    driver.wait()
    left = _alive([worker])
    for orphan in left:
        orphan.kill()
    driver.stdout.close()
    assert not left


def _words(out: Path, recipe: dict[str, Any]) -> list[str]:
    flags = [f"--{k.replace('_', '-')}={v}" for k, v in recipe.items()]
    arms = ["--activations", *ARMS, "gelu", "--seeds", "1"]
    return ["compare", *arms, *flags, "--workers", "2", "--out", str(out)]


def _compare(out: Path) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "bevel_lab", *_words(out, SLOW)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        # whoever runs the tests in the background may have had them ignore Ctrl-C, which is inherited
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )


def _lost(out: Path, driver: subprocess.Popen[str], moments: random.Random) -> list[psutil.Process]:
    """Wait until there is something new to lose, then for a moment that nobody chose; returns the driver's family."""
    before = _written(out)
    until(lambda: _written(out) - before, "checkpoint", driver)
    time.sleep(moments.uniform(0, 0.5))
    return _family(driver)


def _family(driver: subprocess.Popen[str]) -> list[psutil.Process]:
    return psutil.Process(driver.pid).children(recursive=True) if driver.poll() is None else []


def _written(out: Path) -> set[tuple[str, int]]:
    """The checkpoints and when each was written."""
    found = set()
    for path in _checkpoints(out):
        with contextlib.suppress(FileNotFoundError):  # its trial has just been recorded
            found.add((path.name, path.stat().st_mtime_ns))
    return found


def _checkpoints(out: Path) -> list[Path]:
    return list((out / "checkpoints").glob("*.pt"))


def _alive(family: list[psutil.Process]) -> list[psutil.Process]:
    psutil.wait_procs(family, timeout=20)
    return [p for p in family if p.is_running() and p.status() != psutil.STATUS_ZOMBIE]


def _finish(out: Path, capsys: pytest.CaptureFixture[str], recipe: dict[str, Any] = SLOW) -> str:
    """Let the command run to its end, in this process, which has imported torch already; what it printed."""
    assert main(_words(out, recipe)) == 0
    said, err = capsys.readouterr()
    assert "Traceback" not in err
    assert not _checkpoints(out)
    assert (out / "report.html").exists()
    return said


@pytest.fixture(scope="module")
def undisturbed() -> dict[str, Any]:
    return _undisturbed(Experiment.resolve([*ARMS, "gelu"], "relu", 1, SLOW).trials())


def test_interrupted_and_killed_at_random_moments_it_ends_in_the_same_bits(
    tmp_path: Path,
    undisturbed: dict[str, Any],
    moments: random.Random,
    thorough: bool,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """First by Ctrl-C. Half of the kills fall anywhere after the start, half while trials run; the driver, or everyone.

    A grid that comes to its end between two kills is looked at, and another one is begun.
    """
    out, kills = tmp_path / "0", 0
    _interrupt(out, moments)
    while kills < (30 if thorough else 8):
        kills += _kill_one(out, moments, running=bool(kills % 2))
        if len(_results(out)) == len(undisturbed):
            assert _ended(out, capsys) == undisturbed
            out = tmp_path / str(kills)
    assert _ended(out, capsys) == undisturbed


def _interrupt(out: Path, moments: random.Random) -> None:
    """Run the command and press Ctrl-C: all end at once, and it is said that the same command goes on."""
    driver = _compare(out)
    family = _lost(out, driver, moments)
    os.killpg(driver.pid, signal.SIGINT)  # a terminal sends it to all of them
    _, err = driver.communicate(timeout=PATIENCE)
    assert driver.returncode == 130
    assert err.splitlines()[-1].endswith("of 3 trials are done; the same command goes on.")
    assert "Traceback" not in err
    assert not _alive(family)


def _kill_one(out: Path, moments: random.Random, running: bool) -> bool:
    """Run the command and kill it; False if it was done before."""
    driver = _compare(out)
    if running:
        _lost(out, driver, moments)
    else:
        time.sleep(moments.uniform(0, 5))
    family = _family(driver)
    with contextlib.suppress(ProcessLookupError):  # it has just ended
        if moments.random() < 0.5:
            os.killpg(driver.pid, signal.SIGKILL)
        else:
            driver.kill()  # its workers must go by themselves
    driver.communicate()
    assert not _alive(family)
    return driver.returncode == -signal.SIGKILL


def _ended(out: Path, capsys: pytest.CaptureFixture[str]) -> dict[str, Any]:
    """The results of a grid that was let run to its end, each of them recorded once."""
    said = _finish(out, capsys)
    assert all(label in said for label in [*ARMS, "gelu"])
    found = _results(out)
    assert len((out / LEDGER).read_bytes().splitlines()) == len(found), "every record once"
    return found


def test_a_full_disk_is_named_and_what_was_written_whole_stays(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The disk is a limit on the size of files, which cuts a write short as a full disk does."""
    jobs = Experiment.resolve([*ARMS, "gelu"], "relu", 1, RECIPE).trials()
    with Ledger(tmp_path) as book:
        book.append(run_trial(jobs[0][0], label=jobs[0][1]))
    room = (tmp_path / LEDGER).stat().st_size + 500
    script = (
        "import resource, sys; from bevel_lab.experiment import ledger; from pathlib import Path\n"
        "book = ledger.Ledger(Path(sys.argv[1])); (one,) = book.records.values()\n"
        "import dataclasses; two = dataclasses.replace(one, trial=dataclasses.replace(one.trial, seed=9))\n"
        f"resource.setrlimit(resource.RLIMIT_FSIZE, ({room}, {room})); book.append(two)"
    )
    done = subprocess.run([sys.executable, "-c", script, str(tmp_path)], capture_output=True, text=True, check=False)
    assert "could not write all of" in done.stderr
    assert "make room on the disk and start again" in done.stderr
    assert (tmp_path / LEDGER).stat().st_size == room, "part of a line"
    _finish(tmp_path, capsys, RECIPE)
    assert _results(tmp_path) == _undisturbed(jobs)


def test_a_checkpoint_that_does_not_fit_on_the_disk_is_a_failure_that_names_it(tmp_path: Path) -> None:
    jobs, watch = _jobs(RECIPE, 1), RecordingWatcher()
    with Ledger(tmp_path) as book:
        with full_disk(1000):
            failures = Workers(1).run(jobs, book, _setup(tmp_path), watch)
        assert len(failures) == 2
        for failure in failures:
            state = _setup(tmp_path).state(failure.trial)
            assert failure.reason.startswith(f"could not write all of {state} (File too large); make room on the disk")
        assert Workers(1).run(jobs, book, _setup(tmp_path), watch) == []
    assert _results(tmp_path) == _undisturbed(jobs)


def test_a_folder_of_another_experiment_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder.merge(tmp_path, Experiment.resolve(ARMS, "relu", 2, SLOW))
    assert main(["compare", "--activations", *ARMS, "--epochs", "7", "--out", str(tmp_path)]) == 2
    err = capsys.readouterr().err
    assert err.count("\n") == 1
    assert "holds another experiment (batch_size is 25 there and 32 here; epochs is 300 there and 7 here" in err


# ------------------------------------------------------------------------------------------------------------ progress


def test_plain_lines_count_trials_and_time_left(capsys: pytest.CaptureFixture[str]) -> None:
    jobs = _jobs(RECIPE, 2)
    records = [run_trial(one, label=label) for one, label in jobs[:1]]
    with progress_display() as watcher:
        watcher(Begun(jobs, done=3))
        watcher(EpochDone(*jobs[0], 1, records[0].epochs[0]))
        time.sleep(1.1)
        watcher(records[0])
        watcher(Failure(*jobs[1], "it broke", ""))
        watcher(Note("[a note]"))
    first, *lines = capsys.readouterr().err.splitlines()
    assert first == "3 of 7 trials are done already."
    assert lines[0].startswith("[4/7] relu, seed 0: accuracy 0.")
    assert lines[0].endswith("s left")
    assert lines[1].startswith("[5/7] prelu, seed 0, FAILED: it broke")
    assert lines[2] == "[a note]"


def test_bars_on_a_terminal(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("COLUMNS", "120")
    jobs = _jobs(RECIPE, 1)
    record = run_trial(jobs[0][0], label="relu")
    with progress_display() as watcher:
        watcher(Begun(jobs, done=0))
        watcher(EpochDone(jobs[0][0], "a [label]", 2, record.epochs[1]))
        watcher.progress.refresh()  # type: ignore[attr-defined]
        watcher(record)
        watcher(Failure(*jobs[1], "it [broke]", ""))
    err = capsys.readouterr().err
    for part in ("0/2 trials", "2/2 trials", "a [label], seed 0", "2/3 epochs", "6/6 epochs", "FAILED: it [broke]"):
        assert part in err
