"""The cases of ``docs/tried.md``: what the page says is right is right."""

import re
from collections.abc import Callable
from pathlib import Path

import pytest

from bevel_lab.surgery.tried import Outcome, outcome, page
from bevel_lab.surgery.tried_cases import CASES, refused

DOCS = Path(__file__).parents[2] / "docs"
PAGE = (DOCS / "tried.md").read_text(encoding="utf-8")
NOTES = (DOCS / "tried-notes.md").read_text(encoding="utf-8")
ALL = [(kind, case) for kind, cases in CASES.items() for case in cases]


@pytest.mark.parametrize(("kind", "case"), ALL, ids=[case.__name__ for _, case in ALL])
def test_the_page_says_what_a_case_does(kind: str, case: Callable[[], str]) -> None:
    """A case that the page calls wrong may be right by now."""
    found = outcome(kind, case)
    (line,) = [line for line in PAGE.splitlines() if line.startswith(f"| {kind} | {found.title} |")]
    if "| **no** |" not in line:
        assert found.right, found.text


def test_a_fault_is_told_and_so_is_what_was_not_refused() -> None:
    def wrong() -> str:
        """A case that is wrong"""
        return refused(lambda: None)

    found = outcome("Faults", wrong)
    assert found == Outcome("Faults", "A case that is wrong", False, "AssertionError: it was accepted")
    assert "| Faults | A case that is wrong | **no** | AssertionError: it was accepted |" in page([found], "")


def test_the_notes_stand_on_the_page_with_a_date() -> None:
    assert PAGE.endswith(NOTES)
    assert re.search(r"^Written on 20\d\d-\d\d-\d\d by `python -m", PAGE, re.MULTILINE)


def test_the_tests_that_the_notes_name_exist() -> None:
    named = re.findall(r"\[(test_\w+)\]\((\S+)\)", NOTES)
    assert len(named) > 10
    for name, path in named:
        assert f"\ndef {name}(" in (DOCS / path).read_text(encoding="utf-8"), name
