"""``make bench-gpu``: what bevel's activations cost on a GPU, checked and measured in one command.

It needs torch and Triton and nothing else of the lab. A section that fails leaves a line on the page and the rows that
it has; the next ones run. ``--dry-run`` takes the same path on the CPU, through Triton's interpreter, on tiny tensors:
its times mean nothing.
"""

from __future__ import annotations

import argparse
import functools
import importlib.metadata
import os
import platform
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import torch

import bevel
from bevel_lab.bench.gpu import check
from bevel_lab.bench.gpu import page as gpu_page
from bevel_lab.bench.gpu.sections import SECTIONS
from bevel_lab.bench.gpu.timing import Bench


def about(bench: Bench) -> dict[str, str]:
    """GPU, driver and versions."""
    found = {"python": platform.python_version(), "torch": torch.__version__, "bevel": bevel.__version__}
    found["triton"] = importlib.metadata.version("triton")
    if bench.dry:
        return {"gpu": "none (rehearsal)", "driver": "none", **found}
    query = ["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"]
    try:
        done = subprocess.run(query, capture_output=True, text=True, check=False)
        driver = done.stdout.strip().splitlines()
    except OSError:
        driver = []
    return {"gpu": torch.cuda.get_device_name(bench.device), "driver": driver[0] if driver else "unknown", **found}


def _attempt(what: str, call: Callable[[], object], notes: list[str]) -> str:
    """What ``call`` returns, or the reason that it stopped, which goes on the page."""
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


def run(bench: Bench, names: Sequence[str], checked: bool, out: Path | None, page: Path | None) -> int:
    """Check if asked to, run the named sections, and write what there is after each.

    Returns:
        0, or 1 when the check did not pass or a section stopped.
    """
    sink = gpu_page.Sink(about(bench))
    if checked:
        verdict = _attempt("check", lambda: check.check(bench.device, bench.dry), sink.notes)
        sink.notes += [f"check {verdict}"] if verdict else []
    for name in names:
        with bevel.ops.using("triton" if bench.dry else "auto"):
            _attempt(name, functools.partial(SECTIONS[name], bench, sink), sink.notes)
        if not bench.dry:
            torch.cuda.empty_cache()
        if out:  # after every section: a run that is cut short leaves what it has
            sink.write(out)
        if page:
            page.write_text(gpu_page.page(sink.rows, sink.notes), encoding="utf-8")
    print(gpu_page.table(sink.rows))
    print("\n".join(f"bench-gpu: {note}" for note in sink.notes))
    return 0 if all(note.startswith("check passed") for note in sink.notes) else 1


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line; 0 when the check passed, if asked for, and every section ran."""
    parser = argparse.ArgumentParser(prog="bench-gpu", description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--out", type=Path, help="CSV to write")
    parser.add_argument("--page", type=Path, help="Markdown page to write from the rows")
    parser.add_argument("--check", action="store_true", help="first see that the backend is right on the device")
    parser.add_argument("--dry-run", action="store_true", help="the same path on the CPU, tiny, interpreted")
    parser.add_argument("--only", nargs="*", choices=SECTIONS, default=list(SECTIONS))
    options = parser.parse_args(arguments)
    if options.dry_run and os.environ.get("TRITON_INTERPRET") != "1":  # it counts when Triton is imported: start again
        again = [sys.executable, "-m", "bevel_lab.bench.gpu", *(sys.argv[1:] if arguments is None else arguments)]
        return subprocess.run(again, env={**os.environ, "TRITON_INTERPRET": "1"}, check=False).returncode
    if not options.dry_run and not torch.cuda.is_available():
        print("bench-gpu: no CUDA device is available; --dry-run rehearses on the CPU", file=sys.stderr)
        return 2
    bench = Bench(torch.device("cpu" if options.dry_run else "cuda"), options.dry_run)
    return run(bench, options.only, options.check, options.out, options.page)


if __name__ == "__main__":
    sys.exit(main())
