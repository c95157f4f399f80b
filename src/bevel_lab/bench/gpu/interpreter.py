"""Triton's interpreter without what it does anew for every call: for a rehearsal, and for the tests of the backend."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import importlib
import inspect
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any
from unittest.mock import patch


@contextlib.contextmanager
def prepared() -> Iterator[None]:
    """Let the interpreter put its functions into ``triton.language`` once, and meanwhile work out less.

    It does so, and takes them out again, for every call of every function of a program: two fifths of the time. It also
    watches every sum and product of integers for overflow, a third of the rest; no offset of small tensors comes near,
    and ``test_programs`` asks the compiler which of them are computed in 32 bits. For every number it works out anew
    what follows from its type, and it looks for the end of a program by a tokenizer in Python, twice.
    """
    tl: Any = importlib.import_module("triton.language")
    interpreter: Any = importlib.import_module("triton.runtime.interpreter")
    builder = interpreter.interpreter_builder
    scope = interpreter._patch_lang(SimpleNamespace(__globals__={"tl": tl, "core": tl.core}))
    with contextlib.ExitStack() as stack:
        stack.callback(scope.restore)
        for owner, name, value in (
            (builder, "options", dataclasses.replace(builder.options, sanitize_overflow=False)),
            (interpreter, "_patch_lang", lambda function: interpreter._LangPatchScope()),
            (interpreter, "_get_np_dtype", _once_by_name(interpreter._get_np_dtype)),
            (tl.tensor, "__init__", _made_by_name(tl.tensor.__init__)),
            (inspect, "getblock", functools.partial(_block, inspect.getblock)),
        ):
            stack.enter_context(patch.object(owner, name, value))
        yield


def _block(find: Callable[[list[str]], list[str]], lines: list[str]) -> list[str]:
    """Return the lines of the function that they start with: all, if no other line stands at their left."""
    heads = [line for line in lines if line.strip() and not line.startswith((" ", ")", "@triton.jit"))]
    return lines if len(heads) == 1 and heads[0].startswith("def ") else find(lines)


def _once_by_name(function: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """Return a function of a type that is asked once for each; types that are equal have one name."""
    known: dict[str, Any] = {}
    return lambda type: known[type.name] if type.name in known else known.setdefault(type.name, function(type))


def _made_by_name(make: Callable[[Any, Any, Any], None]) -> Callable[[Any, Any, Any], None]:
    """Return a tensor's ``__init__`` that works out the first of each type, and copies that to the others."""
    known: dict[str, dict[str, Any]] = {}

    def init(self: Any, handle: Any, type: Any) -> None:
        if type.name not in known:
            make(self, handle, type)
            known[type.name] = dict(vars(self))
        vars(self).update(known[type.name], handle=handle, type=type)

    return init
