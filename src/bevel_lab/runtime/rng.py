"""Independent random generators, each derived from (seed, name, counter) and nothing else.

The derivation ignores the activation, so all arms of one seed share initial weights, order, augmentation and noise. It
also ignores earlier draws: the order of epoch 7 does not depend on epochs 0 to 6, and a resumed run needs no saved
generator state.
"""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # here and below: reports import this for `derive` alone, and torch takes 2 s
    import torch

SHARED = 0
"""The seed of everything that is equal in all trials, such as the split of the data."""


def derive(seed: int, name: str, counter: int = 0) -> int:
    """A 63-bit seed; different arguments give unrelated seeds.

    Args:
        seed: the trial's seed, or :data:`SHARED`.
        name: what the numbers are for.
        counter: such as an epoch.

    Example:
        >>> derive(0, "order", 7) == derive(0, "order", 7) != derive(0, "order", 8)
        True
    """
    digest = hashlib.sha256(f"bevel:{name}:{seed}:{counter}".encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1


def generator(seed: int, name: str, counter: int = 0, device: str | torch.device = "cpu") -> torch.Generator:
    """A torch generator on ``device`` with the seed ``derive(seed, name, counter)``."""
    import torch

    return torch.Generator(device).manual_seed(derive(seed, name, counter))


@contextlib.contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Seed torch's global CPU generator inside the ``with`` block, for code that draws from it; restore it after."""
    import torch

    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        yield
