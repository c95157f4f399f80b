"""What is public in the rooms of a trial says what it is in one line, and its examples run."""

from __future__ import annotations

import doctest
import importlib
import inspect
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

import bevel_lab

ROOMS = ("tasks", "data", "models", "training", "runtime", "registry", "errors")
RUN = {  # modules whose public functions must have examples: a list, so that a lost example is noticed
    "bevel_lab.data.facts", "bevel_lab.data.images.masks", "bevel_lab.data.images.stratify",
    "bevel_lab.data.overlap", "bevel_lab.data.video.decode", "bevel_lab.errors", "bevel_lab.models._library",
    "bevel_lab.registry",
    "bevel_lab.runtime.device", "bevel_lab.runtime.rng", "bevel_lab.tasks", "bevel_lab.tasks._translation_decoding",
    "bevel_lab.training.activations", "bevel_lab.training.optim", "bevel_lab.training.run",
    "bevel_lab.training.shape", "bevel_lab.training.shipping",
}  # fmt: skip


def _paths(package: str) -> Iterator[str]:
    """The names of a package and of all modules within, by their files: to collect the tests imports none of them."""
    path = LAB.joinpath(*package.split(".")[1:])
    yield package
    for file in sorted(path.rglob("*.py")):
        if file.stem != "__init__":
            yield ".".join((package, *file.relative_to(path).with_suffix("").parts))
        elif file.parent != path:
            yield ".".join((package, *file.parent.relative_to(path).parts))


LAB = Path(bevel_lab.__file__).parent
MODULES = [name for room in ROOMS for name in _paths(f"bevel_lab.{room}")]


def _public(module: ModuleType) -> Iterator[tuple[str, Any]]:
    """Functions and classes that the module defines, and the methods that a class adds to its bases."""
    for name, value in vars(module).items():
        if name.startswith("_") or getattr(value, "__module__", "") != module.__name__:
            continue
        if inspect.isclass(value) or inspect.isfunction(value):
            yield name, value
        for method, function in vars(value).items() if inspect.isclass(value) else ():
            inherited = any(hasattr(base, method) for base in value.__mro__[1:])
            named = inspect.isfunction(function) and function.__name__ == method  # a lambda is a default of a field
            if named and not method.startswith("_") and not inherited:
                yield f"{name}.{method}", function


def test_the_rooms_are_those_of_the_lab() -> None:
    assert {"bevel_lab.tasks", "bevel_lab.tasks.video", "bevel_lab.data.text.tokens", "bevel_lab.errors"} < set(MODULES)


@pytest.mark.parametrize("name", MODULES)
def test_docstrings_begin_with_one_line(name: str) -> None:
    module = importlib.import_module(name)
    for what, value in (("the module", module), *_public(module)):
        if what.endswith((".forward", ".to")):
            continue  # as torch has them
        doc = inspect.cleandoc(value.__doc__ or "")
        first, *rest = doc.split("\n")
        assert first.endswith((".", "?")), f"{name}: the docstring of {what} begins with {first!r}, no full sentence"
        assert not rest or not rest[0], f"{name}: a blank line follows the first line of {what}'s docstring"


def _examples(name: str) -> list[doctest.DocTest]:
    return [test for test in doctest.DocTestFinder().find(importlib.import_module(name)) if test.examples]


@pytest.mark.parametrize("name", sorted(RUN))
def test_examples_run(name: str) -> None:
    found = _examples(name)
    assert found, f"{name} has no example"
    runner, said = doctest.DocTestRunner(optionflags=doctest.NORMALIZE_WHITESPACE), list[str]()
    for test in found:
        runner.run(test, out=said.append)
    assert runner.failures == 0, "".join(said)


def test_no_example_is_left_out() -> None:
    with_examples = {name for name in MODULES if _examples(name)}
    assert with_examples - {"bevel_lab.data.fetch"} == RUN
