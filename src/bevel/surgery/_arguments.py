"""Arguments that swap, find, fold, harden and watch share: the model's own keywords, and ``where=``."""

from __future__ import annotations

import fnmatch
import inspect
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from torch import nn

from bevel.errors import InvalidValue
from bevel.surgery._probe import catalog_name
from bevel.surgery._route import WriteBack
from bevel.surgery._sites import Site

Where = str | Iterable[str] | Callable[[Site], bool] | None
"""Which activations: a qualified name or glob pattern, several of them, or a function of a :class:`Site`; None: all."""


def model_kwargs(function: Callable[..., Any], kwargs: object, unknown: Mapping[str, Any]) -> dict[str, Any]:
    """Check the model's own keyword arguments, which go into one dictionary.

    Args:
        function: who was called; its keyword-only arguments are named in the message.
        kwargs: what was given as ``kwargs=``.
        unknown: keywords that the function does not have.

    Raises:
        InvalidValue: for unknown keywords, or if ``kwargs`` is no dictionary of strings.
    """
    if unknown:
        parameters = inspect.signature(function).parameters.values()
        own = [p.name for p in parameters if p.kind is inspect.Parameter.KEYWORD_ONLY]
        raise InvalidValue(
            f"{function.__name__} has the keywords {', '.join(own)}; got {', '.join(unknown)}. The model's own keyword "
            f"arguments go into one dictionary: kwargs={{{', '.join(f'{name!r}: …' for name in unknown)}}}."
        )
    if kwargs is None:
        return {}
    if not isinstance(kwargs, Mapping) or not all(isinstance(name, str) for name in kwargs):
        raise InvalidValue(f"kwargs must be a dictionary of the model's keyword arguments by name; got {kwargs!r}.")
    return dict(kwargs)


def matcher(where: Where) -> Callable[[Site], bool]:
    """Turn ``where=`` into a predicate.

    Raises:
        InvalidValue: if it is none of the three forms.
    """
    if where is None:
        return lambda site: True
    if callable(where):
        _check_predicate(where)
        return where
    patterns = [where] if isinstance(where, str) else list(where) if isinstance(where, Iterable) else [where]
    if not patterns or not all(isinstance(pattern, str) for pattern in patterns):
        raise InvalidValue(
            f"where= must be a name, glob patterns of names, or a function of a Site; got {where!r}. Leave it out for "
            "all."
        )
    return lambda site: any(fnmatch.fnmatchcase(site.name, pattern) for pattern in patterns)


def _check_predicate(where: Callable[..., Any]) -> None:
    try:
        signature = inspect.signature(where)
    except (TypeError, ValueError):  # a builtin does not tell
        return
    try:
        signature.bind(None)
    except TypeError:
        raise InvalidValue(
            f"a function for where= must take one argument, a Site with name, module, function, …; got one that takes "
            f"{signature}. Write where=lambda site: ….",
        ) from None


def activation_modules(
    model: nn.Module, kinds: type[nn.Module] | tuple[type[nn.Module], ...], where: Where = None
) -> dict[str, nn.Module]:
    """The activation modules of a model by the name of their site, those that ``where=`` picks.

    Args:
        model: any module.
        kinds: the classes that count as activations.
        where: which of them.

    Raises:
        InvalidValue: if ``where`` picks none of several.
    """
    picks = matcher(where)
    passed: list[str] = []
    wrapped = {id(m.activation): name for name, m in model.named_modules() if isinstance(m, WriteBack)}
    found: dict[str, nn.Module] = {}
    for name, module in model.named_modules():
        if isinstance(module, kinds):
            name = wrapped.get(id(module), name)
            if picks(module_site(name, module)):
                found[name] = module
            else:
                passed.append(name)
    if passed and not found:
        raise InvalidValue(
            f"where= picks none of the model's activations; they are {listed(passed)}. Leave it out for all."
        )
    return found


def listed(names: Iterable[str]) -> str:
    """The first names of many, and how many there are."""
    names = list(names)
    return ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")


def module_site(name: str, module: nn.Module) -> Site:
    """The site of an activation module, as far as the module alone tells."""
    channels = getattr(module, "num_parameters", 1)
    per_channel = isinstance(channels, int) and channels > 1
    return Site(
        name=name,
        kind="module",
        function=catalog_name(module),
        written=type(module).__name__,
        channels=channels if per_channel else None,
        axis=getattr(module, "dim", 1) if per_channel else None,
        module=module,
    )
