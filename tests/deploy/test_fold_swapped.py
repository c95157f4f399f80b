"""Swap, train, fold: the layers of a model that no one here wrote."""

import torch
from needs import needs

import bevel
import bevel.training
from bevel.deploy import fold
from bevel.surgery import swap


@needs("torchvision")
def test_a_swapped_resnet_folds_into_its_batch_norms() -> None:
    from torchvision import models

    torch.manual_seed(0)
    model, x = models.resnet18(weights=None).eval(), torch.randn(2, 3, 64, 64)
    swapped = swap(model, "frelu", x).model
    slopes = bevel.training.activation_parameters(swapped)
    with torch.no_grad():  # as if trained
        for name, slope in slopes.items():
            slope.uniform_(0.5, 1.5) if name.endswith("positive") else slope.uniform_(-0.1, 0.3)
        want = swapped(x)
    result = fold(swapped, x)
    folded = [row for row in result.rows if row.new == "PReLU"]
    kept = [row for row in result.rows if row.new is None]
    assert len(folded) == 9  # the stem, and the first of each block
    assert {row.into.split(".")[-1] for row in folded} == {"bn1"}
    assert len(kept) == 8  # behind a residual sum
    assert all("aten.add_" in row.reason for row in kept)
    torch.testing.assert_close(result.model(x), want, rtol=1e-4, atol=1e-5)
