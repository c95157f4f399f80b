"""How the new activation of a site was made."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Recipe:
    """What it takes to make an activation again.

    Attributes:
        arguments: of the constructor, beside those of the spec.
        writes_back: whether it writes its result into its input.
        save: its rule of saving, if it is one of the engine's.
    """

    arguments: dict[str, Any]
    writes_back: bool
    save: str = "auto"
