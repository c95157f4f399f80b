"""The packages: imports go downwards, importing is light, one new file is a new item."""

import ast
import importlib
import subprocess
import sys
from pathlib import Path

import pytest

import bevel
from bevel.catalog import Catalog

SOURCE = Path(bevel.__file__).parent.parent
LIBRARY = [
    ("bevel.errors", "bevel._torch_private", "bevel._torch_func", "bevel._untraced"),
    ("bevel._checks",),
    ("bevel.catalog", "bevel.portable"),
    ("bevel._entry",),
    ("bevel.spec",),
    ("bevel.kernel",),
    ("bevel._tabulated",),
    ("bevel.kernels",),
    ("bevel.terms",),
    ("bevel._bound", "bevel._segments"),
    ("bevel.formulas",),
    ("bevel.family",),
    ("bevel._piecewise",),
    ("bevel.kinked",),
    ("bevel.ops",),
    ("bevel._mollify", "bevel.functional"),
    ("bevel.nn",),
    ("bevel.surgery",),
    ("bevel.training",),
    ("bevel.deploy", "bevel._watch", "bevel.integrations"),
    ("bevel.testing",),
    ("bevel",),
]
LAB = [
    ("bevel_lab.registry", "bevel_lab.errors"),
    ("bevel_lab.runtime",),
    ("bevel_lab.data",),
    ("bevel_lab.models", "bevel_lab.datasets"),
    ("bevel_lab.experiment",),
    ("bevel_lab.tasks", "bevel_lab.report"),
    ("bevel_lab.training",),
    ("bevel_lab.execution", "bevel_lab.surgery", "bevel_lab.bench", "bevel_lab.explorer"),
    ("bevel_lab.cli",),
    ("bevel_lab", "bevel_lab.__main__"),
]
ROOMS = {room: rank for rank, rooms in enumerate([*LIBRARY, *LAB]) for room in rooms}
"""Room → rank. A room imports from lower ranks only: neither from higher ones nor from its neighbors."""


def _modules(source: Path) -> dict[str, Path]:
    """Every module of both packages, by its full name."""
    paths = (path for package in ("bevel", "bevel_lab") for path in (source / package).rglob("*.py"))
    return {".".join(path.relative_to(source).with_suffix("").parts).removesuffix(".__init__"): path for path in paths}


def _imports(name: str, modules: dict[str, Path]) -> set[str]:
    """The modules that ``name`` imports, at its top, under ``TYPE_CHECKING`` or inside a function."""
    package = name.split(".") if modules[name].stem == "__init__" else name.split(".")[:-1]
    found: set[str] = set()
    for node in ast.walk(ast.parse(modules[name].read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            whole = ".".join([*base, *([node.module] if node.module else [])])
            found |= {part if (part := f"{whole}.{alias.name}") in modules else whole for alias in node.names}
    return (found & modules.keys()) - {name}


def _room(module: str) -> str:
    """The longest name in ``ROOMS`` that the module lies in; the packages' own rooms hold nothing but themselves."""
    within = [room for room in ROOMS if module == room or ("." in room and module.startswith(f"{room}."))]
    return max(within, key=len, default="")


def _circles(graph: dict[str, set[str]]) -> list[list[str]]:
    """The groups of modules each of which imports all others of its group, directly or through others."""
    reach = {name: set(imported) for name, imported in graph.items()}
    for through in graph:
        for name in graph:
            if through in reach[name]:
                reach[name] |= reach[through]
    groups = {tuple(sorted(other for other in reach[name] if name in reach[other])) for name in graph}
    return [list(group) for group in sorted(groups) if group]


def _offenders(source: Path) -> list[str]:
    """A line for every module without a room, every import that does not go downwards, and every circle."""
    modules = _modules(source)
    graph = {name: _imports(name, modules) for name in modules}
    lines = [f"{name} is in no room: add it to LIBRARY or LAB" for name in modules if not _room(name)]
    for name, imported in graph.items():
        for other in sorted(imported):
            here, there = _room(name), _room(other)
            if here and there and here != there and ROOMS[there] >= ROOMS[here]:
                lines.append(f"{name} imports {other} from {'above' if ROOMS[there] > ROOMS[here] else 'beside it'}")
    return lines + [f"in a circle: {', '.join(circle)}" for circle in _circles(graph)]


def test_imports_go_downwards_and_never_in_a_circle() -> None:
    offenders = _offenders(SOURCE)
    assert not offenders, "\n".join(offenders)


def test_every_offender_is_listed(tmp_path: Path) -> None:
    files = {
        "bevel/kernel.py": "def f():\n    from bevel.nn import SAU\n",
        "bevel/nn/__init__.py": "from bevel import kernel",
        "bevel_lab/errors.py": "",
        "bevel_lab/tasks/video.py": "import typing\nif typing.TYPE_CHECKING:\n    import bevel_lab.report.pages",
        "bevel_lab/report/pages.py": "from . import text\nfrom bevel_lab.errors import LabError",
        "bevel_lab/report/text.py": "from .pages import page",
        "bevel_lab/corridor.py": "import bevel.nn",
    }
    for name, text in files.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    assert set(_offenders(tmp_path)) == {
        "bevel.kernel imports bevel.nn from above",
        "bevel_lab.tasks.video imports bevel_lab.report.pages from beside it",
        "bevel_lab.corridor is in no room: add it to LIBRARY or LAB",
        "in a circle: bevel.kernel, bevel.nn",
        "in a circle: bevel_lab.report.pages, bevel_lab.report.text",
    }


@pytest.mark.process
def test_importing_bevel_is_light() -> None:
    heavy = ("matplotlib", "triton", "bevel_lab", "scipy", "sklearn", "rich", "jinja2", "torchvision", "onnx")
    code = (
        "import torch, sys; before = set(sys.modules); import bevel; "
        "[getattr(bevel, name) for name in bevel.__all__]; "
        "print(' '.join(sorted({m.split('.')[0] for m in set(sys.modules) - before})))"
    )
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert not set(loaded) & set(heavy)
    assert "bevel" in loaded


def test_one_file_adds_an_item(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "items"
    folder.mkdir()
    (folder / "__init__.py").write_text("")
    (folder / "first.py").write_text("ENTRIES = {'first': 1}\n")
    (folder / "_helper.py").write_text("raise RuntimeError('not an item')\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    assert dict(Catalog[int]("items", "number")) == {"first": 1}
    (folder / "second.py").write_text("ENTRIES = {'second': 2}\n")
    assert dict(Catalog[int]("items", "number")) == {"first": 1, "second": 2}


def test_a_catalog_finds_a_folder_that_its_package_was_given_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = importlib.import_module("bevel.kernels")
    kernels: Catalog[object] = Catalog("bevel.kernels", "kernel")
    assert "later" not in kernels
    (tmp_path / "later.py").write_text("ENTRIES = {'later': 1}\n")
    monkeypatch.setattr(package, "__path__", [*package.__path__, str(tmp_path)])
    assert kernels["later"] == 1
    del sys.modules["bevel.kernels.later"], package.later


def test_a_users_kernel_and_activation_join_the_catalogs() -> None:
    kernels: Catalog[object] = Catalog("bevel.kernels", "kernel")  # a fresh one: the real catalog stays as it is
    mine = bevel.tabulated(lambda u: 1 - u * u, 1.0, name="mine")
    assert kernels.register("mine", mine) is mine
    assert kernels["mine"] is mine
    with pytest.raises(bevel.InvalidValue, match="'box' is taken"):
        kernels.register("box", mine)
    with pytest.raises(bevel.InvalidValue, match="lower-case identifier; got 'My Own'"):
        kernels.register("My Own", mine)
    with pytest.raises(bevel.InvalidValue, match="may not be called 'sharp'"):
        bevel.KERNELS.register("sharp", bevel.KERNELS["box"])
    with pytest.raises(bevel.UnknownName, match="did you mean 'triangle'"):
        kernels["triangel"]
    assert "triangel" not in kernels


def test_tests_import_slow_packages_where_they_use_them(slow_at_collection: dict[str, str]) -> None:
    """Every process of a run collects all its files: what that imports, it imports in each of them."""
    assert not slow_at_collection, "\n".join(f"{file} brings {name}" for name, file in slow_at_collection.items())
