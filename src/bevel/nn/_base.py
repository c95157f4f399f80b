"""What every activation module shares: parameters, channel axis, and one forward."""

from __future__ import annotations

import abc
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from bevel._checks import check_integer
from bevel._torch_private import forward_mode_active
from bevel.errors import InvalidValue
from bevel.family import Family, Slot, parameter
from bevel.ops import check_dtype, evaluate, needs_composed
from bevel.terms import Coefficient, Terms, as_number, as_one_sharpness


@dataclass(frozen=True, kw_only=True)
class Entry:
    """A row of ``bevel.ACTIVATIONS``.

    Attributes:
        factory: class or function that makes the module; takes ``num_parameters`` and ``dim`` where they matter.
        formula: the function as plain text.
        summary: one line: what it is.
        citations: sources to name when it is used.
        owned: whether bevel computes it (False: torch's own module).
    """

    factory: Callable[..., nn.Module]
    formula: str
    summary: str
    citations: tuple[str, ...] = ()
    owned: bool = True


class LearnableModule(nn.Module):
    """Parameters of an activation: 1-D, float32, one value or one per channel along ``dim``.

    1-D because 0-d tensors break sharding and because weight-decay rules leave 1-D parameters alone.
    """

    def __init__(self, num_parameters: int, dim: int) -> None:
        super().__init__()
        self.num_parameters = check_integer(num_parameters, "num_parameters", 1, "Give 1, or the channel count.")
        self.dim = check_integer(dim, "dim", hint="It is the channel axis.")
        self.given: dict[str, object] = {}  # further arguments of the constructor, for the repr

    def learnable(self, value: float, name: str = "a parameter's initial value") -> nn.Parameter:
        """A parameter of this module's length, filled with ``value``; ``name`` is for the message of a bad one."""
        return nn.Parameter(torch.full((self.num_parameters,), as_number(value, name), dtype=torch.float32))

    def extra_repr(self) -> str:
        given = {"num_parameters": self.num_parameters, **self.given, "dim": self.dim}
        return ", ".join(f"{k}={v:g}" if isinstance(v, float) else f"{k}={v!r}" for k, v in given.items())


class Activation(LearnableModule):
    """An activation of the engine's family; subclasses set :attr:`family`, the forward is written here.

    Attributes:
        family: the function, its coefficients as expressions of the parameters.
        arguments: names of the module's parameters, in the order in which ``family`` counts them.
    """

    family: Family
    arguments: tuple[str, ...] = ()

    def values(self) -> list[Tensor]:
        """The parameters, in the family's order."""
        return [getattr(self, name) for name in self.arguments]

    def coefficients(self) -> tuple[Terms[Coefficient], Coefficient]:
        """The engine's terms and the sharpness n at the present parameters, in float64 and without gradients."""
        return self.family.coefficients([p.detach().double() for p in self.values()])

    def forward(self, x: Tensor) -> Tensor:
        return evaluate(x, self.family, self.values(), self.dim)


class ParameterBuilder:
    """Builds a module's parameters and the expressions of a family over them, in one order."""

    def __init__(self, module: Activation) -> None:
        self._module = module

    def add(self, name: str, value: float, learn: bool = True) -> Slot:
        """A coefficient: a new parameter called ``name``, or just the number."""
        if not learn:
            return as_number(value, name)
        setattr(self._module, name, self._module.learnable(value, name))
        self._module.arguments = (*self._module.arguments, name)
        return parameter(len(self._module.arguments) - 1)

    def add_sharpness(self, n: float, learn: bool) -> Slot:
        """The sharpness: a new parameter ``log_n`` (give the family ``log_n=True``), or just the number."""
        n = as_one_sharpness(n)
        return self.add("log_n", math.log(n)) if learn else n


class FormulaActivation(LearnableModule):
    """An activation outside the engine's family: subclasses give its formula as torch operations.

    Only the input is kept for backward; the formula is evaluated again there. Half precisions are computed in float32.
    At ±inf they give what the formula gives, which may be NaN (as torch's SiLU does); the engine's family gives limits.
    """

    arguments: ClassVar[tuple[str, ...]] = ()  # names of its parameters, in the order formula() takes them

    @staticmethod
    @abc.abstractmethod
    def formula(x: Tensor, *parameters: Tensor) -> Tensor:
        """The function of x and of its parameters, which broadcast against x."""

    def forward(self, x: Tensor) -> Tensor:
        check_dtype(x)
        shape = [1] * x.dim()
        if self.num_parameters > 1:
            if not -x.dim() <= self.dim < x.dim() or x.shape[self.dim] != self.num_parameters:
                raise InvalidValue(
                    f"x must have {self.num_parameters} channels along dim={self.dim}; got shape {tuple(x.shape)}."
                )
            shape[self.dim] = self.num_parameters
        parameters = [getattr(self, name) for name in self.arguments]
        if needs_composed() or forward_mode_active():  # dual numbers: plain operations carry them
            return _formula(self.formula, shape, x, parameters)
        result: Tensor = _Recompute.apply(self.formula, shape, x, *parameters)
        return result


def _formula(formula: Callable[..., Tensor], shape: list[int], x: Tensor, parameters: Sequence[Tensor]) -> Tensor:
    inner = x if x.dtype == torch.float64 else x.to(torch.float32)
    return formula(inner, *(p.to(inner.dtype).reshape(shape) for p in parameters)).to(x.dtype)


class _Recompute(torch.autograd.Function):
    """Keep x and the parameters, evaluate again in backward: one saved tensor for any formula."""

    @staticmethod
    def forward(ctx: Any, formula: Callable[..., Tensor], shape: list[int], x: Tensor, *parameters: Tensor) -> Tensor:
        ctx.formula, ctx.shape = formula, shape
        ctx.save_for_backward(x, *parameters)
        return _formula(formula, shape, x, parameters)

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> tuple[Tensor | None, ...]:
        again = torch.is_grad_enabled()  # create_graph: differentiate through to the saved inputs themselves
        with torch.enable_grad():
            saved = ctx.saved_tensors
            inputs = list(saved) if again else [t.detach().requires_grad_(t.requires_grad) for t in saved]
            y = _formula(ctx.formula, ctx.shape, inputs[0], inputs[1:])
        wanted = [i for i, t in enumerate(inputs) if t.requires_grad]
        found = torch.autograd.grad(y, [inputs[i] for i in wanted], g, create_graph=again)
        grads: list[Tensor | None] = [None] * len(inputs)
        for i, d in zip(wanted, found, strict=True):
            grads[i] = d
        if 0 in wanted and not again and found[0].stride() != inputs[0].stride():  # channels_last can get lost
            grads[0] = torch.empty_like(inputs[0]).copy_(found[0])
        return (None, None, *grads)
