"""CIFAR-10 (Krizhevsky 2009): 60,000 photographs in 10 classes; and whatever part of it is at hand."""

from __future__ import annotations

from bevel_lab.datasets import DataSet
from bevel_lab.datasets._cifar import Cifar
from bevel_lab.datasets._origins import origin

CIFAR10 = Cifar(
    classes=10,
    folder="cifar-10-batches-py",
    labels="labels",
    train={
        "data_batch_1": "c99cafc152244af753f735de768cd75f",
        "data_batch_2": "d4bba439e000b95fd0a9bffe97cbabec",
        "data_batch_3": "54ebc095f3ab1f0389bbae665268c751",
        "data_batch_4": "634d18415352ddfa80567beed471001a",
        "data_batch_5": "482c414d41f54cd18b22e5b47cb7c3cb",
    },
    test={"test_batch": "40351d587109b95175f43aff81a1287e"},
)

ENTRIES = {
    "cifar10": DataSet(
        "50,000 + 10,000 photographs, 32×32, 10 classes; the original files only",
        CIFAR10.whole,
        origin=origin("cifar10"),
    ),
    "cifar10_subset": DataSet(
        "CIFAR-10, those training batches that are there, of any origin",
        CIFAR10.subset,
        origin=origin("cifar10_subset"),
    ),
}
