"""Make the new activation of a site so that it starts as the old function, where it can.

Nothing here knows SAU or FReLU: each constructor argument that means a slope is tried, and the module that results is
compared with the old function. So an activation that a user registers keeps functions as bevel's own do.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from bevel._bound import error_bound
from bevel.errors import BevelError, InvalidValue
from bevel.kinked import PiecewiseLinear
from bevel.nn import ACTIVATIONS, ActAndMul, Maxout
from bevel.nn._base import Activation, LearnableModule, check_rule
from bevel.spec import Factory, accepted_arguments, create, named_arguments, parse
from bevel.surgery._corners import JUMPING, kinked_text
from bevel.surgery._gates import gates
from bevel.surgery._probe import ROUNDING, Source, evaluate, grid, limits, same, slopes
from bevel.terms import as_numbers

_SENTINEL = 0.1236572265625
"""A slope that no activation starts from, exact in float32; it shows which parameter an argument fills."""


OUTSIDE: dict[str, Factory] = {"maxout": Maxout, "act_and_mul": ActAndMul}
"""What has a place of its own and is no row of ``ACTIVATIONS``: a swap refuses it with the reason."""

_NOT_RANDOM = "evaluation's function: training's random slopes are gone"

KEEPERS = ("gate", "mollified:n=50")
"""Specs that keep what others cannot: gates to rounding, kinked functions within a bound."""


class CannotKeep(Exception):
    """Says why one activation cannot take the place of another."""


@dataclass(frozen=True)
class Made:
    """A new activation.

    Attributes:
        module: the activation.
        arguments: the constructor arguments that it was made with, beside those of the spec.
        bound: the proven bound on its distance from the old function, None if that is not kept.
        remark: for the table.
    """

    module: nn.Module
    arguments: dict[str, Any]
    bound: float | None
    remark: str = ""


def set_rule(module: nn.Module, save: str) -> None:
    """Set what an activation keeps for backward, or check the rule for one that has no choice."""
    if isinstance(module, Activation):
        module.save = save
    else:
        check_rule(save, False, type(module).__name__)


class Maker:
    """Make activations of one kind.

    Args:
        to: spec string, class or function, as ``bevel.create`` takes it.
        preserve: whether to keep the old function.
        save: the rule of saving of what is made.
    """

    def __init__(self, to: str | Factory, preserve: bool, save: str = "auto") -> None:
        self.preserve, self.save = preserve, save
        to = OUTSIDE.get(to, to) if isinstance(to, str) else to
        self.factory, self.given = parse(to) if isinstance(to, str) else (to, {})
        probe = create(to)  # refuses what the constructor refuses, before anything is touched
        outside = getattr(probe, "not_elementwise", "")
        if outside:
            name = type(probe).__name__
            raise InvalidValue(f"a swap must put an elementwise activation in; {name} is none: {outside}.")
        set_rule(probe, save)
        self.to = next((n for n, e in ACTIVATIONS.items() if e.factory is to), to)  # a class of the catalog by name
        self.name = to if isinstance(to, str) else getattr(to, "__name__", type(probe).__name__)
        self.accepted = accepted_arguments(self.factory)
        free = "num_parameters" in self.accepted and "num_parameters" not in self.given
        #: whether it has a parameter per channel; only then an unknown axis stands in its way
        self.per_channel = free and next(probe.parameters(), None) is not None
        gated = isinstance(probe, Activation) and probe.family.terms.multiplies_cdf
        self.gated = gated and {"kernel", "n"} <= self.accepted.keys()
        #: by the values of a function, what keeps it or who can: most sites of a network have the same one
        self._known: dict[tuple[float, ...], tuple[dict[str, Any], float] | str] = {}

    def make(self, source: Source, channels: int | None, axis: int | None, rank: int) -> Made:
        """Make the activation for one site, on the CPU.

        Raises:
            CannotKeep: if it is to preserve and cannot.
        """
        remark = ""
        width: dict[str, Any] = {}
        if self.per_channel:
            second = axis is not None and axis % rank == 1
            if "dim" in self.accepted or second:
                width = {"num_parameters": channels, "dim": axis}
            else:
                remark = f"one shared coefficient: {self.name} has its channels on axis 1, here they are on {axis}"
        if not self.preserve:
            return self._made(width, None, remark)
        if source.name == "rrelu":
            remark = "; ".join(filter(None, (remark, _NOT_RANDOM)))
        if source.weight is not None:
            return self._like_prelu(source.weight, width, remark)
        guess, bound = self._guess(source)
        return self._made(width | guess, bound, remark)

    def _made(self, arguments: dict[str, Any], bound: float | None, remark: str) -> Made:
        accepted = {k: v for k, v in arguments.items() if k in self.accepted and k not in self.given}
        return Made(self._build(arguments), accepted, bound, remark)

    def _build(self, arguments: dict[str, Any]) -> nn.Module:
        return built(self.factory, {k: v for k, v in arguments.items() if k in self.accepted} | self.given)

    def _guess(self, source: Source) -> tuple[dict[str, Any], float]:
        """Find constructor arguments that keep the function, and the bound."""
        values = None if source.function is None else evaluate(source.function)
        if values is None:
            raise CannotKeep(f"{source.name} cannot be evaluated apart from the model")
        key = tuple(values.flatten().tolist())
        found = self._known.get(key)
        if found is None:
            text = kinked_text(values, source.function)
            found = self.fit(values, text) or _who_can(values, text, self.name)
            if text is None or not text.startswith(JUMPING):
                self._known[key] = found
        if not isinstance(found, str):
            return found
        given = ", ".join(f"{k}={v}" for k, v in self.given.items())
        raise CannotKeep(f"{self.name} cannot equal {source.name}{f' with {given}' if given else ''}{found}")

    def fit(self, values: Tensor, text: str | None) -> tuple[dict[str, Any], float] | None:
        """Find arguments with which the activation has these values on the grid, and the bound; else None.

        Args:
            values: of a function on the grid.
            text: its name among the kinked functions, if it is one.
        """
        for guess in self._guesses(values, text):
            try:
                module = self._build(guess).double().eval()
            except BevelError:
                continue
            bound = deviation(module, values)
            if bound is not None:
                return guess, bound
        return None

    def _guesses(self, values: Tensor, text: str | None) -> Iterator[dict[str, Any]]:
        if self.gated:
            yield from gates(values, self.given.get("kernel"), self.given.get("n"))
            return
        lines = slopes(values)
        if lines is not None:
            left, right = lines
            for both in (
                {"alpha": left},
                {"positive": right, "negative": left},
                {"negative_slope": left},
                {"init": left},
            ):
                if both.keys() <= self.accepted.keys():
                    yield both
        if text is not None and "f" in self.accepted:
            yield {"f": text}
        levels = limits(values)
        if levels is not None and {"min_val", "max_val"} <= self.accepted.keys():
            yield {"min_val": levels[0], "max_val": levels[1]}
        yield {}

    def _like_prelu(self, weight: Tensor, width: dict[str, Any], remark: str) -> Made:
        """Make an activation with the learnt slopes of a PReLU; its arguments, which are shown, have their mean."""
        probe = self._with_slope(_SENTINEL, weight, width)
        kept, changes = (
            [n for n, p in self._build(probe).named_parameters() if bool((p == v).all())]
            for v in (_SENTINEL, 1 - _SENTINEL)
        )
        if len(kept) != 1:
            raise CannotKeep(f"{self.name} has no parameter for the slopes that prelu learnt")
        mean = float(f"{float(as_numbers(weight).mean()):.4g}")
        try:
            arguments = self._with_slope(mean, weight, width)
        except CannotKeep:  # a constructor that refuses this slope
            arguments = probe
        made = self._made(arguments, None, remark)
        with torch.no_grad():
            for name, value in ((kept[0], weight.detach()), *((n, 1 - weight.detach()) for n in changes)):
                parameter = made.module.get_parameter(name)
                parameter.copy_(value.to(parameter.dtype).expand_as(parameter))
        bound = proven(made.module) if isinstance(made.module, Activation) else ROUNDING
        return replace(made, bound=bound)

    def _with_slope(self, slope: float, weight: Tensor, width: dict[str, Any]) -> dict[str, Any]:
        """Find the arguments of an activation that is a Leaky ReLU of this slope, and can learn a PReLU's slopes."""
        guess, _ = self._guess(Source("prelu", lambda x: torch.where(x > 0, x, slope * x)))
        if "learn_slopes" in self.accepted:
            guess = guess | {"learn_slopes": True}
        if "f" in guess and "learn" in self.accepted:  # a kinked function by name, whose numbers can be learnt
            guess = guess | {"learn": "left+jumps"}
            width = width or {"num_parameters": weight.numel(), "dim": 1}  # torch's PReLU has its channels there
        if weight.numel() > 1 and width.get("num_parameters", 1) == 1:
            raise CannotKeep(f"{weight.numel()} learnt slopes do not fit into one shared coefficient")
        return width | guess


def _who_can(values: Tensor, text: str | None, name: str) -> str:
    """Say which spec keeps a function that ``name`` cannot; "" if none is known."""
    for spec in KEEPERS:
        found = None if spec == name else Maker(spec, True).fit(values, text)
        if found is not None:
            return f"; {spec!r} can{f', within {found[1]:.1e}' if found[1] > ROUNDING else ''}"
    return ""


def built(factory: Factory, arguments: dict[str, Any]) -> nn.Module:
    """Make an activation with float32 parameters, whatever the default dtype: slopes are compared to its digits."""
    dtype = {"dtype": torch.float32} if "dtype" in named_arguments(factory) else {}
    module = factory(**arguments, **dtype)
    if not isinstance(module, nn.Module):
        raise InvalidValue(f"an activation factory must return a torch.nn.Module; got {type(module).__name__}.")
    return module


def deviation(module: nn.Module, values: Tensor) -> float | None:
    """Bound the distance of a float64 module from the function with these values; None if it is another function."""
    if isinstance(module, Activation):
        terms, _ = module.coefficients()
        kinked = PiecewiseLinear.of(terms)
        with torch.no_grad():
            if same(kinked(grid()), values):
                return proven(module)
    found = evaluate(module.forward)
    return ROUNDING if found is not None and same(found, values) else None


def proven(module: Activation) -> float:
    """Bound ``|f * phi_n − f|`` for the module's own coefficients, over all x and channels."""
    terms, n = module.coefficients()
    bound = error_bound(terms, module.family.kernel, n)
    return math.inf if bound is None else bound


def placed(module: nn.Module, like_device: torch.device, like_dtype: torch.dtype) -> nn.Module:
    """Move a module to a site's device and dtype; bevel's keep float32 parameters unless the site has float64."""
    keep = isinstance(module, LearnableModule) and like_dtype != torch.float64
    return module.to(device=like_device, dtype=None if keep else like_dtype)
