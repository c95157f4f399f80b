"""Load a model that the command line names, and list its activations, for ``bevel inspect``."""

from __future__ import annotations

import importlib
import importlib.util
import inspect as signatures
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import nn

from bevel.errors import InvalidValue, UnknownName, did_you_mean
from bevel.surgery import Sites, find, swap
from bevel_lab.models import MODELS
from bevel_lab.models._library import near
from bevel_lab.training.activations import ActivationFactory


def inspect(
    model: str, to: str | None = None, shape: str | None = None, preserve: bool = True, what: list[str] | None = None
) -> Sites:
    """Find the activation sites of a model and, given ``to``, what a swap would make of them.

    Args:
        model: a name of ``bevel list models``, as it is trained with ReLU on images of the shape;
            ``torchvision:NAME``, ``timm:NAME`` as the library builds it (random weights); or ``FILE.py:callable``; the
            callable returns a module, or a module and a tuple of inputs.
        to: spec string of the new activation.
        shape: of the input, e.g. ``1x3x224x224``; default: the model's own, else 1x3x224x224, for the lab's 1x3x32x32.
        preserve, what: as in :func:`bevel.surgery.swap`.

    Raises:
        InvalidValue, UnknownName: for a name, file or shape that cannot be used.
    """
    if ":" in model:
        built, example = load(model)
        if shape is not None:
            example = (torch.zeros(1).expand(parse_shape(shape)),)
    else:
        built, example = _shelved(model, parse_shape(shape or "1x3x32x32"))
    if to is None:
        return find(built, *example)
    return swap(built, to, *example, preserve=preserve, what=what).sites


def _shelved(name: str, images: tuple[int, ...]) -> tuple[nn.Module, tuple[Any, ...]]:
    """Build one of the lab's own models, for images of a shape and ten classes."""
    if len(images) != 4:
        raise InvalidValue(f"the shape of a batch of images is written as 1x3x32x32; got {'x'.join(map(str, images))}.")
    model: nn.Module = MODELS.item(name).build(ActivationFactory("relu"), images[1], images[2:], 10)
    return model.eval(), (torch.zeros(1).expand(images),)


def parse_shape(text: str) -> tuple[int, ...]:
    """Read ``"1x3x224x224"``."""
    sizes = text.lower().split("x")
    if not all(size.isdigit() and int(size) > 0 for size in sizes):
        raise InvalidValue(f"a shape is written as 1x3x224x224; got {text!r}.")
    return tuple(int(size) for size in sizes)


def load(name: str) -> tuple[nn.Module, tuple[Any, ...]]:
    """Load a model by name, in eval mode, with an example input."""
    library, colon, rest = name.rpartition(":")
    if not colon or not rest:
        raise InvalidValue(f"a model is named torchvision:NAME, timm:NAME or FILE.py:callable; got {name!r}.")
    if library == "torchvision":
        return _torchvision(rest)
    if library == "timm":
        return _timm(rest)
    return _from_file(Path(library), rest)


def _optional(library: str) -> Any:
    try:
        return importlib.import_module(library)
    except ImportError:
        raise InvalidValue(
            f"{library} is not installed here. Install it, or name the model as FILE.py:callable."
        ) from None


def _torchvision(name: str) -> tuple[nn.Module, tuple[Any, ...]]:
    models = _optional("torchvision").models
    if name not in models.list_models():
        raise UnknownName(f"torchvision has no model {name!r}; {near(name, models.list_models())}")
    accepted = signatures.signature(models.get_model_builder(name)).parameters
    options = {"weights_backbone": None} if "weights_backbone" in accepted else {}
    model: nn.Module = models.get_model(name, weights=None, **options).eval()
    if models.get_model_builder(name).__module__.startswith("torchvision.models.detection"):
        return model, ([torch.rand(3, 320, 320)],)
    frames = (3, 8, 112, 112) if ".video." in models.get_model_builder(name).__module__ else (3, 224, 224)
    return model, (torch.zeros(1).expand(1, *frames),)


def _timm(name: str) -> tuple[nn.Module, tuple[Any, ...]]:
    timm = _optional("timm")
    if not timm.is_model(name):
        raise UnknownName(f"timm has no model {name!r}; {near(name, timm.list_models())}")
    model: nn.Module = timm.create_model(name, pretrained=False).eval()
    return model, (torch.zeros(1).expand(1, *model.pretrained_cfg["input_size"]),)  # type: ignore[index]


def _from_file(path: Path, name: str) -> tuple[nn.Module, tuple[Any, ...]]:
    if path.suffix != ".py" or not path.is_file():
        raise InvalidValue(
            f"a model is named torchvision:NAME, timm:NAME or FILE.py:callable; there is no file {path}."
        )
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules.setdefault(path.stem, module)  # where the classes of the file are looked up, by pickle and dataclasses
    spec.loader.exec_module(module)
    made: Callable[[], Any] | None = getattr(module, name, None)
    if not callable(made):
        functions = [n for n, v in vars(module).items() if callable(v) and not n.startswith("_")]
        raise UnknownName(f"{path} has no callable {name!r}; {did_you_mean(name, functions)}")
    result = made()
    model, example = result if isinstance(result, tuple) else (result, (torch.zeros(1).expand(1, 3, 224, 224),))
    if not isinstance(model, nn.Module) or not isinstance(example, tuple):
        raise InvalidValue(
            f"{name} in {path} returns a torch.nn.Module, or one and a tuple of inputs; got {type(result).__name__}."
        )
    return model.eval(), example
