"""``bevel compare``: the lab's main job, from flags."""

from __future__ import annotations

from argparse import Namespace
from pathlib import Path

from bevel_lab.cli import _settings
from bevel_lab.cli._parser import Parser


def parser() -> Parser:
    made = Parser(
        "compare",
        "Train every activation with the same recipe and paired seeds, and judge the differences to the reference. "
        "Stop it whenever you like: the same command goes on where it was. Run it again with more seeds, activations, "
        "models or data sets to add to what is there.",
        "bevel compare --activations relu gelu sau:n=5 --seeds 10 --out runs/first\n"
        "bevel compare --activations relu,prelu,sau --dataset fashion_mnist --data-root data --model lenet\n"
        "bevel compare --activations relu frelu frelu@alternate=epoch --model mlp cnn\n"
        "bevel compare experiment.toml --epochs 20      (keys of the file are the flags, with _ for -)",
    )
    made.add_argument("file", nargs="?", type=Path, metavar="FILE.toml", help="settings; flags win over the file")
    _settings.add(made)
    return made


def run(arguments: Namespace) -> int:
    from bevel_lab.cli import _execute

    return _execute.go(_settings.options(arguments))
