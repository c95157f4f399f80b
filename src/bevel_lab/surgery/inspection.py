"""Load a model that the command line names, and list its activations, for ``bevel inspect``."""

from __future__ import annotations

import contextlib
import importlib
import importlib.util
import inspect as signatures
import sys
import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch import nn

from bevel.errors import BevelError, InvalidValue, UnknownName, did_you_mean
from bevel.surgery import Sites, find, swap
from bevel_lab.errors import optional_library
from bevel_lab.models import MODELS
from bevel_lab.models._library import near
from bevel_lab.tasks import TASKS
from bevel_lab.training.activations import ActivationFactory

_DEFAULT_EXAMPLE = (torch.zeros(1).expand(1, 3, 224, 224),)


def inspect(
    model: str, to: str | None = None, shape: str | None = None, preserve: bool = True, what: list[str] | None = None
) -> Sites:
    """Find the activation sites of a model and, given ``to``, what a swap would make of them.

    Args:
        model: a name of ``bevel list models``, as it is trained with ReLU on inputs of the shape;
            ``torchvision:NAME``, ``timm:NAME`` as the library builds it (random weights); or ``FILE.py:name``, a module
            or a callable that returns one, or one and a tuple of inputs.
        to: spec string of the new activation.
        shape: of the input, e.g. ``1x3x224x224``; default: the model's own, else 1x3x224x224; for the lab's models a
            small one of their task.
        preserve, what: as in :func:`bevel.surgery.swap`.

    Raises:
        InvalidValue, UnknownName: for a name, file or shape that cannot be used.
    """
    if ":" in model:
        built, example = load(model)
        if shape is not None:
            example = (torch.zeros(1).expand(parse_shape(shape)),)
    else:
        built, example = _registered(model, parse_shape(shape) if shape else ())
    if to is None:
        return find(built, *example)
    return swap(built, to, *example, preserve=preserve, what=what).sites


def _registered(name: str, shape: tuple[int, ...]) -> tuple[nn.Module, tuple[Any, ...]]:
    """Build one of the lab's own models for inputs of a shape; (): a small one of its task."""
    model = MODELS.item(name)
    task = TASKS[model.task]
    if not task.input_shape:
        raise InvalidValue(
            f"models for {model.task} cannot be built without data; write a function that returns {name!r} and a tuple "
            "of inputs, and name it as FILE.py:function."
        )
    shape = shape or task.input_shape
    if len(shape) != len(task.input_shape):
        raise InvalidValue(
            f"the shape of an input for {model.task} must be {task.input_form}, written as {_by(task.input_shape)}; "
            f"got {_by(shape)}."
        )
    built, example = task.without_data(model, ActivationFactory("relu"), shape)
    return built.eval(), example


def _by(shape: tuple[int, ...]) -> str:
    return "x".join(map(str, shape))


def parse_shape(text: str) -> tuple[int, ...]:
    """Read ``"1x3x224x224"``."""
    sizes = text.lower().split("x")
    if not all(size.isdigit() and int(size) > 0 for size in sizes):
        raise InvalidValue(f"a shape must be written as 1x3x224x224; got {text!r}.")
    return tuple(int(size) for size in sizes)


def load(name: str) -> tuple[nn.Module, tuple[Any, ...]]:
    """Load a model by name, in eval mode, with an example input."""
    library, colon, rest = name.rpartition(":")
    if not colon or not rest:
        raise InvalidValue(f"a model must be named torchvision:NAME, timm:NAME or FILE.py:name; got {name!r}.")
    if library == "torchvision":
        return _torchvision(rest)
    if library == "timm":
        return _timm(rest)
    return _from_file(Path(library), rest)


def _torchvision(name: str) -> tuple[nn.Module, tuple[Any, ...]]:
    with optional_library("a model of torchvision needs it", "lab"):
        from torchvision import models
    if name not in models.list_models():
        raise UnknownName(f"torchvision has no model {name!r}; {near(name, models.list_models())}")
    accepted = signatures.signature(models.get_model_builder(name)).parameters
    options = {"weights_backbone": None} if "weights_backbone" in accepted else {}
    with _one_line(f"torchvision cannot build {name}"):
        model: nn.Module = models.get_model(name, weights=None, **options).eval()
    if models.get_model_builder(name).__module__.startswith("torchvision.models.detection"):
        return model, ([torch.rand(3, 320, 320)],)
    frames = (3, 8, 112, 112) if ".video." in models.get_model_builder(name).__module__ else (3, 224, 224)
    return model, (torch.zeros(1).expand(1, *frames),)


def _timm(name: str) -> tuple[nn.Module, tuple[Any, ...]]:
    with optional_library("a model of timm needs it", "lab"):
        import timm
    if not timm.is_model(name):
        raise UnknownName(f"timm has no model {name!r}; {near(name, timm.list_models())}")
    with _one_line(f"timm cannot build {name}"):
        model: nn.Module = timm.create_model(name, pretrained=False).eval()
    return model, (torch.zeros(1).expand(1, *model.pretrained_cfg["input_size"]),)  # type: ignore[index]


def _from_file(path: Path, name: str) -> tuple[nn.Module, tuple[Any, ...]]:
    if path.suffix != ".py" or not path.is_file():
        raise InvalidValue(
            f"a model must be named torchvision:NAME, timm:NAME or FILE.py:name; there is no file {path}."
        )
    found = _defined(path, name)
    result = found if isinstance(found, nn.Module) else _called(path, name, found)
    model, example = result if isinstance(result, tuple) and len(result) == 2 else (result, _DEFAULT_EXAMPLE)
    if not isinstance(model, nn.Module) or not isinstance(example, tuple):
        raise InvalidValue(
            f"{name} in {path} must return a torch.nn.Module, or one and a tuple of inputs; got "
            f"{type(result).__name__}."
        )
    return model.eval(), example


def _defined(path: Path, name: str) -> Any:
    """Run a user's file; return what it calls ``name``: a module, or something that can be called."""
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules.setdefault(path.stem, module)  # where the classes of the file are looked up, by pickle and dataclasses
    with _one_line(f"{path} cannot be imported", path):
        spec.loader.exec_module(module)
    found = getattr(module, name, None)
    if not callable(found):
        usable = [n for n, v in vars(module).items() if callable(v) and not n.startswith("_")]
        raise UnknownName(f"{path} has no module or callable {name!r}; {did_you_mean(name, usable)}")
    return found


def _called(path: Path, name: str, function: Any) -> Any:
    with _one_line(f"{name}() in {path} failed", path):
        signature = signatures.signature(function)
        try:
            signature.bind()
        except TypeError:
            raise InvalidValue(
                f"{name} in {path} must be callable without arguments; it takes {signature}. Write a function that "
                f"returns {name}(…), and name that."
            ) from None
        return function()


@contextlib.contextmanager
def _one_line(what: str, path: Path | None = None) -> Iterator[None]:
    """Turn whatever other people's code raises into one line; with ``path``, name the line of that file, too."""
    try:
        yield
    except BevelError:
        raise
    except (Exception, SystemExit) as error:
        lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == str(path)]
        line = error.lineno if isinstance(error, SyntaxError) else lines[-1] if lines else None
        where = f" at line {line}" if line else ""
        reason = traceback.format_exception_only(error)[-1].strip().splitlines()[0]
        raise InvalidValue(f"{what}{where} ({reason}).") from error
