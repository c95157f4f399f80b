"""Skip the tests that need a package which is not installed, without importing it where the tests are collected."""

from importlib.util import find_spec

import pytest


def needs(*packages: str) -> pytest.MarkDecorator:
    """Skip unless all ``packages`` are installed; the reason names those that are not."""
    absent = [name for name in packages if find_spec(name) is None]
    return pytest.mark.skipif(bool(absent), reason=f"not installed: {', '.join(absent)}")
