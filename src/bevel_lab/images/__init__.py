"""Labelled images: the values a classification data set can be, and how training and evaluation are fed from them.

Small images are held in memory and augmented in batches on the device (``held``, ``augment``); large ones stay files
and are read by worker processes (``streamed``). ``feed`` gives both one face; ``mixing`` and ``randaugment`` serve
both.
"""

from bevel_lab.images.held import LabelledImages, Part
from bevel_lab.images.stratify import stratified
from bevel_lab.images.streamed import Files, StreamedImages

__all__ = ["Files", "LabelledImages", "Part", "StreamedImages", "stratified"]
