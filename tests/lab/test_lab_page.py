"""Every command and every file on the page about the lab can be read by the lab."""

from __future__ import annotations

import importlib
import itertools
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from bevel_lab.cli import COMMANDS
from bevel_lab.experiment import settings

PAGE = (Path(__file__).parents[2] / "docs" / "lab.md").read_text(encoding="utf-8")


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)


def commands() -> list[list[str]]:
    lines = [line for block in blocks("sh") for line in block.splitlines()]
    words = [shlex.split(re.sub(r"^torchrun .* -m bevel_lab", "bevel", line), comments=True) for line in lines]
    own = [list(itertools.takewhile(lambda word: word not in ("|", ">"), line)) for line in words]
    return [line for line in own if line[0] == "bevel"]


@pytest.mark.parametrize("words", commands(), ids=" ".join)
def test_every_command_is_one(words: list[str]) -> None:
    importlib.import_module(f"bevel_lab.cli.{COMMANDS[words[1]][0]}").parser().read(words[2:])


def test_every_command_that_runs_something_is_there() -> None:
    assert {words[1] for words in commands()} >= {"compare", "run", "status", "report"}


@pytest.mark.parametrize("text", blocks("toml"))
def test_every_file_is_an_experiment(text: str, tmp_path: Path) -> None:
    path = tmp_path / "experiment.toml"
    path.write_text(text)
    found = settings.resolve(settings.read(path))
    assert "leaky_relu:negative_slope=0.15" in [one.label for one in found.arms]


@pytest.mark.network
def test_the_notebook_runs(tmp_path: Path) -> None:
    code = "\n".join(blocks("python"))
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code], cwd=tmp_path, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    for seed in range(3):
        assert f"sau:n=5, seed {seed}: epoch 2 of 2" in lines
        assert sum(line.startswith(f"sau:n=5 {seed} 0.") for line in lines) == 1, "a row of the table"
    assert "runs/notebook/report.html" in lines
    assert (tmp_path / "runs" / "notebook" / "report.html").exists()
    assert "mlp on digits" in lines, "the table of the records that are judged again"
    assert (tmp_path / "again" / "verdicts.csv").exists()
    assert "3 paired seeds are too few to tell sau:n=5 from relu" in (tmp_path / "page.md").read_text(encoding="utf-8")


def test_every_link_leads_somewhere() -> None:
    for target in re.findall(r"\]\(([^)]+)\)", PAGE):
        assert (Path(__file__).parents[2] / "docs" / target.partition("#")[0]).exists(), target
