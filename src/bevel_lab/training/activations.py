"""The activations of a model: made for every call site, and described before and after training."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

import bevel
from bevel.errors import InvalidValue
from bevel.surgery._route import WriteBack
from bevel_lab.experiment.record import Site
from bevel_lab.models import _pretrained

GRID = torch.arange(-30, 31) / 7.5
"""Points at which curves are sampled: the range of a normalized input, the kink at 0 included."""


class CallSite(NamedTuple):
    """A place where a model calls its activation: the module, and the number and axis of the input's channels."""

    module: nn.Module
    channels: int
    dim: int


@dataclass
class ActivationFactory:
    """Makes the trial's activation for every call site of a model, and remembers what it made.

    Args:
        spec: spec string, as ``bevel.create`` reads it.
        weights: file of pretrained weights for the network, or "".

    Example:
        >>> factory = ActivationFactory("frelu")
        >>> model = nn.Sequential(nn.Conv2d(1, 4, 3), factory(4))
        >>> list(factory.sites(model)), parameter_values(model[1])["negative"]
        (['1'], [0.01, 0.01, 0.01, 0.01])

    Attributes:
        loaded: a sentence on what was loaded from ``weights``; "" before.
        digest: the first sixteen hex digits of the SHA-256 of that file; "" before.
        calls: the call sites, in the order of the calls.
    """

    spec: str
    weights: str = ""
    loaded: str = ""
    digest: str = ""
    calls: list[CallSite] = field(default_factory=list)

    def __call__(self, channels: int, dim: int = 1) -> nn.Module:
        module = bevel.create(self.spec, num_parameters=channels, dim=dim)
        self.calls.append(CallSite(module, channels, getattr(module, "dim", dim)))
        return module

    def swap(self, model: nn.Module, *example: Any) -> nn.Module:
        """Replace, in place, the activation at every call site where a finished model has a unit of its own.

        Gates (the sigmoid of squeeze and excitation, attention's softmax) stay. Pretrained weights, if any, are loaded
        first, and the network's function is preserved wherever the activation can represent it.

        Args:
            model: a network as its library builds it.
            *example: inputs of the model; only shapes and devices matter.

        Returns:
            The model.

        Raises:
            InvalidValue: if the model has no unit, or one that the activation cannot replace.
        """
        self.load(model)
        for site, module in self._swapped(model, *example):
            if module is not None:
                inner = module.activation if isinstance(module, WriteBack) else module
                self.calls.append(CallSite(inner, site.channels or 1, 1 if site.axis is None else site.axis))
            elif site.unit:
                raise InvalidValue(
                    f"{self.spec!r} cannot take the place of {site.old} at {site.name!r}: {site.reason}."
                )
        return model

    def _swapped(self, model: nn.Module, *example: Any) -> list[tuple[bevel.surgery.Site, nn.Module | None]]:
        """Every site with its new module, or None; functions of pretrained units are preserved where possible."""
        kept = self._preserving_swap(model, *example) if self.weights else None
        made = dict(kept.activations) if kept else {}
        sites = kept.sites if kept else None
        if sites is None or any(site.unit and not site.new for site in sites):
            rest = bevel.swap(
                model, self.spec, *example, preserve=False, where=lambda site: site.name not in made, empty_ok=True
            )
            if self.weights:
                lost = [f"{site.name} ({site.function})" for site in rest.sites.swapped]
                self.loaded += (
                    f"; {self.spec} cannot keep the function of {len(lost)} of {len(lost) + len(made)} units: "
                    f"{', '.join(lost[:4])}{' …' if len(lost) > 4 else ''}"
                )
            made |= rest.activations
            sites = sites or rest.sites
        return [(site, made.get(site.name)) for site in sites]

    def _preserving_swap(self, model: nn.Module, *example: Any) -> bevel.surgery.Result | None:
        """Function-preserving swap; sites that the activation cannot represent are skipped. None if it can do none."""
        name = self.spec.partition(":")[0]
        # parameters that the user did not set follow the replaced unit: frelu then starts as relu, not with slope 0.01
        spec = name if bevel.canonical(name) == self.spec else self.spec
        try:
            return bevel.swap(model, spec, *example)
        except InvalidValue:
            return None

    def load(self, model: nn.Module) -> None:
        """Load the pretrained weights, if any, into ``model``; later calls do nothing."""
        if self.weights and not self.loaded:
            self.loaded, self.digest = _pretrained.load(model, Path(self.weights))

    def sites(self, model: nn.Module) -> dict[str, CallSite]:
        """The call sites by qualified module name, in their order.

        Raises:
            InvalidValue: if the model asked for no activation, or did not register every one as its submodule.
        """
        names = {id(m): name for name, m in model.named_modules()}
        if not self.calls or any(id(call.module) not in names for call in self.calls):
            raise InvalidValue("a model must ask for one activation per call site and register each as its submodule.")
        return {names[id(call.module)]: call for call in self.calls}


class Description(NamedTuple):
    """An activation at one moment.

    Attributes:
        parameters: by name, as of :func:`parameter_values`.
        mean, low, high: mean, lowest and highest channel at every point of ``GRID``.
    """

    parameters: dict[str, list[float]]
    mean: list[float]
    low: list[float]
    high: list[float]


def describe(call: CallSite) -> Description:
    """The activation's parameters and curves, in eval mode and without gradient.

    Raises:
        InvalidValue: if the module cannot take inputs with that many channels.
    """
    module, channels, dim = call
    like = next(module.parameters(), GRID)  # torch's own modules take no input of another type than their parameters'
    before, after = (1,) * (dim - 1), (1,) * (-dim - 1)  # axes of length 1 put the channels on axis ``dim``
    x = GRID.to(like)[:, None].expand(-1, channels).reshape(-1, *before, channels, *after)
    was = module.training
    module.eval()
    try:
        with torch.no_grad():
            y = module(x).reshape(len(GRID), channels).double().cpu()
    except RuntimeError as error:  # torch's own modules check their channels only when they are called
        raise InvalidValue(f"the activation cannot serve a site of {channels} channels: {error}") from error
    module.train(was)
    return Description(parameter_values(module), *(_rounded(values) for values in (y.mean(1), y.amin(1), y.amax(1))))


def summarize(sites: dict[str, CallSite], before: dict[str, Description]) -> list[Site]:
    """The record of every call site, given its description ``before`` training."""
    return [
        Site(
            name=name,
            channels=max((len(values) for values in after.parameters.values()), default=1),
            before=before[name].parameters,
            after=after.parameters,
            x=_rounded(GRID),
            curve_before=before[name].mean,
            curve_after=after.mean,
            curve_low=after.low,
            curve_high=after.high,
        )
        for name, after in ((name, describe(call)) for name, call in sites.items())
    ]


def parameter_values(module: nn.Module) -> dict[str, list[float]]:
    """A module's parameters by name, one number per channel; the exponential of what is stored as a logarithm."""
    found = {}
    for name, parameter in module.named_parameters():
        head, _, last = name.rpartition(".")
        values = parameter.detach().double().cpu().flatten()
        if last.startswith("log_"):
            last, values = last.removeprefix("log_"), values.exp()
        found[f"{head}.{last}" if head else last] = _rounded(values)
    return found


def _rounded(values: Tensor) -> list[float]:
    """Six significant digits: enough for any plot, and a third of the bytes."""
    return [float(f"{v:.6g}") for v in values.tolist()]
