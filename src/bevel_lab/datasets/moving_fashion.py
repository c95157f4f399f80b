"""Fashion-MNIST images that move; only the order of frames tells the direction. See ``bevel_lab.data.video.moving``."""

from __future__ import annotations

from bevel_lab.data.source import Source
from bevel_lab.data.video import Clips
from bevel_lab.data.video.moving import MovingImages
from bevel_lab.datasets import DataSet
from bevel_lab.datasets._origins import origin
from bevel_lab.datasets.fashion_mnist import FASHION_MNIST


def _load(source: Source) -> Clips:
    """Raises ``LabError`` as ``fashion_mnist`` does."""
    return MovingImages(FASHION_MNIST.load(source), frames=8, side=40, tests=2000)


ENTRIES = {
    "moving_fashion": DataSet(
        "60,000 + 2,000 clips of 8 frames: Fashion-MNIST's pictures drift one of 4 ways, 40×40, grey",
        _load,
        "video",
        origin("fashion_mnist"),
    )
}
