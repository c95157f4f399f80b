"""Independent random streams, each derived from (seed, name, counter) and from nothing else.

The activation never enters, so all arms of one seed see the same initial weights, order, augmentation and noise.
A stream is addressed, not carried along: the order of epoch 7 does not depend on what epochs 0 to 6 drew, and a resumed
run needs no saved generator state.
"""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Iterator

import torch

SHARED = 0
"""The seed of what is the same in every trial: the split of the data."""


def derive(seed: int, name: str, counter: int = 0) -> int:
    """A 63-bit seed for the stream ``name``; streams of different arguments are unrelated."""
    digest = hashlib.sha256(f"bevel:{name}:{seed}:{counter}".encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1


def generator(seed: int, name: str, counter: int = 0, device: str | torch.device = "cpu") -> torch.Generator:
    """A torch generator at the start of the stream."""
    return torch.Generator(device).manual_seed(derive(seed, name, counter))


@contextlib.contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Seed torch's global CPU generator inside the ``with`` block, for code that draws from it; restore it after."""
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        yield
