"""The laws of activation modules."""

from __future__ import annotations

import copy
import io
import pickle
from typing import Any

import torch
from torch import Tensor, nn

from bevel._bound import error_bound
from bevel.kinked import PiecewiseLinear
from bevel.nn import Activation, LearnableModule
from bevel.surgery._copy import copy_model
from bevel.terms import Coefficient, Terms, at_channel, is_zero
from bevel.testing._kernels import around, check_mollified
from bevel.testing._laws import close, expect


def check_activation(module: nn.Module, *, device: str | torch.device = "cpu", fast: bool = False) -> list[str]:
    """Check an activation module: dtypes and layouts kept, odd inputs, gradients, memory, and copies.

    The laws: float64, float32, bfloat16 and float16 in, the same out, finite at moderate inputs and at zero;
    channels_last and permuted strides kept, by bevel's own in the gradient too; two elements after each channel treated
    as one by one; empty and 0-d inputs (0-d with shared parameters); NaN kept; for the engine's family ±inf gives a
    limit, every channel keeps the proven bound and, where it is a plain convolution, :func:`check_mollified`
    (:func:`not_applicable` says which of these have no say);
    gradcheck and gradgradcheck by the input and every parameter; one full-size tensor saved for backward; state_dict,
    pickle and deepcopy round trips. The module itself stays as it is.

    Args:
        module: any elementwise activation, also one that is not bevel's.
        device: where the module is. Default: the CPU.
        fast: compare gradients along random directions instead of the whole Jacobian, as ``gradcheck``'s ``fast_mode``:
            a quarter of the calls. Default: the whole Jacobian.

    Returns:
        The names of the laws, all of which hold.

    Raises:
        AssertionError: naming the first law that does not hold.

    Example:
        >>> import bevel
        >>> from bevel.testing import check_activation
        >>> "gradgradcheck" in check_activation(bevel.SAU(3, n=2.0))
        True
    """
    module = copy_model(module)
    channels = int(getattr(module, "num_parameters", 1))
    channels = channels if channels > 1 else 3
    shape = [2, 3, 4, 5]
    dim = int(getattr(module, "dim", 1)) % len(shape) if getattr(module, "num_parameters", 1) > 1 else 1
    shape[dim] = channels
    x = torch.randn(shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    x = x.to(device)
    x = torch.where(x.abs() < 0.05, x + 0.1, x)  # finite differences must not straddle a kink at zero
    laws = [*_check_dtypes(module, x, dim), *_check_layouts(module, x), *_check_odd(module, x, dim)]
    if dim == 1:
        laws += _check_pairs(module, x.float())
    laws += [
        _check_saved(module, x.float()),
        *_check_gradients(module, x, dim, fast),
        *_check_copies(module, x.float()),
    ]
    return laws


def not_applicable(module: nn.Module) -> dict[str, str]:
    """Say which laws of the bound and of monotony in :func:`check_activation` a module is not held to.

    Args:
        module: an activation.

    Returns:
        The reason by the law's name.

    Example:
        >>> import bevel
        >>> from bevel.testing import not_applicable
        >>> not_applicable(bevel.SAU(form="centred"))
        {'monotone where f is': 'what it adds to the convolution rises and falls'}
    """
    bound, monotone = "the proven bound", "monotone where f is"
    if not isinstance(module, Activation):
        return dict.fromkeys((bound, monotone), "it is not one of the engine's smoothings of a kinked function")
    terms, n = module.coefficients()
    if error_bound(terms, module.family.kernel, n) is None:
        return dict.fromkeys((bound, monotone), "no bound is known for its tail with this kernel")
    if not _plain(terms):
        return {monotone: "what it adds to the convolution rises and falls"}
    return {}


def _plain(terms: Terms[Coefficient]) -> bool:
    """Whether the terms are a convolution and nothing else."""
    return not terms.multiplies_cdf and all(map(is_zero, (*terms.c0, *terms.c1)))


def _check_dtypes(module: nn.Module, x: Tensor, dim: int) -> list[str]:
    laws = []
    x = x.clone()
    x.select(0 if dim else 1, 0).zero_()  # most activations have their knot there
    for dtype in (torch.float64, torch.float32, torch.bfloat16, torch.float16):
        # A module of torch's own needs its parameters in the input's dtype; bevel's take any.
        own = copy.deepcopy(module).to(dtype) if not isinstance(module, LearnableModule) else module
        given = x.to(dtype).requires_grad_()
        y = own(given)
        (slope,) = torch.autograd.grad(y.sum(), given)
        laws.append(expect(f"{dtype} is kept", y.dtype == dtype and y.shape == x.shape, f"got {y.dtype} {y.shape}"))
        fine = y.isfinite().all() & slope.isfinite().all()
        laws.append(expect(f"{dtype} stays finite", fine, "value or slope is not finite for inputs of size one"))
    return laws


def _check_layouts(module: nn.Module, x: Tensor) -> list[str]:
    x = x.float()
    module = copy.deepcopy(module).float()
    want = module(x)
    last = module(x.to(memory_format=torch.channels_last))
    laws = [
        close("channels_last values", last, want, 1e-6),
        expect("channels_last is kept", last.is_contiguous(memory_format=torch.channels_last), str(last.stride())),
    ]
    if isinstance(module, LearnableModule):
        given = x.to(memory_format=torch.channels_last).requires_grad_()
        (slope,) = torch.autograd.grad(module(given).sum(), given)
        kept = slope.is_contiguous(memory_format=torch.channels_last)
        laws.append(expect("channels_last is kept in the gradient", kept, str(slope.stride())))
    strided = module(torch.stack((x, x), dim=-1)[..., 0])
    return [*laws, close("strided values", strided, want, 1e-6)]


def _check_pairs(module: nn.Module, x: Tensor) -> list[str]:
    """Hold two elements after each channel to the same elements one by one."""
    pairs = x.transpose(0, 1).reshape(x.shape[1], -1, 2).transpose(0, 1).contiguous()
    module = copy.deepcopy(module).float()

    def one_by_one(t: Tensor) -> Tensor:
        return t.transpose(1, 2).flatten(0, 1)

    def results(given: Tensor) -> list[Tensor]:
        given = given.detach().requires_grad_()
        y = module(given)
        wanted = [given, *(p for p in module.parameters() if p.requires_grad)]
        return [y, *torch.autograd.grad(y.square().sum(), wanted)]

    found, wanted = results(pairs), results(one_by_one(pairs))
    for got, want in zip(found[2:], wanted[2:], strict=True):
        close("parameters' gradients of pairs", got, want, 1e-4)
    return [
        close("values of pairs", one_by_one(found[0]), wanted[0], 1e-6),
        close("gradients of pairs", one_by_one(found[1]), wanted[1], 1e-6),
    ]


def _check_odd(module: nn.Module, x: Tensor, dim: int) -> list[str]:
    module = copy.deepcopy(module).double()
    empty = module(x[:, :, :0] if dim != 2 else x[:0])
    nan = module(torch.full_like(x, float("nan")))
    laws = [
        expect("empty input", empty.numel() == 0, f"got {tuple(empty.shape)}"),
        expect("NaN in, NaN out", nan.isnan().all(), "a NaN became a number"),
    ]
    if getattr(module, "num_parameters", 1) == 1:
        laws.append(expect("0-d input", module(x[0, 0, 0, 0]).shape == (), "a 0-d input changed its shape"))
    if isinstance(module, Activation):
        for end in (float("inf"), -float("inf")):
            at_end = module(torch.full_like(x, end)).detach()
            near = module(torch.full_like(x, 1e9 if end > 0 else -1e9)).detach()
            good = torch.where(near.abs() > 1e6, at_end == near.sign() * float("inf"), (at_end - near).abs() < 1e-6)
            laws.append(expect(f"limit at {end}", good.all(), f"got {float(at_end.flatten()[0])}"))
        laws += _check_smoothing(module, x.device, dim)
    return laws


def _check_smoothing(module: Activation, device: torch.device, dim: int) -> list[str]:
    """Check every channel's distance to its kinked function, and the laws of a convolution where it is one."""
    terms, n = module.coefficients()
    kernel = module.family.kernel
    laws: dict[str, None] = {}  # an ordered set
    for channel in range(module.num_parameters):
        fixed, sharpness = at_channel(terms, n, channel)
        bound = error_bound(fixed, kernel, sharpness)
        if bound is None:
            return []
        f = PiecewiseLinear.of(fixed)
        knots, wide = around(f, sharpness)
        near = torch.linspace(-4 / sharpness, 4 / sharpness, 81, dtype=torch.float64)
        points = torch.cat([wide, *(near + k for k in knots)])
        channels = points.to(device).expand(module.num_parameters, 1, 1, -1).movedim(0, dim)
        sharp, value = f(points), module(channels).detach().select(dim, channel).flatten().cpu()
        worst = float((value - sharp).abs().max())
        within = worst <= bound + 1e-14 * (1 + float(sharp.abs().max()))
        laws[expect("the proven bound", within, f"{worst} exceeds {bound} in channel {channel}")] = None
        if _plain(terms):
            laws |= dict.fromkeys(check_mollified(f, kernel, sharpness))
    return list(laws)


def _check_saved(module: nn.Module, x: Tensor) -> str:
    sizes: dict[int, int] = {}

    def pack(t: Tensor) -> Tensor:
        sizes[t.untyped_storage().data_ptr()] = t.numel()
        return t

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda t: t):
        copy.deepcopy(module).float()(x.clone().requires_grad_())
    large = [s for s in sizes.values() if s >= x.numel()]
    return expect("one saved tensor", len(large) <= 1, f"{len(large)} tensors of the input's size are kept")


def _check_gradients(module: nn.Module, x: Tensor, dim: int, fast: bool) -> list[str]:
    module = copy.deepcopy(module).double()
    names = [name for name, _ in module.named_parameters()]
    for axis in set(range(x.dim())) - {dim}:  # few points: the check's cost is quadratic in them; two axes to add over
        x = x.narrow(axis, 0, 2 if axis in (0, x.dim() - 1) else 1)
    inputs = [x.clone().requires_grad_(), *(p.detach().clone().requires_grad_() for p in module.parameters())]

    def f(x: Tensor, *parameters: Tensor) -> Any:
        return torch.func.functional_call(module, dict(zip(names, parameters, strict=True)), (x,))

    return [
        expect("gradcheck", torch.autograd.gradcheck(f, inputs, fast_mode=fast), "see gradcheck"),
        expect("gradgradcheck", torch.autograd.gradgradcheck(f, inputs, fast_mode=fast), "see gradgradcheck"),
    ]


def _check_copies(module: nn.Module, x: Tensor) -> list[str]:
    module = copy.deepcopy(module).float()
    want = module(x)
    twin = copy.deepcopy(module)
    stream = io.BytesIO()
    torch.save(module.state_dict(), stream)
    stream.seek(0)
    with torch.no_grad():
        for p in twin.parameters():
            p.add_(1.0)
    twin.load_state_dict(torch.load(stream, weights_only=True))
    return [
        expect("state_dict round trip", torch.equal(twin(x), want), "values changed"),
        expect("pickle round trip", torch.equal(pickle.loads(pickle.dumps(module))(x), want), "values changed"),
        expect("deepcopy", torch.equal(copy.deepcopy(module)(x), want), "values changed"),
    ]
