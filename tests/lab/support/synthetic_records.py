"""Synthetic records that look like real ones, for the tests of statistics and report."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Mapping, Sequence

import numpy as np
import numpy.typing as npt
from scipy import special

from bevel_lab.experiment.record import Epoch, Record, Site
from bevel_lab.experiment.trial import Trial

Floats = npt.NDArray[np.float64]

# label → (parameters at the start, the function of x and its parameters)
ARMS: dict[str, tuple[dict[str, float], Callable[..., Floats]]] = {
    "relu": ({}, lambda x: np.maximum(x, 0)),
    "leaky_relu": ({}, lambda x: np.where(x > 0, x, 0.01 * x)),
    "prelu": ({"weight": 0.25}, lambda x, weight: np.where(x > 0, x, weight * x)),
    "gelu": ({}, lambda x: x * special.ndtr(x)),
    "swish": ({"beta": 1.0}, lambda x, beta: x * special.expit(beta * x)),
    "sau": ({"alpha": 0.15}, lambda x, alpha: np.where(x > 0, x, alpha * x)),
    "frelu": (
        {"positive": 1.0, "negative": 0.01},
        lambda x, positive, negative: np.where(x > 0, positive, negative) * x,
    ),
    "smooth_frelu": (
        {"positive": 1.0, "negative": 0.01, "n": 5.0},
        lambda x, positive, negative, n: (
            negative * x
            + (positive - negative)
            * (x * special.ndtr(n * x) + np.exp(-((n * x) ** 2) / 2) / (n * math.sqrt(2 * math.pi)))
        ),
    ),
}
COST = {"relu": (1.0, 1.0), "leaky_relu": (1.02, 1.0), "prelu": (1.31, 1.05), "gelu": (1.12, 1.2),
        "swish": (1.24, 1.3), "sau": (1.18, 1.02), "frelu": (1.27, 1.0), "smooth_frelu": (1.42, 1.0)}  # fmt: skip
POINTS = np.linspace(-4, 4, 81)
CHANNELS = (16, 32, 64, 64)


def records(
    labels: Sequence[str] = tuple(ARMS),
    *,
    seeds: int = 10,
    effects: Mapping[str, float] | None = None,
    diverged: Collection[tuple[str, int]] = (),
    scoreless: Collection[tuple[str, int]] = (),
    dataset: str = "digits",
    model: str = "cnn",
    epochs: int = 12,
    draw: int = 0,
) -> list[Record]:
    """One record for each label and seed. ``effects`` are true differences in accuracy; ``diverged`` runs end with a
    NaN loss at chance level, ``scoreless`` ones without a score. A label that is not in ``ARMS`` acts as ReLU."""
    made = []
    for seed in range(seeds):
        shared = np.random.default_rng((draw, seed)).normal(0, 0.003)  # a seed is easy or hard for all arms
        for i, label in enumerate(labels):
            rng = np.random.default_rng((draw, seed, i))
            score = min(1.0, 0.968 + shared + (effects or {}).get(label, 0.0) + rng.normal(0, 0.0025))
            fate = "scoreless" if (label, seed) in scoreless else "diverged" if (label, seed) in diverged else ""
            trial = Trial(
                activation=_spec(label), seed=seed, dataset=dataset, model=model, epochs=epochs, train_limit=0
            )
            made.append(_record(trial, label, score, fate, rng))
    return made


def _spec(label: str) -> str:
    start = ARMS.get(label, ({},))[0]
    return label + (":" + ",".join(f"{k}={v}" for k, v in start.items()) if start else "")


def _record(trial: Trial, label: str, score: float, fate: str, rng: np.random.Generator) -> Record:
    time, memory = COST.get(label, (1.0, 1.0))
    final = {"": score, "diverged": 0.1, "scoreless": math.nan}[fate]
    speed = time * rng.normal(1, 0.02)
    return Record(
        trial=trial,
        label=label,
        formula=f"{label}(x)",
        citations=["Biswas et al., SAU, ECCV 2022"] if label == "sau" else ["Nair and Hinton, ICML 2010"],
        epochs=_epochs(trial.epochs, score, bool(fate), speed, rng),
        test={"loss": math.nan if fate else 3.2 * (1 - score), "accuracy": final},
        metric="accuracy",
        share=True,
        parameters=78_042,
        activation_parameters=sum(CHANNELS) * len(ARMS.get(label, ({},))[0]),
        sites=_sites(label, rng),
        seconds=trial.epochs * 0.5 * speed,
        train_seconds=trial.epochs * 0.45 * speed,
        samples=trial.epochs * 1150,
        peak_memory=int(9e7 * memory),
        saved_bytes=int(6e6 * memory),
        device="cpu (2 threads)",
        versions={"bevel": "0.1.0", "torch": "2.11.0", "numpy": "2.4.6"},
        commit="0123456789abcdef",
        started=f"2025-03-01T10:{trial.seed:02d}:00+00:00",
    )


def _epochs(count: int, score: float, lost: bool, speed: float, rng: np.random.Generator) -> list[Epoch]:
    made = []
    for t in range(1, count + 1):
        loss = 2.1 * math.exp(-0.38 * t * (1 + 8 * (score - 0.968))) + 0.02 + 0.006 * rng.uniform()
        accuracy = score - 0.82 * math.exp(-0.75 * t) + rng.normal(0, 0.003)
        gone = lost and t > count // 2
        made.append(
            Epoch(
                train={"loss": math.nan if gone else loss, "accuracy": 0.1 if gone else min(1.0, accuracy + 0.01)},
                validation={"loss": math.nan if gone else 1.2 * loss, "accuracy": 0.1 if gone else min(1.0, accuracy)},
                seconds=0.5 * speed,
            )
        )
    return made


def _sites(label: str, rng: np.random.Generator) -> list[Site]:
    start, function = ARMS.get(label, ARMS["relu"])
    made = []
    for depth, channels in enumerate(CHANNELS):
        after = {
            name: value * np.exp(0.08 * (depth + 1) * rng.normal(0.3, 1, channels)) for name, value in start.items()
        }
        curves = np.array([function(POINTS, **{k: v[c] for k, v in after.items()}) for c in range(channels)])
        made.append(
            Site(
                name=f"layers.{depth}.activation",
                channels=channels,
                before={name: [value] * channels for name, value in start.items()},
                after={name: values.tolist() for name, values in after.items()},
                x=POINTS.tolist(),
                curve_before=function(POINTS, **start).tolist(),
                curve_after=curves.mean(axis=0).tolist(),
                curve_low=curves.min(axis=0).tolist(),
                curve_high=curves.max(axis=0).tolist(),
            )
        )
    return made
