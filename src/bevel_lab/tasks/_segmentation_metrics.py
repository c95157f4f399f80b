"""Mean IoU and pixel accuracy, by torchmetrics."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from bevel_lab.data.images.masks import VOID
from bevel_lab.errors import LabError


class Metrics:
    """Counts over whole masks; void pixels of the truth do not count.

    Args:
        classes: number of classes; a class that is in no mask and no guess has no IoU and is left out of the mean.

    Raises:
        LabError: where torchmetrics is missing.
    """

    def __init__(self, classes: int) -> None:
        try:
            from torchmetrics.classification import MulticlassAccuracy, MulticlassJaccardIndex
        except ImportError as error:
            raise LabError(
                f"segmentation is measured by torchmetrics ({error}); pip install 'bevel[tasks]'."
            ) from error
        shared: dict[str, Any] = {"num_classes": classes, "ignore_index": VOID, "validate_args": False}
        shared["sync_on_compute"] = False  # every process of several measures the whole part by itself
        self.iou = MulticlassJaccardIndex(average="macro", **shared)
        self.accuracy = MulticlassAccuracy(average="micro", **shared)

    def add(self, guess: Tensor, truth: Tensor) -> None:
        """Int64 B×H×W each."""
        with _counting():
            for metric in (self.iou, self.accuracy):
                metric.to(guess.device).update(guess, truth)

    def result(self) -> dict[str, float]:
        return {"miou": float(self.iou.compute()), "accuracy": float(self.accuracy.compute())}


@contextlib.contextmanager
def _counting() -> Iterator[None]:
    """Without torch's deterministic mode, which counting whole numbers does not need.

    torchmetrics, seeing it, compares every pixel with every cell of its matrix: 6 GB for one image of Cityscapes.
    """
    was = torch.are_deterministic_algorithms_enabled(), torch.is_deterministic_algorithms_warn_only_enabled()
    torch.use_deterministic_algorithms(False)
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(was[0], warn_only=was[1])
