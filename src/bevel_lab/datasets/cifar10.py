"""CIFAR-10 (Krizhevsky 2009): 60,000 photographs in 10 classes; and whatever part of it is at hand."""

from __future__ import annotations

import dataclasses

from bevel_lab.datasets import DataSet
from bevel_lab.datasets._cifar import Cifar

CIFAR10 = Cifar("CIFAR10", labels="labels", classes=10)
SUBSET = dataclasses.replace(CIFAR10, whole=False)

ENTRIES = {
    "cifar10": DataSet("50,000 + 10,000 photographs, 32×32, 10 classes; the original files only", CIFAR10.load),
    "cifar10_subset": DataSet("CIFAR-10, those training batches that are there, of any origin", SUBSET.load),
}
