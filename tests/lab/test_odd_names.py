"""File names that are no UTF-8, and standard streams that are closed: no traceback, and nothing is lost."""

from __future__ import annotations

import ast
import io
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from small_trials import RECIPE

import bevel_lab
from bevel.errors import InvalidValue
from bevel_lab.cli import main
from bevel_lab.data.labeled_files import LabeledFiles
from bevel_lab.execution.progress import progress_display
from bevel_lab.experiment import folder, settings
from bevel_lab.experiment.events import Note
from bevel_lab.experiment.experiment import Experiment
from bevel_lab.experiment.ledger import LEDGER, Ledger
from bevel_lab.training.run import run_trial

ODD = os.fsdecode(b"r\xe9sultats")
"""A French name in Latin-1, as old disks have it."""


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of such a name with two records."""
    path = tmp_path_factory.mktemp("odd") / ODD
    found = Experiment.resolve(["gelu"], "relu", 1, RECIPE | {"epochs": 1, "train_limit": 50})
    with Ledger(path) as book:
        folder.merge(path, found)
        folder.keep_request(path, "activations = ['gelu']\n")
        for trial, label in found.trials():
            book.append(run_trial(trial, label=label))
    return path


@pytest.mark.parametrize(
    "line",
    ["report {0}", "report {0} --out {0}/new", "report {0} --page {0}/page.md", "report {0} --compact {0}/c.jsonl",
     "status {0}", f"report {{0}}/{LEDGER} --out {{0}}/again"],
)  # fmt: skip
def test_a_folder_whose_name_is_no_utf_8_is_reported(
    filled: Path, capsys: pytest.CaptureFixture[str], line: str
) -> None:
    assert main([word.format(filled) for word in line.split()]) == 0
    capsys.readouterr()
    for page in [*filled.rglob("*.html"), *filled.rglob("*.md")]:
        page.read_text(encoding="utf-8")


@pytest.mark.parametrize("key", ["title", "dataset", "weights"])
def test_a_setting_that_no_file_could_keep_is_refused_before_anything_runs(key: str) -> None:
    value = [f"folder:{ODD}"] if key == "dataset" else ODD
    with pytest.raises(InvalidValue, match=rf"{key} must be text that UTF-8 can write.*got.*Rename the file"):
        settings.checked({key: value})
    assert settings.checked({"out": ODD, "data_root": ODD}) == {"out": ODD, "data_root": ODD}


def test_samples_of_any_name_have_a_digest(tmp_path: Path) -> None:
    names = [f"{ODD}.png", "other.png"]
    for name in names:
        (tmp_path / name).write_bytes(b"x")
    assert len(LabeledFiles(tmp_path, names, torch.tensor([0, 1])).digest()) == 64


def test_every_text_file_of_the_lab_can_hold_any_name() -> None:
    for path in Path(bevel_lab.__file__).parent.rglob("*.py"):
        if path.parent.name in ("surgery", "runtime", "gpu", "datasets"):  # their texts name no file of a user
            continue
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "write_text":
                given = {word.arg: ast.unparse(word.value) for word in node.keywords}
                assert given.get("encoding") == "'utf-8'", path
                assert given.get("errors") == "'backslashreplace'", path


@pytest.mark.process
@pytest.mark.parametrize("closing", [">&-", ">&- 2>&- <&-"])
def test_closed_streams_are_no_fault_and_no_file_gets_what_is_printed(filled: Path, closing: str) -> None:
    before = (filled / LEDGER).read_bytes()
    line = f'exec "$@" {closing}'
    command = ["sh", "-c", line, "sh", sys.executable, "-m", "bevel_lab", "report", str(filled)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert (filled / LEDGER).read_bytes() == before
    assert (filled / "report.html").read_text(encoding="utf-8").startswith("<!DOCTYPE html>")


class Gone(io.StringIO):
    """A pipe whose reader has ended."""

    tried = 0

    def write(self, text: str) -> int:
        self.tried += 1
        raise BrokenPipeError


def test_training_goes_on_when_nobody_reads_its_progress(monkeypatch: pytest.MonkeyPatch) -> None:
    pipe = Gone()
    monkeypatch.setattr(sys, "stderr", pipe)
    with progress_display() as shown:
        for _ in range(2):
            shown(Note("an epoch is done"))
    assert pipe.tried, "it wrote, and was not stopped by that"
