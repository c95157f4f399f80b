"""``import bevel``: what it shows, what it loads, and that nothing hides behind one name."""

from __future__ import annotations

import ast
import importlib
import importlib.util
import inspect
import pickle
import pkgutil
import subprocess
import sys
from pathlib import Path

import pytest

import bevel

SOURCE = Path(bevel.__file__)
MODULES = {name for name in bevel.__all__ if inspect.ismodule(getattr(bevel, name))}


def _in_a_fresh_process(code: str) -> str:
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip()


@pytest.mark.process
@pytest.mark.parametrize("statement", ["import bevel", "import bevel.errors", "import bevel; dir(bevel)"])
def test_it_does_without_torch(statement: str) -> None:
    code = (
        f"{statement}\nimport sys; print(*sorted(m for m in sys.modules if m.partition('.')[0] in ('torch', 'bevel')))"
    )
    assert _in_a_fresh_process(code) == "bevel bevel.errors"


@pytest.mark.process
def test_a_name_is_imported_when_it_is_asked_for() -> None:
    code = (
        "import bevel, sys; bevel.SAU; print('torch' in sys.modules, 'bevel.surgery' in sys.modules)\n"
        "from bevel import swap, nn; print(swap.__name__, nn.__name__)\n"
        "from bevel import *; print(SAU.__name__, errors.__name__)"
    )
    assert _in_a_fresh_process(code).splitlines() == ["True False", "swap bevel.nn", "SAU bevel.errors"]


def test_it_shows_what_is_meant_for_users() -> None:
    shown = {name for name in dir(bevel) if not name.startswith("__")}
    assert shown == set(bevel.__all__)
    assert bevel.__all__ == sorted(bevel.__all__, key=lambda n: (not n.isupper(), not n[0].isupper(), n))
    for name in bevel.__all__:
        assert getattr(bevel, name) is not None
    with pytest.raises(AttributeError, match="module 'bevel' has no attribute 'importlib_'"):
        bevel.importlib_  # type: ignore[attr-defined]  # noqa: B018


def test_a_type_checker_is_told_the_same_names_and_homes() -> None:
    tree = ast.parse(SOURCE.read_text())
    (block,) = [n for n in tree.body if isinstance(n, ast.If) and ast.unparse(n.test) == "TYPE_CHECKING"]
    told = {
        (alias.name, node.module) for node in block.body if isinstance(node, ast.ImportFrom) for alias in node.names
    }
    for name, home in told:
        assert getattr(importlib.import_module(home), name) is getattr(bevel, name), f"{name} of {home}"
    assert {name for name, _ in told} | {"errors", *bevel.errors.__all__} >= set(bevel.__all__)


def test_functions_do_not_shadow_modules() -> None:
    packages = [
        bevel,
        *(importlib.import_module(m.name) for m in pkgutil.walk_packages(bevel.__path__, "bevel.") if m.ispkg),
    ]
    assert len(packages) > 5
    for package in packages:
        for name in getattr(package, "__all__", ()):
            found = importlib.util.find_spec(f"{package.__name__}.{name}")
            assert found is None or inspect.ismodule(getattr(package, name)), f"{package.__name__}.{name} is two things"


@pytest.mark.process
def test_classes_are_pickled_by_where_they_live(tmp_path: Path) -> None:
    import torch

    module = bevel.SmoothFReLU(2, kernel="box")
    (tmp_path / "module").write_bytes(pickle.dumps(module))
    code = (  # nothing imported bevel in the process that loads it
        "import pickle, sys, torch; "
        f"m = pickle.loads(open({str(tmp_path / 'module')!r}, 'rb').read()); import bevel; "
        "print(isinstance(m, bevel.SmoothFReLU), m.family.kernel is bevel.KERNELS['box'])"
    )
    assert _in_a_fresh_process(code) == "True True"
    assert torch.equal(pickle.loads(pickle.dumps(module)).positive, module.positive)
