"""The Triton backend without a GPU: its programs run as Python, through Triton's interpreter.

``--device cuda`` compiles them for the GPU instead. bevel is imported within the fixtures: pytest loads this file
before ``tests/conftest.py`` gets to import Triton as an interpreter, and bevel's import may bring Triton in.
"""

import contextlib
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch


@pytest.fixture(autouse=True)
def _backend(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Backend ``triton`` can be used within these tests, and only there."""
    import triton.language as tl

    import bevel
    from bevel.ops import _backends
    from bevel_lab.bench.gpu.interpreter import prepared

    interpreted = request.config.getoption("--device") == "cpu"
    if interpreted:
        assert type(tl.max).__name__ == "InterpretedFunction", "Triton was imported before tests/conftest.py could"
        monkeypatch.setenv("TRITON_INTERPRET", "1")
    _backends.load.cache_clear()
    assert bevel.backends()["triton"] is None
    with prepared() if interpreted else contextlib.nullcontext():
        yield
    _backends.load.cache_clear()


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
