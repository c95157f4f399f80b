"""``bevel run``: run an experiment that a file describes."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from bevel_lab.cli._parser import Parser
from bevel_lab.cli._settings import add_flags, given


def parser() -> Parser:
    made = Parser(
        "run",
        "Run the experiment of a TOML file: activations × models × data sets × seeds. Keys of the file are the flags "
        "below but --dry-run and --quiet, with _ for -, and a table [tune]; flags override them. Stop it whenever you "
        "like; the same command goes on. Without a file, use `bevel compare`.",
        "bevel run experiments/evidence-fashion-lenet.toml --data-root data --dry-run\n"
        "bevel run experiments/evidence-fashion-lenet.toml --data-root data --out runs/lenet\n"
        "bevel run experiments/sau-cifar100.toml --ray auto --device cuda\n"
        "torchrun --nproc-per-node 2 -m bevel_lab run experiments/sau-imagenet.toml --device cuda",
        instead="it takes one file, and `bevel compare` takes flags only.",
    )
    made.add_argument("file", type=Path, metavar="FILE.toml", help="the experiment")
    add_flags(made)
    return made


def main(arguments: Namespace) -> int:
    return execute(arguments.file, arguments)


def execute(experiment: Path | Mapping[str, Any], arguments: Namespace) -> int:
    """Run or estimate an experiment, with the flags in ``arguments`` over its keys; return the exit code."""
    from bevel_lab.execution.progress import progress_display
    from bevel_lab.execution.run import run

    if arguments.dry_run:
        from bevel_lab.cli._dry_run import dry_run

        return dry_run(experiment, given(arguments))
    with progress_display(arguments.quiet) as watcher:
        results = run(experiment, on_progress=watcher, **given(arguments))
    if results.records:
        from bevel_lab.cli.report import print_report, say

        say(results.lacking)
        print_report(results)
    return 1 if results.failures else 0
