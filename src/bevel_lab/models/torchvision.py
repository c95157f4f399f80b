"""Any classifier of torchvision by its name there, e.g. ``torchvision:regnet_y_400mf``."""

from __future__ import annotations

from functools import partial

from bevel.errors import UnknownName
from bevel_lab.models import Model
from bevel_lab.models._library import any_model, near
from bevel_lab.registry import ParametricEntry

_OPTIONS = {name: {"aux_logits": False, "init_weights": True} for name in ("googlenet", "inception_v3")}


def _of(name: str) -> Model:
    import torchvision

    known = torchvision.models.list_models(module=torchvision.models)
    if name not in known:
        raise UnknownName(f"torchvision has no classifier {name!r}; {near(name, known)}")
    create = partial(torchvision.models.get_model, name, weights=None, **_OPTIONS.get(name, {}))
    return any_model(
        f"torchvision's {name}",
        lambda in_channels, classes: partial(create, num_classes=classes),
        lambda image_size: {"image_size": min(image_size)},  # vision transformers only
    )


ENTRIES = {"torchvision": ParametricEntry("any other classifier of torchvision", "torchvision:NAME", _of)}
