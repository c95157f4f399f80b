"""The repository as strangers find it: one version, a whole license, nothing that points outside."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tarfile
import tomllib
from pathlib import Path

import bevel

ROOT = Path(__file__).parent.parent


def test_the_version_is_stated_once_and_packages_carry_it(tmp_path: Path) -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert "version" not in project
    assert "version" not in re.findall(r"^(\w+):", (ROOT / "CITATION.cff").read_text(), flags=re.M)
    code = "import sys, scikit_build_core.build as b; b.build_sdist(sys.argv[1])"
    subprocess.run([sys.executable, "-c", code, str(tmp_path)], cwd=ROOT, check=True, capture_output=True)
    (archive,) = tmp_path.glob("bevel-*.tar.gz")
    with tarfile.open(archive) as content:
        packed = content.extractfile(f"bevel-{bevel.__version__}/PKG-INFO")
        assert packed is not None
        assert f"\nVersion: {bevel.__version__}\n" in packed.read().decode()


def _tracked() -> list[Path]:
    """Every file that git tracks; all files of a copy without git."""
    done = subprocess.run(["git", "-C", ROOT, "ls-files", "-z"], capture_output=True, text=True)
    names = done.stdout.split("\0")[:-1] if done.returncode == 0 else []
    return [ROOT / name for name in names if (ROOT / name).is_file()]


def test_nothing_points_outside_the_repository() -> None:
    """A clone has no folder beside it. One helper of the tests may look for its developers' samples there."""
    allowed = {ROOT / "tests" / "lab" / "support" / "sample_data.py", Path(__file__)}
    texts = {".md", ".toml", ".py", ".yml", ".yaml", ".cff", ".txt", ".in", ".cpp", ".h", ""}
    found, tracked = [], _tracked()
    assert allowed <= set(tracked)
    for path in tracked:
        if path.suffix in texts and path not in allowed:
            for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
                if re.search(r"\.\./shared|shared/data|/work/|/home/\w", line):
                    found.append(f"{path.relative_to(ROOT)}:{number}: {line.strip()}")
    assert not found, "\n".join(found)


def test_skipped_tests_are_counted_and_say_what_they_want() -> None:
    test = "tests/lab/test_boxes.py::test_the_real_sample_of_coco"
    environment = os.environ | {"BEVEL_SAMPLE_DATA": "/nonexistent"}
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", test]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    last = done.stdout.splitlines()[-2:]
    assert last[0] == "1 test skipped: 1 for want of sample data (set BEVEL_SAMPLE_DATA, see CONTRIBUTING.md)"
    assert last[1].startswith("1 skipped")


def test_the_license_has_no_unfilled_brackets() -> None:
    assert not re.findall(r"\[\w[^\]]*\]", (ROOT / "LICENSE").read_text())


def test_the_changelog_has_its_sections() -> None:
    text = (ROOT / "CHANGELOG.md").read_text()
    unreleased = text.split("## [Unreleased]")[1].split("\n## ")[0]
    assert re.findall(r"^### (\w+)$", unreleased, flags=re.M) == ["Added", "Changed", "Fixed"]
