"""``bevel run``: an experiment that a file describes."""

from __future__ import annotations

from argparse import Namespace
from pathlib import Path

from bevel_lab.cli import _settings
from bevel_lab.cli._parser import Parser


def parser() -> Parser:
    made = Parser(
        "run",
        "Run the experiment of a TOML file: activations × models × data sets × seeds. Keys of the file are the flags "
        "below, with _ for -, and may be overridden by them. Stop it whenever you like; the same command goes on.",
        "bevel run experiments/evidence-fashion-lenet.toml --data-root data --dry-run\n"
        "bevel run experiments/evidence-fashion-lenet.toml --data-root data --out runs/lenet\n"
        "bevel run experiments/sau-cifar100.toml --ray auto --device cuda\n"
        "torchrun --nproc-per-node 2 -m bevel_lab run experiments/sau-imagenet.toml --device cuda",
    )
    made.add_argument("file", type=Path, metavar="FILE.toml", help="the experiment")
    made.add_argument("--dry-run", action="store_true", help="print the grid, and what it would cost, from a few steps")
    _settings.add(made)
    return made


def run(arguments: Namespace) -> int:
    from bevel_lab.cli import _dry_run, _execute

    options = _settings.options(arguments)
    options["out"] = options["out"] or f"runs/{arguments.file.stem}"
    return _dry_run.estimate(options) if arguments.dry_run else _execute.go(options)
