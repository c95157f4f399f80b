"""CONTRIBUTING.md: its files are put where they say, and every command finds them."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
TEXT = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
FILES = dict(re.findall(r"^```python\n# src/(\S+\.py)\n(.*?)^```", TEXT, flags=re.S | re.M))
BESIDE = """
import importlib, sys
from pathlib import Path

for file in sorted(Path({folder!r}).rglob("*.py")):
    package = ".".join(file.relative_to({folder!r}).parent.parts)
    path = importlib.import_module(package).__path__
    if str(file.parent) not in path:
        path.append(str(file.parent))  # as if the file lay in the package's own folder
from bevel_lab.cli import main

if __name__ == "__main__":  # worker processes read the program too
    sys.exit(main())
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The page's files, as they would lie below ``src``."""
    folder = tmp_path_factory.mktemp("contributed")
    for name, content in FILES.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(content, encoding="utf-8")
    return folder


@pytest.fixture(scope="module")
def program(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The ``bevel`` command with the page's files beside those of the packages."""
    program = tmp_path_factory.mktemp("program") / "program.py"
    program.write_text(BESIDE.format(folder=str(folder)))
    return program


def _bevel(program: Path, *words: str) -> str:
    done = subprocess.run([sys.executable, program, *words], capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_there_is_a_file_of_every_kind() -> None:
    assert [Path(name).parent.as_posix() for name in FILES] == [
        "bevel/kernels", "bevel/nn", "bevel_lab/datasets", "bevel_lab/models", "bevel_lab/tasks",
    ]  # fmt: skip
    assert not [name for name in FILES if (ROOT / "src" / name).exists()], "they are examples, not copies"


@pytest.mark.process
def test_they_are_found_by_name_and_keep_the_laws(program: Path) -> None:
    listed = _bevel(program, "list")
    for name in ("quadweight", "serf", "diabetes", "narrow", "regression"):
        assert re.search(rf"^  {name}( |$)", listed, flags=re.M), name
    for name in ("quadweight", "serf"):
        assert "broken" not in _bevel(program, "check", name)


@pytest.mark.process
def test_they_are_trained_judged_and_reported(program: Path, tmp_path: Path) -> None:
    (command,) = re.findall(r"`bevel (compare .*?)`", TEXT)
    words = [*command.split(), "--epochs", "3", "--seeds", "2", "--workers", "1", "--out", str(tmp_path / "out")]
    said = _bevel(program, *words)
    assert "serf" in said
    assert "smooth_frelu:kernel=quadweight" in (tmp_path / "out" / "report.html").read_text(encoding="utf-8")


@pytest.mark.process
@pytest.mark.parametrize("name", FILES)
def test_they_are_in_the_style_that_the_page_asks_for(name: str) -> None:
    for words in (["check"], ["format", "--check"]):
        command = [sys.executable, "-m", "ruff", *words, "--stdin-filename", str(ROOT / "src" / name), "-"]
        done = subprocess.run(command, cwd=ROOT, input=FILES[name], capture_output=True, text=True)
        assert done.returncode == 0, done.stdout + done.stderr


def test_what_it_tells_to_type_exists() -> None:
    makefile = (ROOT / "Makefile").read_text()
    targets = set(re.findall(r"\bmake ([a-z-]+)", TEXT))
    assert {"install", "test", "lint"} <= targets
    for target in targets:
        assert re.search(rf"^{target}:", makefile, flags=re.M), target
    for path in re.findall(r"`((?:src|docs|native|tests|examples|evidence)/[\w./-]+\.\w+)`", TEXT):
        assert (ROOT / path).exists() or path.removeprefix("src/") in FILES, path
