"""The activations of a model: made, found by name, and drawn before and after training."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

import bevel
from bevel.errors import InvalidValue
from bevel.surgery._route import WriteBack
from bevel_lab.experiment.record import Site
from bevel_lab.models import _pretrained

GRID = torch.arange(-30, 31) / 7.5
"""Where curves are sampled: the range a normalised input lives in, the kink at 0 included."""


@dataclass(frozen=True)
class CallSite:
    """One call site: the module, and the number and axis of the channels it was asked for."""

    module: nn.Module
    channels: int
    dim: int


@dataclass
class ActivationFactory:
    """Makes the trial's activation for every call site of a model, and keeps what it made.

    Attributes:
        spec: spec string, as ``bevel.create`` reads it.
        weights: a file of pretrained weights for the network, or "".
        loaded, digest: what came of them, once they are in the network; the beginning of the file's SHA-256.
        calls: what was made, in the order of the calls.
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
        """Put the trial's activation, in place, at every call site where a finished model has a unit of its own.

        Gates (the sigmoid of squeeze and excitation, attention's softmax) stay. Pretrained weights, if there are any,
        are loaded first, and the network's function is kept where the activation can.

        Args:
            model: a network as its library builds it.
            *example: what it takes; only shapes and devices matter.

        Returns:
            The model.

        Raises:
            InvalidValue: if it has no unit, or one that the activation cannot serve.
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
        """Every site, and what was put there; a pretrained unit's function is kept wherever that can be."""
        kept = self._kept(model, *example) if self.weights else None
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

    def _kept(self, model: nn.Module, *example: Any) -> bevel.surgery.Result | None:
        """A swap that keeps functions, and leaves alone whatever has one that the activation cannot keep."""
        name = self.spec.partition(":")[0]
        # what nobody set is set by what is replaced: frelu starts as relu, not with the slope 0.01
        spec = name if bevel.canonical(name) == self.spec else self.spec
        try:
            return bevel.swap(model, spec, *example)
        except InvalidValue:  # it can keep none
            return None

    def load(self, model: nn.Module) -> None:
        """Put the pretrained weights, if there are any, into ``model``, once."""
        if self.weights and not self.loaded:
            self.loaded, self.digest = _pretrained.load(model, Path(self.weights))

    def sites(self, model: nn.Module) -> dict[str, CallSite]:
        """The calls by qualified module name, in their order.

        Raises:
            InvalidValue: if the model did not put every activation it asked for into itself, or asked for none.
        """
        names = {id(m): name for name, m in model.named_modules()}
        if not self.calls or any(id(call.module) not in names for call in self.calls):
            raise InvalidValue("a model asks for one activation per call site and registers each as its submodule.")
        return {names[id(call.module)]: call for call in self.calls}


def parameter_values(module: nn.Module) -> dict[str, list[float]]:
    """A module's parameters by name, a number per channel; what is stored as a logarithm is given as itself."""
    found = {}
    for name, parameter in module.named_parameters():
        head, _, last = name.rpartition(".")
        values = parameter.detach().double().cpu().flatten()
        if last.startswith("log_"):
            last, values = last.removeprefix("log_"), values.exp()
        found[f"{head}.{last}" if head else last] = _rounded(values)
    return found


def curve(call: CallSite) -> tuple[list[float], list[float], list[float]]:
    """(mean, lowest, highest) over the channels at every point of ``GRID``, in eval mode, without gradient."""
    module, channels, dim = call.module, call.channels, call.dim
    device = next((p.device for p in module.parameters()), torch.device("cpu"))
    before, after = (1,) * (dim - 1), (1,) * (-dim - 1)  # axes of length one put the channels where they belong
    x = GRID.to(device)[:, None].expand(-1, channels).reshape(-1, *before, channels, *after)
    was = module.training
    module.eval()
    try:
        with torch.no_grad():
            y = module(x).reshape(len(GRID), channels).double().cpu()
    except RuntimeError as error:  # torch's own modules check their channels only when they are called
        raise InvalidValue(f"the activation cannot serve a site of {channels} channels: {error}") from error
    module.train(was)
    return _rounded(y.mean(1)), _rounded(y.amin(1)), _rounded(y.amax(1))


@dataclass(frozen=True)
class Snapshot:
    """Parameters and mean curve of every site at one moment."""

    parameters: dict[str, dict[str, list[float]]]
    curves: dict[str, list[float]]

    @classmethod
    def take(cls, sites: dict[str, CallSite]) -> Snapshot:
        return cls(
            {n: parameter_values(c.module) for n, c in sites.items()}, {n: curve(c)[0] for n, c in sites.items()}
        )


def summarize(sites: dict[str, CallSite], before: Snapshot) -> list[Site]:
    """The record's account of every site, given what it was ``before`` training."""
    result = []
    for name, call in sites.items():
        mean, low, high = curve(call)
        after = parameter_values(call.module)
        result.append(
            Site(
                name=name,
                channels=max((len(v) for v in after.values()), default=1),
                before=before.parameters[name],
                after=after,
                x=_rounded(GRID),
                curve_before=before.curves[name],
                curve_after=mean,
                curve_low=low,
                curve_high=high,
            )
        )
    return result


def _rounded(values: Tensor) -> list[float]:
    """Six significant digits: enough for any plot, and a third of the bytes."""
    return [float(f"{v:.6g}") for v in values.tolist()]
