"""CIFAR-100 (Krizhevsky 2009): 60,000 photographs in 100 classes; and whatever part of it is at hand."""

from __future__ import annotations

from bevel_lab.datasets import DataSet
from bevel_lab.datasets._cifar import Cifar
from bevel_lab.datasets._origins import origin

CIFAR100 = Cifar(
    classes=100,
    folder="cifar-100-python",
    labels="fine_labels",
    train={
        "train": "16019d7e3df5f24257cddd939b257f8d",
    },
    test={"test": "f0ef6b0ae62326f3e7ffdfab6717acfc"},
)

ENTRIES = {
    "cifar100": DataSet(
        "50,000 + 10,000 photographs, 32×32, 100 classes; the original files only",
        CIFAR100.whole,
        origin=origin("cifar100"),
    ),
    "cifar100_subset": DataSet(
        "CIFAR-100, as much of it as is there, of any origin",
        CIFAR100.subset,
        origin=origin("cifar100_subset"),
    ),
}
