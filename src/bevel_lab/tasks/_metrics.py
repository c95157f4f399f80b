"""Metrics of the tasks: hits of a classifier, torchmetrics' mAP and IoU, sacrebleu's BLEU."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bevel.errors import InvalidValue
from bevel_lab.data.images.masks import VOID
from bevel_lab.errors import first_line, how_to_install, optional_library
from bevel_lab.runtime.determinism import deterministic_algorithms
from bevel_lab.tasks._detection_data import DetectionSample


def evaluate_classifier(
    model: nn.Module, batches: Iterable[tuple[Tensor, Tensor]], hits: Callable[[Tensor, Tensor], dict[str, Tensor]]
) -> dict[str, float]:
    """Mean loss and mean of every kind of hit.

    Args:
        model: in eval mode; inputs → logits, B×classes.
        batches: inputs and labels (int64, B).
        hits: (logits, labels) → bool, B, by name.

    Returns:
        ``loss`` and the fraction of hits by name.
    """
    loss = torch.zeros((), dtype=torch.float64)
    counts: Counter[str] = Counter()
    total = 0
    for inputs, labels in batches:
        logits = model(inputs)
        loss += F.cross_entropy(logits, labels, reduction="sum").double().cpu()
        counts.update({name: int(hit.sum()) for name, hit in hits(logits, labels).items()})
        total += len(labels)
    return {"loss": float(loss) / total} | {name: count / total for name, count in counts.items()}


def detection_library() -> Any:
    """torchmetrics' class ``MeanAveragePrecision``; raises ``LabError`` if it or pycocotools is missing."""
    with optional_library("detection is measured by torchmetrics and pycocotools"):
        import pycocotools  # type: ignore[import-untyped] # noqa: F401
        from torchmetrics.detection import MeanAveragePrecision
    return MeanAveragePrecision


def mean_average_precision(pairs: Iterable[tuple[dict[str, Tensor], DetectionSample]]) -> dict[str, float]:
    """COCO's mean average precision, 0 … 1: ``map_50`` at an IoU of 0.5, ``map`` averaged over 0.5, 0.55, …, 0.95.

    Precision is interpolated at 101 recalls and averaged over the classes that occur. A detection on an ignored object
    is no error.

    Args:
        pairs: detections (``boxes``, ``labels``, ``scores``) and the truth, image by image.

    Raises:
        LabError: if torchmetrics or pycocotools is missing.
    """
    import numpy as np

    # pycocotools' own thresholds: torchmetrics' are rounded to float32, which decides ties otherwise
    exact = {"iou_thresholds": np.linspace(0.5, 0.95, 10).tolist(), "rec_thresholds": np.linspace(0, 1, 101).tolist()}
    # no synchronization: every process of several measures the whole part by itself
    metric = detection_library()(backend="pycocotools", sync_on_compute=False, **exact)
    metric.warn_on_many_detections = False
    for found, sample in pairs:
        guess = {name: value.cpu() for name, value in found.items()}
        guess |= {"boxes": guess["boxes"].float(), "scores": guess["scores"].float()}
        truth = {"boxes": sample.boxes, "labels": sample.labels, "iscrowd": sample.ignored.to(torch.int64)}
        metric.update([guess], [truth])
    computed = metric.compute()
    return {name: max(0.0, float(computed[name])) for name in ("map_50", "map")}


class SegmentationMetrics:
    """Counts over whole masks; void pixels of the truth do not count.

    Args:
        classes: number of classes. A class that no mask and no guess contains has no IoU; the mean skips it.

    Raises:
        LabError: if torchmetrics is missing.
    """

    def __init__(self, classes: int) -> None:
        with optional_library("segmentation is measured by torchmetrics"):
            from torchmetrics.classification import MulticlassAccuracy, MulticlassJaccardIndex
        # no synchronization: every process of several measures the whole part by itself
        options: dict[str, Any] = {"ignore_index": VOID, "validate_args": False, "sync_on_compute": False}
        self.metrics = {
            "miou": MulticlassJaccardIndex(classes, average="macro", **options),
            "accuracy": MulticlassAccuracy(classes, average="micro", **options),
        }

    def add(self, guess: Tensor, truth: Tensor) -> None:
        """Count the pixels of int64 B×H×W each."""
        # counts are exact in any order; in deterministic mode torchmetrics would compare every pixel with every cell of
        # its matrix, which takes 6 GB for one image of Cityscapes
        with deterministic_algorithms(False):
            for metric in self.metrics.values():
                metric.to(guess.device).update(guess, truth)

    def result(self) -> dict[str, float]:
        """``miou`` and ``accuracy`` of all pixels counted so far."""
        return {name: float(metric.compute()) for name, metric in self.metrics.items()}


class Bleu:
    """Corpus BLEU by sacrebleu, 0 to 100, one reference a sentence.

    Args:
        language: of the translations; it decides how sacrebleu cuts them into words.

    Attributes:
        signature: what sacrebleu did, for the record; a BLEU without it cannot be compared.

    Raises:
        InvalidValue: where sacrebleu, or what it needs for the language, is missing.
    """

    def __init__(self, language: str) -> None:
        try:
            from sacrebleu.metrics.bleu import BLEU

            self._metric = BLEU(trg_lang=language)
        except (ImportError, RuntimeError) as error:
            raise InvalidValue(f"BLEU needs sacrebleu ({first_line(error)}); {how_to_install('tasks')}.") from error
        self._metric.corpus_score(["one"], [["one"]])  # the signature names the number of references
        self.signature = str(self._metric.get_signature())

    def __call__(self, guesses: Sequence[str], truth: Sequence[str]) -> float:
        return float(self._metric.corpus_score(list(guesses), [list(truth)]).score)
