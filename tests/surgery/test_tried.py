"""The cases of ``docs/tried.md``: what the page says is right is right."""

from collections.abc import Callable
from pathlib import Path

import pytest

from bevel_lab.surgery.tried import Outcome, outcome, page
from bevel_lab.surgery.tried_cases import CASES, refused

PAGE = (Path(__file__).parents[2] / "docs" / "tried.md").read_text(encoding="utf-8")
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


def test_the_notes_stand_on_the_page() -> None:
    assert PAGE.endswith((Path(__file__).parents[2] / "docs" / "tried-notes.md").read_text(encoding="utf-8"))
