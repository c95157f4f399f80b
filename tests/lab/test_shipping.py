"""What is shipped in the activations' place: in a copy or for good, at one budget, the same after a crash."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path
from typing import Any

import pytest
import torch
from small_trials import trial
from torch import nn

import bevel
from bevel.errors import InvalidValue
from bevel_lab.cli import main
from bevel_lab.data.source import Source
from bevel_lab.experiment import ledger
from bevel_lab.experiment.record import Record
from bevel_lab.runtime.distributed import ProcessGroup
from bevel_lab.training import result, shipping
from bevel_lab.training.activations import CallSite
from bevel_lab.training.run import run_trial
from bevel_lab.training.trainer import Trainer

FILE = Path(__file__).resolve().parents[2] / "experiments" / "smooth-to-hard.toml"
GATE = "gate:kernel=logistic"


def _trainer(spec: str, **settings: Any) -> Trainer:
    one = trial(spec, **({"epochs": 4, "train_limit": 100} | settings))
    return Trainer(one, Source(), torch.device("cpu"), ProcessGroup())


def _kinds(one: Trainer, model: nn.Module) -> set[str]:
    named = dict(model.named_modules())
    return {type(named[name]).__name__ for name in one.sites}


def test_a_replacement_at_the_end_is_tested_and_what_was_trained_is_kept() -> None:
    one, plain = _trainer("silu", ship="relu"), _trainer("silu")
    for _ in range(4):
        assert _kinds(one, one.model) == {"SiLU"}
        one.advance()
        plain.advance()
    assert (_kinds(one, one.model), _kinds(one, one.trained)) == ({"ReLU"}, {"SiLU"})
    assert [e.train for e in one.epochs] == [e.train for e in plain.epochs]
    assert [e.validation for e in one.epochs[:3]] == [e.validation for e in plain.epochs[:3]]
    assert one.epochs[3].validation != plain.epochs[3].validation
    assert all(torch.equal(a, b) for a, b in zip(one.model.parameters(), plain.model.parameters(), strict=True))
    record = result.make_record(one, "silu")
    assert record.data["shipped"] == f"{len(one.sites)} activations replaced by relu"
    assert record.sites[0].curve_after[0] == 0.0, "ReLU is flat where SiLU is not"
    assert record.sites[0].curve_before[0] != 0.0


def test_the_last_epochs_of_the_same_budget_are_trained_after_the_replacement() -> None:
    one, plain = _trainer("silu", ship="relu:0.5", warmup=0.0), _trainer("silu", epochs=2, warmup=0.0)
    kinds, rates = [], []
    for _ in range(4):
        one.advance()
        kinds.append(_kinds(one, one.model))
        rates.append(one.optimizer.param_groups[0]["lr"] / one.trial.lr)
    assert kinds == [{"SiLU"}, {"SiLU"}, {"ReLU"}, {"ReLU"}]
    assert one.model is one.trained
    for _ in range(2):
        plain.advance()
    assert [e.train for e in one.epochs[:2]] == [e.train for e in plain.epochs], "a whole schedule before it"
    assert rates[1] < rates[0]
    assert 0.1 > rates[2] > rates[3] > 0


def test_a_gate_grows_sharp_and_is_hardened() -> None:
    one = _trainer(GATE, sharpness="1:1000", ship="harden")
    for _ in range(4):
        one.advance()
    assert (_kinds(one, one.model), _kinds(one, one.trained)) == ({"ReLU"}, {"Gate"})
    words = str(result.make_record(one, GATE).data["shipped"])
    found = re.fullmatch(r"(\d+) activations hardened, by at most (\S+)", words)
    assert found is not None
    assert (int(found[1]), 0 < float(found[2]) < 0.28 / 100) == (len(one.sites), True)


@pytest.mark.parametrize(
    ("spec", "settings"),
    [
        ("silu", {"ship": "relu"}),
        ("silu", {"ship": "relu:0.5"}),
        (GATE, {"sharpness": "1:1000", "ship": "harden"}),
        (GATE, {"ship": "relu:0.5"}),
    ],
)
@pytest.mark.parametrize("stop", [1, 3, 4])
def test_a_crash_changes_no_bit(spec: str, settings: dict[str, Any], stop: int) -> None:
    whole, first, second = (_trainer(spec, epochs=4, **settings) for _ in range(3))
    for _ in range(4):
        whole.advance()
    for _ in range(stop):
        first.advance()
    second.restore(first.state())
    for _ in range(4 - stop):
        second.advance()
    ours, theirs = (result.make_record(one, spec).result for one in (second, whole))
    for found in (ours, theirs):
        del found["saved_bytes"]  # of the first step, which the second trainer did not make before it was restored
    assert ours == theirs


@pytest.mark.parametrize(
    ("spec", "settings", "words"),
    [
        ("silu", {"ship": "frelu"}, "without parameters, such as relu; got 'frelu'"),
        ("silu", {"ship": "harden"}, "must go with an activation of bevel's family, such as gate; got 'silu"),
        ("silu", {"ship": "harden:0.5"}, "ship must be empty, 'harden', an activation such as 'relu'"),
        ("silu", {"ship": "relu:1.5"}, "ship must be empty, 'harden', an activation such as 'relu'"),
        ("silu", {"ship": "relu:0.0"}, "ship must be empty, 'harden', an activation such as 'relu'"),
        ("silu", {"ship": "rleu"}, "did you mean"),
        (
            "silu",
            {"ship": "relu:0.25", "epochs": 1},
            "must leave an epoch before the replacement; got 'relu:0.25', which",
        ),
        (GATE, {"ship": "relu:0.9", "epochs": 4, "sharpness": "1:1000"}, "which takes 4 of 4"),
    ],
)
def test_what_cannot_be_shipped_is_refused(spec: str, settings: dict[str, Any], words: str) -> None:
    with pytest.raises((InvalidValue, bevel.UnknownName)) as caught:
        run_trial(trial(spec, **settings))
    assert words in str(caught.value)


def test_harden_must_reach_every_site() -> None:
    """No activation of the catalog lacks a bound; one's own may, as here."""
    one = trial("sau", ship="harden")
    soft, other = bevel.SAU(form="centred"), bevel.SAU()
    shipping.check(one, {"act": CallSite(soft, 1, 1), "last": CallSite(other, 1, 1)})
    soft.family = dataclasses.replace(soft.family, kernel=bevel.KERNELS["student"])
    with pytest.raises(InvalidValue, match=r"must reach every site; .* would stay at 'act': no bound is proven"):
        shipping.check(one, {"last": CallSite(other, 1, 1), "act": CallSite(soft, 1, 1)})


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The experiment's file on a few digits: one seed, one short training, nothing tuned."""
    out = tmp_path_factory.mktemp("ship")
    text = FILE.read_text()
    for old, new in (
        (r"\[tune\].*", ""),
        (r"dataset = \[.*?\]", 'dataset = "digits"'),
        (r"seeds = 10", "seeds = 1"),
        (r"train_limit = \d+", "train_limit = 100"),
        (r"epochs = 8", "epochs = 2"),
        (r"batch_size = 64", "batch_size = 50"),
    ):
        text, count = re.subn(old, new, text, flags=re.DOTALL)
        assert count == 1
    (out / "small.toml").write_text(text)
    assert main(["run", str(out / "small.toml"), "--out", str(out / "run"), "--workers", "1"]) == 0
    return out / "run"


@pytest.mark.slow
@pytest.mark.process
def test_the_experiment_sets_the_four_ways_beside_one_another(small: Path) -> None:
    records: list[Record] = [*ledger.parse(small / ledger.LEDGER)[0].values()]
    assert len(records) == 4 * 2
    assert {r.trial.cell for r in records} == {("digits", "lenet"), ("digits", "vit_tiny")}
    for record in records:
        assert 0 <= record.measures["int8_accuracy"] <= 1
        assert ("shipped" in record.data) == (record.label != "relu")
        assert len(record.epochs) == 2
    page = (small / "report.html").read_text()
    for label in {r.label for r in records}:
        assert label in page
    assert "int8 accuracy" in page
    assert "Inference with one sample" in page
    assert "shipped" in page
