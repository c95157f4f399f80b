"""The Triton backend without a GPU: its programs run as Python, through Triton's interpreter.

``--device cuda`` compiles them for the GPU instead. bevel is imported within the fixtures: pytest loads this file
before ``tests/conftest.py`` gets to import Triton as an interpreter, and bevel's import may bring Triton in.
"""

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

    if request.config.getoption("--device") == "cpu":
        assert type(tl.max).__name__ == "InterpretedFunction", "Triton was imported before tests/conftest.py could"
        monkeypatch.setenv("TRITON_INTERPRET", "1")
    _backends.load.cache_clear()
    assert bevel.backends()["triton"] is None
    yield
    _backends.load.cache_clear()


@pytest.fixture
def device(request: pytest.FixtureRequest) -> torch.device:
    return torch.device(request.config.getoption("--device"))


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.triton)
