"""One trial: repeatable to the last bit, resumable, and honest about what it measured."""

import dataclasses
import itertools
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from small_trials import full_disk, trial
from torch import nn

from bevel.errors import InvalidValue, UnknownName
from bevel_lab.data.images import LabeledImages, LabeledTensors
from bevel_lab.data.source import Source
from bevel_lab.datasets import DATASETS, load
from bevel_lab.errors import CannotWrite
from bevel_lab.experiment.record import Record
from bevel_lab.experiment.trial import Trial
from bevel_lab.models import MODELS
from bevel_lab.registry import ParametricEntry
from bevel_lab.runtime.device import as_device
from bevel_lab.runtime.distributed import SINGLE_PROCESS
from bevel_lab.runtime.memory import PeakMemory, SavedBytes
from bevel_lab.tasks import TASKS
from bevel_lab.tasks.classification import Classification
from bevel_lab.training import checkpoint, plain_loop
from bevel_lab.training.run import run_trial
from bevel_lab.training.trainer import Trainer


class _Stop(Exception):
    """Stands for a crash."""


# ------------------------------------------------------------------------------------------------ the same every time


@pytest.mark.parametrize("spec", ["prelu", "smooth_frelu"])
@pytest.mark.parametrize("stop", [1, 2])
def test_an_interrupted_trial_ends_as_an_undisturbed_one(spec: str, stop: int, tmp_path: Path) -> None:
    one = trial(spec, model="cnn", train_limit=100)
    state = tmp_path / "state.pt"

    def crash(done: int, epoch: object) -> None:
        if done == stop:
            raise _Stop

    with pytest.raises(_Stop):
        run_trial(one, state=state, state_every=0, on_epoch=crash)
    reached: list[int] = []
    resumed = run_trial(one, state=state, state_every=0, on_epoch=lambda done, epoch: reached.append(done))
    assert reached == list(range(stop + 1, 4)), "it went on, it did not start again"
    assert resumed.result == run_trial(one).result
    assert resumed.samples == 300


def test_a_plain_loop_is_timed_and_leaves_the_model_as_it_was(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plain_loop, "SECONDS", 1e-3)
    trainer = Trainer(trial("frelu", model="cnn"), Source(), torch.device("cpu"), SINGLE_PROCESS)
    trainer.advance()
    before = {name: tensor.clone() for name, tensor in trainer.model.state_dict().items()}
    assert 0 < plain_loop.seconds_per_sample(trainer) < trainer.train_seconds, "for one sample of many"
    after = trainer.model.state_dict()
    assert all(torch.equal(after[name], tensor) for name, tensor in before.items())
    monkeypatch.setattr(plain_loop, "SECONDS", 0.05)
    trainer.train_seconds = 1.0
    real, counted = trainer.task.loss, [0]

    def loss(model: torch.nn.Module, batch: Any) -> Any:
        counted[0] += 1
        return real(model, batch)

    monkeypatch.setattr(trainer.task, "loss", loss)
    monkeypatch.setattr("bevel_lab.training.plain_loop.time.perf_counter", lambda: 0.004 * counted[0])
    plain_loop.seconds_per_sample(trainer)
    assert counted == [1 + 5 + 10 + 20], "five steps took too short a time, and so did ten"
    trainer.train_seconds = 0.04
    assert plain_loop.seconds_per_sample(trainer) == 0, "a training too short to compare"
    monkeypatch.undo()
    assert run_trial(trial(epochs=1, train_limit=25)).bare_seconds == 0, "one batch cannot be timed after a warm-up"
    monkeypatch.setattr(plain_loop, "SECONDS", 1e-3)
    few = Trainer(trial(epochs=1, train_limit=125), Source(), torch.device("cpu"), SINGLE_PROCESS)
    few.train_seconds = 1.0
    assert plain_loop.seconds_per_sample(few) == 0, "it took five steps, the loop would take six"


def test_results_differ_where_they_should() -> None:
    results = [run_trial(t).result for t in (trial(), trial(seed=1), trial("gelu"), trial(augment=False))]
    for a, b in itertools.combinations(results, 2):
        assert a["epochs"] != b["epochs"]


def test_the_global_state_of_torch_is_left_alone() -> None:
    torch.manual_seed(5)
    rng, threads = torch.get_rng_state(), torch.get_num_threads()
    first = run_trial(trial("pau", threads=2, train_limit=20, epochs=1))
    assert torch.equal(torch.get_rng_state(), rng)
    assert torch.get_num_threads() == threads
    assert not torch.are_deterministic_algorithms_enabled()
    torch.manual_seed(6)
    assert run_trial(trial("pau", threads=2, train_limit=20, epochs=1)).result == first.result


def _damaged(good: bytes) -> Iterator[tuple[str, bytes]]:
    yield "empty", b""
    yield "cut", good[: len(good) // 2]
    yield "one bit", good[:-200] + bytes([good[-200] ^ 1]) + good[-199:]
    yield "something else", b"not a checkpoint at all" * 100


def test_a_damaged_checkpoint_is_named_and_the_trial_starts_again(tmp_path: Path) -> None:
    one, state = trial("prelu"), tmp_path / "state.pt"
    whole = run_trial(one, state=state, state_every=0).result
    for what, content in _damaged(state.read_bytes()):
        state.write_bytes(content)
        notes: list[str] = []
        assert run_trial(one, state=state, on_note=notes.append).result == whole, what
        assert len(notes) == 1
        assert f"checkpoint {state} is damaged; trial {one.id} starts again." == notes[0]


def test_a_checkpoint_of_another_trial_or_model_is_not_used(tmp_path: Path) -> None:
    one, state, notes = trial("prelu"), tmp_path / "state.pt", []
    run_trial(trial("prelu", seed=9), state=state, state_every=0)
    assert run_trial(one, state=state, on_note=notes.append).result == run_trial(one).result
    assert "is of trial" in notes[0]
    state.unlink()
    run_trial(one, state=state, state_every=0)
    content = checkpoint.load(state)
    assert content is not None
    del content["model"]["1.weight"]
    checkpoint.save(state, content)
    assert run_trial(one, state=state, on_note=notes.append).result == run_trial(one).result
    assert "another version" in notes[1]


def test_a_checkpoint_is_replaced_not_rewritten(tmp_path: Path) -> None:
    state = tmp_path / "state.pt"
    checkpoint.save(state, {"a": 1})
    old = state.read_bytes()
    with state.open("rb") as held:
        checkpoint.save(state, {"a": 2})
        assert held.read() == old, "whoever is reading, or dies while writing, has the old file whole"
    assert checkpoint.load(state) == {"a": 2}


def test_a_failed_write_is_named_and_leaves_the_old_checkpoint(tmp_path: Path) -> None:
    state = tmp_path / "state.pt"
    checkpoint.save(state, {"a": torch.ones(2)})
    with full_disk(100), pytest.raises(CannotWrite, match=rf"could not write all of {state} \(.*make room"):
        checkpoint.save(state, {"a": torch.zeros(2)})
    found = checkpoint.load(state)
    assert found is not None
    assert found["a"].tolist() == [1, 1]
    assert [p.name for p in tmp_path.iterdir()] == ["state.pt"]


# --------------------------------------------------------------------------------------------------------- the record


def test_a_short_training_learns_and_the_record_is_whole() -> None:
    record = run_trial(trial("sau:n=5", train_limit=0, epochs=5), label="my sau")
    assert record.test["accuracy"] > 0.8, "chance is 0.1"
    assert record.epochs[-1].train["loss"] < record.epochs[0].train["loss"]
    assert all(set(e.train) == set(e.validation) == {"loss", "accuracy"} for e in record.epochs)
    assert (record.label, record.metric, record.samples) == ("my sau", "accuracy", 5 * 1150)
    assert "erf" in record.formula
    assert "ECCV" in record.citations[0]
    assert record.activation_parameters == 2 * 128
    assert record.parameters == 64 * 128 + 128 + 128 * 128 + 128 + 1280 + 10 + 256
    assert 0 < record.train_seconds <= record.seconds
    assert record.versions["torch"] == torch.__version__
    assert Record.from_json(record.to_json()) == record


def test_sites_are_drawn_before_and_after() -> None:
    record = run_trial(trial("smooth_frelu:negative=0.2", epochs=2))
    assert [site.name for site in record.sites] == ["2", "4"]
    for site in record.sites:
        assert site.channels == 128
        assert set(site.after) == {"positive", "negative", "n"}
        assert site.before["n"] == pytest.approx([5.0] * 128)
        assert site.before["negative"] == pytest.approx([0.2] * 128)
        assert site.after["negative"] != site.before["negative"]
        assert len(site.x) == len(site.curve_before) == len(site.curve_after) == 61
        assert (site.x[0], site.x[30], site.x[60]) == (-4, 0, 4)
        assert site.curve_before[0] == pytest.approx(-0.8)
        assert site.curve_after != site.curve_before
        rows = zip(site.curve_low, site.curve_after, site.curve_high, strict=True)
        assert all(low <= mean <= high for low, mean, high in rows)
        assert site.curve_low[0] < site.curve_high[0]


def test_a_shared_activation_has_one_channel_and_torchs_own_none_to_learn() -> None:
    assert run_trial(trial("gelu", epochs=1)).sites[0].after == {}
    shared = run_trial(trial("sau:num_parameters=1", epochs=1)).sites[0]
    assert (shared.channels, len(shared.after["alpha"])) == (1, 1)


def test_divergence_is_recorded_as_it_is() -> None:
    record = run_trial(trial("prelu", lr=1e30))
    assert len(record.epochs) == 3
    assert math.isnan(record.epochs[-1].train["loss"])
    assert math.isnan(record.test["loss"])
    assert 0 <= record.test["accuracy"] < 0.2
    assert "NaN" not in record.to_json()
    back = Record.from_json(record.to_json())
    assert math.isnan(back.test["loss"])
    assert all(math.isnan(v) for v in back.sites[0].after["weight"])
    assert back.result == record.result == run_trial(trial("prelu", lr=1e30)).result


def test_bytes_saved_for_backward_are_counted_once() -> None:
    model = nn.Sequential(nn.Linear(10, 20), nn.ReLU(), nn.Linear(20, 5, bias=False))
    saved, x = SavedBytes(), torch.randn(8, 10)
    with saved.watch(model):
        loss = model(x).square().sum()
    # the input, relu's result (which the second linear map shares), and what square keeps; no weights
    assert saved.total == 4 * (8 * 10 + 8 * 20 + 8 * 5)
    loss.backward()


def test_smooth_activations_record_what_they_save() -> None:
    images, hidden, logits = 25 * 64, 25 * 128, 25 * 10
    relu, gelu = (run_trial(trial(spec, epochs=1)).saved_bytes for spec in ("relu", "gelu"))
    assert gelu - relu == 4 * 2 * hidden, "relu's result serves the next layer too; gelu keeps its input as well"
    assert relu >= 4 * (images + 2 * hidden + logits)


def test_peak_memory_sees_an_allocation() -> None:
    memory = PeakMemory(torch.device("cpu"))
    torch.ones(20_000_000)
    assert 75e6 < memory.read() < 120e6


# ---------------------------------------------------------------------------------------------------------- the trial


def test_equal_trials_have_equal_ids_and_every_field_counts() -> None:
    base = trial()
    assert dataclasses.replace(base, lr=1).id == dataclasses.replace(base, lr=1.0).id
    other: dict[str, Any] = {
        "activation": "gelu", "model": "cnn", "dataset": "mnist", "task": "other", "seed": 5, "epochs": 7,
        "batch_size": 8, "lr": 0.3, "momentum": 0.1, "weight_decay": 0.1, "warmup": 0.3, "activation_lr": 2.0,
        "augment": False, "validation": 0.3, "train_limit": 77, "threads": 2,
        "optimizer": "adamw", "schedule": "constant", "label_smoothing": 0.1, "mixup": 0.2, "cutmix": 1.0,
        "randaugment": 2, "alternate": "epoch", "sharpness": "1:100", "precision": "bfloat16", "channels_last": True,
        "compile": True, "processes": 2, "tuning": True,
        "weights": "resnet18.pth", "ship": "relu:0.25", "measures": True,
    }  # fmt: skip
    assert set(other) == {f.name for f in dataclasses.fields(Trial)}
    assert len({base.id, *(dataclasses.replace(base, **{k: v}).id for k, v in other.items())}) == len(other) + 1


def test_an_id_outlives_fields_that_are_added_later() -> None:
    fixed = Trial(activation="relu")
    assert fixed.id == "53bf2a535b080678", "old ledgers become unreadable when this changes"


@pytest.mark.parametrize(
    ("field", "value", "words"),
    [
        ("schedule", "cosin", "schedule must be one of cosine, inverse_sqrt, constant; got 'cosin'."),
        ("alternate", "batch", "such as 'epoch:2:1'; got 'batch'."),
        ("sharpness", "soft", "such as '1:1000' and '1:1000:linear'; got 'soft'."),
        ("epochs", 0, "epochs must be a whole number at least 1; got 0."),
        ("epochs", 2.5, "epochs must be a whole number at least 1; got 2.5."),
        ("epochs", True, "epochs must be a whole number at least 1; got True."),
        ("batch_size", 1, "batch norm needs two samples"),
        ("lr", 0.0, "lr must be a finite number above 0"),
        ("lr", math.nan, "lr must be a finite number above 0; got nan."),
        ("momentum", 1.0, "from 0 up to but not including 1"),
        ("warmup", 1.5, "a fraction from 0 to 1"),
        ("validation", 1.0, "a fraction between 0 and 1"),
        ("train_limit", -1, "0 (all) or at least 2"),
        ("augment", 1, "augment must be true or false; got 1."),
        ("model", 3, "model must be text; got 3."),
    ],
)
def test_bad_settings_are_refused(field: str, value: object, words: str) -> None:
    with pytest.raises(InvalidValue) as caught:
        trial(**{field: value})
    assert words in str(caught.value)


def test_parts_that_do_not_fit_are_refused() -> None:
    tiny = dataclasses.replace(load("digits", Source()))
    small = LabeledImages(
        *(LabeledTensors(p.images[:, :, :3, :3], p.labels) for p in (tiny.train, tiny.test)), 10, False
    )
    with pytest.raises(InvalidValue, match=r"'cnn' takes images of at least 4 pixels a side; 'digits' has 3×3"):
        Classification(trial(model="cnn"), small, torch.device("cpu"))
    with pytest.raises(
        InvalidValue, match="classification takes LabeledImages or LabeledImageFiles; data set 'digits' gives str"
    ):
        Classification(trial(), "text", torch.device("cpu"))
    with pytest.raises(UnknownName, match="unknown data set 'digit'; did you mean 'digits'"):
        run_trial(trial(dataset="digit"))
    for name in ("gpu", "cuda:9", "cuda:x"):
        with pytest.raises(InvalidValue, match="cpu"):
            as_device(name)


def test_data_sets_and_models_are_for_tasks_that_there_are() -> None:
    for registry in (DATASETS, MODELS):
        assert all(entry.task in TASKS for entry in registry.values() if not isinstance(entry, ParametricEntry))
