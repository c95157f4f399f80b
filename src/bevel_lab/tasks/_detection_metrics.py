"""Mean average precision of detections, by torchmetrics and pycocotools."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor

from bevel_lab.errors import LabError
from bevel_lab.tasks._detection_data import DetectionSample


def library() -> Any:
    """torchmetrics' class; raises ``LabError`` where it or pycocotools are missing."""
    try:
        import pycocotools  # type: ignore[import-untyped] # noqa: F401
        from torchmetrics.detection import MeanAveragePrecision
    except ImportError as error:
        raise LabError(f"detection is measured by libraries ({error}); pip install 'bevel[tasks]'.") from error
    return MeanAveragePrecision


def mean_average_precision(pairs: Iterable[tuple[dict[str, Tensor], DetectionSample]]) -> dict[str, float]:
    """COCO's figures, 0 … 1: ``map_50`` at an IoU of 0.5, ``map`` the mean over 0.5, 0.55, …, 0.95.

    Precision is interpolated at 101 recalls and averaged over the classes that occur; what is detected on an ignored
    object is no error.

    Args:
        pairs: what was detected (``boxes``, ``labels``, ``scores``) and the truth, image by image.

    Raises:
        LabError: where torchmetrics or pycocotools are missing.
    """
    import numpy as np

    # pycocotools' own thresholds: torchmetrics' are rounded to float32, which decides ties otherwise
    exact = {"iou_thresholds": np.linspace(0.5, 0.95, 10).tolist(), "rec_thresholds": np.linspace(0, 1, 101).tolist()}
    # every process of several measures the whole part by itself
    metric = library()(backend="pycocotools", sync_on_compute=False, **exact)
    metric.warn_on_many_detections = False
    for found, item in pairs:
        guess = {name: value.cpu() for name, value in found.items()}
        guess |= {"boxes": guess["boxes"].float(), "scores": guess["scores"].float()}
        truth = {"boxes": item.boxes, "labels": item.labels, "iscrowd": item.ignored.to(torch.int64)}
        metric.update([guess], [truth])
    computed = metric.compute()
    return {name: max(0.0, float(computed[name])) for name in ("map_50", "map")}
