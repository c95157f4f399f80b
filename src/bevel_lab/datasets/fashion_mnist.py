"""Fashion-MNIST (Xiao, Rasul, Vollgraf 2017): 70,000 pictures of clothes."""

from __future__ import annotations

from bevel_lab.datasets import DataSet
from bevel_lab.datasets._idx import IdxSet
from bevel_lab.datasets._origins import origin

FASHION_MNIST = IdxSet(
    folder="FashionMNIST",
    flips=True,
    sha256={
        "train-images-idx3-ubyte": "c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888",
        "train-labels-idx1-ubyte": "bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9",
        "t10k-images-idx3-ubyte": "5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b",
        "t10k-labels-idx1-ubyte": "0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34",
    },
)

ENTRIES = {
    "fashion_mnist": DataSet(
        "60,000 + 10,000 pictures of clothes, 28×28, grey, 10 classes",
        FASHION_MNIST.load,
        origin=origin("fashion_mnist"),
    )
}
