"""What ``make bench-gpu`` does beside its sections: the test suite, its verdict, and what is built meanwhile."""

import contextlib
import subprocess
from pathlib import Path
from typing import Any

import pytest


def _children(monkeypatch: pytest.MonkeyPatch, verdict: str, events: list[dict[str, str]], code: int | None) -> None:
    """Stand in for the suite, and for every child: what it tells at once, then nothing."""
    from bevel_lab.bench.gpu import check, parent

    class Child:
        def __init__(self) -> None:
            self._events = list(events)

        def event(self, seconds: float) -> dict[str, str] | None:
            assert seconds <= 30
            return self._events.pop(0) if self._events else None

        def code(self) -> int | None:
            return code

    monkeypatch.setattr(check, "suite", lambda *_: verdict)
    monkeypatch.setattr(parent, "_started", lambda *_: contextlib.nullcontext(Child()))


def test_what_builds_ahead_ends_with_the_suite(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A child that is cut has not failed; one that dies or raises has."""
    from bevel_lab.bench.gpu.ahead import PARTS
    from bevel_lab.bench.gpu.parent import Run

    began = [{"event": "ready"}, {"event": "begin", "section": "a part"}]
    raised = [*began, {"event": "raised", "section": "a part", "said": "RuntimeError: no"}]
    for events, code, failed, said in (
        (began, None, False, "cut, for its time was up"),
        (began, -9, True, "stopped: its process died with code -9"),
        (raised, None, True, "stopped: RuntimeError: no"),
        ([*began, {"event": "end", "section": "a part", "said": ""}], None, False, ""),
    ):
        _children(monkeypatch, "passed: 5 passed", events, code)
        run = Run(tmp_path / "rows.csv", None, "", 575.0, dry=False)
        assert run.suite()
        assert run.failed == failed
        assert [line for line in run.said if not line.startswith("tests/triton")] == [
            f"{name}{':' if said.startswith('cut') else ''} {said}" for name in PARTS if said
        ]


@pytest.mark.parametrize("verdict", ["passed: 5 passed", "not finished after 90 s, 4 passed", "not run: no pytest"])
def test_laws_run_where_the_suite_cannot(verdict: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A suite that is cut has used its time, and says what it found by then."""
    from bevel_lab.bench.gpu import parent
    from bevel_lab.bench.gpu.sections import HELD, LAWS

    ran: list[str] = []
    _children(monkeypatch, verdict, [], 0)
    monkeypatch.setattr(parent.Run, "sections", lambda self, names: ran.extend(names))
    parent.measure(["small"], checked=True, out=tmp_path / "rows.csv", to=None)
    assert ran == [HELD, "small", *[LAWS] * verdict.startswith("not run")]


class _Pytest:
    """Stands in for the suite's process: it prints what it is told to and ends with a code."""

    def __init__(self, prints: str, code: int | None) -> None:
        self.commands: list[list[str]] = []
        self._prints, self._code = prints, code
        self.pid = 2**30  # of no process

    def __call__(self, command: list[str], **options: Any) -> Any:
        self.commands.append(command)
        options["stdout"].write(self._prints.encode())
        return self

    def wait(self, seconds: float) -> int:
        if self._code is None:
            raise subprocess.TimeoutExpired("pytest", seconds)
        return self._code


MANY = """
[gw0] [  1%] PASSED tests/triton/test_a.py::test_one[a b]
[gw11] [ 50%] FAILED tests/triton/test_a.py::test_two[sau:n=3 x]
[gw0] [100%] SKIPPED tests/triton/test_b.py::test_three
FAILED tests/triton/test_a.py::test_two[sau:n=3 x] - AssertionError: PASSED
"""
ONE = """
tests/triton/test_a.py::test_one[a b] PASSED                    [ 33%]
tests/triton/test_b.py::test_three SKIPPED (needs 40 GB)        [100%]
"""


@pytest.mark.parametrize(
    ("prints", "code", "beyond", "brief", "verdict"),
    [
        (MANY, 1, False, False, "FAILED: 1 passed, 1 skipped, 1 failed: test_a.py::test_two[sau:n=3 x]; see t.txt"),
        (MANY, None, False, False, "FAILED: not finished after 9 s, 1 passed, 1 skipped, 1 failed: "),
        (ONE, 0, True, False, "passed: 1 passed, 1 skipped"),
        (ONE, 0, False, True, "rehearsed: 1 passed, 1 skipped"),
        (ONE.replace("PASSED", "SKIPPED"), 0, True, False, "skipped: 2 skipped"),
        (ONE, None, True, False, "not finished after 9 s, 1 passed, 1 skipped"),
        ("", None, True, False, "not finished after 9 s, no test ended"),
        ("", 3, False, False, "FAILED: no test ended: pytest ended with code 3; see t.txt"),
        ("", 5, False, False, "not run: pytest gave up with code 5"),
    ],
)
def test_the_suites_verdict(
    prints: str, code: int | None, beyond: bool, brief: bool, verdict: str, tmp_path: Path, monkeypatch: Any
) -> None:
    from bevel_lab.bench.gpu import check

    fake = _Pytest(prints, code)
    monkeypatch.setattr(check.subprocess, "Popen", fake)
    assert check.suite("cuda", beyond, 9.0, tmp_path / "t.txt", brief).startswith(verdict)
    assert (tmp_path / "t.txt").read_text() == prints
    (command,) = fake.commands
    flags = " ".join(command)
    assert "pytest tests/triton -v" in flags
    assert "-m not slow" in flags
    assert "--device cuda" in flags
    assert flags.endswith("-k beyond" if beyond else "-k test_views" if brief else "-k not beyond -n 12")


def test_the_suites_output_is_kept(tmp_path: Path) -> None:
    """Of pytest itself: a line a test, which the verdict counts."""
    from bevel_lab.bench.gpu import check

    assert check.suite("cpu", True, 300.0, tmp_path / "t.txt", True) == "rehearsed: 3 skipped"
    assert "test_beyond_two_to_the_31[flat] SKIPPED" in (tmp_path / "t.txt").read_text()


def test_a_suite_that_cannot_run_says_why(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from bevel_lab.bench.gpu import check

    monkeypatch.setattr(check.importlib.util, "find_spec", lambda name: None if name == "xdist" else name)
    assert check.suite("cpu", False, 10.0, tmp_path / "t.txt").startswith("not run: pytest-xdist is not installed")
    monkeypatch.setattr(check.importlib.util, "find_spec", lambda name: None)
    assert check.suite("cpu", True, 10.0, tmp_path / "t.txt") == "not run: pytest is not installed"
