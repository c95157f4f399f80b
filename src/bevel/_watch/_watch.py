"""Watch a model's activations while it runs: their inputs, dead channels, saturation, learnt slopes.

Everything is summed in counters of fixed size: 202 bins a site and a number or two a channel. No batch is kept.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from bevel._checks import check_integer
from bevel.errors import InvalidValue
from bevel.nn import Activation
from bevel.surgery._arguments import Where, activation_modules
from bevel.terms import Coefficient
from bevel.training import activation_kinds

if TYPE_CHECKING:
    from matplotlib.figure import Figure

FLAT = 0.01
"""An element is saturated where the slope's size is below this (0.01 itself, Leaky ReLU's, is not)."""

_EDGES = torch.sinh(torch.linspace(-9.0, 9.0, 201, dtype=torch.float64))  # steps of 0.09 at 0, of 9 % far out, to ±4052


@dataclass
class _Counts:
    """What one site has seen."""

    calls: int = 0
    elements: int = 0
    total: Tensor = field(default_factory=lambda: torch.zeros((), dtype=torch.float64))
    squares: Tensor = field(default_factory=lambda: torch.zeros((), dtype=torch.float64))
    bins: Tensor = field(default_factory=lambda: torch.zeros(len(_EDGES) + 1, dtype=torch.int64))
    saturated: Tensor = field(default_factory=lambda: torch.zeros((), dtype=torch.int64))
    edges: Tensor = field(default_factory=lambda: _EDGES)
    alive: Tensor | None = None  # per channel: whether any slope was not flat


def watch(model: nn.Module, *, every: int = 1, where: Where = None) -> Watch:
    """Start watching every activation module of a model; use as a context manager or call ``remove()``.

    Watch before ``torch.compile``, or watch an uncompiled copy: a hook's counters break the graph.

    Args:
        model: the model; activations are bevel's modules and every class in ``bevel.ACTIVATIONS`` but Identity.
        every: look at every so many-th call of each site, an integer >= 1; default 1.
        where: which activations: a name, glob patterns of names, or a function of a :class:`bevel.surgery.Site`;
            default all.

    Returns:
        The running :class:`Watch`.

    Raises:
        InvalidValue: if there is no activation module, ``where`` picks none, or ``every`` is no integer >= 1.

    Example:
        >>> import torch, bevel
        >>> model = torch.nn.Sequential(torch.nn.Linear(3, 4), bevel.FReLU(4))
        >>> with bevel.watch(model) as record:
        ...     _ = model(torch.randn(8, 3))
        >>> record.to_dict()["1"]["elements"]
        32
    """
    return Watch(model, every=every, where=where)


class Watch:
    """The running record that :func:`bevel.watch` returns.

    Attributes:
        sites: the watched activation modules by the name of their site.
    """

    def __init__(self, model: nn.Module, *, every: int = 1, where: Where = None) -> None:
        check_integer(every, "every", 1)
        self.sites: dict[str, nn.Module] = activation_modules(model, activation_kinds(), where)
        if not self.sites:
            raise InvalidValue(
                "there must be an activation module to watch; the model has none. Functional calls such as F.relu "
                "are seen after bevel.swap has replaced them."
            )
        self._every = every
        self._seen = dict.fromkeys(self.sites, 0)
        self._counts = {name: _Counts() for name in self.sites}
        self._handles = [m.register_forward_pre_hook(self._hook(name)) for name, m in self.sites.items()]

    def __enter__(self) -> Watch:
        return self

    def __exit__(self, *_: object) -> None:
        self.remove()

    def remove(self) -> None:
        """Remove the hooks; what was counted stays readable."""
        for handle in self._handles:
            handle.remove()
        self._handles = []

    def reset(self) -> None:
        """Set all counters to zero, e.g. at the start of an epoch."""
        self._counts = {name: _Counts() for name in self.sites}

    def _hook(self, name: str) -> Callable[[nn.Module, tuple[Any, ...]], None]:
        def look(module: nn.Module, args: tuple[Any, ...]) -> None:
            self._seen[name] += 1
            if (self._seen[name] - 1) % self._every == 0 and args and isinstance(args[0], Tensor):
                _count(self._counts[name], module, args[0].detach())

        return look

    def to_dict(self) -> dict[str, dict[str, Any]]:
        """Return plain numbers and lists per site, ready for JSON.

        ``calls`` and ``elements`` count; ``mean`` and ``std`` are those of the pre-activations; ``histogram`` has
        ``edges`` and ``counts`` (the first and last count what lies beyond the edges); ``saturated`` is the fraction
        of elements where the slope's size was below 0.01; ``dead`` is the fraction of channels where it always was,
        and ``dead_channels`` lists them; ``slopes`` are the present ones, see :func:`bevel.learnt`. Fractions are None
        before the first call.
        """
        return {name: _summary(self._counts[name]) | {"slopes": learnt(m)} for name, m in self.sites.items()}

    def layers(self) -> list[dict[str, Any]]:
        """Return one row per site and learnt quantity, with its mean, std, min and max over the channels."""
        rows: list[dict[str, Any]] = []
        for name, module in self.sites.items():
            for quantity, values in learnt(module).items():
                t = torch.tensor(values, dtype=torch.float64)
                rows.append(
                    {
                        "site": name,
                        "quantity": quantity,
                        "channels": t.numel(),
                        "mean": float(t.mean()),
                        "std": float(t.std(correction=0)),
                        "min": float(t.min()),
                        "max": float(t.max()),
                        "negative": float((t < 0).double().mean()),
                    }
                )
        return rows

    def figure(self) -> Figure:
        """Draw a row per site: histogram of pre-activations under the curve, and the slopes channel by channel.

        If several sites have slopes, a last row shows their mean and range over the channels, layer by layer. This
        needs matplotlib; ``figure.savefig("watch.png")`` saves it.
        """
        from bevel._watch._plots import figure

        return figure(self.sites, self.to_dict())

    def to_tensorboard(self, writer: Any, step: int) -> None:
        """Write everything to a ``torch.utils.tensorboard.SummaryWriter`` under ``activations/<site>/…``."""
        for name, site in self.to_dict().items():
            tag = f"activations/{name}"
            counts = self._counts[name]
            if counts.elements:
                for key in ("saturated", "dead", "mean", "std"):
                    writer.add_scalar(f"{tag}/{key}", site[key], step)
                writer.add_histogram_raw(
                    f"{tag}/pre-activations",
                    min=site["histogram"]["edges"][0],
                    max=site["histogram"]["edges"][-1],
                    num=counts.elements,
                    sum=float(counts.total),
                    sum_squares=float(counts.squares),
                    bucket_limits=[*site["histogram"]["edges"], torch.finfo(torch.float64).max],
                    bucket_counts=site["histogram"]["counts"],
                    global_step=step,
                )
            for quantity, values in site["slopes"].items():
                writer.add_histogram(f"{tag}/{quantity}", torch.tensor(values), step)


def learnt(module: nn.Module) -> dict[str, list[float]]:
    """Read what an activation has learnt, one value per channel (one where it is shared).

    Args:
        module: an activation module.

    Returns:
        For the engine's functions made of lines ``left`` and ``right`` (the slopes far from the knots), and the
        sharpness ``n`` where it is smooth; for others their parameters by name; for PReLU ``left``.

    Example:
        >>> import bevel
        >>> bevel.learnt(bevel.FReLU(2, negative=0.25))
        {'left': [0.25, 0.25], 'right': [1.0, 1.0]}
    """
    if isinstance(module, Activation) and not module.family.terms.curve:
        terms, n = module.coefficients()
        right: Coefficient = terms.left
        for jump in terms.jumps:
            right = right + jump
        found = {"left": _values(terms.left), "right": _values(right)}
        return found | ({"n": _values(n)} if module.family.kernel.reach > 0 else {})
    if isinstance(module, nn.PReLU):
        return {"left": _values(module.weight.detach())}
    return {name: _values(p.detach()) for name, p in module.named_parameters()}


def _values(c: Coefficient) -> list[float]:
    return [float(v) for v in c.flatten().tolist()] if isinstance(c, Tensor) else [c]


def _count(counts: _Counts, module: nn.Module, x: Tensor) -> None:
    """Count one input; counters live on x's device, so that nothing waits for an accelerator."""
    if counts.bins.device != x.device:
        for name in ("total", "squares", "bins", "saturated", "edges"):
            setattr(counts, name, getattr(counts, name).to(x.device))
    wide = x.double() if x.device.type != "mps" else x.float()
    counts.calls += 1
    counts.elements += x.numel()
    counts.total += wide.sum()
    counts.squares += (wide * wide).sum()
    place = torch.bucketize(wide, counts.edges.to(wide.dtype))
    counts.bins += torch.bincount(place.flatten(), minlength=len(counts.bins))
    flat = _slope(module, x).abs() < FLAT
    counts.saturated += flat.sum()
    axis = _axis(module, x)
    others = tuple(d for d in range(x.dim()) if d != axis)
    alive = ((~flat).any(others) if others else ~flat).reshape(-1)
    fits = counts.alive is not None and counts.alive.shape == alive.shape
    counts.alive = alive | counts.alive if fits and counts.alive is not None else alive


def _slope(module: nn.Module, x: Tensor) -> Tensor:
    """Compute the activation's derivative at x by a backward of its own."""
    with torch.enable_grad():
        point = x.detach().requires_grad_()
        y = module.forward(point.clone())  # a clone: it may work in place
        (slope,) = torch.autograd.grad(y.sum(), point)
    return slope


def _axis(module: nn.Module, x: Tensor) -> int | None:
    """The channel axis; without one of its own an activation's channels are axis 1, or the last of a flat input."""
    if x.dim() < 2:
        return x.dim() - 1 if x.dim() else None
    return int(getattr(module, "dim", 1)) % x.dim()


def _summary(counts: _Counts) -> dict[str, Any]:
    n = counts.elements
    mean = float(counts.total) / n if n else None
    dead = [] if counts.alive is None else (~counts.alive).nonzero().flatten().tolist()
    return {
        "calls": counts.calls,
        "elements": n,
        "mean": mean,
        "std": max(float(counts.squares) / n - mean * mean, 0.0) ** 0.5 if mean is not None else None,
        "histogram": {"edges": _EDGES.tolist(), "counts": counts.bins.tolist()},
        "saturated": int(counts.saturated) / n if n else None,
        "dead": len(dead) / counts.alive.numel() if counts.alive is not None and counts.alive.numel() else None,
        "dead_channels": dead,
    }
