"""The handwritten digits that come with scikit-learn."""

from __future__ import annotations

import functools
from typing import Any


@functools.cache
def sample_digits() -> Any:
    """Return what scikit-learn's ``load_digits`` returns; it parses its text file anew for every call, in 0.1 s."""
    from sklearn.datasets import load_digits

    return load_digits()
