"""Plots of ``bevel.watch``; the only place that needs matplotlib."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from matplotlib.figure import Figure
from torch import nn


def figure(sites: Mapping[str, nn.Module], record: Mapping[str, Mapping[str, Any]]) -> Figure:
    """A row per site: pre-activations with the curve over them, and learnt numbers channel by channel."""
    whole = Figure(figsize=(10, 2.2 * len(sites)), layout="constrained")
    axes = whole.subplots(len(sites), 2, squeeze=False)
    for (left, right), (name, module) in zip(axes, sites.items(), strict=True):
        _histogram(left, name, module, record[name])
        _slopes(right, record[name]["slopes"])
    return whole


def _histogram(axes: Any, name: str, module: nn.Module, site: Mapping[str, Any]) -> None:
    edges = torch.tensor(site["histogram"]["edges"])
    counts = torch.tensor(site["histogram"]["counts"][1:-1], dtype=torch.float64)
    density = counts / (counts.sum().clamp(min=1) * edges.diff())
    axes.stairs(density.tolist(), edges.tolist(), fill=True, color="0.8")
    axes.set_yticks([])
    seen = (counts > 0).nonzero().flatten().tolist()
    low, high = (float(edges[seen[0]]), float(edges[seen[-1] + 1])) if seen else (-3.0, 3.0)
    axes.set_xlim(low, high)
    title = name or type(module).__name__
    if site["elements"]:
        title += f": {100 * site['saturated']:.1f} % saturated, {100 * site['dead']:.1f} % of channels dead"
    axes.set_title(title, fontsize=8)
    if getattr(module, "num_parameters", 1) == 1:  # one curve; many channels have many, and no one looks at all
        x = torch.linspace(low, high, 300)
        parameter = next(module.parameters(), x)
        with torch.no_grad():
            y = module.forward(x.to(parameter.device, parameter.dtype).clone()).cpu().float()
        axes.twinx().plot(x.tolist(), y.tolist(), color="C0", linewidth=1)


def _slopes(axes: Any, slopes: Mapping[str, list[float]]) -> None:
    for quantity, values in slopes.items():
        axes.plot(range(len(values)), values, marker=".", linewidth=0.5, label=quantity)
    axes.set_xlabel("channel", fontsize=7)
    if slopes:
        axes.legend(fontsize=7)
