"""What the README and the docs tell a reader to type, typed."""

import itertools
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

import bevel

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()


def blocks(text: str, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", text, flags=re.S | re.M)


def commands() -> list[str]:
    lines = [line.split("#")[0].strip() for block in blocks(README, "sh") for line in block.splitlines()]
    return [line for line in lines if line.startswith("bevel ")]


SHORTER = {  # the same command, less of it
    "bevel compare": "--seeds 2 --epochs 1 --train-limit 200",
    "bevel run": "--seeds 1 --epochs 1 --train-limit 200",
}


@pytest.mark.process
def test_the_python_of_the_readme_runs() -> None:
    (code,) = blocks(README, "python")
    assert len([line for line in code.splitlines() if line.strip() and not line.startswith(("import", "assert"))]) == 5
    done = subprocess.run([sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr


@pytest.mark.process
def test_the_commands_of_the_readme_run(tmp_path: Path) -> None:
    assert len(commands()) >= 5
    (tmp_path / "experiments").symlink_to(ROOT / "experiments")
    for command in commands():
        words = shlex.split(command)
        if words[:2] == ["bevel", "bench"]:
            continue  # below
        extra = shlex.split(SHORTER.get(" ".join(words[:2]), ""))
        command_line = [sys.executable, "-m", "bevel_lab", *words[1:], *extra]
        done = subprocess.run(command_line, cwd=tmp_path, capture_output=True, text=True, timeout=600)
        assert done.returncode == 0, (command, done.stderr)
    assert (tmp_path / "runs" / "first" / "report.html").is_file()
    assert (tmp_path / "runs" / "digits" / "report.html").is_file()


@pytest.mark.process
def test_the_bench_of_the_readme_runs(tmp_path: Path) -> None:
    (command,) = [c for c in commands() if c.startswith("bevel bench")]
    out = ["--no-compile", "--out", str(tmp_path / "rows.csv"), "--page", str(tmp_path / "p.md")]
    words = [*shlex.split(command)[1:], *out]
    done = subprocess.run([sys.executable, "-m", "bevel_lab", *words], capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr
    assert "| sau | relu | 1.05 |" in (tmp_path / "p.md").read_text()
    assert (tmp_path / "img" / "performance.png").stat().st_size > 5000


def test_the_readme_counts_what_there_is() -> None:
    assert f"`bevel list` names {len(bevel.ACTIVATIONS)} |" in README
    assert {13: "Thirteen", 14: "Fourteen", 15: "Fifteen"}[len(bevel.KERNELS)] + " kernels × any kinked" in README


def test_make_targets_of_the_readme_exist() -> None:
    makefile = (ROOT / "Makefile").read_text()
    targets = set(re.findall(r"`?make ([a-z-]+)", README))
    assert {"test", "test-fast", "lint"} <= targets
    for target in targets:
        assert re.search(rf"^{target}:", makefile, flags=re.M), target


@pytest.mark.parametrize("page", [*sorted((ROOT / "docs").glob("*.md")), ROOT / "README.md"], ids=lambda p: p.name)
def test_links_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#:]+)\)", page.read_text()):
        assert (page.parent / target).exists(), f"{page.name} links to {target}"


def test_what_the_readme_and_the_start_page_link_to_reads_well_where_it_lies() -> None:
    """Sphinx's own markup, which a page of the site may have, is shown as it is everywhere else."""
    for page in (ROOT / "README.md", ROOT / "docs" / "start.md"):
        linked = [page.parent / target for target in re.findall(r"\]\(([^)#:]+\.md)", page.read_text())]
        assert len(linked) >= 8
        for text in (page, *linked):
            found = re.findall(r"^(?::::+|```)\{(?!raw)\w+\}|\{\w+\}`", text.read_text(), flags=re.M)
            assert not found, (page.name, text.name, found)


@pytest.mark.parametrize("page", [*sorted((ROOT / "docs").glob("*.md")), ROOT / "README.md"], ids=lambda p: p.name)
def test_no_sentence_stands_twice_in_a_row(page: Path) -> None:
    prose = [line for line in page.read_text().splitlines() if not line.startswith("|")]
    sentences = re.split(r"(?<=[.:;]) ", " ".join(" ".join(prose).split()))
    twice = [one for one, other in itertools.pairwise(sentences) if one == other and len(one) > 30]
    assert not twice, twice
