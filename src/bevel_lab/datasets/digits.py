"""The handwritten digits that come with scikit-learn: 1,797 real 8×8 images, nothing to download."""

from __future__ import annotations

import gzip
import importlib.util
from pathlib import Path

import torch
from torch import Tensor

from bevel_lab.data.images import LabeledImages, LabeledTensors, stratified
from bevel_lab.data.source import Source
from bevel_lab.datasets import DataSet
from bevel_lab.errors import LabError, how_to_install
from bevel_lab.runtime.rng import SHARED, generator

TEST = 360
"""Images of the test part: a fifth. The set has no official test part, so a fixed stratified one is drawn."""


def _load(source: Source) -> LabeledImages:
    rows = _rows()
    target = rows[:, -1].long()
    grey = (rows[:, :-1].reshape(-1, 1, 8, 8) * (255 / 16)).round().to(torch.uint8)  # 17 levels, 0 … 16
    test, train = stratified(target, TEST, generator(SHARED, "digits test part"))
    return LabeledImages(
        LabeledTensors(grey[train], target[train]), LabeledTensors(grey[test], target[test]), classes=10, flips=False
    )


def _rows() -> Tensor:
    """Read 64 pixels and the label of each image from scikit-learn's file: to import the package takes two seconds."""
    package = importlib.util.find_spec("sklearn")
    if package is None or package.origin is None:
        raise LabError(f"the digits are a file of scikit-learn, which is not installed; {how_to_install('lab')}.")
    with gzip.open(Path(package.origin).parent / "datasets" / "data" / "digits.csv.gz", "rt") as file:
        return torch.tensor([[float(number) for number in line.split(",")] for line in file], dtype=torch.float64)


ENTRIES = {"digits": DataSet("1,797 handwritten digits, 8×8, grey, 10 classes; comes with scikit-learn", _load)}
