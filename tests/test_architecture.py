"""The house: imports go downwards, importing is light, one new file is a new item."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import bevel
from bevel.catalog import Catalog

SOURCE = Path(bevel.__file__).parent.parent
LAYERS = [  # lower may not import higher; equal may
    ("bevel.errors", "bevel.catalog", "bevel.portable"),
    ("bevel.kernel",),
    ("bevel.tabulated",),
    ("bevel.kernels",),
    ("bevel.terms",),
    ("bevel.family",),
    ("bevel.kinked",),
    ("bevel.mollify",),
    ("bevel.ops",),
    ("bevel.functional",),
    ("bevel.nn",),
    ("bevel.spec",),
    ("bevel.surgery", "bevel.training", "bevel.deploy", "bevel.watch"),
    ("bevel.testing",),
    ("bevel",),
    ("bevel_lab.experiment.trial",),
    ("bevel_lab.experiment.record",),
    ("bevel_lab.report",),
    ("bevel_lab",),
]


def _layer(module: str) -> int:
    matches = [
        (len(name), rank)
        for rank, names in enumerate(LAYERS)
        for name in names
        if module == name or (module.startswith(name + ".") and name != "bevel")
    ]
    assert matches, f"{module} is in no layer: add it to LAYERS"
    return max(matches)[1]


def _imports(path: Path) -> set[str]:
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {a.name for a in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found |= {f"{node.module}.{a.name}" for a in node.names}
    return {name for name in found if name.split(".")[0] in ("bevel", "bevel_lab")}


def _modules() -> list[Path]:
    return sorted(p for package in ("bevel", "bevel_lab") for p in (SOURCE / package).rglob("*.py"))


@pytest.mark.parametrize("path", _modules(), ids=lambda p: str(p.relative_to(SOURCE)))
def test_imports_go_downwards(path: Path) -> None:
    name = ".".join(path.relative_to(SOURCE).with_suffix("").parts).removesuffix(".__init__")
    for imported in _imports(path):
        assert _layer(imported) <= _layer(name), f"{name} imports {imported} from above"


def test_an_upward_import_would_be_found(tmp_path: Path) -> None:
    bad = tmp_path / "kernel.py"
    bad.write_text("def f():\n    from bevel.nn import SAU\n")
    assert _imports(bad) == {"bevel.nn.SAU"}
    assert _layer("bevel.nn.SAU") > _layer("bevel.kernel")


def test_importing_bevel_is_light() -> None:
    heavy = ("matplotlib", "triton", "bevel_lab", "scipy", "sklearn", "rich", "jinja2", "torchvision", "onnx")
    code = (
        "import torch, sys; before = set(sys.modules); import bevel; "
        "print(' '.join(sorted({m.split('.')[0] for m in set(sys.modules) - before})))"
    )
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert not set(loaded) & set(heavy)
    assert "bevel" in loaded


def test_one_file_adds_an_item(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shelf = tmp_path / "shelf"
    shelf.mkdir()
    (shelf / "__init__.py").write_text("")
    (shelf / "first.py").write_text("ENTRIES = {'first': 1}\n")
    (shelf / "_helper.py").write_text("raise RuntimeError('not an item')\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    assert dict(Catalog[int]("shelf", "number")) == {"first": 1}
    (shelf / "second.py").write_text("ENTRIES = {'second': 2}\n")
    assert dict(Catalog[int]("shelf", "number")) == {"first": 1, "second": 2}


def test_a_users_kernel_and_activation_join_the_shelves() -> None:
    kernels: Catalog[object] = Catalog("bevel.kernels", "kernel")  # a fresh one: the real shelf stays as it is
    mine = bevel.tabulated(lambda u: 1 - u * u, 1.0, name="mine")
    assert kernels.register("mine", mine) is mine
    assert kernels["mine"] is mine
    with pytest.raises(bevel.InvalidValue, match="'box' is taken"):
        kernels.register("box", mine)
    with pytest.raises(bevel.InvalidValue, match="lower-case identifier; got 'My Own'"):
        kernels.register("My Own", mine)
    with pytest.raises(bevel.UnknownName, match="did you mean 'triangle'"):
        kernels["triangel"]
    assert "triangel" not in kernels
