"""``smooth`` and ``evaluate``: checks, the channel axis, the choice of a backend, and its ``autograd.Function``."""

from __future__ import annotations

import operator
from collections.abc import Sequence
from typing import Any, cast

import torch
from torch import Tensor

from bevel._torch_private import forward_mode_active, jit_paused, jit_tracing, plainly_eager
from bevel.errors import InvalidValue
from bevel.family import Family, lift
from bevel.kernel import Kernel, as_kernel
from bevel.kinked import PiecewiseLinear, as_function
from bevel.ops import _portable
from bevel.ops._backends import Backend, choose, needs_composed, preferred
from bevel.ops._direct import direct
from bevel.ops._keeping import KeptOutput, keeper
from bevel.ops._memory import OWN, check_layout
from bevel.ops._saved import saved
from bevel.ops._second import differentiable, tangent
from bevel.ops._transforms import under_transforms
from bevel.portable import exporting
from bevel.terms import Coefficient, as_sharpness

_requires_grad = operator.attrgetter("requires_grad")
DTYPES = (torch.float64, torch.float32, torch.bfloat16, torch.float16)


def smooth(
    input: Tensor,
    f: PiecewiseLinear | str,
    kernel: str | Kernel = "gaussian",
    n: Coefficient = 1.0,
    *,
    dim: int = 1,
    backend: str = "auto",
) -> Tensor:
    """Smooth a kinked function and apply it elementwise: ``f`` convolved with ``n·pdf(n·x)``, at ``input``.

    Gradients flow to ``input`` and to every coefficient of f, and n, that is a tensor.

    Args:
        input: any shape and strides; float64, float32, bfloat16 or float16. Arithmetic is float64 for float64, else
            float32.
        f: a kinked function or the name of one, as ``"relu6"``.
        kernel: an approximate identity or its name in ``bevel.KERNELS``. Default: ``gaussian``.
        n: sharpness, finite and > 0; the smoothing width is 1/n. A number, or a 1-D tensor of length one or one per
            channel along ``dim``. Default: 1.
        dim: the channel axis of per-channel coefficients; unused when all have length one. Default: 1.
        backend: ``auto``, or a name in ``bevel.backends()``, which then works or says why not. Default: ``auto``.

    Returns:
        A tensor of input's shape and dtype.

    Raises:
        InvalidValue: for a bad dtype, sharpness, kernel or channel count.
        UnknownName: for a function, kernel or backend that does not exist.
        BackendUnavailable: if a backend asked for by name cannot be used.

    Example:
        >>> import torch, bevel
        >>> bevel.smooth(torch.tensor([-3.0, 0.0, 3.0]), "relu", "box", n=2.0).tolist()  # at 0: gap/n = 0.25/2
        [0.0, 0.125, 3.0]
        >>> n = torch.tensor([2.0], requires_grad=True)
        >>> bevel.smooth(torch.tensor([0.0]), "relu", "box", n).backward()
        >>> n.grad.tolist()  # −gap/n²
        [-0.0625]

    Source: docs/engine.md has the formulas.
    """
    f, kernel = as_function(f), as_kernel(kernel)
    f.terms.check(kernel)
    (sharpness, *slots), tensors = lift((as_sharpness(n), *f.terms.flat()))
    return evaluate(input, Family(f.terms.with_flat(slots), kernel, sharpness), tensors, dim=dim, backend=backend)


def evaluate(
    x: Tensor,
    family: Family,
    parameters: Sequence[Tensor],
    *,
    dim: int = 1,
    backend: str = "auto",
    eager: bool | None = None,
    save: str = "input",
) -> Tensor:
    """Apply a family of functions at given parameters; :func:`smooth` and every module of the engine call it.

    Args:
        x: the input of :func:`smooth`.
        family: well-formed coefficients as expressions of the parameters.
        parameters: 1-D floating tensors of length one, or of ``x.shape[dim]``, on x's device.
        dim, backend: as in :func:`smooth`.
        save: what a call keeps for backward: ``input``; or, if it is anything else, backend ``operator`` keeps the
            output where that tells the input, and ``triton`` and compiled graphs where
            :func:`bevel.ops._inverse.keeps_unseen` says so. Other backends keep the input.
        eager: what ``plainly_eager()`` says, where the caller has asked.
    """
    if eager is None:
        eager = plainly_eager()
    if eager and type(x) in OWN and x.is_cpu and not x.is_nested and backend == "auto" == preferred():
        call = family.calls.get((dim, save)) or direct(family, dim, save)
        if call is not None and OWN.issuperset(map(type, parameters)):
            if torch.is_grad_enabled() and (x.requires_grad or any(map(_requires_grad, parameters))):
                y = call.apply(x, *parameters)
            else:
                y = call.forward((x, *parameters), call.packed, dim)
            if y is not None:  # else the operator does not take it, and what follows finds out who does
                return y
    axis = admit(x, parameters, dim)
    if backend == "auto" and needs_composed():
        return _traced(x, family, parameters, axis, save)
    chosen = choose(backend, family, x, parameters)
    if chosen is None:
        return family.formulas(x, parameters, axis).value().to(x.dtype)
    if not needs_autograd(x, parameters):
        return chosen.forward(family, axis, x, parameters)
    keeping = None if forward_mode_active() else keeper(chosen, family, x, save)
    if keeping is not None:
        return cast(Tensor, KeptOutput.apply(x, family, keeping, axis, *parameters))
    result: Tensor = _BackendCall.apply(x, family, chosen, axis, *parameters)
    return result


def _traced(x: Tensor, family: Family, parameters: Sequence[Tensor], axis: int, save: str) -> Tensor:
    """Make the call as compile, export, jit or torch.func is to see it."""
    if exporting():
        return _portable.value(family, x, parameters, axis)
    if torch.compiler.is_compiling():
        from bevel.ops import (
            _custom_op,
        )  # imported here because it imports torch's compiler, which takes most of a second

        y = _custom_op.evaluate(family, axis, x, parameters, save)
    else:
        y = under_transforms(x, family, parameters, axis)
    return family.formulas(x, parameters, axis).value().to(x.dtype) if y is None else y


def needs_autograd(x: Tensor, parameters: Sequence[Tensor]) -> bool:
    """Whether a derivative can be asked for; in inference the bookkeeping would cost more than a small tensor."""
    if forward_mode_active():
        return True
    return torch.is_grad_enabled() and (x.requires_grad or any(p.requires_grad for p in parameters))


def admit(x: Tensor, parameters: Sequence[Tensor], dim: int) -> int:
    """Check the arguments of :func:`evaluate`; return the channel axis counted from the front."""
    check_dtype(x)
    _check_device(x, parameters)
    if not jit_tracing():
        return _channel_axis(x, parameters, dim)
    with jit_paused():  # torch.jit.trace would see tensors for sizes
        return _channel_axis(x, parameters, dim)


def check_dtype(x: Tensor) -> None:
    """Refuse what is not a dense tensor of one of the four floating types, such as a complex one."""
    if not isinstance(x, Tensor):
        raise InvalidValue(f"input must be a tensor; got a {type(x).__name__}. Use torch.as_tensor.")
    if x.dtype not in DTYPES:
        raise InvalidValue(f"input must be float64, float32, bfloat16 or float16; got {x.dtype}. Convert it first.")
    if x.layout != torch.strided or x.is_nested:
        check_layout(x)


def _check_device(x: Tensor, parameters: Sequence[Tensor]) -> None:
    """Refuse parameters of another device: a backend would read their addresses as if they were of x's device."""
    for p in parameters:
        if p.device != x.device:
            raise InvalidValue(
                f"parameters must be on the input's device, {x.device}; got one on {p.device}. Move either."
            )


def _channel_axis(x: Tensor, parameters: Sequence[Tensor], dim: int) -> int:
    """Return ``dim`` counted from the front, after a check that x has as many channels there; 0 when all is shared."""
    lengths = [p.numel() for p in parameters]
    if lengths.count(1) == len(lengths):
        return 0
    counts = set(lengths) - {1}
    if not -x.dim() <= dim < x.dim():
        raise InvalidValue(
            f"per-channel coefficients need an input with axis dim={dim}; got shape {tuple(x.shape)}. Give another "
            "dim, or one shared coefficient (num_parameters=1)."
        )
    if counts != {x.shape[dim]}:
        raise InvalidValue(
            f"input must have as many channels along dim={dim} as there are coefficients ({sorted(counts)}); got shape "
            f"{tuple(x.shape)}. Set num_parameters to the channel count, or dim to the channel axis."
        )
    return dim % x.dim()


class _BackendCall(torch.autograd.Function):
    """Save x and the small parameters; in backward one call of the backend gives dx and all their gradients.

    It has no ``setup_context``: torch then binds the arguments of forward with ``inspect`` in every call, which takes
    60 µs. Only torch.func needs it, and torch.func gets the composed formulas.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, family: Family, backend: Backend, dim: int, *parameters: Tensor) -> Tensor:
        ctx.family, ctx.backend, ctx.dim = family, backend, dim
        ctx.save_for_backward(x, *parameters)
        ctx.save_for_forward(x, *parameters)
        ctx.set_materialize_grads(False)
        return backend.forward(family, dim, x, parameters)

    @staticmethod
    def backward(ctx: Any, g: Tensor | None) -> tuple[Tensor | None, ...]:
        x, *parameters = saved(ctx)
        if g is None:
            return (None,) * (4 + len(parameters))
        needs = (ctx.needs_input_grad[0], *ctx.needs_input_grad[4:])
        dx, *rest = differentiable(ctx.backend, ctx.family, ctx.dim, g, x, parameters, needs)
        return (dx, None, None, None, *rest)

    @staticmethod
    def jvp(ctx: Any, *tangents: Tensor | None) -> Tensor:
        x, *parameters = ctx.saved_tensors
        return tangent(ctx.backend, ctx.family, ctx.dim, x, parameters, (tangents[0], *tangents[4:]))
