"""The Triton backend without a GPU: its programs run as Python, through Triton's interpreter.

``--device cuda`` compiles them for the GPU instead. bevel is imported within the fixtures: pytest loads this file
before ``tests/conftest.py`` gets to import Triton as an interpreter, and bevel's import may bring Triton in.
"""

import dataclasses
from collections.abc import Iterator
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
    and ``test_programs`` asks the compiler which of them are computed in 32 bits.
    """
    import triton.language as tl
    from triton.runtime import interpreter

    scope = interpreter._patch_lang(SimpleNamespace(__globals__={"tl": tl, "core": tl.core}))
    builder = interpreter.interpreter_builder
    monkeypatch.setattr(builder, "options", dataclasses.replace(builder.options, sanitize_overflow=False))
    monkeypatch.setattr(interpreter, "_patch_lang", lambda function: interpreter._LangPatchScope())
    return scope


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
