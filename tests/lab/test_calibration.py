"""``bevel calibrate``: the simulated reports of several cells, and the A/A test on records."""

from __future__ import annotations

import dataclasses
import math
import re
import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from synthetic_records import records

from bevel_lab.cli import calibrate as command
from bevel_lab.cli import main
from bevel_lab.report import ReportError
from bevel_lab.report.analysis.aa_test import aa_test
from bevel_lab.report.pages import calibration, compact
from bevel_lab.report.statistics.arrays import LEVEL
from bevel_lab.report.statistics.calibration import (
    calibrate,
    calibrate_cells,
    calibrate_equivalence,
    calibrate_unpaired,
)
from bevel_lab.report.statistics.comparison import Verdict

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "calibration.md"
WORDS = {True: "holds", False: "FALLS SHORT", None: "too few experiments to say; 400 would do"}


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def _at_most(level: float, n: int) -> float:
    return level + 3 * math.sqrt(level * (1 - level) / n)


def test_without_a_difference_each_family_errs_in_five_per_cent() -> None:
    found = calibrate_cells(experiments=500, cells=4, arms=10, pairs=12, effect=0.0, rng=rng(1))
    assert found.cell.false <= _at_most(LEVEL, 2_000)
    assert found.report.false <= _at_most(LEVEL, 500)
    assert found.average.false <= _at_most(LEVEL, 500)
    # four cells, each with its own family: some cell errs more often than one does, and less than four times as often
    assert found.cell.false < found.anywhere <= 4 * found.cell.false
    assert math.isnan(found.average.found)


def test_a_difference_in_every_cell_is_found_on_average() -> None:
    found = calibrate_cells(experiments=200, cells=4, arms=5, pairs=10, effect=1.0, rng=rng(2))
    alone = calibrate(experiments=200, arms=5, pairs=10, effect=1.0, rng=rng(3)).found
    assert found.cell.found == pytest.approx(alone, abs=0.12)
    assert found.average.found >= 0.9 > 0.7 > found.cell.found
    assert found.report.found < found.cell.found
    worse = calibrate_cells(experiments=50, cells=2, arms=2, pairs=10, effect=-3.0, rng=rng(2))
    assert worse.average.found == 1.0


def test_heavy_noise_is_heavy_and_does_not_mislead_the_judge() -> None:
    found = calibrate(experiments=1_000, arms=10, pairs=10, effect=0.0, rng=rng(4), noise="heavy")
    assert found.false <= _at_most(LEVEL, 1_000)
    assert found != calibrate(experiments=1_000, arms=10, pairs=10, effect=0.0, rng=rng(4))


@pytest.mark.parametrize(("arms", "pairs", "margin"), [(1, 10, 1.0), (5, 12, 1.0), (10, 10, 2.0)])
def test_at_the_margin_five_per_cent_are_called_equivalent(arms: int, pairs: int, margin: float) -> None:
    def called(effect: float) -> float:
        return calibrate_equivalence(experiments=500, arms=arms, pairs=pairs, margin=margin, effect=effect, rng=rng(5))

    assert 0 < called(margin) <= _at_most(LEVEL, 500)
    assert called(0.0) > 0.6


def test_without_pairs_five_per_cent_are_called_different() -> None:
    null = calibrate_unpaired(experiments=1_000, arms=3, runs=6, effect=0.0, rng=rng(6))
    assert 0 < null.false <= _at_most(LEVEL, 1_000)
    assert calibrate_unpaired(experiments=300, arms=3, runs=7, effect=2.0, rng=rng(6)).found > 0.8


def test_a_promise_is_judged_by_the_interval_of_its_rate() -> None:
    for errors, n, kept in (
        (1, 12, None), (12, 12, False), (0, 12, None), (25, 400, True), (35, 400, False), (40, 1_000, True),
    ):  # fmt: skip
        assert calibration.promise_kept([(errors / n, n)], LEVEL) is kept, (errors, n)
    assert calibration.promise_kept([(0.04, 2_000), (0.0, 12)], LEVEL) is None
    assert calibration.Target("", None).word == "too few experiments to say; 400 would do"


def test_as_many_experiments_as_it_asks_for_would_do(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every row, also those of more seeds, which have fewer experiments; here one of each is judged."""

    def faultless(real: Callable[..., Any]) -> Callable[..., Any]:
        return lambda **given: dataclasses.replace(real(**given | {"experiments": 1}), false=0.0, found=1.0)

    monkeypatch.setattr(calibration, "calibrate", faultless(calibrate))
    monkeypatch.setattr(calibration, "calibrate_unpaired", faultless(calibrate_unpaired))
    monkeypatch.setattr(calibration, "calibrate_equivalence", lambda **_: 0.0)
    monkeypatch.setattr(calibration, "calibrate_cells", lambda **given: calibrate_cells(**given | {"experiments": 1}))
    for experiments, holds in ((calibration.ENOUGH, True), (calibration.ENOUGH - 1, None)):
        found = calibration.simulate(experiments, 0, lambda _: None)
        assert [target.holds for target in found.targets] == [holds] * 3


# -- A/A


def test_one_activation_under_two_names_gives_no_evidence() -> None:
    made = records(["relu", "gelu", "sau"], seeds=24, epochs=1, effects={"gelu": 0.02})
    found = aa_test(made, 400, rng(5))
    assert {name: c.pairs for name, c in found.first.items()} == {"gelu": 12, "relu": 12, "sau": 12}
    assert {c.verdict for c in found.first.values()} == {Verdict.NO_EVIDENCE}
    assert found.single <= _at_most(LEVEL, 3 * 400)
    assert found.family <= _at_most(LEVEL, 400)
    assert found == aa_test(made, 400, rng(5))
    assert found.single != aa_test(made, 400, rng(6)).single


def test_whatever_the_runs_are_a_split_of_them_draws_every_sign_anew() -> None:
    """So each is a null experiment of its own, and a false verdict as rare as the test says: 25 of 2048 patterns have
    p ≤ 5 % / 4, which four activations make 4.8 %; no runs can make it more."""
    made = [
        dataclasses.replace(r, test=r.test | {"accuracy": math.exp(-r.trial.seed / 4) * (-1) ** (r.trial.seed // 3)})
        for r in records(["relu", "gelu", "sau", "frelu"], seeds=24, epochs=1)
    ]
    found = aa_test(made, 4_000, rng(7))
    assert found.single <= _at_most(102 / 2048, 4 * 4_000)
    assert found.family <= _at_most(1 - (1 - 25 / 2048) ** 4, 4_000)
    assert found.family > 0


def test_halves_that_differ_would_be_found() -> None:
    made = [
        dataclasses.replace(r, test=r.test | {"accuracy": 0.9 + 0.05 * (r.trial.seed % 2) + 1e-4 * r.trial.seed})
        for r in records(["relu"], seeds=16, epochs=1)
    ]
    assert aa_test(made, 10, rng()).first["relu"].verdict is Verdict.WORSE


def test_cells_add_their_pairs_and_too_few_are_named() -> None:
    made = [r for d in ("digits", "mnist") for r in records(["relu", "gelu"], seeds=9, epochs=1, dataset=d)]
    assert {c.pairs for c in aa_test(made, 10, rng()).first.values()} == {8}
    few = [r for r in made if r.label != "gelu" or r.trial.seed < 7]
    with pytest.raises(
        ReportError, match=r"needs 7 pairs of runs of every activation when it has 2, two runs a pair; gelu has 6"
    ):
        aa_test(few, 10, rng())
    assert aa_test([r for r in few if r.label == "gelu"], 10, rng()).first["gelu"].pairs == 6
    with pytest.raises(ReportError, match="there are none"):
        aa_test([], 10, rng())


# -- the command


def test_the_command_prints_and_writes_the_same_numbers_every_time(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    compact.write(records(["relu", "gelu"], seeds=16, epochs=1), tmp_path / "aa.jsonl")
    argv = [
        "calibrate",
        "--experiments",
        "12",
        "--splits",
        "40",
        "--seed",
        "3",
        "--records",
        str(tmp_path / "aa.jsonl"),
    ]
    pages = []
    for _ in range(2):
        code = main([*argv, "--page", str(tmp_path / "docs" / "c.md")])
        pages.append((tmp_path / "docs" / "c.md").read_text(encoding="utf-8"))
        out, err = capsys.readouterr()
    assert pages[0] == pages[1]
    assert code == int("FALLS SHORT" in out) == int("**Falls short**" in pages[0])
    assert err.splitlines()[0].startswith("[1/")
    for part in (
        "## Equivalence",
        "## Without pairs",
        "## No difference",
        "## One true difference",
        "## Several cells",
        "## The same activation under two",
    ):
        assert part in pages[0]
    for part in ("No difference", "of 2 activations", "Over 40 random splits"):
        assert part in out
        assert part in pages[0]
    assert "| relu | no evidence | 8 |" in pages[0]


@pytest.mark.parametrize(
    ("holds", "code"), [((True, True), 0), ((True, False), 1), ((False, None), 1), ((True, None), 0)]
)
def test_the_exit_code_tells_whether_every_promise_is_kept(
    holds: tuple[bool, bool | None], code: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    targets = tuple(calibration.Target(f"promise {k}.", one) for k, one in enumerate(holds))
    monkeypatch.setattr(calibration, "simulate", lambda *_: calibration.Results(targets, ()))
    assert main(["calibrate"]) == code
    said = capsys.readouterr().out.splitlines()
    assert [line for line in said if "promise" in line] == [
        f"{WORDS[one]}: promise {k}." for k, one in enumerate(holds)
    ]


def test_the_committed_page_keeps_every_promise_and_says_how_it_was_made() -> None:
    page = PAGE.read_text(encoding="utf-8")
    promises = [line for line in page.splitlines() if line.startswith("- ")]
    assert len(promises) == 5
    assert all(line.endswith(" Holds.") for line in promises)
    assert "falls short" not in page.casefold()
    (made,) = re.findall(r"^Written by `(.*)`\.$", page, re.MULTILINE)
    arguments = command.parser().read(shlex.split(made)[2:])
    assert command.command_line(arguments) == made
    assert ROOT / arguments.page == PAGE
    assert all((ROOT / path).is_file() for path in arguments.records)
    assert f"Over {arguments.splits:,} random splits" in promises[-1]
    counts = {int(n.replace(",", "")) for n in re.findall(r"^\| (?:normal|heavy) \|.*?\|.*?\| ([\d,]+) \|", page, re.M)}
    assert counts == {arguments.experiments, arguments.experiments // 4}, "a quarter where patterns are drawn"


def test_wrong_input_of_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    compact.write(records(["relu"], seeds=4, epochs=1), tmp_path / "few.jsonl")
    compact.write([], tmp_path / "empty.jsonl")
    for argv, part in (
        (["--experiments", "0"], "experiments must be a whole number, at least 1; got 0"),
        (["--records", str(tmp_path / "few.jsonl")], "needs 6 pairs"),
        (["--records", str(tmp_path / "none")], "holds no experiment"),
        (["--records", str(tmp_path / "empty.jsonl")], "needs records with scores; there are none"),
    ):
        assert main(["calibrate", *argv]) == 2
        assert part in capsys.readouterr().err
