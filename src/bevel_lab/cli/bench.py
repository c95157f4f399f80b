"""``bevel bench``: what the activations cost on this machine."""

from __future__ import annotations

import sys
from argparse import Namespace
from pathlib import Path
from typing import TYPE_CHECKING

from bevel_lab.cli._parser import Parser

if TYPE_CHECKING:
    from bevel_lab.bench.rows import Row


def parser() -> Parser:
    made = Parser(
        "bench",
        "Time forward and backward of bevel's activations, torch's own, the formulas as people write them (eager and "
        "compiled) and a plain copy, interleaved in one run; also memory kept for backward, a ResNet-18 training step "
        "and import time. The full run takes about fifteen minutes on two cores. On a GPU the same cases, in ten.",
        "bevel bench --quick\n"
        "bevel bench --device cuda --out docs/performance-gpu.csv --page docs/performance-gpu.md\n"
        "bevel bench --out docs/performance.csv --page docs/performance.md\n"
        "bevel bench --rows docs/performance.csv --page docs/performance.md",
    )
    made.add_argument("--device", choices=("cpu", "cuda"), default="cpu", help="where to measure; default cpu")
    made.add_argument("--quick", action="store_true", help="4 MB tensors on one thread only; about a minute")
    made.add_argument("--no-compile", action="store_true", help="leave torch.compile of the formulas out")
    made.add_argument("--out", type=Path, metavar="CSV", help="write the rows there")
    made.add_argument("--rows", type=Path, metavar="CSV", help="measure nothing; take the rows from there")
    made.add_argument("--page", type=Path, metavar="MD", help="write a page with targets, tables and a plot")
    made.add_argument("--notes", type=Path, metavar="MD", help="text to put under the page's targets")
    return made


def main(arguments: Namespace) -> int:
    if arguments.device == "cuda":
        return _on_a_gpu(arguments)
    from bevel_lab.bench import page, rows

    if arguments.rows:
        found = rows.read(arguments.rows)
    else:
        from bevel_lab.bench.cpu import run as measure

        found = measure(arguments.quick, not arguments.no_compile, lambda line: print(line, file=sys.stderr))
    if arguments.out:
        rows.write(found, arguments.out)
    if arguments.page:
        page.write(found, arguments.page, arguments.notes.read_text() if arguments.notes else "")
    if not arguments.rows:
        _print(found)
    return 0


def _on_a_gpu(arguments: Namespace) -> int:
    import torch

    from bevel.errors import BackendUnavailable, InvalidValue

    for flag in ("quick", "no_compile", "rows", "notes"):
        if getattr(arguments, flag):
            raise InvalidValue(f"--{flag.replace('_', '-')} is for the CPU's bench; leave it out with --device cuda.")
    if not torch.cuda.is_available():
        raise BackendUnavailable("--device cuda needs a CUDA device, and torch finds none here. Leave it out.")
    from bevel_lab.bench.gpu import __main__
    from bevel_lab.bench.gpu.sections import SECTIONS
    from bevel_lab.bench.gpu.timing import Bench

    bench = Bench(torch.device("cuda"), dry=False)
    return __main__.run(bench, list(SECTIONS), False, arguments.out, arguments.page)


def _print(found: list[Row]) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table(title="forward + backward, medians")
    for name in ("case", "elements", "dtype", "layout", "threads"):
        table.add_column(name)
    for name in ("ms", "× copy", "× relu", "× gelu"):
        table.add_column(name, justify="right")
    for row in found:
        if row.what in ("both", "step"):
            where = (row.case, f"{row.elements:,}", row.dtype, row.layout, str(row.threads))
            ratios = (f"{v:.2f}" if v else "" for v in (row.to_copy, row.to_relu, row.to_gelu))
            table.add_row(*where, f"{row.median * 1e3:.3f}", *ratios)
    Console().print(table)
