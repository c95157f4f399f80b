"""What makes a comparison fair: the arms of a seed differ in the activation and in nothing else."""

import dataclasses
import itertools
import math
from collections.abc import Iterator, Sequence
from typing import Any

import pytest
import torch
from small_trials import trial

from bevel_lab.data.images import LabeledImages, LabeledTensors
from bevel_lab.data.source import Source
from bevel_lab.datasets import load
from bevel_lab.runtime.distributed import ProcessGroup
from bevel_lab.tasks.classification import Classification
from bevel_lab.training import trainer
from bevel_lab.training.optim import lr_factor
from bevel_lab.training.run import run_trial
from bevel_lab.training.trainer import Trainer

ARMS = ("relu", "prelu", "sau:n=5", "swish", "pau")


def _trainer(spec: str, **settings: Any) -> Trainer:
    return Trainer(trial(spec, **settings), Source(), torch.device("cpu"), ProcessGroup())


@pytest.mark.parametrize("model", ["mlp", "cnn", "resnet20"])
def test_all_arms_of_a_seed_start_from_the_same_weights(model: str) -> None:
    def weights(spec: str, seed: int) -> dict[str, torch.Tensor]:
        trainer = _trainer(spec, model=model, seed=seed)
        own = {id(p) for p in trainer.activation_parameters}
        return {name: p for name, p in trainer.model.named_parameters() if id(p) not in own}

    first = weights("relu", 3)
    for spec in ARMS[1:]:
        others = weights(spec, 3)
        assert list(others) == list(first)
        for name in first:
            assert torch.equal(first[name], others[name]), name
    other_seed = weights("relu", 4)
    assert all(not torch.equal(first[n], other_seed[n]) for n in first if first[n].ndim > 1)


def test_all_arms_of_a_seed_see_the_same_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[list[torch.Tensor]] = []
    original = Classification.batches

    def spy(self: Classification, order: Sequence[torch.Tensor], *where: Any) -> Iterator[Any]:
        for index, batch in zip(order, original(self, order, *where), strict=True):
            seen[-1] += [index, *batch]
            yield batch

    monkeypatch.setattr(Classification, "batches", spy)
    trained: list[list[torch.Tensor]] = []
    for spec, seed in [*((spec, 0) for spec in ARMS), ("relu", 1)]:
        seen.append([])
        trained.append([])
        run_trial(trial(spec, epochs=2, seed=seed), on_epoch=lambda *_: trained.__setitem__(-1, list(seen[-1])))
    *same, other = trained
    assert len(same[0]) == 2 * 8 * 3
    for arm in same[1:]:
        assert all(torch.equal(a, b) for a, b in zip(same[0], arm, strict=True))
    assert not any(torch.equal(a, b) for a, b in zip(same[0], other, strict=True))


def test_an_epoch_is_every_sample_once_in_nearly_equal_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    orders: list[torch.Tensor] = []
    original = Classification.batches
    monkeypatch.setattr(
        Classification, "batches", lambda self, order, *where: (orders.extend(order), original(self, order, *where))[1]
    )
    ends: list[int] = []
    run_trial(trial(train_limit=101, batch_size=25, epochs=2), on_epoch=lambda *_: ends.append(len(orders)))
    assert ends == [5, 10], "what is timed after the last epoch is none of its batches"
    assert [len(index) for index in orders[:10]] == [21, 20, 20, 20, 20] * 2
    first, second = torch.cat(orders[:5]), torch.cat(orders[5:10])
    assert first.sort().values.tolist() == second.sort().values.tolist() == list(range(101))
    assert not torch.equal(first, second)


def test_the_split_is_one_for_all_seeds_and_stratified() -> None:
    tasks = [_trainer(spec, seed=seed, train_limit=0).task for spec, seed in itertools.product(("relu", "sau"), (0, 7))]
    first = tasks[0]
    assert isinstance(first, Classification)
    for task in tasks[1:]:
        assert isinstance(task, Classification)
        assert torch.equal(task.feed.index, first.feed.index)
        assert torch.equal(task.feed.held_out, first.feed.held_out)
    kept, held_out = first.feed.index, first.feed.held_out
    assert (len(kept), len(held_out)) == (1150, 287)
    held = torch.ones(1437, dtype=torch.bool)
    held[kept] = False
    assert torch.equal(held.nonzero().flatten(), held_out)
    counts = torch.bincount(first.data.train.labels[held_out])
    assert ((counts - torch.bincount(first.data.train.labels) * 287 / 1437).abs() < 1).all()


def test_only_weights_decay_and_activations_have_their_own_rate() -> None:
    trainer = _trainer("prelu", model="cnn", weight_decay=0.25, activation_lr=0.5)
    names = {id(p): name for name, p in trainer.model.named_parameters()}
    decays = {names[id(p)]: g["weight_decay"] for g in trainer.optimizer.param_groups for p in g["params"]}
    scales = {names[id(p)]: g["scale"] for g in trainer.optimizer.param_groups for p in g["params"]}
    sites = {f"{site}.weight" for site in trainer.sites}
    assert decays.keys() == set(names.values())
    for name, parameter in trainer.model.named_parameters():
        assert decays[name] == (0.25 if parameter.ndim > 1 else 0.0), name
        assert scales[name] == (0.5 if name in sites else 1.0), name


def test_the_learning_rate_rises_then_falls_along_a_cosine() -> None:
    rates = [lr_factor(trial(warmup=0.1), step, 100) for step in range(100)]
    assert rates[:10] == pytest.approx([0.1 * (i + 1) for i in range(10)])
    assert rates[10:] == pytest.approx([0.5 * (1 + math.cos(math.pi * i / 90)) for i in range(90)])
    assert lr_factor(trial(warmup=0.0), 0, 5) == 1.0
    assert lr_factor(trial(warmup=1.0), 4, 5) == 1.0


class _Counted(LabeledImages):
    """Counts how often its test part is read."""

    def __getattribute__(self, name: str) -> Any:
        if name == "test":
            counts = object.__getattribute__(self, "__dict__").setdefault("counts", [0])
            counts[0] += 1
        return super().__getattribute__(name)


def test_the_test_part_is_read_once_after_the_last_epoch(monkeypatch: pytest.MonkeyPatch) -> None:
    plain = load("digits", Source())
    data = _Counted(plain.train, plain.test, plain.classes, plain.flips)
    monkeypatch.setattr(trainer, "load", lambda name, source: data)
    before = data.counts[0]  # building the value checks it
    reads: list[int] = []
    run_trial(trial(), on_epoch=lambda done, epoch: reads.append(data.counts[0] - before))
    assert reads == [0, 0, 0]
    assert data.counts[0] - before == 1


def test_training_never_depends_on_the_test_part(monkeypatch: pytest.MonkeyPatch) -> None:
    plain = load("digits", Source())
    black = LabeledTensors(torch.zeros_like(plain.test.images), plain.test.labels)
    a = run_trial(trial())
    monkeypatch.setattr(trainer, "load", lambda name, source: dataclasses.replace(plain, test=black))
    b = run_trial(trial())
    assert [e.validation for e in a.epochs] == [e.validation for e in b.epochs]
    assert a.test != b.test
