"""Writes docs/exported.csv, which ONNX operators each activation becomes, for the cards: python docs/exported.py"""

import csv
import warnings
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

import bevel

ROWS = Path(__file__).parent / "exported.csv"
CHANNELS = 4


class Each(nn.Module):
    """Every activation by itself: one export for all, with one output for each.

    Their parameters differ by channel and from what they start at, so that no operator is left out by luck.
    """

    def __init__(self, names: Iterable[str]) -> None:
        super().__init__()
        self.activations = nn.ModuleList(bevel.create(name, CHANNELS) for name in names)
        with torch.no_grad():
            for parameter in self.parameters():
                parameter.add_(torch.linspace(0.0, 0.2, CHANNELS))

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        return tuple(activation(x) for activation in self.activations)


def operators(program: Any) -> Iterator[str]:
    """Name the operators between the input and each output of an ONNX program, in alphabetical order: "Add Mul Mul"."""
    makers = {output.name: node for node in program.model.graph for output in node.outputs}
    for output in program.model.graph.outputs:
        reached: dict[int, str] = {}
        todo = [output.name]
        while todo:
            node = makers.get(todo.pop())
            if node is not None and id(node) not in reached:
                reached[id(node)] = node.op_type
                todo += [given.name for given in node.inputs if given is not None]
        yield " ".join(sorted(name for name in reached.values() if name != "Identity"))


def rows() -> dict[str, str]:
    """Read the committed operators by activation."""
    with ROWS.open(newline="", encoding="utf-8") as file:
        return {row["activation"]: row["onnx"] for row in csv.DictReader(file)}


def main() -> None:
    """Export all that bevel computes, and write the table."""
    names = [name for name in bevel.ACTIVATIONS if bevel.ACTIVATIONS[name].owned]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the exporter's own
        program = torch.onnx.export(Each(names).eval(), (torch.randn(3, CHANNELS, 5),), dynamo=True, verbose=False)
    assert program is not None
    program.optimize()
    with ROWS.open("w", newline="", encoding="utf-8") as file:
        made = csv.writer(file, lineterminator="\n")
        made.writerows([("activation", "onnx"), *zip(names, operators(program), strict=True)])


if __name__ == "__main__":
    main()
