"""Any model of timm by its name there, e.g. ``timm:resnet10t``."""

from __future__ import annotations

from torch import nn

from bevel.errors import UnknownName
from bevel_lab.models import Model
from bevel_lab.models._library import first_that_builds, near, opened
from bevel_lab.registry import ParametricEntry


def _of(name: str) -> Model:
    import timm

    if not timm.is_model(name):
        raise UnknownName(f"timm has no model {name!r}; {near(name, timm.list_models())}")

    def make(in_channels: int, size: tuple[int, int], classes: int) -> nn.Module:
        options = {"in_chans": in_channels, "num_classes": classes}
        # models with positions or windows want to know the image size, the others refuse the argument
        return first_that_builds(timm.create_model, name, {"img_size": size}, options)

    return opened(f"timm's {name}", make)


ENTRIES = {"timm": ParametricEntry("any other model of timm", "timm:NAME", _of)}
