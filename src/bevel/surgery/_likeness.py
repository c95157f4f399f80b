"""What tells one piece of code from another: in a run, over processes, and in a plan on disk.

A checksum of a function covers all that its calls depend on but its place in a file, its line numbers and its
docstring. It is stable over processes of one Python version.
"""

from __future__ import annotations

import inspect
import zlib
from collections.abc import Iterator
from pathlib import Path
from types import BuiltinFunctionType, CodeType, FunctionType, MethodType
from typing import Any

import torch
from torch import nn

VERSION = 2
"""Of checksums and plans. Version 1 saw the instructions alone, not the names and constants that they refer to."""

TORCH = str(Path(torch.__file__).parent / "_")[:-1]  # ending in a separator: torchvision is none of it
_DOCSTRING = getattr(inspect, "CO_HAS_DOCSTRING", 0)  # before Python 3.14 the first constant is a docstring or None


def checksum(code: CodeType, version: int = VERSION) -> int:
    """A function's checksum."""
    if version == 1:
        return zlib.crc32(code.co_code)
    return zlib.crc32(repr(_told(code)).encode("utf-8", "surrogatepass"))


def _told(value: Any) -> Any:
    """Code and constants as something whose ``repr`` is the same in every process."""
    if isinstance(value, CodeType):
        names = (value.co_name, value.co_names, value.co_varnames, value.co_freevars, value.co_cellvars)
        return value.co_code, names, [_told(constant) for constant in _constants(value)]
    if isinstance(value, tuple):
        return tuple(map(_told, value))
    return sorted(map(repr, value)) if isinstance(value, frozenset) else value


def _constants(code: CodeType) -> tuple[Any, ...]:
    """A function's constants without its docstring."""
    constants = code.co_consts
    documented = constants and isinstance(constants[0], str) and (not _DOCSTRING or code.co_flags & _DOCSTRING)
    return constants[1:] if documented else constants


def likeness(module: nn.Module, version: int = VERSION) -> tuple[str, int]:
    """A module's class, and a checksum of its forward: the same source has the same in one Python version.

    The forward is all code of the module's own that it names: its methods, the functions that it holds, and those of
    its file. Of other functions, such as ``F.relu`` in an attribute, their names count.
    """
    forward = type(module).forward
    name = type(module).__qualname__
    if version == 1:
        code = getattr(forward, "__code__", None)
        return name, checksum(code, 1) if code is not None else 0
    told = sorted((name, _identity(name, function)) for name, function in parts(module))
    return name, zlib.crc32(repr(told).encode("utf-8", "surrogatepass"))


def parts(module: nn.Module) -> Iterator[tuple[str, Any]]:
    """The functions that a module's forward is made of, by name, as :func:`likeness` says."""
    waiting: list[tuple[str, Any]] = [("forward", inspect.unwrap(type(module).forward))]
    seen: set[str] = set()
    while waiting:
        name, function = waiting.pop()
        if name in seen or function is None:
            continue
        seen.add(name)
        yield name, function
        if _is_own(name, function):
            named = sorted(names_in(function.__code__))
            waiting += [(inner, _named(module, function, inner)) for inner in named]


def _is_own(name: str, function: Any) -> bool:
    """Whether a part's code counts, which torch's own does in a forward only."""
    code = getattr(function, "__code__", None)
    return isinstance(code, CodeType) and (name == "forward" or not code.co_filename.startswith(TORCH))


def _identity(name: str, function: Any) -> str:
    """What tells a part of a forward from another."""
    return str(checksum(function.__code__) if _is_own(name, function) else getattr(function, "__qualname__", ""))


def names_in(code: CodeType) -> set[str]:
    """The names that a function and those inside it refer to."""
    inner = [names_in(constant) for constant in code.co_consts if isinstance(constant, CodeType)]
    return set(code.co_names).union(*inner)


def _named(module: nn.Module, function: Any, name: str) -> Any:
    """The function that a name stands for in a module's code: an attribute's, or one of the same file; else None."""
    found = inspect.getattr_static(module, name, None)
    if found is not None and found is inspect.getattr_static(nn.Module, name, None):
        return None
    near = getattr(function, "__globals__", {}).get(name)
    if found is None and isinstance(near, FunctionType) and near.__module__ == function.__module__:
        found = near
    found = getattr(found, "__func__", found)  # of a method, a static or a class method
    return inspect.unwrap(found) if isinstance(found, FunctionType | MethodType | BuiltinFunctionType) else None
