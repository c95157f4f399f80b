"""Labelled images: the values a classification data set can be, and how training and evaluation are fed from them.

Small images are held in memory and augmented in batches on the device (``held``, ``augment``); large ones stay files
and are read by worker processes (``streamed``). ``feed`` gives both one face; ``mixing`` and ``randaugment`` serve
both.
"""

from bevel_lab.data.images.from_files import LabeledFiles, LabeledImageFiles
from bevel_lab.data.images.in_memory import LabeledImages, LabeledTensors
from bevel_lab.data.images.stratify import stratified

__all__ = ["LabeledFiles", "LabeledImageFiles", "LabeledImages", "LabeledTensors", "stratified"]
