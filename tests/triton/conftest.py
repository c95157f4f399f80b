"""The Triton backend without a GPU: its programs run as Python, through Triton's interpreter.

``--device cuda`` compiles them for the GPU instead. bevel is imported within the fixtures: pytest loads this file
before ``tests/conftest.py`` gets to import Triton as an interpreter, and bevel's import may bring Triton in.
"""

import dataclasses
import functools
import inspect
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch


@pytest.fixture(autouse=True)
def _backend(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Backend ``triton`` can be used within these tests, and only there."""
    import triton.language as tl

    import bevel
    from bevel.ops import _backends

    scope = None
    if request.config.getoption("--device") == "cpu":
        assert type(tl.max).__name__ == "InterpretedFunction", "Triton was imported before tests/conftest.py could"
        monkeypatch.setenv("TRITON_INTERPRET", "1")
        scope = _patched_once(monkeypatch)
    _backends.load.cache_clear()
    assert bevel.backends()["triton"] is None
    yield
    _backends.load.cache_clear()
    if scope is not None:
        scope.restore()


def _patched_once(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Let the interpreter put its functions into ``triton.language`` once a test.

    It does so, and takes them out again, for every call of every function of a program: two fifths of the time. It also
    watches every sum and product of integers for overflow, a third of the rest; no offset of tests' tensors comes near,
    and ``test_programs`` asks the compiler which of them are computed in 32 bits. For every number it works
    out anew what follows from its type, and it looks for the end of a program by a tokenizer in Python, twice.
    """
    import triton.language as tl
    from triton.runtime import interpreter

    scope = interpreter._patch_lang(SimpleNamespace(__globals__={"tl": tl, "core": tl.core}))
    builder = interpreter.interpreter_builder
    monkeypatch.setattr(builder, "options", dataclasses.replace(builder.options, sanitize_overflow=False))
    monkeypatch.setattr(interpreter, "_patch_lang", lambda function: interpreter._LangPatchScope())
    monkeypatch.setattr(interpreter, "_get_np_dtype", _once_by_name(interpreter._get_np_dtype))
    monkeypatch.setattr(tl.tensor, "__init__", _made_by_name(tl.tensor.__init__))
    monkeypatch.setattr(inspect, "getblock", functools.partial(_block, inspect.getblock))
    return scope


def _block(find: Callable[[list[str]], list[str]], lines: list[str]) -> list[str]:
    """The lines of the function that they start with: all, if no other line stands at their left."""
    heads = [line for line in lines if line.strip() and not line.startswith((" ", ")", "@triton.jit"))]
    return lines if len(heads) == 1 and heads[0].startswith("def ") else find(lines)


def _once_by_name(function: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """A function of a type that is asked once for each; types that are equal have one name."""
    known: dict[str, Any] = {}
    return lambda type: known[type.name] if type.name in known else known.setdefault(type.name, function(type))


def _made_by_name(make: Callable[[Any, Any, Any], None]) -> Callable[[Any, Any, Any], None]:
    """A tensor's ``__init__`` that works out the first of each type, and copies that to the others."""
    known: dict[str, dict[str, Any]] = {}

    def init(self: Any, handle: Any, type: Any) -> None:
        if type.name not in known:
            make(self, handle, type)
            known[type.name] = dict(vars(self))
        vars(self).update(known[type.name], handle=handle, type=type)

    return init


@pytest.fixture
def one_program(device: torch.device) -> Iterator[None]:
    """In the interpreter a pass is one program of few tiles, where how it is cut is no question: each costs Python."""
    from bevel.ops.triton import backend
    from bevel.ops.triton.layout import Tuning

    if device.type == "cpu":
        backend.tune(Tuning(tile=4096, per_processor=1))
    yield
    backend.tune(Tuning())


@pytest.fixture
def device(request: pytest.FixtureRequest) -> torch.device:
    return torch.device(request.config.getoption("--device"))


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.triton)
