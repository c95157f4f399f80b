"""What an activation is in the catalog, and the catalog."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import nn

from bevel.catalog import Catalog

Device = torch.device | str | int | None
"""Where parameters live, as torch's own factories take it; None is the default device."""


@dataclass(frozen=True, kw_only=True)
class Entry:
    """A row of ``bevel.ACTIVATIONS``: how an activation is made, and what it is.

    Attributes:
        factory: class or function that makes the module; takes ``num_parameters`` and ``dim`` where they matter.
        formula: the function as plain text.
        summary: one line: what it is.
        citations: sources to name when it is used.
        owned: whether bevel computes it (False: torch's own module). Default: True.
        latex: the function as TeX, for its page. Default: none, and the page shows ``formula``.
        use, avoid: what it is for, and what it is not for, in a sentence each. Default: none.

    Example:
        >>> import bevel
        >>> entry = bevel.ACTIVATIONS["frelu"]
        >>> entry.formula, entry.owned
        ('a·x for x > 0, b·x for x ≤ 0', True)
        >>> entry.factory(num_parameters=8).positive.shape
        torch.Size([8])
    """

    factory: Callable[..., nn.Module]
    formula: str
    summary: str
    citations: tuple[str, ...] = ()
    owned: bool = True
    latex: str = ""
    use: str = ""
    avoid: str = ""


ACTIVATIONS: Catalog[Entry] = Catalog("bevel.nn", "activation")
