"""``make bench-gpu``: check and measure bevel's activations on a GPU in one command.

The command needs torch and Triton only. A section that fails leaves a line on the page and the rows that it has made,
and the next sections run. ``--dry-run`` takes the same path on the CPU, through Triton's interpreter and on tiny
tensors; its times mean nothing.
"""

from __future__ import annotations

import argparse
import functools
import os
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import torch

from bevel.ops import using
from bevel_lab.bench import page, rows
from bevel_lab.bench.gpu import check
from bevel_lab.bench.gpu.sections import SECTIONS
from bevel_lab.bench.gpu.timing import Bench


def _attempt(what: str, call: Callable[[], object], notes: list[str]) -> str:
    """Return what ``call`` returns, if that is text. If the call fails, note the reason for the page."""
    begin = time.perf_counter()
    try:
        result = call()
    except Exception as error:
        first = (str(error).strip().splitlines() or [""])[0]
        notes.append(f"{what} stopped: {type(error).__name__}: {first}")
        print(f"bench-gpu: {notes[-1]}", file=sys.stderr, flush=True)
        result = None
    print(f"{what}: {time.perf_counter() - begin:.0f} s", flush=True)
    return result if isinstance(result, str) else ""


def measure(
    bench: Bench, names: Sequence[str], *, checked: bool, out: Path | None, to: Path | None, notes: str = ""
) -> int:
    """Check the backend if asked to, run the named sections, and write the files after each of them.

    Args:
        bench: where to measure; it collects the rows and the notes.
        names: keys of ``SECTIONS``.
        checked: whether to check the backend first.
        out: CSV to write.
        to: page to write, with ``notes`` under its targets.

    Returns:
        0, or 1 if the check did not pass or a section failed.
    """
    if checked:
        verdict = _attempt("check", lambda: check.check(bench.device, bench.dry), bench.notes)
        bench.notes += [f"check {verdict}"] if verdict else []
    for name in names:
        with using("triton" if bench.dry else "auto"):
            _attempt(name, functools.partial(SECTIONS[name], bench), bench.notes)
        if not bench.dry:
            torch.cuda.empty_cache()
        if out:  # after every section, so that a run that is cut short leaves its rows
            rows.write(bench.rows, out)
        if to:
            to.write_text(page.gpu(bench.rows, notes, bench.notes), encoding="utf-8")
    print(rows.table(bench.rows))
    print("\n".join(f"bench-gpu: {note}" for note in bench.notes))
    return 0 if all(note.startswith("check passed") for note in bench.notes) else 1


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line. Returns 0 if the check passed or was not asked for, and every section ran."""
    parser = argparse.ArgumentParser(prog="bench-gpu", description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--out", type=Path, help="CSV to write")
    parser.add_argument("--page", type=Path, help="Markdown page to write from the rows")
    parser.add_argument("--notes", type=Path, help="text to put under the page's targets")
    parser.add_argument("--check", action="store_true", help="first see that the backend is right on the device")
    parser.add_argument("--dry-run", action="store_true", help="the same path on the CPU, tiny, interpreted")
    parser.add_argument("--only", nargs="*", choices=SECTIONS, default=list(SECTIONS))
    options = parser.parse_args(arguments)
    if (
        options.dry_run and os.environ.get("TRITON_INTERPRET") != "1"
    ):  # Triton reads the variable when it is imported, so start again
        again = [sys.executable, "-m", "bevel_lab.bench.gpu", *(sys.argv[1:] if arguments is None else arguments)]
        return subprocess.run(again, env={**os.environ, "TRITON_INTERPRET": "1"}, check=False).returncode
    if not options.dry_run and not torch.cuda.is_available():
        print("bench-gpu: no CUDA device is available; --dry-run rehearses on the CPU", file=sys.stderr)
        return 2
    bench = Bench(torch.device("cpu" if options.dry_run else "cuda"), options.dry_run)
    notes = options.notes.read_text(encoding="utf-8") if options.notes else ""
    return measure(bench, options.only, checked=options.check, out=options.out, to=options.page, notes=notes)


if __name__ == "__main__":
    sys.exit(main())
