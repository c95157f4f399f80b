"""Spec strings: how a person names an activation, ``name:key=value,key=value``."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from bevel._entry import ACTIVATIONS, Device
from bevel.errors import InvalidValue, UnknownName, did_you_mean

_NOT_TYPED = ("inplace", "device", "dtype", "self")  # arguments that a spec string cannot give
_GIVEN_LATER = ("num_parameters", "dim")  # given by whoever places the activation, unless the spec gives them

Factory = Callable[..., nn.Module]


def create(
    spec: str | Factory,
    num_parameters: int = 1,
    *,
    dim: int = 1,
    device: Device = None,
    dtype: torch.dtype | None = None,
) -> nn.Module:
    """Make an activation module from its spec string.

    Args:
        spec: a spec string, e.g. ``"sau"``, ``"sau:n=5,alpha=0.25"``,
            ``"mollified:f=leaky_relu(0.1),kernel=epanechnikov,n=2"``; or a class or function that makes a module.
        num_parameters: parameters per coefficient (1, or the channel count), where the activation has any. Default: 1.
        dim: the channel axis, where it matters. Default: 1.
        device, dtype: of the parameters, where the activation has any. Default: torch's default device and dtype.

    Returns:
        A new module.

    Raises:
        UnknownName: for an unknown activation, argument, kernel or kinked function, with the nearest names.
        InvalidValue: for a value of the wrong type or out of range.

    Example:
        >>> import bevel
        >>> bevel.create("sau:n=5,alpha=0.25", num_parameters=64)
        SAU(num_parameters=64, alpha=0.25, n=5, form='published', learn_alpha=True, learn_n=False, dim=1)
        >>> bevel.create("relu")
        ReLU()
    """
    if isinstance(spec, str):
        factory, arguments = parse(spec)
    elif isinstance(spec, nn.Module):
        raise InvalidValue(
            f"an activation must be made anew for every place: give its spec string, its class or a function that "
            f"makes it, e.g. lambda: copy.deepcopy(module); got the module {type(spec).__name__}."
        )
    elif callable(spec):
        factory, arguments = spec, {}
    else:
        raise InvalidValue(f"an activation must be a spec string, a class or a function; got {spec!r}.")
    named = named_arguments(factory)
    place = {k: v for k, v in (("device", device), ("dtype", dtype)) if k in named and v is not None}
    later = {k: v for k, v in (("num_parameters", num_parameters), ("dim", dim)) if k in named} | place
    if isinstance(spec, str) and arguments and not factory.__module__.startswith("bevel."):
        return _checked(spec, lambda: factory(**(later | arguments)), arguments.get("num_parameters", num_parameters))
    module = factory(**(later | arguments))
    if not isinstance(module, nn.Module):
        raise InvalidValue(
            f"an activation factory must return a torch.nn.Module; {spec!r} returned {type(module).__name__}."
        )
    return module


def _checked(spec: str, make: Callable[[], nn.Module], num_parameters: int) -> nn.Module:
    """Make a module that is not bevel's own and try it on five points: torch checks some arguments only in a call."""
    try:
        module = make()
        if any(p.device.type != "cpu" for p in module.parameters()):
            return module
        with torch.no_grad():
            x = torch.tensor([-2.0, -1.0, 0.0, 1.0, 2.0], device="cpu")[:, None].expand(-1, num_parameters)
            fine = bool(module(x).isfinite().all())
    except (AssertionError, ValueError, TypeError, RuntimeError) as error:
        why = " ".join(str(error).split()) or "an assertion of its own fails"
        raise InvalidValue(f"{spec!r} cannot be made ({why}); give it other arguments.") from error
    if not fine:
        raise InvalidValue(f"{spec!r} is not finite on [-2, 2]; give it other arguments.")
    return module


def parse(spec: str) -> tuple[Factory, dict[str, Any]]:
    """Return the factory that a spec string names and the arguments that it gives, both checked."""
    name, colon, rest = spec.strip().partition(":")
    entry = ACTIVATIONS[name]
    accepted = accepted_arguments(entry.factory)
    arguments: dict[str, Any] = {}
    if colon and not rest.strip():
        raise InvalidValue(f"after the colon must come arguments, as in 'sau:n=5'; got {spec!r}. Leave the colon out.")
    for item in split_items(rest):
        key, equals, text = (part.strip() for part in item.partition("="))
        if not equals or not key or not text:
            raise InvalidValue(f"arguments must be written key=value, separated by commas; got {item!r} in {spec!r}.")
        if key not in accepted:
            hint = did_you_mean(key, accepted) if accepted else "it takes none"
            raise UnknownName(f"{name!r} takes no argument {key!r}; {hint}")
        if key in arguments:
            raise InvalidValue(f"each argument must be given once; {key!r} comes twice in {spec!r}.")
        arguments[key] = _value(text, accepted[key], key, name)
    return entry.factory, arguments


def canonical(spec: str) -> str:
    """Write a spec with every argument, sorted, so that equal numbers and omitted defaults give equal strings.

    Text, such as ``f`` and ``learn``, stays as it is written.
    ``num_parameters`` and ``dim`` appear only if the spec gives them: they are otherwise set where it is placed.

    Args:
        spec: a spec string, as :func:`create` takes it.

    Returns:
        The spec string in its one form.

    Raises:
        UnknownName: for an unknown activation, argument, kernel or kinked function, with the nearest names.
        InvalidValue: for a value of the wrong type or out of range.

    Example:
        >>> import bevel
        >>> bevel.canonical("sau: n=5.0")
        'sau:alpha=0.15,form=published,learn_alpha=true,learn_n=false,n=5.0'
    """
    factory, arguments = parse(spec)
    create(spec)  # the constructor refuses values out of range
    defaults = {k: p.default for k, p in accepted_arguments(factory).items() if k not in _GIVEN_LATER}
    unset = (inspect.Parameter.empty, None, ())
    full = {k: v for k, v in (defaults | arguments).items() if v not in unset}
    name = spec.strip().partition(":")[0]
    written = ",".join(f"{k}={_written(full[k])}" for k in sorted(full))
    return f"{name}:{written}" if written else name


def accepted_arguments(factory: Factory) -> dict[str, inspect.Parameter]:
    """Return the arguments that a factory takes and a spec string may give; none if it has no signature."""
    return {k: p for k, p in named_arguments(factory).items() if k not in _NOT_TYPED}


def named_arguments(factory: Factory) -> dict[str, inspect.Parameter]:
    """Return the arguments that a factory takes by name; none if it has no signature."""
    try:
        found = inspect.signature(factory).parameters
    except (TypeError, ValueError):
        return {}
    named = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
    return {k: p for k, p in found.items() if p.kind in named}


def split_items(text: str) -> list[str]:
    """Split at commas outside brackets, since the f of ``mollified`` has arguments of its own."""
    items: list[str] = []
    depth = 0
    for character in text:
        depth += (character == "(") - (character == ")")
        if not items or (character == "," and depth == 0):
            items.append("" if character == "," else character)
        else:
            items[-1] += character
    return items


def _value(text: str, parameter: inspect.Parameter, key: str, name: str) -> Any:
    default = parameter.default
    if isinstance(default, bool):
        if text.lower() in ("true", "false"):
            return text.lower() == "true"
        raise InvalidValue(f"{name}'s {key} must be true or false; got {text!r}.")
    if isinstance(default, int | float):
        kind = type(default)
        try:
            number = kind(text)
        except ValueError:
            number = math.nan
        if math.isfinite(number):
            return number
        what = "an integer" if kind is int else "a finite number"
        raise InvalidValue(f"{name}'s {key} must be {what}; got {text!r}.")
    return text


def _written(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    return str(value)
