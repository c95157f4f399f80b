"""What every activation module shares: parameters, a channel axis, and one forward."""

from __future__ import annotations

import abc
import contextlib
import math
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.fx import Proxy

from bevel._checks import check_integer
from bevel._entry import Device as Device
from bevel._entry import Entry as Entry
from bevel._torch_private import forward_mode_active, jit_paused, jit_tracing, own_parameter, plainly_eager
from bevel.errors import InvalidValue
from bevel.family import Family, Slot, parameter
from bevel.nn._module import Module
from bevel.nn._sharpness import FixedSharpness
from bevel.ops import check_dtype, evaluate, in_memory, may_keep_output, needs_composed, saved
from bevel.terms import Coefficient, Terms, as_number, as_one_sharpness


class LearnableModule(Module):
    """Base of every activation module of bevel: its parameters are 1-D, one value or one per channel along ``dim``.

    1-D because 0-d tensors break sharding and because weight-decay rules leave 1-D parameters alone.

    Args:
        num_parameters: 1 (shared) or the channel count.
        dim: channel axis of per-channel parameters. Default: 1.

    Raises:
        InvalidValue: if either is not an integer, or ``num_parameters`` is less than 1.

    Example:
        >>> import torch, bevel
        >>> class Scaled(bevel.nn.LearnableModule):
        ...     def __init__(self, num_parameters=1, *, device=None, dtype=None):
        ...         super().__init__(num_parameters)
        ...         self.learn("scale", 2.0, device=device, dtype=dtype)
        ...     def forward(self, input):
        ...         return self.scale * input
        >>> scaled = Scaled(device="meta").to_empty(device="cpu")
        >>> scaled.reset_parameters()
        >>> scaled.scale.tolist()
        [2.0]
    """

    def __init__(self, num_parameters: int, *, dim: int = 1) -> None:
        super().__init__()
        self.num_parameters = check_integer(num_parameters, "num_parameters", 1, "Give 1, or the channel count.")
        self.dim = check_integer(dim, "dim", hint="It is the channel axis.")
        self.given: dict[str, object] = {}  # further arguments of the constructor, for the repr
        self._initial: dict[str, float | Tensor] = {}  # by parameter name

    def learn(self, name: str, value: float, *, device: Device = None, dtype: torch.dtype | None = None) -> None:
        """Register a parameter of shape (num_parameters,).

        Args:
            name: its name in the module.
            value: what it starts from, a finite number.
            device, dtype: where it lives. Default: torch's default device and dtype.

        Raises:
            InvalidValue: if ``value`` is not a finite number.
        """
        self._initial[name] = value = as_number(value, name)
        start = torch.full((self.num_parameters,), value, device=device, dtype=dtype)
        self.register_parameter(name, nn.Parameter(start))

    @torch.no_grad()
    def reset_parameters(self) -> None:
        """Set every parameter to its initial value, e.g. after ``to_empty`` gave a module built on "meta" memory."""
        for name, value in self._initial.items():
            parameter: Tensor = getattr(self, name)
            if isinstance(value, Tensor):
                parameter.copy_(value)
            else:
                parameter.fill_(value)

    def extra_repr(self) -> str:
        given = {"num_parameters": self.num_parameters, **self.given, "dim": self.dim}
        return ", ".join(f"{k}={v:g}" if isinstance(v, float) else f"{k}={v!r}" for k, v in given.items())

    def as_node(self, input: Proxy) -> Any:
        """Record the module as one node of a ``torch.fx`` trace, as fx does with torch's own activations."""
        tracer: Any = input.tracer
        return tracer.create_proxy("call_module", tracer.path_of_module(self), (input,), {})


RULES = ("auto", "input", "output")
"""What an activation keeps for backward: see :class:`Activation`."""


def check_rule(rule: str, possible: bool, name: str) -> None:
    """Refuse what is no rule of :data:`RULES`, and ``output`` for a module ``name`` where it is not ``possible``."""
    if rule not in RULES:
        raise InvalidValue(f"save must be one of {', '.join(RULES)}; got {rule!r}.")
    if rule == "output" and not possible:
        raise InvalidValue(
            "save='output' must go with a function whose output can tell its input, as those of FReLU, SAU and "
            f"SmoothFReLU can; got {name}. Use 'auto'."
        )


class Activation(FixedSharpness, LearnableModule):
    """Base of the activations that the engine computes; subclasses set :attr:`family`, the forward is written here.

    Args:
        num_parameters, dim: as in :class:`LearnableModule`.

    Attributes:
        family: the function, its coefficients as expressions of the parameters.
        n: where n is fixed and the kernel smooths, a buffer that holds it: float64, shape (1,).
        arguments: names of the module's parameters, in the order in which ``family`` counts them.
        save: what a call keeps for backward. ``auto``, the default, keeps the output where it tells the input,
            as ReLU does: on the CPU FReLU, SAU and SmoothFReLU, as long as no slope is so small, nor the smooth ones so
            near to not monotone, that the input is lost; on a GPU and in compiled graphs those whose slopes are
            numbers. ``input`` keeps the input, so that the output may be changed in place; ``output`` is ``auto`` for
            functions that can keep it, and an error for others. On a GPU and in compiled graphs it keeps the output of
            learnt slopes too, and a channel whose slopes do not tell the input gets NaN gradients.

    Example:
        >>> import torch, bevel
        >>> f = bevel.SAU(alpha=0.25, n=5.0)
        >>> isinstance(f, bevel.nn.Activation), f.arguments
        (True, ('alpha',))
        >>> terms, n = f.coefficients()
        >>> terms.left.item(), n
        (0.25, 5.0)
    """

    _save = "auto"

    @property
    def save(self) -> str:
        return self._save

    @save.setter
    def save(self, rule: str) -> None:
        check_rule(rule, may_keep_output(self._family), type(self).__name__)
        self._save = rule

    def values(self) -> list[Tensor]:
        """Return the parameters in the family's order."""
        return [own_parameter(self, name) for name in self.arguments]

    def extra_repr(self) -> str:
        sharpness = self.present_sharpness() if "n" in self.given else None
        if sharpness is None:
            return super().extra_repr()
        return re.sub(r"\bn=[^,]*", f"n={sharpness}", super().extra_repr(), count=1)

    def coefficients(self) -> tuple[Terms[Coefficient], Coefficient]:
        """Return the engine's terms and the sharpness n at the present parameters, in float64 and without gradients."""
        return self.family.coefficients([p.detach().double() for p in self.values()])

    def forward(self, input: Tensor) -> Tensor:
        if isinstance(input, Proxy):
            return self.as_node(input)
        eager = plainly_eager()
        family, values = self.at_call(input, eager)
        return evaluate(input, family, values, dim=self.dim, eager=eager, save=self._save)

    def as_family(self, input: Tensor) -> tuple[Family, list[Tensor], int] | None:
        """Return what a pass with other things to do may compute in place of ``self(input)``, in an eager call.

        Args:
            input: what the module would be called with.

        Returns:
            The family, its parameters and the channel axis; None where a subclass has a forward of its own.
        """
        own = type(self).forward is not Activation.forward or "forward" in vars(self)
        return None if own else (*self.at_call(input, eager=True), self.dim)


class ParameterBuilder:
    """Builds a module's parameters and the expressions of its family over them, in one order."""

    def __init__(self, module: Activation, *, device: Device = None, dtype: torch.dtype | None = None) -> None:
        self._module = module
        self._device, self._dtype = device, dtype
        module._place = device

    def add(self, name: str, value: float, learn: bool = True) -> Slot:
        """Return a coefficient: a new parameter called ``name`` or, if it does not learn, the number."""
        if not learn:
            return as_number(value, name)
        self._module.learn(name, value, device=self._device, dtype=self._dtype)
        self._module.arguments = (*self._module.arguments, name)
        return parameter(len(self._module.arguments) - 1)

    def add_sharpness(self, n: float, learn: bool) -> Slot:
        """Return the sharpness: a parameter ``log_n`` (for a family with ``log_n=True``), or the number."""
        n = as_one_sharpness(n)
        return self.add("log_n", math.log(n)) if learn else n


class FormulaActivation(LearnableModule):
    """Base of the activations outside the engine's family: subclasses give a formula as torch operations.

    Only the input is kept for backward; the formula is evaluated again there. Half precisions are computed in float32.
    At ±inf they give what the formula gives, which may be NaN (as torch's SiLU does); the engine's family gives limits.

    Args:
        num_parameters: 1 (shared) or the channel count.
        initial: initial values by parameter name, in the order in which :meth:`formula` takes the parameters.
        dim: channel axis of per-channel parameters. Default: 1.
        device, dtype: of the parameters. Default: torch's default device and dtype.

    Raises:
        InvalidValue: for a bad count, axis or initial value.

    Example:
        >>> import torch, bevel
        >>> class Snake(bevel.nn.FormulaActivation):
        ...     def __init__(self, num_parameters=1, a=1.0, *, dim=1, device=None, dtype=None):
        ...         super().__init__(num_parameters, {"a": a}, dim=dim, device=device, dtype=dtype)
        ...     @staticmethod
        ...     def formula(x, a):
        ...         return x + torch.sin(a * x) ** 2 / a
        >>> Snake(3)(torch.zeros(2, 3)).tolist()
        [[0.0, 0.0, 0.0], [0.0, 0.0, 0.0]]
    """

    def __init__(
        self,
        num_parameters: int,
        initial: Mapping[str, float],
        *,
        dim: int = 1,
        device: Device = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__(num_parameters, dim=dim)
        self.arguments = tuple(initial)
        for name, value in initial.items():
            self.learn(name, value, device=device, dtype=dtype)

    @staticmethod
    @abc.abstractmethod
    def formula(x: Tensor, *parameters: Tensor) -> Tensor:
        """Return the function of x and of its parameters, which broadcast against x."""

    def forward(self, input: Tensor) -> Tensor:
        if isinstance(input, Proxy):
            return self.as_node(input)
        check_dtype(input)
        shape = [1] * input.dim()
        if self.num_parameters > 1:
            with jit_paused() if jit_tracing() else contextlib.nullcontext():  # it would see tensors for sizes
                self._check_channels(input)
            shape[self.dim] = self.num_parameters
        parameters = [getattr(self, name) for name in self.arguments]
        if needs_composed() or forward_mode_active():  # torch operations carry dual numbers
            return _formula(self.formula, shape, input, parameters)
        result: Tensor = _Recompute.apply(self.formula, shape, input, *parameters)
        return result

    def _check_channels(self, input: Tensor) -> None:
        if not -input.dim() <= self.dim < input.dim() or input.shape[self.dim] != self.num_parameters:
            raise InvalidValue(
                f"input must have {self.num_parameters} channels along dim={self.dim}; got shape {tuple(input.shape)}."
            )


def _formula(formula: Callable[..., Tensor], shape: list[int], x: Tensor, parameters: Sequence[Tensor]) -> Tensor:
    inner = x if x.dtype == torch.float64 else x.to(torch.float32)
    return formula(inner, *(p.to(inner.dtype).reshape(shape) for p in parameters)).to(x.dtype)


class _Recompute(torch.autograd.Function):
    """Keep x and the parameters, and evaluate the formula again in backward: any formula saves one tensor."""

    @staticmethod
    def forward(ctx: Any, formula: Callable[..., Tensor], shape: list[int], x: Tensor, *parameters: Tensor) -> Tensor:
        ctx.formula, ctx.shape = formula, shape
        ctx.save_for_backward(x, *parameters)
        return in_memory(_formula(formula, shape, x, parameters))

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> tuple[Tensor | None, ...]:
        again = torch.is_grad_enabled()  # with create_graph the derivative goes through to the saved inputs themselves
        with torch.enable_grad():
            kept = saved(ctx)
            inputs = list(kept) if again else [t.detach().requires_grad_(t.requires_grad) for t in kept]
            y = _formula(ctx.formula, ctx.shape, inputs[0], inputs[1:])
        wanted = [i for i, t in enumerate(inputs) if t.requires_grad]
        found = torch.autograd.grad(y, [inputs[i] for i in wanted], g.to_dense(), create_graph=again)
        grads: list[Tensor | None] = [None] * len(inputs)
        for i, d in zip(wanted, found, strict=True):
            grads[i] = in_memory(d)
        if 0 in wanted and not again and found[0].stride() != inputs[0].stride():  # the formula may lose channels_last
            grads[0] = torch.empty_like(inputs[0]).copy_(found[0])
        return (None, None, *grads)
