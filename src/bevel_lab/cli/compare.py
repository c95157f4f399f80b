"""``bevel compare``: run an experiment that flags describe."""

from __future__ import annotations

from argparse import Namespace

from bevel_lab.cli._parser import Parser
from bevel_lab.cli._settings import add_flags
from bevel_lab.cli.run import execute


def parser() -> Parser:
    made = Parser(
        "compare",
        "Train every activation with the same recipe and paired seeds, and judge the differences to the reference. "
        "Stop it whenever you like: the same command goes on where it was. Run it again with more seeds, activations, "
        "models or data sets to add to what is there. For an experiment in a file, use `bevel run`.",
        "bevel compare --activations relu gelu sau:n=5 --seeds 10 --out runs/first\n"
        "bevel compare --activations relu,prelu,sau --dataset fashion_mnist --data-root data --model lenet\n"
        "bevel compare --activations relu frelu frelu@alternate=epoch --model mlp cnn",
        instead="it takes flags only, and `bevel run FILE.toml` takes a file.",
    )
    add_flags(made)
    return made


def main(arguments: Namespace) -> int:
    return execute({}, arguments)
