"""The handwritten digits that come with scikit-learn: 1,797 real 8×8 images, nothing to download."""

from __future__ import annotations

import torch

from bevel_lab.data.images import LabeledImages, LabeledTensors, stratified
from bevel_lab.data.source import Source
from bevel_lab.datasets import DataSet
from bevel_lab.runtime.rng import SHARED, generator

TEST = 360
"""Images of the test part: a fifth. The set has no official test part, so a fixed stratified one is drawn."""


def _load(source: Source) -> LabeledImages:
    from sklearn.datasets import load_digits

    images, labels = load_digits(return_X_y=True)
    grey = (torch.from_numpy(images).view(-1, 1, 8, 8) * (255 / 16)).round().to(torch.uint8)  # 17 levels, 0 … 16
    target = torch.from_numpy(labels).long()
    test, train = stratified(target, TEST, generator(SHARED, "digits test part"))
    return LabeledImages(
        LabeledTensors(grey[train], target[train]), LabeledTensors(grey[test], target[test]), classes=10, flips=False
    )


ENTRIES = {"digits": DataSet("1,797 handwritten digits, 8×8, grey, 10 classes; comes with scikit-learn", _load)}
