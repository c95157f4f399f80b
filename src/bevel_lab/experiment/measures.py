"""How measures are called and written: a record's keys are for programs, ``map_50``, and papers say mAP@50."""

from __future__ import annotations

NAMES = {
    "map": "mAP",
    "map_50": "mAP@50",
    "miou": "mIoU",
    "bleu": "BLEU",
    "top1": "Top-1",
    "top5": "Top-5",
    "relative_l2": "relative L2",
    "fgsm_accuracy": "FGSM accuracy",
    "int8_accuracy": "int8 accuracy",
}
POINTS = {"bleu"}
"""Measures from 0 to 100 that are no shares: written with two decimals, and a difference has their name as its unit."""


def named(key: str) -> str:
    """The name of a measure, by its key in a record."""
    return NAMES.get(key, key.replace("_", " "))


def written(key: str, value: float) -> str:
    """A measure with its name, such as ``BLEU 12.20``."""
    return f"{named(key)} {value:.{decimals(key)}f}"


def decimals(key: str) -> int:
    """Decimals of a measure as it is recorded."""
    return 2 if key in POINTS else 4
