"""``make bench-gpu``: check and measure bevel's activations on a GPU in one command.

The command needs torch and Triton only. A section that fails, dies or hangs leaves a line on the page and the rows that
it has made, and the next sections run. ``--dry-run`` takes the same path on the CPU, through Triton's interpreter and
on tiny tensors, with a section that raises, one that hangs and one that dies; its times mean nothing.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import torch

from bevel_lab.bench.gpu.parent import measure
from bevel_lab.bench.gpu.sections import FAULTS, SECTIONS


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line. Returns 0 if every check passed and every section ran, 1 if not, 2 without a GPU."""
    parser = argparse.ArgumentParser(prog="bench-gpu", description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--out-dir", type=Path, required=True, help="folder for performance-gpu.csv and .md")
    parser.add_argument("--deadline", type=float, default=575.0, help="seconds that all of it may take; default 575")
    parser.add_argument("--notes", type=Path, help="text to put under the page's targets")
    parser.add_argument("--no-check", action="store_true", help="measure only; do not check the backend")
    parser.add_argument("--dry-run", action="store_true", help="the same path on the CPU, tiny, interpreted")
    parser.add_argument("--only", nargs="*", choices=SECTIONS, default=list(SECTIONS))
    options = parser.parse_args(arguments)
    if not options.dry_run and not torch.cuda.device_count():  # counts through NVML, which does not start CUDA
        print("bench-gpu: no CUDA device is available; --dry-run rehearses on the CPU", file=sys.stderr)
        return 2
    names = [*options.only]
    if options.dry_run:
        names[-1:-1] = FAULTS  # before the last, which must run after them
    return measure(
        names,
        checked=not options.no_check,
        out=options.out_dir / "performance-gpu.csv",
        to=options.out_dir / "performance-gpu.md",
        notes=options.notes.read_text(encoding="utf-8") if options.notes else "",
        deadline=options.deadline,
        dry=options.dry_run,
    )


if __name__ == "__main__":
    sys.exit(main())
