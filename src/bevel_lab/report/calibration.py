"""The judge, judged: how often the verdicts are right in simulated experiments whose truth is known."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from bevel_lab.report.stats import LEVEL, Verdict, bca, holm, judge, sign_flip


@dataclass(frozen=True, kw_only=True)
class Calibration:
    """How the judge did on simulated experiments.

    Attributes:
        found: share of experiments whose one true difference was called by its right name (NaN: there was none).
        false: share of experiments in which at least one arm without a difference was called better or worse.
    """

    found: float
    false: float


def calibrate(
    *, experiments: int, arms: int, pairs: int, effect: float, rng: np.random.Generator, resamples: int = 1_999
) -> Calibration:
    """Judge the judge: simulated experiments in which at most one of the arms differs from the reference.

    Scores are normal; all arms of an experiment share the reference's noise, as real ones do. ``effect`` is the first
    arm's true difference in sd of the paired difference; zero makes every verdict of better or worse a false one.
    """
    noise = rng.standard_normal((experiments, arms + 1, pairs)) / math.sqrt(2)
    differences = noise[:, 1:] - noise[:, :1]
    differences[:, 0] += effect
    adjusted = holm(sign_flip(differences, rng))
    low, high = np.full((2, experiments, arms), np.nan)
    open_ = adjusted <= LEVEL  # the interval can only matter here
    low[open_], high[open_] = bca(differences[open_], rng, resamples)
    verdicts = judge(adjusted, low, high, pairs)
    called = (verdicts == Verdict.BETTER) | (verdicts == Verdict.WORSE)
    if effect == 0:
        return Calibration(found=math.nan, false=float(called.any(axis=1).mean()))
    right = Verdict.BETTER if effect > 0 else Verdict.WORSE
    return Calibration(found=float((verdicts[:, 0] == right).mean()), false=float(called[:, 1:].any(axis=1).mean()))
