"""A task that the lab has never heard of: one file, and every command serves it to the report."""

from __future__ import annotations

import csv
import subprocess
import sys
from pathlib import Path

import pytest

import bevel_lab
from bevel_lab.experiment import ledger

CUSTOM_TASK = Path(__file__).parents[2] / "examples" / "custom_task.py"
RECIPE = ["--dataset", "diabetes", "--model", "narrow", "--epochs", "12", "--lr", "0.02", "--weight-decay", "0.01"]
ARMS = ["relu", "sau", "frelu@alternate=epoch", "smooth_frelu@sharpness=1:50"]


def _lab(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, CUSTOM_TASK, *arguments], capture_output=True, text=True, timeout=300)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of an experiment with two seeds."""
    out = tmp_path_factory.mktemp("custom_task")
    words = ["compare", "--activations", *ARMS, "--seeds", "2", *RECIPE, "--workers", "1", "--out", str(out)]
    done = _lab(*words)
    assert done.returncode == 0, done.stderr
    assert "2 paired seeds are too few for a verdict" in done.stdout
    return out


def test_the_lab_names_it_nowhere() -> None:
    package = Path(bevel_lab.__file__).parent
    modules = {str(path.relative_to(package)): path.read_text("utf-8") for path in package.rglob("*.py")}
    assert {"__main__.py", "tasks/classification.py", "report/__init__.py", "experiment/ledger.py"} < modules.keys()
    words = ("diabetes", "Regression(", "r2_score")
    assert not [name for name, text in modules.items() if any(word in text for word in words)]


@pytest.mark.process
def test_parts_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    refused = _lab(
        "compare", "--activations", "relu", "--dataset", "diabetes", "--model", "cnn", "--out", str(tmp_path)
    )
    assert refused.returncode == 2
    assert "data set 'diabetes' is for regression, model 'cnn' for classification." in refused.stderr


@pytest.mark.process
def test_every_trial_learns_and_is_recorded_once(folder: Path) -> None:
    records = list(ledger.parse(folder / ledger.LEDGER)[0].values())
    assert sorted((r.label, r.trial.seed) for r in records) == sorted((arm, seed) for arm in ARMS for seed in range(2))
    for record in records:
        assert (record.metric, record.trial.task) == ("r2", "regression")
        assert record.test["r2"] > 0.2, "0 is what the mean of all patients gets"
        assert record.epochs[-1].train["loss"] < record.epochs[0].train["loss"]
        assert record.data["test"] == 88
        assert [picture.title for picture in record.pictures] == (
            [] if record.trial.seed else ["patient 439", "patient 440", "patient 441"]
        )


@pytest.mark.process
def test_the_report_speaks_of_it(folder: Path) -> None:
    html = (folder / "report.html").read_text(encoding="utf-8")
    for part in ("test r2", "narrow on diabetes", "What it sees", "patient 440", "train 354; test 88; digest"):
        assert part in html
    with (folder / "results.csv").open(encoding="utf-8", newline="") as file:
        assert {row["metric"] for row in csv.DictReader(file)} == {"r2"}
