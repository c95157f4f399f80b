"""Wheels: with the native library where there is a compiler, without it where there is none, and both work."""

import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not (ROOT / "pyproject.toml").is_file(), reason="needs the source tree"),
]


ONLY_THIS = """
# An editable install puts its source first; take its finder out, and find bevel beside this file.
import sys
sys.meta_path[:] = [finder for finder in sys.meta_path if "editable" not in type(finder).__module__]
sys.path[:] = [p for p in sys.path if not p.endswith("src")]
"""


def _wheel(out: Path, environment: dict[str, str]) -> Path:
    source = out / "source"
    keep = shutil.ignore_patterns(".git", ".venv", "runs", "build", "dist", "__pycache__", ".*_cache", "docs", "tests")
    shutil.copytree(ROOT, source, ignore=keep)
    command = [sys.executable, "-m", "pip", "wheel", "--no-build-isolation", "--no-deps", "--wheel-dir", str(out), "."]
    done = subprocess.run(command, cwd=source, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    (wheel,) = out.glob("bevel-*.whl")
    return wheel


@pytest.fixture(scope="module")
def pure(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A wheel built with no compiler on the PATH."""
    out = tmp_path_factory.mktemp("pure")
    tools = out / "bin"
    tools.mkdir()
    for name in ("cmake", "ninja", "make", "sh", "env", "uname"):
        found = shutil.which(name) or shutil.which(name, path=str(Path(sys.executable).parent))
        if found:
            (tools / name).symlink_to(found)
    none = {"CC": "/dev/null/none/cc", "CXX": "/dev/null/none/c++", "PATH": str(tools)}
    return _wheel(out, os.environ | none)


def test_no_compiler_gives_a_pure_wheel(pure: Path) -> None:
    assert pure.name.endswith("-py3-none-any.whl")
    assert not [name for name in zipfile.ZipFile(pure).namelist() if name.endswith(".so")]


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
def test_a_compiler_gives_one_wheel_for_every_python(tmp_path: Path) -> None:
    wheel = _wheel(tmp_path, dict(os.environ))
    names = zipfile.ZipFile(wheel).namelist()
    assert "-py3-none-" in wheel.name
    assert "bevel/ops/libbevel_native.so" in names
    assert "bevel_lab/report/pages/html.j2" in names
