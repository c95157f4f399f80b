"""Street View House Numbers (Netzer et al. 2011): 99,289 cropped digits."""

from __future__ import annotations

from pathlib import Path

import torch

from bevel_lab.data.images import LabeledImages, LabeledTensors
from bevel_lab.data.source import Source
from bevel_lab.datasets import DataSet
from bevel_lab.datasets._files import check_md5
from bevel_lab.datasets._origins import origin
from bevel_lab.errors import LabError

FILES = {
    "train_32x32.mat": "e26dedcc434d2e4c54c9b2d4a06d8373",
    "test_32x32.mat": "eb5a983be6a315427106f1b164d9cef3",
}
"""MD5 of the training and the test file, as torchvision publishes them."""


def _load(source: Source) -> LabeledImages:
    for name, md5 in FILES.items():
        check_md5(source.root / name, md5)
    train, test = (parse(source.root / name) for name in FILES)
    return LabeledImages(train, test, classes=10, flips=False)


def parse(path: Path) -> LabeledTensors:
    """Decode a MATLAB file of SVHN's 32×32 format: ``X`` is 32×32×3×N, ``y`` is N×1 with 10 for the digit 0.

    Raises:
        LabError: where it is no such file; names it.
    """
    import scipy.io

    try:
        content = scipy.io.loadmat(path, variable_names=("X", "y"))
        pixels, labels = content["X"], content["y"].reshape(-1)
    except Exception as error:  # a damaged file raises nearly anything
        reason = f"no {error}" if isinstance(error, KeyError) else error
        raise LabError(f"{path} is no MATLAB file of SVHN ({reason}); fetch it again.") from error
    if pixels.dtype != "uint8" or pixels.shape[:3] != (32, 32, 3) or pixels.shape[3:] != labels.shape:
        raise LabError(
            f"{path} has {pixels.dtype} pixels {'×'.join(map(str, pixels.shape))} and {len(labels)} labels; SVHN has "
            "uint8 32×32×3×N and N. Fetch it again."
        )
    low, high = int(labels.min()), int(labels.max())
    if low < 1 or high > 10:
        raise LabError(f"{path} has labels {low} … {high}; SVHN's are 1 … 10. Fetch it again.")
    images = torch.from_numpy(pixels).permute(3, 2, 0, 1).contiguous()
    return LabeledTensors(images, torch.from_numpy(labels.astype("int64")) % 10)


ENTRIES = {"svhn": DataSet("73,257 + 26,032 house numbers, 32×32, 10 classes", _load, origin=origin("svhn"))}
