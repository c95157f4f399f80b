"""The model that most tests of surgery start from."""

import pytest
import torch
from surgery_models import Net


@pytest.fixture
def net() -> Net:
    torch.manual_seed(0)
    model = Net().eval()
    with torch.no_grad():
        model.head.bias.fill_(1.0)  # so that the last ReLU lets something through
    return model
