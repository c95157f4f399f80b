"""Which color an arm has: the same in every report."""

from __future__ import annotations

from collections.abc import Collection
from zlib import crc32

HUES = 11
"""Colors of the arms beside the reference's; the arms that most reports have in common are at home in one each."""
_COMMON = ("sau", "relu", "frelu", "gelu", "leaky_relu", "silu", "swish", "prelu", "elu", "smooth_frelu", "mish")
HOMES = {name: number for number, name in enumerate(_COMMON, start=1)}


def numbers(names: Collection[str]) -> dict[str, int]:
    """Number the arms beside the reference, from 1; numbers that differ by ``HUES`` have one color and other dashes.

    A name has one number at home. Where two names have the same, those of :data:`HOMES` come first, then the alphabet
    decides, and the later one gets the next number that is free: only there does a color depend on the other arms.
    """
    found: dict[str, int] = {}
    free = list(range(1, HUES + 1))
    for name in sorted(names, key=lambda name: (name not in HOMES, name)):
        home = HOMES.get(name) or 1 + crc32(name.encode("utf-8", "surrogatepass")) % HUES
        found[name] = min(free, key=lambda number: (number - home) % HUES)
        free.remove(found[name])
        if not free:
            free = [len(found) + number for number in range(1, HUES + 1)]
    return found
