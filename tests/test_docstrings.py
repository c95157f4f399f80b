"""Every public name of the library says what it is, what it takes and returns, and has an example that runs."""

from __future__ import annotations

import doctest
import importlib
import inspect
import re
from collections.abc import Iterator
from types import ModuleType
from typing import Any

import pytest

import bevel
from bevel.catalog import Catalog

HOMES = ("bevel", "bevel.nn", "bevel.functional", "bevel.kinked", "bevel.testing", "bevel.errors")
HOMES = (*HOMES, "bevel.surgery", "bevel.training", "bevel.deploy", "bevel.integrations")
DATA = ("bevel.kinked.FUNCTIONS", "bevel.kinked.Coefficient", "bevel.surgery.Where")  # no objects with a docstring


def _public() -> Iterator[tuple[str, Any]]:
    for home in HOMES:
        module = importlib.import_module(home)
        for name in module.__all__:
            value = getattr(module, name)
            if not isinstance(value, ModuleType) and f"{home}.{name}" not in DATA:
                yield f"{home}.{name}", value


PUBLIC = dict(_public())
ONCE = {id(value): name for name, value in reversed(PUBLIC.items())}  # under the shortest of its names
NAMES = sorted(ONCE.values())
CALLED = [n for n in NAMES if inspect.isroutine(PUBLIC[n]) or inspect.isclass(PUBLIC[n])]


def _doc(name: str) -> str:
    return inspect.cleandoc(PUBLIC[name].__doc__ or "")


def _section(doc: str, title: str) -> str:
    found = re.search(rf"^{title}:\n((?:    .*\n?|\n)+)", doc + "\n", re.MULTILINE)
    return found[1] if found else ""


@pytest.mark.parametrize("name", NAMES)
def test_it_begins_with_one_line(name: str) -> None:
    first, *rest = _doc(name).split("\n")
    assert first.endswith((".", ":")), f"{name}: a docstring begins with a line that ends with a full stop"
    assert not rest or not rest[0], f"{name}: a docstring begins with one line, then a blank one"


@pytest.mark.parametrize("name", NAMES)
def test_its_examples_run(name: str) -> None:
    found = doctest.DocTestFinder(recurse=True).find(PUBLIC[name], name, module=bevel, globs={})
    (own,) = [test for test in found if test.name == name] or [None]
    assert own is not None, f"{name} has no docstring"
    assert own.examples, f"{name} has no example"
    runner = doctest.DocTestRunner(optionflags=doctest.NORMALIZE_WHITESPACE, verbose=False)
    said: list[str] = []
    for test in found:
        runner.run(test, out=said.append)
    assert runner.failures == 0, "".join(said)


def _takes(name: str) -> list[inspect.Parameter]:
    value = PUBLIC[name]
    if inspect.isclass(value) and (issubclass(value, Exception) or inspect.isabstract(value)):
        return []
    try:
        parameters = inspect.signature(value).parameters.values()
    except ValueError:
        return []
    own = (p for p in parameters if not p.name.startswith("_"))  # fields that a function of bevel's fills
    return [p for p in own if p.kind is not inspect.Parameter.VAR_KEYWORD]


@pytest.mark.parametrize("name", CALLED)
def test_it_says_what_it_takes(name: str) -> None:
    doc = _doc(name)
    told = _section(doc, "Args") + _section(doc, "Attributes")
    for p in _takes(name):
        assert re.search(rf"^    (?:\*?\w+, )*\*?{p.name}(?:, \*?\w+)*: ", told, re.MULTILINE), f"{name}: {p.name}"


@pytest.mark.parametrize("name", [n for n in CALLED if inspect.isfunction(PUBLIC[n])])
def test_it_says_what_it_returns(name: str) -> None:
    if inspect.signature(PUBLIC[name]).return_annotation not in ("None", None):
        assert _section(_doc(name), "Returns"), f"{name} does not say what it returns"


@pytest.mark.parametrize("name", [n for n in CALLED if inspect.isclass(PUBLIC[n])])
def test_its_methods_say_what_they_are(name: str) -> None:
    for key, value in vars(PUBLIC[name]).items():
        if inspect.isfunction(value) and not key.startswith("_") and key not in ("forward", "extra_repr", "formula"):
            assert value.__doc__, f"{name}.{key} has no docstring"


@pytest.mark.parametrize("name", [n for n in bevel.ACTIVATIONS if bevel.ACTIVATIONS[n].owned])
def test_an_activation_names_its_source(name: str) -> None:
    entry = bevel.ACTIVATIONS[name]
    doc = inspect.cleandoc(entry.factory.__doc__ or "")
    assert "\nSource: " in doc
    for citation in entry.citations:
        assert citation.partition(",")[0] in doc or "bevel's own" in doc, f"{name}: its row cites {citation}"


def test_the_catalogs_are_walked() -> None:
    assert sum(isinstance(PUBLIC[name], Catalog) for name in PUBLIC) >= 2
    assert len(NAMES) > 50
