"""The record of a trained trial."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch

import bevel
from bevel_lab.experiment.predictions import Predictions
from bevel_lab.experiment.record import Record
from bevel_lab.runtime import inference, provenance
from bevel_lab.training import plain_loop
from bevel_lab.training.activations import summarize
from bevel_lab.training.trainer import Trainer


def results(trainer: Trainer, label: str) -> Iterator[Predictions | Record]:
    """Yield the predicted classes, if the trial asks for measures, and the record; see :func:`make_record`."""
    measured: dict[str, Any] = {}
    if trainer.trial.measures:
        units = [(call.module, call.dim) for call in trainer.sites.values()]
        found = trainer.evaluate(lambda _: trainer.task.measure(trainer.model, units))
        predicted = Predictions.of(found.classes)
        measured = {"measures": found.values, "predictions": predicted.digest, "inference": _inference(trainer)}
        yield predicted
    yield make_record(trainer, label, **measured)


def _inference(trainer: Trainer) -> dict[str, float]:
    """What a sample costs at inference; measured on CPUs, for seed 0: the networks of other seeds cost as much.

    A runtime that failed is among the trial's facts.
    """
    if trainer.trial.seed or trainer.trial.tuning or trainer.device.type != "cpu":
        return {}
    images, _ = next(iter(trainer.task.batches([torch.arange(2)], 0, 0)))
    runtimes = inference.available(compiled=trainer.trial.compile)
    found, failed = trainer.evaluate(lambda _: inference.seconds(trainer.model, images[:1], runtimes))
    if failed:
        trainer.facts["inference_failed"] = ", ".join(f"in {name} ({error})" for name, error in failed.items())
    return found


def make_record(trainer: Trainer, label: str, **measured: Any) -> Record:
    """Measure the test part, once, and write everything down.

    A trial that only tunes a recipe is judged by its last validation; its test part is not read.

    Args:
        trainer: a trial after its last epoch.
        label: the activation as the user typed it.
        measured: fields of the record that trials with ``measures`` have.
    """
    trial, task = trainer.trial, trainer.task
    entry = bevel.ACTIVATIONS[trial.activation.partition(":")[0]]
    shown = not trial.seed and not trial.tuning
    return Record(
        trial=trial,
        label=label,
        formula=entry.formula,
        citations=list(entry.citations),
        epochs=trainer.epochs,
        test=trainer.epochs[-1].validation if trial.tuning else trainer.evaluate(task.test),
        metric=task.metric,
        share=task.metric_is_fraction,
        lower_is_better=task.lower_is_better,
        log_scale=task.log_scale,
        parameters=sum(p.numel() for p in trainer.model.parameters()),
        activation_parameters=sum(p.numel() for p in trainer.activation_parameters),
        sites=summarize(trainer.sites, trainer.before),
        seconds=sum(epoch.seconds for epoch in trainer.epochs),
        train_seconds=trainer.train_seconds,
        samples=task.samples * len(trainer.epochs),
        data={**task.facts, **trainer.facts},
        pictures=trainer.evaluate(task.pictures) if shown else [],
        peak_memory=trainer.peak_memory(),
        bare_seconds=0.0 if trial.tuning else plain_loop.seconds_per_sample(trainer),
        saved_bytes=trainer.saved_bytes,
        device=provenance.device_name(trainer.device),
        versions=provenance.versions(),
        commit=provenance.commit(),
        started=trainer.started,
        **measured,
    )
