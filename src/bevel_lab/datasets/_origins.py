"""The origins of the data sets that come with bevel, as ``origins.toml`` states them."""

from __future__ import annotations

import dataclasses
import functools
import tomllib
from collections.abc import Callable
from importlib.resources import files
from pathlib import Path
from typing import Any

from bevel_lab.data.fetch import Origin, Remote, from_git


def origin(name: str, then: Callable[[Path], object] | None = None) -> Origin | str:
    """Where the data set ``name`` comes from; or, for one that must be had by hand, a sentence that says how.

    ``then`` is called with the folder where everything was unpacked, to bring it into the layout that is read.
    """
    said = _table()[name]
    if "by_hand" in said:
        return str(said["by_hand"])
    found = from_git(**said) if "project" in said else _of_files(**said)
    return dataclasses.replace(found, prepare=lambda stage: (found.prepare(stage), then(stage))) if then else found


@functools.cache
def _table() -> dict[str, dict[str, Any]]:
    return tomllib.loads(files(__package__).joinpath("origins.toml").read_text(encoding="utf-8"))


def _of_files(
    about: str,
    base: str | list[str],
    files: dict[str, str | list[str]],
    into: str = "",
    makes: list[str] | None = None,
    below: str = "",
) -> Origin:
    first, *others = [base] if isinstance(base, str) else base
    remotes = []
    for path, said in files.items():
        digest, name = [said, path.rpartition("/")[2]] if isinstance(said, str) else said
        remotes.append(Remote(f"{first}{path}", digest, into, tuple(f"{other}{path}" for other in others), name))
    made = makes or [remote.name.removesuffix(".gz") for remote in remotes]
    return Origin(tuple(remotes), tuple(f"{below or into}/{name}".lstrip("/") for name in made), about)
