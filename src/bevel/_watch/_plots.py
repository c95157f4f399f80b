"""Plots of ``bevel.watch``; the only place that needs matplotlib."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from matplotlib.figure import Figure
from torch import nn


def figure(sites: Mapping[str, nn.Module], record: Mapping[str, Mapping[str, Any]]) -> Figure:
    """A row per site: pre-activations with the curve over them, and learnt numbers channel by channel.

    Below them, where there are several sites with slopes, these layer by layer.
    """
    layers = {name: site["slopes"] for name, site in record.items() if _drawn(site["slopes"])}
    extra = len(layers) > 1
    whole = Figure(figsize=(10, 2.2 * (len(sites) + extra)), layout="constrained")
    grid = whole.add_gridspec(len(sites) + extra, 2)
    for row, (name, module) in enumerate(sites.items()):
        _histogram(whole.add_subplot(grid[row, 0]), name, module, record[name])
        _channels(whole.add_subplot(grid[row, 1]), record[name]["slopes"])
    if extra:
        _layers(whole.add_subplot(grid[len(sites), :]), layers)
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


def _drawn(slopes: Mapping[str, list[float]]) -> dict[str, list[float]]:
    """What shares the slopes' axis: all but the sharpness, which is thousands of times larger."""
    return {quantity: values for quantity, values in slopes.items() if quantity != "n"}


def _channels(axes: Any, slopes: Mapping[str, list[float]]) -> None:
    if not slopes:
        axes.set_axis_off()
        return
    for quantity, values in _drawn(slopes).items():
        axes.plot(range(len(values)), values, marker=".", linewidth=0.5, label=quantity)
    axes.set_xlabel("channel", fontsize=7)
    axes.xaxis.get_major_locator().set_params(integer=True)
    if _drawn(slopes):
        axes.legend(fontsize=7)
    n = slopes.get("n", [])
    if len(set(n)) == 1:
        axes.set_title(f"n = {n[0]:.5g}", fontsize=8)
    elif n:
        sharpness = axes.twinx()
        sharpness.plot(range(len(n)), n, marker="+", linewidth=0.5, color="0.5")
        sharpness.set_yscale("log")
        sharpness.yaxis.set_major_formatter("{x:g}")
        sharpness.yaxis.set_minor_formatter("{x:g}")
        sharpness.set_ylabel("n", fontsize=7)


def _layers(axes: Any, layers: Mapping[str, Mapping[str, list[float]]]) -> None:
    """Mean and range over the channels of each quantity, site by site; side by side, since they may coincide."""
    quantities = list(dict.fromkeys(q for slopes in layers.values() for q in _drawn(slopes)))
    for i, quantity in enumerate(quantities):
        found = [(x, torch.tensor(s[quantity])) for x, s in enumerate(layers.values()) if quantity in s]
        places = [x + 0.12 * (i - (len(quantities) - 1) / 2) for x, _ in found]
        low, mean, high = ([float(f(v)) for _, v in found] for f in (torch.min, torch.mean, torch.max))
        axes.vlines(places, low, high, color=f"C{i}", linewidth=3, alpha=0.3)
        axes.plot(places, mean, marker="o", markersize=3, linewidth=0.5, color=f"C{i}", label=quantity)
    axes.set_xticks(range(len(layers)), list(layers), fontsize=6, rotation=30 if len(layers) > 6 else 0)
    axes.set_title("layer by layer: mean, and range over channels", fontsize=8)
    axes.legend(fontsize=7)
