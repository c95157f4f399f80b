"""Calibration of the judge: how often its verdicts are right in simulated experiments with a known truth."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from bevel_lab.report.statistics import unpaired
from bevel_lab.report.statistics.arrays import LEVEL, Floats
from bevel_lab.report.statistics.bootstrap import bca
from bevel_lab.report.statistics.comparison import Verdict, differs, equivalent, verdicts
from bevel_lab.report.statistics.paired import holm
from bevel_lab.report.statistics.sign_flips import sign_flip, within

RESAMPLES = 1_999
NOISES = ("normal", "heavy")
"""Scores of a run: normal, or Student's t with three degrees of freedom (some runs far off)."""


@dataclass(frozen=True, kw_only=True)
class Calibration:
    """How often the judge was right in simulated experiments.

    Attributes:
        found: share of experiments whose one true difference got the right verdict; NaN if there was none.
        false: share of experiments in which an arm without a difference was called better or worse.
    """

    found: float
    false: float


@dataclass(frozen=True, kw_only=True)
class CellsCalibration:
    """How often the judge was right in simulated reports of several cells.

    Attributes:
        cell: with Holm over the arms of a cell; shares of cells.
        anywhere: share of reports in which some cell has such a false verdict.
        report: with Holm over all arms of all cells; shares of reports; found means found in every cell.
        average: verdicts on the seeds' means over the cells, with Holm over the arms.
    """

    cell: Calibration
    anywhere: float
    report: Calibration
    average: Calibration


def calibrate(
    *, experiments: int, arms: int, pairs: int, effect: float, rng: np.random.Generator, noise: str = "normal"
) -> Calibration:
    """Judge simulated experiments in which at most the first arm differs from the reference.

    All arms of an experiment share the reference's noise, as real arms do. ``effect`` is the first arm's true
    difference in sd of the paired difference; if it is zero, every verdict of better or worse is false. ``noise`` is
    one of ``NOISES``.
    """
    differences = _differences((experiments, arms, pairs), effect, noise, rng)
    return _score(_verdicts(differences, rng)[:, None], effect)


def calibrate_cells(
    *, experiments: int, cells: int, arms: int, pairs: int, effect: float, rng: np.random.Generator
) -> CellsCalibration:
    """Judge simulated reports of several cells; the first arm has the same true difference in each of them."""
    shape = (experiments * cells, arms, pairs)
    differences = _differences(shape, effect, "normal", rng)
    by_cell = _verdicts(differences, rng)
    grid = differences.reshape(experiments, cells, arms, pairs)
    whole = _verdicts(grid.reshape(experiments, cells * arms, pairs), rng)
    wrong = differs(by_cell)[:, int(effect != 0) :].any(axis=1).reshape(experiments, cells)
    return CellsCalibration(
        cell=_score(by_cell[:, None], effect),
        anywhere=float(wrong.any(axis=1).mean()),
        report=_score(whole.reshape(experiments, cells, arms), effect),
        average=_score(_verdicts(grid.mean(axis=1), rng)[:, None], effect),
    )


def calibrate_equivalence(
    *, experiments: int, arms: int, pairs: int, margin: float, effect: float, rng: np.random.Generator
) -> float:
    """Judge simulated experiments against a margin; all arms have the same true difference.

    Args:
        margin, effect: in sd of the paired difference. At ``effect`` = ``margin`` every verdict is a false one.

    Returns:
        The share of experiments in which the first arm is called equivalent if there is no difference, or in which any
        arm is if there is one.
    """
    differences = _differences((experiments, arms, pairs), 0.0, "normal", rng) + effect
    adjusted = holm(within(differences, margin, rng))
    low, high = np.full((2, *adjusted.shape), np.nan)
    open_ = adjusted <= LEVEL
    low[open_], high[open_] = bca(differences[open_], rng, RESAMPLES, 2 * LEVEL)
    said = equivalent(adjusted, low, high, margin)
    return float((said.any(axis=1) if effect else said[:, 0]).mean())


def calibrate_unpaired(
    *, experiments: int, arms: int, runs: int, effect: float, rng: np.random.Generator, ratio: float = 1.0
) -> Calibration:
    """Judge simulated experiments without pairs; at most the first arm differs, by ``effect`` sd of a run.

    The spread of each second arm is ``ratio`` times that of the others, which Welch's statistic allows for.
    """
    spread = np.where(np.arange(arms + 1) % 2, ratio, 1.0)[:, None]
    scores = rng.standard_normal((experiments, arms + 1, runs)) * spread
    scores[:, 1] += effect * spread[1]
    base = np.broadcast_to(scores[:, :1], scores[:, 1:].shape)
    own = scores[:, 1:]
    adjusted = holm(unpaired.welch(own, base, rng))
    low, high = np.full((2, *adjusted.shape), np.nan)
    open_ = adjusted <= LEVEL
    low[open_], high[open_] = unpaired.bca(own[open_], base[open_], rng, RESAMPLES)
    found = verdicts(adjusted, low, high, unpaired.least_p(runs, runs)[0])
    return _score(found[:, None], effect)


def _differences(shape: tuple[int, int, int], effect: float, noise: str, rng: np.random.Generator) -> Floats:
    """Draw paired differences (experiments, arms, pairs) with unit sd; the arms share the reference's scores."""
    experiments, arms, pairs = shape
    size = (experiments, arms + 1, pairs)
    scores = rng.standard_normal(size) if noise == "normal" else rng.standard_t(3, size) / math.sqrt(3)
    scores /= math.sqrt(2)
    differences = scores[:, 1:] - scores[:, :1]
    differences[:, 0] += effect
    return differences


def _verdicts(differences: Floats, rng: np.random.Generator) -> npt.NDArray[np.object_]:
    """Judge every experiment (first axis) with its arms (second axis) as one family."""
    adjusted = holm(sign_flip(differences, rng))
    low, high = np.full((2, *adjusted.shape), np.nan)
    open_ = adjusted <= LEVEL  # the interval matters only here
    low[open_], high[open_] = bca(differences[open_], rng, RESAMPLES)
    return verdicts(adjusted, low, high, 2.0 ** (1 - differences.shape[-1]))


def _score(found: npt.NDArray[np.object_], effect: float) -> Calibration:
    """Score verdicts (experiments, cells, arms) whose first arm has the effect: it is found if every cell finds it, and
    a false verdict in any cell counts."""
    said = differs(found)
    if effect == 0:
        return Calibration(found=math.nan, false=float(said.any(axis=(1, 2)).mean()))
    right = (found[..., 0] == (Verdict.BETTER if effect > 0 else Verdict.WORSE)).all(axis=1)
    return Calibration(found=float(right.mean()), false=float(said[..., 1:].any(axis=(1, 2)).mean()))
