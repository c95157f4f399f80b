"""Spec strings in other libraries' configurations: ``hidden_act`` of transformers, ``act_layer`` of timm.

These libraries make an activation from its name alone, before anything says how many channels it gets. So such an
activation has one slope for all channels of its place; :func:`bevel.swap` gives one a channel.
"""

from __future__ import annotations

import functools
import importlib
from collections import Counter
from collections.abc import Callable
from contextlib import ExitStack
from typing import Any

import torch
from torch import nn

from bevel.errors import InvalidValue, UnknownName, did_you_mean
from bevel.nn import ACTIVATIONS, LearnableModule
from bevel.spec import create, parse

__all__ = ["enable"]


def enable(*libraries: str) -> ExitStack:
    """Let other libraries take bevel's spec strings where they take the name of an activation.

    It holds for the whole process, from the call on. A name that the library has itself keeps its meaning there, such
    as ``"relu"``, or ``"swish"``, which is SiLU in both libraries; with arguments it is bevel's (``"swish:beta=1"``).
    All channels of a place share one slope, since a name says no width; :func:`bevel.swap` gives one a channel.

    Args:
        *libraries: ``"transformers"`` (``hidden_act`` and its like in a configuration), ``"timm"`` (``act_layer``).

    Returns:
        A context manager: at the end of its ``with`` block, or by ``close()``, the libraries are as they were. Without
        either they take spec strings until the process ends.

    Raises:
        InvalidValue: if no library is named, or an installed one has not the parts that this needs.
        UnknownName: for a library that bevel does not know.
        ModuleNotFoundError: for one that is not installed.

    Example:
        >>> import bevel
        >>> with bevel.integrations.enable():
        ...     pass
        Traceback (most recent call last):
        ...
        bevel.errors.InvalidValue: enable() must be given at least one library; got none. Known: timm, transformers.
    """
    if not libraries:
        known = ", ".join(sorted(_LIBRARIES))
        raise InvalidValue(f"enable() must be given at least one library; got none. Known: {known}.")
    for library in libraries:
        if library not in _LIBRARIES:
            raise UnknownName(f"unknown library {library!r}; {did_you_mean(library, _LIBRARIES)}")
    with ExitStack() as enabled:
        for library in libraries:
            _begin(library)
            enabled.callback(_end, library)
        return enabled.pop_all()


_holders: Counter[str] = Counter()
"""Library → how many calls of :func:`enable` have not ended."""
_undo: dict[str, Callable[[], None]] = {}


def _begin(library: str) -> None:
    if not _holders[library]:
        try:
            _undo[library] = _LIBRARIES[library]()
        except (AttributeError, ModuleNotFoundError) as error:
            if isinstance(error, ModuleNotFoundError) and not (error.name or "").startswith(f"{library}."):
                raise  # the library is not installed, or what it needs
            version = importlib.import_module(library).__version__
            raise InvalidValue(
                f"{library} must have the parts that bevel patches; got version {version} ({error}). "
                "Use another version."
            ) from error
    _holders[library] += 1


def _end(library: str) -> None:
    _holders[library] -= 1
    if not _holders[library]:
        _undo.pop(library)()


# ------------------------------------------------------------------------------------------------------- transformers


def _transformers() -> Callable[[], None]:
    """Let ``ACT2FN`` make what it does not have, and let models give it initial values; return what undoes both."""
    table = importlib.import_module("transformers.activations").ACT2FN
    model = importlib.import_module("transformers.modeling_utils").PreTrainedModel
    own, initialize = type(table), model._initialize_weights

    def contains(self: Any, name: object) -> bool:
        return own.__contains__(self, name) or (isinstance(name, str) and name.partition(":")[0] in ACTIVATIONS)

    def missing(self: Any, name: str) -> Callable[[], nn.Module]:
        return functools.partial(create, name)  # the table calls what it finds

    @functools.wraps(initialize)
    def with_bevel(self: Any, module: nn.Module, *arguments: Any, **named: Any) -> None:
        if isinstance(module, LearnableModule | nn.PReLU) and not _initialized(module):
            _reset_unloaded(module)
        initialize(self, module, *arguments, **named)

    table.__class__ = type(own.__name__, (own,), {"__contains__": contains, "__missing__": missing})
    model._initialize_weights = with_bevel

    def undo() -> None:
        table.__class__, model._initialize_weights = own, initialize

    return undo


def _initialized(what: nn.Module | torch.Tensor) -> bool:
    return bool(getattr(what, "_is_hf_initialized", False))  # transformers' mark for what it loaded or initialized


@torch.no_grad()
def _reset_unloaded(module: LearnableModule | nn.PReLU) -> None:
    """Give initial values to what a checkpoint lacked: ``from_pretrained`` leaves it in memory that holds anything."""
    tensors = [*module.parameters(), *module.buffers()]
    loaded = [(tensor, tensor.clone()) for tensor in tensors if _initialized(tensor)]
    module.reset_parameters()
    for tensor, value in loaded:
        tensor.copy_(value)


# --------------------------------------------------------------------------------------------------------------- timm


class _Layers(dict[str, Callable[..., nn.Module]]):
    """Name → layer, as timm has it; a name that it has not is a spec string."""

    def __missing__(self, name: str) -> Callable[..., nn.Module]:
        parse(name)  # raises for a wrong one
        return functools.partial(_layer, name)


def _layer(spec: str, inplace: bool = False, **arguments: Any) -> nn.Module:
    """Make an activation as timm calls for a layer; bevel's write over nothing, so ``inplace`` changes nothing."""
    return create(spec, **arguments)


def _timm() -> Callable[[], None]:
    """Let ``get_act_layer`` return what it does not have; return what undoes it."""
    module: Any = importlib.import_module("timm.layers.create_act")
    own = module._ACT_LAYER_DEFAULT
    module._ACT_LAYER_DEFAULT = _Layers(own)

    def undo() -> None:
        module._ACT_LAYER_DEFAULT = own

    return undo


_LIBRARIES: dict[str, Callable[[], Callable[[], None]]] = {"timm": _timm, "transformers": _transformers}
