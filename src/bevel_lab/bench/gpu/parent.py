"""The process that starts the others and never touches CUDA: it keeps the time, the notes and the page.

A child runs the sections. Where it dies, where a section raises, and where one passes its time, a new child starts at
the next section; the rows that were made are in the file by then.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from bevel_lab.bench import page, rows
from bevel_lab.bench.gpu import check
from bevel_lab.bench.gpu.ahead import PARTS as AHEAD
from bevel_lab.bench.gpu.sections import BEYOND, BY_NAME, FAULTS, HELD, LAWS, SECTIONS, SUITE

START = 60.0  # seconds for a child to import torch and to reach the GPU
SOURCE = Path(__file__).parents[3]


class Run:
    """One run: what was said, what is left of the time, and where rows and page go.

    Args:
        out: CSV of the rows; what it held before is dropped.
        to: page to write after each section, with ``notes`` under its targets.
        deadline: seconds from now after which nothing new begins and what runs is stopped.
        dry: rehearse on the CPU through Triton's interpreter.
    """

    def __init__(self, out: Path, to: Path | None, notes: str, deadline: float, dry: bool) -> None:
        self.out, self.to, self.notes, self.dry = out, to, notes, dry
        self.said: list[str] = []
        self.failed = False
        self._end = time.monotonic() + deadline
        out.parent.mkdir(parents=True, exist_ok=True)
        out.write_bytes(b"")

    @property
    def left(self) -> float:
        return self._end - time.monotonic()

    def note(self, line: str, failed: bool = True) -> None:
        """Keep a line for the page."""
        self.said.append(line)
        self.failed |= failed
        print(f"bench-gpu: {line}", file=sys.stderr, flush=True)

    def collected(self) -> list[rows.Row]:
        return rows.read(self.out) if self.out.stat().st_size else []

    def write(self) -> None:
        if self.to:
            self.to.parent.mkdir(parents=True, exist_ok=True)
            self.to.write_text(page.gpu(self.collected(), self.notes, self.said), encoding="utf-8")

    def sections(self, names: Sequence[str]) -> None:
        """Run the sections in children, until none is left or the time is up."""
        waiting, in_vain = list(names), 0
        while waiting:
            if self.left <= 0:
                self.note(f"not begun, for the time was up: {', '.join(waiting)}")
                break
            with _started(waiting, self.out, self.dry) as child:
                in_vain = 0 if self._follow(child, waiting) else in_vain + 1
            if waiting and in_vain == 2:
                self.note(f"two children did not come as far as {waiting[0]}; not run: {', '.join(waiting)}")
                break
        self.write()

    def suite(self) -> bool:
        """Run ``tests/triton`` on many processors while children compile for the sections; returns whether it ran.

        They may compile for as long as it runs, and else for as long as their own limit is.
        """
        if self.left <= 0:
            self.note(f"{SUITE}: not run: the time was up")
            return False
        limits = [BY_NAME[name].rehearsed if self.dry else BY_NAME[name].limit for name in AHEAD]
        end = time.monotonic() + min(max(limits), self.left)
        with contextlib.ExitStack() as stack:
            children = {name: stack.enter_context(_started([name], self.out, self.dry)) for name in AHEAD}
            ran = not self.tests(SUITE).startswith("not run")
            for name, child in children.items():
                self._ahead(name, child, end)
        return ran

    def _ahead(self, name: str, child: _Child, end: float) -> None:
        """Note what a child that compiles has come to; one that is cut costs nothing but time, later."""
        while (event := child.event(max(0.0, end - time.monotonic()))) is not None:
            if event["event"] == "raised":
                self.note(f"{name} stopped: {event['said']}")
                return
            if event["event"] == "end":
                print(f"{name}: built, {self.left:.0f} s left", flush=True)
                return
        code = child.code()
        if code is None:
            self.note(f"{name}: cut, for its time was up", failed=False)
        else:
            self.note(f"{name} stopped: its process died with code {code}")

    def _follow(self, child: _Child, waiting: list[str]) -> bool:
        """Take a child's events until it ends or passes a limit; done sections leave ``waiting``."""
        began, name, limit = False, "", START
        while (event := child.event(min(limit, self.left))) is not None:
            name = event.get("section", name)
            if event["event"] == "begin":
                began, limit, start = True, self._limit(waiting), time.monotonic()
                continue
            if event["event"] == "ready":
                continue
            waiting.remove(name)
            if event["event"] == "raised":
                self.note(f"{name} stopped: {event['said']}", failed=name not in FAULTS)
            elif event["said"]:
                self.note(f"{name}: {event['said']}", failed=not event["said"].startswith("passed"))
            print(f"{name}: {time.monotonic() - start:.0f} s, {self.left:.0f} s left", flush=True)
            self.write()
            name = ""
        if name:  # a section that had begun did not end
            waiting.remove(name)
            code = child.code()
            why = f"its process died with code {code}" if code is not None else "it passed its time and was stopped"
            self.note(f"{name} stopped: {why}", failed=name not in FAULTS)
            self.write()
        return began

    def _limit(self, waiting: Sequence[str]) -> float:
        """Return the seconds that the first of the waiting may take: its own, and what the others would leave over."""
        first, *others = (BY_NAME[name] for name in waiting)
        if self.dry:
            return first.rehearsed
        spare = self.left - check.LAST - sum(section.limit for section in others) if waiting[0] in SECTIONS else 0.0
        return max(first.limit, spare)

    def tests(self, what: str) -> str:
        """Run a part of ``tests/triton`` on the GPU, as a process of its own; note and return what came of it."""
        seconds = min(check.LAST if what == BEYOND else check.PATIENCE, self.left)
        start = time.monotonic()
        to = self.out.with_name("tests-beyond.txt" if what == BEYOND else "tests-triton.txt")
        to.unlink(missing_ok=True)  # of an earlier run
        if seconds > 0:
            verdict = check.suite("cpu" if self.dry else "cuda", what == BEYOND, seconds, to, self.dry)
        else:
            verdict = "not run: the time was up"
        self.note(f"{what}: {verdict}", failed=verdict.startswith("FAILED") or seconds <= 0)
        print(f"{what}: {time.monotonic() - start:.0f} s, {self.left:.0f} s left", flush=True)
        self.write()
        return verdict


class _Child:
    """A process that runs sections, and the pipe on which it tells of them."""

    def __init__(self, process: subprocess.Popen[bytes], pipe: int) -> None:
        self._process, self._pipe, self._text = process, pipe, b""

    def event(self, seconds: float) -> dict[str, str] | None:
        """Return the next event, or None where none came in time or the process has ended."""
        end = time.monotonic() + seconds
        while b"\n" not in self._text:
            left = end - time.monotonic()
            ended = self._process.poll() is not None  # a compiler that it started may still hold the pipe
            ready, _, _ = select.select([self._pipe], [], [], 0.0 if ended else max(0.0, min(0.5, left)))
            more = os.read(self._pipe, 65536) if ready else b""
            if not more and (ready or ended or left <= 0):
                return None
            self._text += more
        line, _, self._text = self._text.partition(b"\n")
        found: dict[str, str] = json.loads(line)
        return found

    def code(self) -> int | None:
        """Return the exit code of a process that has ended by itself, None of one that goes on."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            return self._process.wait(1.0 if select.select([self._pipe], [], [], 0)[0] else 0.0)
        return None


@contextlib.contextmanager
def _started(names: Sequence[str], out: Path, dry: bool) -> Iterator[_Child]:
    """Start a child for the sections, and end it with all that it started."""
    reading, writing = os.pipe()
    command = [sys.executable, "-m", "bevel_lab.bench.gpu.child", str(writing), str(out), *names]
    path = os.pathsep.join(filter(None, [str(SOURCE), os.environ.get("PYTHONPATH")]))
    variables = {**os.environ, "PYTHONPATH": path} | ({"TRITON_INTERPRET": "1"} if dry else {})
    process = subprocess.Popen(
        command + ["--dry-run"] * dry, env=variables, pass_fds=(writing,), start_new_session=True
    )
    os.close(writing)
    try:
        yield _Child(process, reading)
    finally:
        check.stop(process)
        os.close(reading)


def measure(
    names: Sequence[str], *, checked: bool, out: Path | None, to: Path | None, notes: str = "",
    deadline: float = 575.0, dry: bool = False,
) -> int:  # fmt: skip
    """Check the backend if asked to, run the named sections, write the files on the way, and print what matters last.

    Args:
        names: sections, in the order in which they run.
        checked: whether to run the held rows and ``tests/triton`` first, and the test beyond 2^31 elements last.
        out: CSV of the rows; None keeps none.
        to: page to write.
        notes: Markdown for the page, under its targets.
        deadline: seconds that all of it may take.
        dry: rehearse on the CPU.

    Returns:
        0, or 1 if a check or a section failed, but for those that a rehearsal has for that.
    """
    with tempfile.TemporaryDirectory() as folder:
        run = Run(out or Path(folder) / "rows.csv", to, notes, deadline, dry)
        if checked:
            run.sections([HELD])
            if not run.suite():
                names = [*names, LAWS]
        run.sections(names)
        if checked:
            run.tests(BEYOND)
        print(page.summary(run.collected(), run.said), flush=True)
        return int(run.failed)
