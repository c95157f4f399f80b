"""Any classifier of torchvision by its name there, e.g. ``torchvision:regnet_y_400mf``."""

from __future__ import annotations

from torch import nn

from bevel.errors import UnknownName
from bevel_lab.models import Model
from bevel_lab.models._library import first_that_builds, near, opened
from bevel_lab.registry import ParametricEntry

_AUXILIARY = {
    "googlenet": {"aux_logits": False, "init_weights": True},
    "inception_v3": {"aux_logits": False, "init_weights": True},
}


def _of(name: str) -> Model:
    import torchvision

    known = torchvision.models.list_models(module=torchvision.models)
    if name not in known:
        raise UnknownName(f"torchvision has no classifier {name!r}; {near(name, known)}")

    def make(in_channels: int, size: tuple[int, int], classes: int) -> nn.Module:
        options = {"weights": None, "num_classes": classes, **_AUXILIARY.get(name, {})}
        # vision transformers want to know the image size, the others refuse the argument
        return first_that_builds(torchvision.models.get_model, name, {"image_size": min(size)}, options)

    return opened(f"torchvision's {name}", make)


ENTRIES = {"torchvision": ParametricEntry("any other classifier of torchvision", "torchvision:NAME", _of)}
