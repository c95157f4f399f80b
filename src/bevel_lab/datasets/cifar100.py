"""CIFAR-100 (Krizhevsky 2009): 60,000 photographs in 100 classes; and whatever part of it is at hand."""

from __future__ import annotations

import dataclasses

from bevel_lab.datasets import DataSet
from bevel_lab.datasets._cifar import Cifar

CIFAR100 = Cifar("CIFAR100", labels="fine_labels", classes=100)
SUBSET = dataclasses.replace(CIFAR100, whole=False)

ENTRIES = {
    "cifar100": DataSet("50,000 + 10,000 photographs, 32×32, 100 classes; the original files only", CIFAR100.load),
    "cifar100_subset": DataSet("CIFAR-100, as much of it as is there, of any origin", SUBSET.load),
}
