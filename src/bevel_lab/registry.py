"""A registry with open-ended places: ``torchvision:resnet18`` and ``folder:photos`` beside plain names."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, TypeVar

from bevel.catalog import Catalog
from bevel.errors import InvalidValue

T = TypeVar("T")


@dataclass(frozen=True)
class ParametricEntry(Generic[T]):
    """An entry that stands for many items, told apart by what follows a colon.

    Attributes:
        summary: one line for ``bevel list``.
        usage: how it is written, e.g. ``"folder:PATH"``.
        of: makes the item of an argument; raises ``BevelError`` where there is none.
        task: name of the task that its items are for.
    """

    summary: str
    usage: str
    of: Callable[[str], T]
    task: str = "classification"


class Registry(Catalog[T | ParametricEntry[T]], Generic[T]):
    """A catalog in which ``name:argument`` finds the item that an :class:`Open` entry makes of its argument."""

    def item(self, name: str) -> T:
        """The item called ``name``.

        Raises:
            UnknownName: where nothing is called so, with the nearest known names.
            InvalidValue: where an argument is missing or there is one too many.
        """
        head, colon, argument = name.partition(":")
        entry = self[head]
        if isinstance(entry, ParametricEntry):
            if not argument:
                raise InvalidValue(f"{self._kind} {head!r} is written {entry.usage}; got {name!r}.")
            return entry.of(argument)
        if colon:
            raise InvalidValue(f"{self._kind} {head!r} takes nothing after its name; got {name!r}.")
        return entry
