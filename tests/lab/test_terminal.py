"""What the commands print fits a terminal of 80 columns without a broken word, or is JSON, or nothing."""

from __future__ import annotations

import json
import math
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from small_trials import RECIPE
from synthetic_records import ARMS, records

import bevel
import bevel.testing
from bevel_lab.bench import rows
from bevel_lab.cli import COMMANDS, compare, completion, main
from bevel_lab.datasets import DATASETS
from bevel_lab.execution import estimate
from bevel_lab.execution.progress import progress_display
from bevel_lab.experiment import folder
from bevel_lab.experiment.events import Begun, EpochDone, Failure, Note
from bevel_lab.experiment.experiment import Experiment
from bevel_lab.experiment.ledger import Ledger
from bevel_lab.models import MODELS
from bevel_lab.report import judge
from bevel_lab.report.pages import compact
from bevel_lab.report.text import published
from bevel_lab.runtime import terminal
from bevel_lab.training.preflight import Probe

WIDE = 80
LONG = ["relu", "swish", "mollified:f=relu6,kernel=epanechnikov,n=2"]
LINES = ["list", "data list", "show sau:n=5", "show mollified:f=frelu(1,0.1),kernel=epanechnikov,n=2",
         "status {out}", "judge {scores}", "inspect cnn --to sau", "power {scores}",
         "power --sd 0.3 --seeds 10 --arms 5", "check mollified:f=relu6,kernel=epanechnikov,n=2", "check sau:n=5",
         "compare --activations relu mollified:f=relu6,kernel=epanechnikov,n=2 --model mlp cnn --dry-run"]  # fmt: skip


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A folder with an experiment, records of two cells with the longest names, and a table of scores."""
    out = tmp_path_factory.mktemp("out")
    with Ledger(out):
        folder.merge(out, Experiment.resolve(["mollified:f=relu6,kernel=epanechnikov,n=2"], "relu", 3, RECIPE))
    found = [r for d in ("digits", "cifar10") for r in records(LONG, seeds=4, epochs=2, dataset=d)]
    compact.write(found, out / "two.jsonl")
    rows = [f"{arm},{seed},{0.9 + seed * gain / 100}" for arm, gain in (("base", 1), ("new", 1.1)) for seed in range(9)]
    (out / "scores.csv").write_text("\n".join(["arm,seed,accuracy", *rows]) + "\n")
    return {"out": out, "two": out / "two.jsonl", "scores": out / "scores.csv"}


def words_of(line: str, files: dict[str, Path]) -> list[str]:
    return [word.format(**files) for word in line.split()]


@pytest.mark.parametrize("line", LINES)
def test_every_line_fits(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, files: dict[str, Path], line: str
) -> None:
    monkeypatch.setattr(estimate, "probe", lambda trial, **_: Probe(1234.5, 0.01234, 2**31))
    printed = {}
    for columns in (WIDE, 400):
        monkeypatch.setenv("COLUMNS", str(columns))
        assert main(words_of(line, files)) == 0
        printed[columns] = capsys.readouterr().out
    fits(printed)


def test_a_law_that_is_broken_is_said_in_lines_that_fit(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(module: object) -> None:
        raise AssertionError("the slope against finite differences:\n" + "1.25 and 1.5 differ, " * 9)

    monkeypatch.setattr(bevel.testing, "check_activation", broken)
    printed = {}
    for columns in (WIDE, 400):
        monkeypatch.setenv("COLUMNS", str(columns))
        assert main(["check", "sau:n=5"]) == 1
        printed[columns] = capsys.readouterr().out
    fits(printed)
    assert printed[WIDE].startswith("sau:n=5: the slope against finite differences: 1.25 and")


def fits(printed: dict[int, str]) -> None:
    """Hold what was printed in 80 columns to them, and to the words of what was printed in 400."""
    wide = [text for text in printed[WIDE].splitlines() if len(text) > WIDE]
    assert not [text for text in wide if " " in text.strip()], "only a single word may be longer"
    missing = set(printed[400].split()) - set(printed[WIDE].split())
    assert not {word for word in missing if not set(word) <= set("─")}, "a word was broken"


def test_a_table_is_stacked_or_listed_and_loses_nothing() -> None:
    head, rows = ["arm", "verdict", *"abc"], [["x" * 9, "better", "", "1", "22"], ["y", "worse", "", "", "3"]]
    assert terminal.table(head, rows, 2, 80)[0] == "arm        verdict  b   c"
    stacked = terminal.table(head, rows, 2, 20)
    assert stacked == ["arm        verdict", "─────────  ───────", "xxxxxxxxx  better", "y          worse", "",
                       "arm        b   c", "─────────  ─  ──", "xxxxxxxxx  1  22", "y              3"]  # fmt: skip
    listed = terminal.table(["arm", "source"], [["a", "one two three"], ["b", "four"]], 2, 16)
    assert "\n".join(listed) == "a\n  source  one\n          two\n          three\n\nb\n  source  four"


def test_json_tells_what_the_text_tells(capsys: pytest.CaptureFixture[str], files: dict[str, Path]) -> None:
    def told(line: str) -> Any:
        assert main([*words_of(line, files), "--json"]) == 0
        return json.loads(capsys.readouterr().out)

    listed = told("list")
    assert listed["activations"].keys() == bevel.ACTIVATIONS.keys()
    assert listed["models"]["lenet"]["task"] == "classification"
    shown = told("show sau:n=5")
    assert shown["error"]["proven"] == pytest.approx(1 / (5 * math.sqrt(2 * math.pi)))
    assert shown["at"]["2"] == {"value": 2.0, "slope": 1.0}
    assert told("show gelu")["error"] == {"proven": None, "measured": None}
    (state,) = told("status {out}")
    assert (state["missing"], [arm["of"] for arm in state["arms"]]) == (6, [3, 3])
    found = told("report {two} --out {out}")
    assert Path(found["files"]["report"]).is_file()
    assert {row["arm"] for row in found["verdicts"] if row["dataset"] == "digits"} == set(LONG[1:])
    assert found["answers"].keys() == {"cnn on digits", "cnn on cifar10", "Across 2 cells"}
    judged = told("judge {scores}")
    assert [row["verdict"] for row in judged["verdicts"]] == ["better"]
    assert judged["said"]


def test_what_is_not_finite_is_null() -> None:
    assert json.loads(terminal.as_json({"a": [math.nan, -math.inf, 1.5, True, None], "b": Path("x")})) == {
        "a": [None, None, 1.5, True, None], "b": "x"
    }  # fmt: skip


@pytest.mark.parametrize(
    "line", ["check relu", "report {two} --compact {out}/again.jsonl", "judge {scores} --out {out}", "data list"]
)
def test_quiet_prints_nothing_and_does_the_same(
    capfd: pytest.CaptureFixture[str], files: dict[str, Path], line: str
) -> None:
    assert main([*words_of(line, files), "--quiet"]) == 0
    assert capfd.readouterr() == ("", "")
    assert main(["check", "celu:alpha=0", "--quiet"]) == 2
    assert capfd.readouterr().err.startswith("bevel: ")


def test_a_comparison_that_is_quiet_tells_what_went_wrong_and_nothing_else(capfd: pytest.CaptureFixture[str]) -> None:
    (record,) = records(["relu"], seeds=1, epochs=1)
    events = [Begun([(record.trial, "relu")], 0), EpochDone(record.trial, "relu", 1, record.epochs[0]), record,
              Failure(record.trial, "relu", "out of memory", ""), Note("a file was skipped")]  # fmt: skip
    with progress_display(quiet=True) as watcher:
        for event in events:
            watcher(event)
    assert capfd.readouterr() == ("", "relu, seed 0, FAILED: out of memory\na file was skipped\n")
    assert compare.parser().read(["--activations", "relu", "--quiet"]).quiet


def completed(*typed: str) -> list[str]:
    """What bash offers after these words, of which the last is being typed."""
    words = " ".join(f"'{word}'" for word in typed)
    ask = f'\nCOMP_WORDS=({words}); COMP_CWORD={len(typed) - 1}; _bevel; printf "%s\\n" "${{COMPREPLY[@]}}"'
    done = subprocess.run(["bash", "-c", completion.script("bash") + ask], capture_output=True, text=True, check=True)
    return done.stdout.split()


@pytest.mark.process
@pytest.mark.skipif(shutil.which("bash") is None, reason="no bash on this machine")
def test_bash_completes_commands_flags_and_names() -> None:
    assert completed("bevel", "") == [*COMMANDS, "--help", "--version"]
    assert completed("bevel", "comp") == ["compare", "completion"]
    assert completed("bevel", "show", "smooth_") == ["smooth_frelu"]
    assert "--seeds" in completed("bevel", "compare", "--activations", "relu", "--s")
    assert completed("bevel", "compare", "--activations", "relu", "gel") == ["gelu"]
    assert completed("bevel", "run", "x.toml", "--dataset", "") == list(DATASETS)
    assert completed("bevel", "run", "x.toml", "--model", "lene") == ["lenet"]
    assert completed("bevel", "report", "--margin", "") == []
    assert set(completed("bevel", "inspect", "")) == set(MODELS)


def test_zsh_gets_bashs_script_after_what_reads_it() -> None:
    start, same, rest = completion.script("zsh").partition(completion.script("bash"))
    assert same
    assert not rest
    assert [line.split()[0] for line in start.splitlines()] == ["whence", "autoload"]
    assert start.index(" compinit") < start.index(" bashcompinit")  # which needs the other's compdef


@pytest.mark.process
@pytest.mark.skipif(shutil.which("zsh") is None, reason="no zsh on this machine")
@pytest.mark.parametrize("begun", ["", "autoload -U compinit && compinit -u -D\n"])
def test_zsh_completes_commands_flags_and_names(begun: str, tmp_path: Path) -> None:
    """What zsh has to choose from; it leaves out itself what does not begin as the word does."""
    for typed, wanted in ((["bevel", "comp"], list(COMMANDS)), (["bevel", "run", "--model", "lene"], list(MODELS))):
        setting = f"words=({' '.join(typed)}); CURRENT={len(typed)}; COMP_WORDS=($words); COMP_CWORD={len(typed) - 1}"
        asked = f"{begun}{completion.script('zsh')}{setting}; compgen -F _bevel -- $words[CURRENT]"
        env = os.environ | {"HOME": str(tmp_path)}
        done = subprocess.run(["zsh", "-f", "-c", asked], capture_output=True, text=True, check=True, env=env)
        assert not done.stderr
        assert set(wanted) <= set(done.stdout.split())


@pytest.mark.process
def test_a_mistyped_command_is_answered_without_loading_torch() -> None:
    lines = [["cmpare"], [], ["list", "activation"], *([name, "--vresion"] for name in COMMANDS)]
    code = (
        "import sys\nfrom bevel_lab.cli import main\n"
        f"codes = [main(line) for line in {lines}]\n"
        "print(codes, sorted({'torch', 'numpy', 'rich', 'matplotlib'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    codes, loaded = done.stdout.splitlines()[-1].split("] ")
    assert codes == str([2, 0, 2] + [2] * len(COMMANDS))[:-1]
    assert loaded == "[]"


def test_the_first_help_names_the_version_flag(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 0
    out = capsys.readouterr().out
    assert "  --version  show the versions" in out
    assert max(map(len, out.splitlines())) <= WIDE


def test_the_rows_of_a_benchmark_fit() -> None:
    found = rows.read(Path(__file__).parents[2] / "docs" / "performance.csv")
    lines = rows.fitting([row for row in found if row.what in ("both", "step")], WIDE).splitlines()
    assert max(map(len, lines)) <= WIDE
    assert len([line for line in lines if line.startswith("case ")]) > 1


def test_the_tables_of_a_report_fit_and_lose_nothing() -> None:
    places = (("digits", "cnn"), ("cifar100", "resnet18"))
    judged = judge([r for d, m in places for r in records([*ARMS, LONG[-1]], dataset=d, model=m, epochs=1)], "relu")
    fits, whole = judged.table(), judged.table(1000)
    assert max(map(len, fits.splitlines())) <= WIDE
    assert {word for word in whole.split() if set(word) > {"─"}} <= set(fits.split())
    assert "memory ×" in whole.splitlines()[2]
    assert published.TITLE in fits
