"""Every command in an environment that has torch and its requirements only."""

from __future__ import annotations

import importlib.metadata
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from small_trials import RECIPE

import bevel_lab
from bevel.catalog import Catalog
from bevel_lab.cli import COMMANDS
from bevel_lab.experiment import folder
from bevel_lab.experiment.experiment import Experiment
from bevel_lab.experiment.ledger import Ledger

ROOT = Path(__file__).parents[2]
PROGRAM = Path(__file__).parent / "support" / "plain_install.py"

USABLE = ["list", "completion bash", "data list", "show sau", "check relu", "status {out}", "inspect mlp", "--version"]
LACKING = {
    "show sau --png {out}/sau.png": "matplotlib",
    "compare --activations relu gelu --seeds 1 --out {out}/new": "rich",
    "compare --activations relu gelu --seeds 1 --out {out}/new --dry-run": "rich",
    "run {root}/experiments/digits.toml --out {out}/new": "rich",
    "inspect resnet18": "torchvision",
    "inspect timm:resnet10t": "timm",
    "report {root}/evidence/aa": "numpy",
    "calibrate --experiments 10": "numpy",
    "judge {root}/docs/performance.csv": "numpy",
    "power --sd 0.3 --seeds 10": "numpy",
    "bench --rows {root}/docs/performance.csv --page {out}/page.md": "matplotlib",
}


def distributions(name: str, found: dict[str, importlib.metadata.Distribution]) -> None:
    """Add a distribution and its requirements."""
    key = re.sub(r"[-_.]+", "-", name).lower()
    try:
        installed = importlib.metadata.distribution(name)
    except importlib.metadata.PackageNotFoundError:
        return  # a requirement of another platform
    if key not in found:
        found[key] = installed
        for line in installed.requires or ():
            if "extra ==" not in line:
                match = re.match(r"[\w.-]+", line)
                assert match
                distributions(match[0], found)


@pytest.fixture(scope="module")
def answers(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[object, str, str]]:
    packages, out = tmp_path_factory.mktemp("packages"), tmp_path_factory.mktemp("out")
    found: dict[str, importlib.metadata.Distribution] = {}
    distributions("torch", found)
    for installed in found.values():
        for top in {file.parts[0] for file in installed.files or ()} - {"..", "__pycache__"}:
            if not (packages / top).exists():
                (packages / top).symlink_to(str(installed.locate_file(top)))
    with Ledger(out):
        folder.merge(out, Experiment.resolve(["gelu"], "relu", 3, RECIPE))
    lines = [*USABLE, *LACKING]
    words = [[word.format(root=ROOT, out=out) for word in line.split()] for line in lines]
    done = subprocess.run(
        [sys.executable, "-S", PROGRAM, json.dumps(words)],
        capture_output=True,
        text=True,
        check=True,
        env=os.environ | {"PYTHONPATH": f"{packages}{os.pathsep}{Path(bevel_lab.__file__).parents[1]}"},
    )
    return dict(zip(lines, json.loads(done.stdout.splitlines()[-1]), strict=True))


@pytest.mark.process
def test_every_command_answers_or_says_in_one_line_what_is_missing(answers: dict[str, tuple[object, str, str]]) -> None:
    assert {line.split()[0] for line in answers} >= COMMANDS.keys()
    for line in USABLE:
        code, err, out = answers[line]
        assert (code, err) == (0, ""), line
        assert out, line
        wide = [text for text in out.splitlines() if len(text) > 80 and line != "completion bash"]
        assert not [text for text in wide if " " in text.strip()], (line, wide)
    for line, package in LACKING.items():
        code, err, _ = answers[line]
        assert (code, err.count("\n")) == (2, 1), (line, code, err)
        assert package in err, err
        assert "pip install '.[lab]' in a clone of bevel, or 'FILE.whl[lab]' for a wheel." in err, err


def test_a_registry_with_a_module_that_fails_is_never_taken_for_a_smaller_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "fruit").mkdir()
    (tmp_path / "fruit" / "__init__.py").touch()
    (tmp_path / "fruit" / "apple.py").write_text("ENTRIES = {'apple': 1}\n")
    (tmp_path / "fruit" / "pear.py").write_text("import no_such_library\n")
    monkeypatch.syspath_prepend(tmp_path)
    fruit: Catalog[int] = Catalog("fruit", "fruit")
    for _ in range(2):
        with pytest.raises(ModuleNotFoundError):
            fruit["apple"]
    (tmp_path / "fruit" / "pear.py").write_text("ENTRIES = {'pear': 2}\n")
    assert dict(fruit) == {"apple": 1, "pear": 2}


def test_nothing_advises_what_only_a_release_could_install() -> None:
    pages = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *(ROOT / "docs").glob("*.md")]
    for path in [*pages, *(ROOT / "src").rglob("*.py"), *(ROOT / "examples").glob("*.py")]:
        assert not re.search(r"pip install '?bevel\b", path.read_text(encoding="utf-8")), path
