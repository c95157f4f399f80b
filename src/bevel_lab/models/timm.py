"""Any model of timm by its name there, e.g. ``timm:resnet10t``."""

from __future__ import annotations

from functools import partial

from bevel.errors import UnknownName
from bevel_lab.models import Model
from bevel_lab.models._library import any_model, near
from bevel_lab.registry import ParametricEntry


def _of(name: str) -> Model:
    import timm

    if not timm.is_model(name):
        raise UnknownName(f"timm has no model {name!r}; {near(name, timm.list_models())}")
    return any_model(
        f"timm's {name}",
        lambda in_channels, classes: partial(timm.create_model, name, in_chans=in_channels, num_classes=classes),
        lambda image_size: {"img_size": image_size},  # models with positions or windows only
    )


ENTRIES = {"timm": ParametricEntry("any other model of timm", "timm:NAME", _of)}
