"""Labeled images: the data sets of classification, and how training and evaluation read them.

Small images are in memory and augmented in batches on the device (``in_memory``, ``augment``); worker processes read
large ones from files (``from_files``). ``feed`` gives both one interface; ``mixing`` and ``randaugment`` serve both.
"""

from bevel_lab.data.images.from_files import LabeledImageFiles
from bevel_lab.data.images.in_memory import LabeledImages, LabeledTensors
from bevel_lab.data.images.stratify import stratified
from bevel_lab.data.labeled_files import LabeledFiles

__all__ = ["LabeledFiles", "LabeledImageFiles", "LabeledImages", "LabeledTensors", "stratified"]
