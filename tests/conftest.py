"""Options of the whole suite."""

import importlib.util
import os

import pytest


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--device", default="cpu", help="where tests/triton runs: cpu (Triton's interpreter) or cuda")


def pytest_configure(config: pytest.Config) -> None:
    """A variable says, when Triton is imported, whether its library is interpreted; torch.compile may import it."""
    if config.getoption("--device") == "cpu" and importlib.util.find_spec("triton") is not None:
        os.environ["TRITON_INTERPRET"] = "1"
        importlib.import_module("triton.language")
        del os.environ["TRITON_INTERPRET"]
