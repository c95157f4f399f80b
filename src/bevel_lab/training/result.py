"""Write a trained trial down as a record."""

from __future__ import annotations

import torch

import bevel
from bevel_lab.experiment.record import Picture, Record
from bevel_lab.runtime import provenance
from bevel_lab.training import plain_loop
from bevel_lab.training.activations import account
from bevel_lab.training.trainer import Running


def record(running: Running, label: str) -> Record:
    """Read the test part once (unless this run only helps to choose a recipe), and write everything down.

    Args:
        running: a trial after its last epoch.
        label: the activation as the user typed it.
    """
    trial = running.trial
    entry = bevel.ACTIVATIONS[trial.activation.partition(":")[0]]
    test = running.epochs[-1].validation if trial.tuning else running.evaluate(running.task.test)
    return Record(
        trial=trial,
        label=label,
        formula=entry.formula,
        citations=list(entry.citations),
        epochs=running.epochs,
        test=test,
        metric=running.task.metric,
        share=running.task.share,
        parameters=sum(p.numel() for p in running.model.parameters()),
        activation_parameters=sum(p.numel() for p in running.activation_parameters),
        sites=account(running.sites, running.before),
        seconds=sum(epoch.seconds for epoch in running.epochs),
        train_seconds=running.train_seconds,
        samples=running.task.samples * len(running.epochs),
        data={**running.task.facts, **running.loaded, **running.parted},
        pictures=_pictures(running),
        peak_memory=max(running.peak, running.memory.read()),
        bare_seconds=0.0 if trial.tuning else plain_loop.seconds(running),
        saved_bytes=running.saved_bytes,
        device=provenance.device_name(running.device),
        versions=provenance.versions(),
        commit=provenance.commit(),
        started=running.started,
    )


def _pictures(running: Running) -> list[Picture]:
    if running.trial.seed or running.trial.tuning:
        return []
    running.called.eval()
    with torch.no_grad(), running.precision():
        return running.task.pictures(running.called)
