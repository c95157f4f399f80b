"""``bevel bench``: what the activations cost on this machine."""

from __future__ import annotations

import sys
from argparse import Namespace
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from bevel_lab.bench import QUICK, SECTIONS
from bevel_lab.cli._parser import Parser

if TYPE_CHECKING:
    from bevel_lab.bench.rows import Row


def parser() -> Parser:
    made = Parser(
        "bench",
        "Time forward and backward of bevel's activations, torch's own, the formulas as people write them (eager and "
        "compiled) and a plain copy, interleaved in one run; also every activation of the catalog, memory kept "
        "for backward, import time, training steps of whole networks, and inference in three runtimes with what is "
        "shipped. The full run takes half an hour on two cores. On a GPU the same calls, memory and "
        "networks, in ten minutes.",
        "bevel bench --quick\n"
        "bevel bench --device cuda --out gpu.csv --page gpu.md --notes docs/performance-gpu-notes.md\n"
        "bevel bench --out docs/performance.csv --page docs/performance.md\n"
        "bevel bench --only catalog network --out docs/performance.csv\n"
        "bevel bench --rows docs/performance.csv --page docs/performance.md",
    )
    made.add_argument("--device", choices=("cpu", "cuda"), default="cpu", help="where to measure; default cpu")
    made.add_argument("--quick", action="store_true", help="4 MB tensors on one thread only; about a minute")
    made.add_argument("--no-compile", action="store_true", help="skip what goes through torch.compile")
    made.add_argument(
        "--only",
        nargs="+",
        choices=SECTIONS,
        metavar="SECTION",
        help=f"measure these sections, of {', '.join(SECTIONS)}; the others' rows in --out's file stay",
    )
    made.add_argument("--out", type=Path, metavar="CSV", help="write the rows there")
    made.add_argument("--rows", type=Path, metavar="CSV", help="measure nothing; take the rows from there")
    made.add_argument("--page", type=Path, metavar="MD", help="write a page with targets, tables and a plot")
    made.add_argument("--notes", type=Path, metavar="MD", help="text to put under the page's targets")
    made.offers_quiet()
    return made


def main(arguments: Namespace) -> int:
    from bevel_lab.bench import page, rows

    notes = arguments.notes.read_text(encoding="utf-8") if arguments.notes else ""
    if arguments.device == "cuda" and not arguments.rows:
        return _on_a_gpu(arguments, notes)
    _check(arguments)
    if arguments.rows:
        found = rows.read(arguments.rows)
    else:
        old = _old(arguments)
        found = _measured(arguments, old)
        print(_table(found))
        if arguments.only:
            found = _beside(old, found)
    if arguments.out:
        rows.write(found, arguments.out)
        found = rows.read(arguments.out)  # rounded: the page is what the file gives, whoever writes it again
    if arguments.page and arguments.device == "cuda":
        arguments.page.write_text(page.gpu(found, notes), encoding="utf-8", errors="backslashreplace")
    elif arguments.page:
        page.write_cpu(found, arguments.page, notes)
    return 0


def _old(arguments: Namespace) -> list[Row]:
    """Read what stands in --out's file, before anything is measured: --only adds to it, and needs rows there."""
    from bevel.errors import InvalidValue
    from bevel_lab.bench import rows

    if arguments.out is None or not arguments.out.is_file():
        return []
    try:
        return rows.read(arguments.out)
    except InvalidValue:
        if arguments.only:
            raise
        return []  # the whole bench writes the file anew


def _measured(arguments: Namespace, old: Sequence[Row]) -> list[Row]:
    """Measure on a CPU; where that is broken off or fails, the sections that are whole are kept and named."""
    from bevel_lab.bench.cpu import measure

    only = [s for s in arguments.only or SECTIONS if s in QUICK or not arguments.quick]
    found: list[Row] = []
    try:
        for section in measure(arguments.quick, not arguments.no_compile, print if arguments.quiet else _say, only):
            found += section
    except BaseException as error:
        how = _kept(found, only, arguments.out, old)
        if isinstance(error, KeyboardInterrupt):
            raise KeyboardInterrupt(f"interrupted: {how}") from None
        _say(how)
        raise
    return found


def _kept(found: list[Row], only: Sequence[str], out: Path | None, old: Sequence[Row]) -> str:
    """Print and keep the rows of a bench that was broken off; say which there are."""
    from bevel_lab.bench import rows

    if not found:
        return "no section is measured whole."
    print(_table(found))
    if out:
        rows.write(_beside(old, found), out)
    whole = list(dict.fromkeys(row.section for row in found))
    where = f"stand in {out}" if out else "are printed; --out would keep them"
    left = ", ".join(section for section in only if section not in whole)
    return f"the rows of {', '.join(whole)} {where}; those of {left} are missing."


def _table(found: Sequence[Row]) -> str:
    from bevel_lab.bench import rows
    from bevel_lab.runtime.terminal import room

    return rows.fitting([row for row in found if row.what not in ("forward", "backward")], room())  # "both" is the sum


def _beside(old: Sequence[Row], found: list[Row]) -> list[Row]:
    """Put rows behind the old ones of other sections."""
    measured = {row.section for row in found}
    return [row for row in old if row.section not in measured] + found


def _check(arguments: Namespace) -> None:
    """Refuse flags that would be passed over, and parts of a section that would take the place of the whole."""
    from bevel.errors import InvalidValue

    only = arguments.only or ()
    flags = {"--quick": arguments.quick, "--no-compile": arguments.no_compile}
    narrowing = [flag for flag, given in flags.items() if given]
    if arguments.rows and (only or narrowing):
        raise InvalidValue(f"--rows measures nothing; leave {', '.join(['--only'] * bool(only) + narrowing)} out.")
    skipped = [section for section in only if arguments.quick and section not in QUICK]
    if skipped:
        raise InvalidValue(f"--quick measures {', '.join(QUICK)}; got --only {' '.join(skipped)}. Leave --quick out.")
    if only and narrowing and arguments.out and arguments.out.is_file():
        raise InvalidValue(
            f"{arguments.out} has whole sections, of which {' and '.join(narrowing)} would leave a part; leave that "
            "out, or choose another --out."
        )


def _say(line: str) -> None:
    print(line, file=sys.stderr)


def _on_a_gpu(arguments: Namespace, notes: str) -> int:
    import torch

    from bevel.errors import BackendUnavailable, InvalidValue

    for flag in ("quick", "no_compile", "only"):
        if getattr(arguments, flag):
            raise InvalidValue(f"--{flag.replace('_', '-')} is for the CPU's bench; leave it out with --device cuda.")
    if not torch.cuda.device_count():  # counts through NVML: this process must not start CUDA
        raise BackendUnavailable("--device cuda needs a CUDA device, and torch finds none here. Leave it out.")
    from bevel_lab.bench.gpu.parent import measure
    from bevel_lab.bench.gpu.sections import SECTIONS as GPU_SECTIONS

    return measure(list(GPU_SECTIONS), checked=False, out=arguments.out, to=arguments.page, notes=notes)
