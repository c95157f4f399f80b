"""Write a trained trial down as a record."""

from __future__ import annotations

import torch

import bevel
from bevel_lab.experiment.record import Picture, Record
from bevel_lab.runtime import provenance
from bevel_lab.training import plain_loop
from bevel_lab.training.activations import summarize
from bevel_lab.training.trainer import Trainer


def record(trainer: Trainer, label: str) -> Record:
    """Read the test part once (unless this run only helps to choose a recipe), and write everything down.

    Args:
        trainer: a trial after its last epoch.
        label: the activation as the user typed it.
    """
    trial = trainer.trial
    entry = bevel.ACTIVATIONS[trial.activation.partition(":")[0]]
    test = trainer.epochs[-1].validation if trial.tuning else trainer.evaluate(trainer.task.test)
    return Record(
        trial=trial,
        label=label,
        formula=entry.formula,
        citations=list(entry.citations),
        epochs=trainer.epochs,
        test=test,
        metric=trainer.task.metric,
        share=trainer.task.metric_is_fraction,
        parameters=sum(p.numel() for p in trainer.model.parameters()),
        activation_parameters=sum(p.numel() for p in trainer.activation_parameters),
        sites=summarize(trainer.sites, trainer.before),
        seconds=sum(epoch.seconds for epoch in trainer.epochs),
        train_seconds=trainer.train_seconds,
        samples=trainer.task.samples * len(trainer.epochs),
        data={**trainer.task.facts, **trainer.loaded, **trainer.batch_norm_note},
        pictures=_pictures(trainer),
        peak_memory=max(trainer.peak, trainer.memory.read()),
        bare_seconds=0.0 if trial.tuning else plain_loop.seconds_per_sample(trainer),
        saved_bytes=trainer.saved_bytes,
        device=provenance.device_name(trainer.device),
        versions=provenance.versions(),
        commit=provenance.commit(),
        started=trainer.started,
    )


def _pictures(trainer: Trainer) -> list[Picture]:
    if trainer.trial.seed or trainer.trial.tuning:
        return []
    trainer.called.eval()
    with torch.no_grad(), trainer.precision():
        return trainer.task.pictures(trainer.called)
