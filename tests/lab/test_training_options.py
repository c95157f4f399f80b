"""Every option of a recipe does what it says, is recorded, and survives an interruption."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import torch
from small_trials import trial
from torch import nn
from trainer_state import ParameterSets, current_sharpness, training_outputs

from bevel.errors import InvalidValue
from bevel_lab.data.source import Source
from bevel_lab.experiment.arm import arm
from bevel_lab.experiment.record import Record
from bevel_lab.runtime.distributed import ProcessGroup
from bevel_lab.training import result
from bevel_lab.training.optim import lr_factor
from bevel_lab.training.run import run_trial
from bevel_lab.training.trainer import Trainer


class _Stop(Exception):
    """Stands for a crash."""


def trainer(spec: str, **settings: Any) -> Trainer:
    return Trainer(trial(spec, **settings), Source(), torch.device("cpu"), ProcessGroup())


def finite(record: Record) -> bool:
    numbers = [*record.test.values(), *(v for e in record.epochs for v in (*e.train.values(), *e.validation.values()))]
    return all(map(math.isfinite, numbers))


# --------------------------------------------------------------------------------------------------------- alternation


def test_by_epoch_one_set_moves_at_a_time() -> None:
    one = trainer("frelu", alternate="epoch", epochs=4)
    sets, phases = ParameterSets(one), []
    for _ in range(4):
        one.advance()
        phases.append(sets.moved())
    assert phases == ["weights", "activations"] * 2


def test_by_step_the_sets_take_turns_of_their_own_length() -> None:
    one = trainer("frelu", alternate="step:2:1", epochs=1, warmup=0.0)
    sets, phases = ParameterSets(one), []
    order = [torch.arange(25) + 25 * i for i in range(6)]
    for step, batch in enumerate(one.task.batches(order, 0, 0)):
        one.step(step, batch, 25)
        phases.append(sets.moved())
    assert phases == ["weights", "weights", "activations"] * 2


def test_without_alternation_both_sets_move_at_once() -> None:
    one = trainer("frelu")
    sets = ParameterSets(one)
    one.advance()
    assert sets.moved() == "weights and activations"


def test_there_must_be_something_to_alternate_with() -> None:
    with pytest.raises(InvalidValue) as caught:
        run_trial(arm("relu@alternate=epoch").trial(model="mlp", train_limit=100, epochs=1))
    assert str(caught.value) == (
        "alternate must be empty for an activation without learnable parameters, such as 'relu'; got 'epoch'. Give it "
        "to one arm only, such as frelu@alternate=epoch."
    )


# ----------------------------------------------------------------------------------------------------------- sharpness


@pytest.mark.parametrize(("shape", "middle"), [("", 6.0), (":linear", 18.5), (":cosine", 18.5)])
def test_sharpness_moves_from_its_start_to_its_end(shape: str, middle: float) -> None:
    one = trainer("smooth_frelu", sharpness=f"1:36{shape}", epochs=2, activation_lr=0.0)
    seen = [current_sharpness(one)]
    for _ in range(2):
        one.advance()
        seen.append(current_sharpness(one))
    assert seen == [pytest.approx(n, rel=1e-5) for n in (1.0, middle, 36.0)]
    record = result.make_record(one, "smooth_frelu")
    assert record.sites[0].before["n"] == pytest.approx([1.0] * 128)
    assert record.sites[0].after["n"] == pytest.approx([36.0] * 128)


def test_a_learnt_n_keeps_an_offset_of_its_own() -> None:
    record = run_trial(trial("smooth_frelu", sharpness="1:36", epochs=2))
    found = [n for site in record.sites for n in site.after["n"]]
    assert len(set(found)) > 1
    assert all(3.6 <= n <= 360 for n in found)


def test_a_fixed_n_moves_too_and_the_kink_shows_in_the_curve() -> None:
    record = run_trial(trial("sau", sharpness="1:1000"))
    site = record.sites[0]
    at = site.x.index(0.0)
    # at 0 the published form is √(2/π)/(2n), whatever α is
    assert site.curve_before[at] == pytest.approx(math.sqrt(2 / math.pi) / 2, rel=1e-3)
    assert site.curve_after[at] == pytest.approx(math.sqrt(2 / math.pi) / 2000, rel=1e-3)


@pytest.mark.parametrize(
    ("spec", "sharpness", "words"),
    [
        ("relu", "1:10", "must have a smooth activation"),
        ("sau", "one:ten", "sharpness must be two numbers, such as '1:1000'; got 'one:ten'."),
        ("sau", "0:10", "finite and > 0"),
    ],
)
def test_a_sharpness_that_cannot_be_is_refused(spec: str, sharpness: str, words: str) -> None:
    with pytest.raises(InvalidValue) as caught:
        run_trial(trial(spec, sharpness=sharpness))
    assert words in str(caught.value)


# ---------------------------------------------------------------------------------------------------------- interrupted

MIXED: dict[str, Any] = {
    "alternate + sharpness + adamw": {"alternate": "step:2:1", "sharpness": "1:50", "optimizer": "adamw", "lr": 0.003},
    "sharpness": {"sharpness": "2:200:cosine"},
    "epochs in turn": {"alternate": "epoch", "schedule": "inverse_sqrt", "label_smoothing": 0.1},
    "bfloat16": {"precision": "bfloat16", "optimizer": "adam", "lr": 0.003, "schedule": "constant"},
}


@pytest.mark.parametrize("stop", [1, 2])
@pytest.mark.parametrize("settings", MIXED.values(), ids=MIXED.keys())
@pytest.mark.parametrize("spec", ["sau", "smooth_frelu"])
def test_a_crash_changes_no_bit(spec: str, settings: dict[str, Any], stop: int, tmp_path: Path) -> None:
    one = trial(spec, train_limit=100, **settings)
    state = tmp_path / "state.pt"

    def crash(done: int, epoch: object) -> None:
        if done == stop:
            raise _Stop

    with pytest.raises(_Stop):
        run_trial(one, state=state, state_every=0, on_epoch=crash)
    reached: list[int] = []
    resumed = run_trial(one, state=state, state_every=0, on_epoch=lambda done, epoch: reached.append(done))
    assert reached == list(range(stop + 1, 4))
    assert resumed.result == run_trial(one).result


# ------------------------------------------------------------------------------------------- optimizers and their rates


def test_rates_after_the_warm_up() -> None:
    constant = trial(schedule="constant", warmup=0.25)
    assert [lr_factor(constant, step, 8) for step in range(8)] == [0.5, *[1.0] * 7]
    falling = trial(schedule="inverse_sqrt", warmup=0.04)
    assert [lr_factor(falling, step, 100) for step in (0, 1, 2, 3, 15, 99)] == pytest.approx(
        [0.25, 0.5, 0.75, 1, 0.5, 0.2]
    )
    assert lr_factor(trial(schedule="inverse_sqrt", warmup=0.0), 3, 100) == pytest.approx(0.5)
    rates = [lr_factor(falling, step, 100) for step in range(100)]
    assert max(rates) == 1.0
    assert rates[3:] == sorted(rates[3:], reverse=True)


@pytest.mark.parametrize(("name", "kind"), [("sgd", "SGD"), ("adam", "Adam"), ("adamw", "AdamW")])
@pytest.mark.parametrize("schedule", ["cosine", "inverse_sqrt", "constant"])
def test_every_optimizer_learns_with_every_schedule(name: str, kind: str, schedule: str) -> None:
    settings: dict[str, Any] = {"optimizer": name, "schedule": schedule, "lr": 0.05 if name == "sgd" else 0.003}
    assert type(trainer("prelu", **settings).optimizer).__name__ == kind
    record = run_trial(trial("prelu", **settings))
    assert finite(record)
    assert record.epochs[-1].train["loss"] < 0.7 * record.epochs[0].train["loss"]
    kept = Record.from_json(record.to_json()).trial
    assert (kept.optimizer, kept.schedule) == (name, schedule)


def test_adamw_takes_decay_apart_from_the_gradient() -> None:
    settings: dict[str, Any] = {"lr": 0.003, "weight_decay": 0.5}
    adam, adamw = (run_trial(trial(optimizer=name, **settings)).epochs for name in ("adam", "adamw"))
    assert [e.train for e in adam] != [e.train for e in adamw]


# ------------------------------------------------------------------------------------------------------ further options


def test_label_smoothing_keeps_the_training_loss_above_its_entropy() -> None:
    epochs = 15
    plain, smooth = (run_trial(trial(epochs=epochs, label_smoothing=share, augment=False)) for share in (0.0, 0.1))
    target = torch.full((10,), 0.01).index_put((torch.tensor([0]),), torch.tensor(0.91))
    entropy = float(-(target * target.log()).sum())
    assert plain.epochs[-1].train["loss"] < 0.5 * entropy < entropy < smooth.epochs[-1].train["loss"]
    assert finite(smooth)
    assert smooth.trial.label_smoothing == 0.1
    assert smooth.test["accuracy"] > 0.7


@pytest.mark.parametrize("spec", ["relu", "sau", "frelu"])
def test_bfloat16_runs_the_forward_pass_and_keeps_the_weights(spec: str) -> None:
    one = trainer(spec, precision="bfloat16")
    assert {out.dtype for out in training_outputs(one, nn.Linear)} == {torch.bfloat16}
    assert {p.dtype for p in one.model.parameters()} == {torch.float32}
    short, full = (run_trial(trial(spec, precision=precision)) for precision in ("bfloat16", "float32"))
    assert finite(short)
    assert short.trial.precision == "bfloat16"
    ours, theirs = (record.epochs[-1].train["loss"] for record in (short, full))
    assert ours != theirs
    assert ours == pytest.approx(theirs, rel=0.1)


@pytest.mark.parametrize("spec", ["relu", "sau", "frelu"])
def test_channels_last_is_another_layout_of_the_same_numbers(spec: str) -> None:
    last = torch.channels_last
    for wanted in (True, False):
        outs = training_outputs(trainer(spec, model="cnn", channels_last=wanted), nn.Conv2d)
        assert all(out.is_contiguous(memory_format=last) is wanted for out in outs if min(out.shape[2:]) > 1)
    ours, theirs = (run_trial(trial(spec, model="cnn", channels_last=wanted, epochs=1)) for wanted in (True, False))
    assert finite(ours)
    assert ours.trial.channels_last
    assert ours.epochs[0].train["loss"] == pytest.approx(theirs.epochs[0].train["loss"], rel=1e-3)


@pytest.mark.compile
@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # the compiler's own
def test_a_compiled_model_learns_the_same() -> None:
    settings: dict[str, Any] = {"epochs": 1, "train_limit": 100, "sharpness": "1:50"}
    ours, theirs = (run_trial(trial("sau", compile=wanted, **settings)) for wanted in (True, False))
    assert finite(ours)
    assert ours.trial.compile
    assert ours.epochs[0].train["loss"] == pytest.approx(theirs.epochs[0].train["loss"], rel=1e-3)
    assert [site.name for site in ours.sites] == [site.name for site in theirs.sites]
