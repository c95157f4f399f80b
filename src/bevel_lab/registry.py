"""Registries in which an entry may take an argument: ``torchvision:resnet18`` and ``folder:photos`` beside names."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, TypeVar

from bevel.catalog import Catalog
from bevel.errors import InvalidValue

T = TypeVar("T")


@dataclass(frozen=True)
class ParametricEntry(Generic[T]):
    """An entry that stands for many items: the text after a colon says which.

    Attributes:
        summary: one line for ``bevel list``.
        usage: how an item is written, e.g. ``"folder:PATH"``.
        make: argument → item; raises ``BevelError`` if there is no such item.
        task: name of the task that the items are for.
    """

    summary: str
    usage: str
    make: Callable[[str], T]
    task: str = "classification"


class Registry(Catalog[T | ParametricEntry[T]], Generic[T]):
    """A catalog in which ``NAME:ARGUMENT`` is the item that a :class:`ParametricEntry` makes of its argument.

    Example:
        >>> from bevel_lab.models import MODELS
        >>> MODELS.item("resnet18").summary
        'ResNet-18'
        >>> MODELS.item("timm:resnet10t").summary
        "timm's resnet10t"
    """

    def item(self, name: str) -> T:
        """The item called ``name``.

        Raises:
            UnknownName: if there is no such entry; names the nearest ones.
            InvalidValue: if an argument is missing or not expected.
        """
        head, colon, argument = name.partition(":")
        entry = self[head]
        if isinstance(entry, ParametricEntry):
            if not argument:
                raise InvalidValue(f"{self._kind} {head!r} must be written {entry.usage}; got {name!r}.")
            return entry.make(argument)
        if colon:
            raise InvalidValue(f"unexpected argument after {self._kind} {head!r}; got {name!r}.")
        return entry
