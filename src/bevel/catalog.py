"""A registry of items, found by name: one folder, with one item (or one family of rows) in each file.

Every module of the folder whose name does not start with an underscore declares
``ENTRIES: dict[str, item]``. Adding a file adds its items; nothing else is edited.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Collection, Iterator, Mapping
from typing import Generic, TypeVar

from bevel.errors import InvalidValue, UnknownName, did_you_mean

T = TypeVar("T")


class Catalog(Mapping[str, T], Generic[T]):
    """Read-only mapping from name to item, filled from a package's modules on first use.

    Args:
        package: dotted name of the folder, e.g. ``"bevel.kernels"``.
        kind: what an item is called in messages, e.g. ``"kernel"``.
        reserved: names that no item may have, since they mean something else. Default: none.

    Raises:
        UnknownName: on ``catalog["typo"]``, with the nearest known names.

    Example:
        >>> import bevel
        >>> bevel.KERNELS["box"].formula
        '1/2 on (-1, 1)'
        >>> bevel.ACTIVATIONS["sau"].summary
        'Leaky ReLU smoothed by a Gaussian (ECCV 2022); α learnt from 0.15, n = 20000'
    """

    def __init__(self, package: str, kind: str, reserved: Collection[str] = ()) -> None:
        self._package = package
        self._kind = kind
        self._reserved = reserved
        self._items: dict[str, T] = {}
        self._loaded = False
        self._modules: set[str] = set()

    def _load(self) -> dict[str, T]:
        if not self._loaded:
            self._fill()
        return self._items

    def _fill(self) -> None:
        """Take in the folder's modules, but for those that are in."""
        folder = importlib.import_module(self._package)
        names = [found.name for found in pkgutil.iter_modules(folder.__path__) if not found.name.startswith("_")]
        new = [name for name in names if name not in self._modules]
        modules = [importlib.import_module(f"{self._package}.{name}") for name in new]
        self._loaded = True  # only now: an import that fails must fail the next time, too
        self._modules.update(new)
        for module in modules:
            for name, item in module.ENTRIES.items():
                self.register(name, item)

    def register(self, name: str, item: T) -> T:
        """Add a user's own item.

        Args:
            name: a lower-case identifier that no item has yet.
            item: what ``catalog[name]`` is to return.

        Returns:
            The item.

        Raises:
            InvalidValue: if the name is taken or reserved, or is not a lower-case identifier.
        """
        if name in self._load():
            raise InvalidValue(f"{self._kind} names must be unique; {name!r} is taken. Choose another name.")
        if not name.isidentifier() or name != name.lower():
            raise InvalidValue(f"a {self._kind} name must be a lower-case identifier; got {name!r}.")
        if name in self._reserved:
            raise InvalidValue(
                f"a {self._kind} may not be called {name!r}, which means something else. Choose another."
            )
        self._items[name] = item
        return item

    def __getitem__(self, name: str) -> T:
        items = self._load()
        if isinstance(name, str) and name not in items:
            self._fill()  # the package may have been given another folder since
        if not isinstance(name, str) or name not in items:
            raise UnknownName(f"unknown {self._kind} {name!r}; {did_you_mean(str(name), items)}")
        return items[name]

    def __iter__(self) -> Iterator[str]:
        return iter(sorted(self._load()))

    def __len__(self) -> int:
        return len(self._load())

    def __repr__(self) -> str:
        return f"Catalog({self._kind}: {', '.join(self)})"
