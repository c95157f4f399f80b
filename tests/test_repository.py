"""The repository as strangers find it: one version, a whole license, nothing that points outside."""

from __future__ import annotations

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


def test_the_license_has_no_unfilled_brackets() -> None:
    assert not re.findall(r"\[\w[^\]]*\]", (ROOT / "LICENSE").read_text())


def test_the_changelog_has_its_sections() -> None:
    text = (ROOT / "CHANGELOG.md").read_text()
    unreleased = text.split("## [Unreleased]")[1].split("\n## ")[0]
    assert re.findall(r"^### (\w+)$", unreleased, flags=re.M) == ["Added", "Changed", "Fixed"]
