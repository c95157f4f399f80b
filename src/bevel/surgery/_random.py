"""The states of the random generators that a forward may draw from."""

from __future__ import annotations

import contextlib
import random
import sys
from collections.abc import Iterator
from typing import Any

import torch


class RandomState:
    """The present states of torch's generators (CPU and CUDA), Python's and, where it is in use, numpy's."""

    def __init__(self) -> None:
        numpy: Any = sys.modules.get("numpy")
        self._python = random.getstate()
        self._numpy = numpy.random.get_state() if numpy else None
        self._torch = torch.get_rng_state()
        self._cuda = torch.cuda.get_rng_state_all() if torch.cuda.is_initialized() else []  # type: ignore[no-untyped-call]

    def restore(self) -> None:
        """Put the generators back into these states."""
        numpy: Any = sys.modules.get("numpy")
        random.setstate(self._python)
        if numpy and self._numpy is not None:
            numpy.random.set_state(self._numpy)
        torch.set_rng_state(self._torch)
        if self._cuda:
            torch.cuda.set_rng_state_all(self._cuda)

    @contextlib.contextmanager
    def drawn_from(self) -> Iterator[None]:
        """Within the block draw from these states; afterwards the generators are as they were before it."""
        before = RandomState()
        self.restore()
        try:
            yield
        finally:
            before.restore()
