"""Swapping inside ``torch.fx`` graphs, where a call is a node that can be sent to another submodule.

A ``GraphModule`` makes its forward from its graph again whenever it is copied or unpickled, so what a swap changes must
stand in the graph.
"""

from __future__ import annotations

import copy
from collections import Counter
from collections.abc import Iterable

import torch
from torch.fx import Graph, GraphModule
from torch.fx import Node as GraphNode

from bevel.errors import InvalidValue
from bevel.surgery._names import SPELLINGS


def rerouted(module: GraphModule, path: str, nodes: Iterable[tuple[str, int, str]]) -> Graph:
    """Copy a module's graph, with some of its calls sent to other submodules.

    Args:
        module: the graph's module.
        path: its qualified name in the model.
        nodes: the n-th call of a function, or of a module by its qualified name in the model, and its new target.
    """
    graph = copy.deepcopy(module.graph)
    targets = {(what, nth): target for what, nth, target in nodes}
    counts: Counter[str] = Counter()
    for node in graph.nodes:
        what = _called(node, path)
        target = targets.get((what, counts[what]))
        counts[what] += 1
        if target is not None:
            x = node.args[0] if node.args else node.kwargs["input"]
            node.op, node.target, node.args, node.kwargs = "call_module", target, (x,), {}
    missing = [f"{what} (call {nth})" for what, nth in targets if nth >= counts[what]]
    if missing:
        raise InvalidValue(
            f"the graph of {path or 'the model'} has no {missing[0]}: it is not the one that was swapped."
        )
    return graph


def _called(node: GraphNode, path: str) -> str:
    """The activation function that a node calls by name, or the module by its qualified name in the model."""
    if node.op == "call_module":
        return f"{path}.{node.target}" if path else str(node.target)
    called = getattr(torch.Tensor, str(node.target), None) if node.op == "call_method" else node.target
    return SPELLINGS[called].name if node.op.startswith("call") and called in SPELLINGS else ""
