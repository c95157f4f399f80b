"""``bevel run``: an experiment that a file describes."""

from __future__ import annotations

from argparse import Namespace
from pathlib import Path

from bevel_lab.cli._parser import Parser
from bevel_lab.cli._settings import add_flags, given


def parser() -> Parser:
    made = Parser(
        "run",
        "Run the experiment of a TOML file: activations × models × data sets × seeds. Keys of the file are the flags "
        "below, with _ for -, and may be overridden by them. Stop it whenever you like; the same command goes on. "
        "Without a file, use `bevel compare`.",
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
    from bevel_lab.cli._execute import execute

    return execute(arguments.file, given(arguments), arguments.dry_run)
