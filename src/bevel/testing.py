"""The laws, as plain functions: run them on your own kernel or activation.

Each returns the names of the laws that hold and raises ``AssertionError`` naming the first that does not.
"""

from __future__ import annotations

import copy
import io
import pickle
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from bevel._bound import error_bound
from bevel._mollify import mollify
from bevel.kernel import Kernel, as_kernel, derivative
from bevel.kinked import PiecewiseLinear, as_function
from bevel.nn import Activation, LearnableModule
from bevel.terms import Coefficient, Terms, at_channel, is_zero

_QUADRATURE = 1e-12  # composite Gauss-Legendre reaches 1e-14 for densities smooth on the half line


def _expect(law: str, holds: bool | Tensor, detail: str) -> str:
    if not bool(holds):
        raise AssertionError(f"law broken: {law}: {detail}")
    return law


def _close(law: str, got: Tensor, want: Tensor, tolerance: float) -> str:
    error = float((got - want).detach().abs().max()) if got.numel() else 0.0
    return _expect(law, error <= tolerance, f"error {error:.2e} exceeds {tolerance:.0e}")


# ---------------------------------------------------------------------------------------------------------- kernels


def _gauss_legendre(count: int) -> tuple[Tensor, Tensor]:
    """Nodes and weights on [-1, 1] from the eigenvalues of the Jacobi matrix (Golub and Welsch 1969)."""
    k = torch.arange(1, count, dtype=torch.float64)
    off = k / torch.sqrt(4 * k * k - 1)
    nodes, vectors = torch.linalg.eigh(torch.diag(off, 1) + torch.diag(off, -1))
    return nodes, 2 * vectors[0] ** 2


def _beyond(integrand: Callable[[Tensor], Tensor], v: Tensor, end: float) -> Tensor:
    """``∫_v^end integrand`` for each v: 256 panels of 16 nodes, an infinite end mapped by s = v + t/(1-t)."""
    nodes, weights = _gauss_legendre(16)
    panels = 256
    t = ((torch.arange(panels, dtype=torch.float64)[:, None] + (nodes + 1) / 2) / panels).reshape(-1)
    w = (weights / (2 * panels)).repeat(panels)
    if end == float("inf"):
        s, ds = v[:, None] + t / (1 - t), 1 / (1 - t) ** 2
    else:
        s, ds = v[:, None] + t * (end - v[:, None]), (end - v)[:, None].expand(-1, len(t))
    return (integrand(s) * ds * w).sum(1)


def check_kernel(kernel: str | Kernel) -> list[str]:
    """Check an approximate identity: its three forms against quadrature of its density, limits and derivatives.

    The laws: a non-negative density; unit mass; evenness; survival and cdf, excess, moment and gap against
    quadrature; ``excess' = -survival`` and ``survival' = -density``; zero at its reach; NaN kept; float32 kept.

    Args:
        kernel: a kernel or its name in ``bevel.KERNELS``.

    Returns:
        The names of the laws, all of which hold.

    Raises:
        AssertionError: naming the first law that does not hold.

    Example:
        >>> from bevel.testing import check_kernel
        >>> check_kernel("box")[:3]
        ['density is not negative', 'unit mass', 'evenness']
    """
    kernel = as_kernel(kernel)
    end = 1.0 if kernel.compact else float("inf")
    v = torch.linspace(0, 1, 41, dtype=torch.float64) * (0.999 if kernel.compact else 8.0)
    density = kernel.density(v)
    far = torch.tensor([float("inf")], dtype=torch.float64)
    nan = torch.tensor([float("nan")], dtype=torch.float64)
    half_mass = _beyond(kernel.density, torch.zeros(1, dtype=torch.float64), end)
    laws = [
        _expect("density is not negative", (density >= 0).all(), f"it reaches {float(density.min())}"),
        _close("unit mass", 2 * half_mass, torch.ones(1, dtype=torch.float64), _QUADRATURE),
        _expect("evenness", torch.equal(kernel.pdf(v), kernel.pdf(-v)), "pdf(u) differs from pdf(-u)"),
        _close("survival against quadrature", kernel.survival(v), _beyond(kernel.density, v, end), _QUADRATURE),
        _close("cdf(u) + cdf(-u) = 1", kernel.cdf(v) + kernel.cdf(-v), torch.ones_like(v), _QUADRATURE),
        _close("survival is zero far out", kernel.cdf(-far), torch.zeros(1, dtype=torch.float64), 1e-300),
        _expect("NaN is kept", kernel.cdf(nan).isnan(), "it became a number"),
        _expect("dtype is kept", kernel.cdf(v.float()).dtype == torch.float32, "float32 in, another dtype out"),
        _derivative("survival' = -density", kernel.survival, kernel.density, v),
    ]
    if kernel.has_moment:
        laws += _check_moment(kernel, v, end)
    return laws


def _check_moment(kernel: Kernel, v: Tensor, end: float) -> list[str]:
    zero = torch.zeros(1, dtype=torch.float64)
    far = torch.tensor([float("inf")], dtype=torch.float64)
    moment = _beyond(lambda s: s * kernel.density(s), v, end)
    return [
        _close("moment against quadrature", kernel.moment(v), moment, _QUADRATURE),
        _close(
            "excess against quadrature", kernel.excess(v), moment - v * _beyond(kernel.density, v, end), _QUADRATURE
        ),
        _close("gap = tail(0)", zero + kernel.gap, kernel.tail(zero), 0.0),
        _close("ramp is zero far left", kernel.ramp(-far), zero, 0.0),
        _expect("ramp is infinite far right", kernel.ramp(far) == far, f"it is {float(kernel.ramp(far))}"),
        _derivative("excess' = -survival", kernel.excess, kernel.survival, v),
    ]


def _derivative(law: str, of: Callable[[Tensor], Tensor], minus: Callable[[Tensor], Tensor], v: Tensor) -> str:
    return _close(law, derivative(of, v), -minus(v), _QUADRATURE)


# -------------------------------------------------------------------------------------------- mollified functions


def _around(f: PiecewiseLinear, n: float) -> tuple[list[float], Tensor]:
    """The knots (or 0, if there are none) and points that reach four widths and one unit beyond them."""
    knots = [float(k) for k in f.knots] or [0.0]
    return knots, torch.linspace(min(knots) - 4 / n - 1, max(knots) + 4 / n + 1, 801, dtype=torch.float64)


def check_mollified(f: PiecewiseLinear | str, kernel: str | Kernel, n: float) -> list[str]:
    """Check ``f * phi_n`` against f, its bound, and its own derivatives.

    The laws: the proven bound; monotone where f is; equal to f outside a compact kernel's support; slope and curvature
    the derivatives of value and slope.

    Args:
        f: a kinked function of numbers, or its name.
        kernel: a kernel or its name in ``bevel.KERNELS``.
        n: sharpness, finite and > 0.

    Returns:
        The names of the laws, all of which hold.

    Raises:
        AssertionError: naming the first law that does not hold.

    Example:
        >>> from bevel.testing import check_mollified
        >>> check_mollified("relu6", "box", n=2.0)[:2]
        ['the proven bound', 'monotone where f is']
    """
    f, kernel = as_function(f), as_kernel(kernel)
    smooth = mollify(f, kernel, n)
    knots, x = _around(f, n)
    value, sharp = smooth(x), f(x)
    scale = 1e-14 * (1 + float(sharp.abs().max()))
    worst = float((value - sharp).abs().max())
    laws = [_expect("the proven bound", worst <= smooth.max_error + scale, f"{worst} exceeds {smooth.max_error}")]
    if bool((sharp.diff() >= 0).all()):
        lowest = float(value.diff().min())
        laws.append(_expect("monotone where f is", lowest >= -scale, f"it falls by {-lowest}"))
    if kernel.compact:
        outside = torch.stack([(x - k).abs() * n > 1 + 1e-9 for k in knots]).all(0)
        laws.append(_close("equal to f outside the support", value[outside], sharp[outside], scale))
    inside = x + 1e-3  # off the knots
    slope = derivative(smooth, inside)
    laws.append(_close("slope is the derivative", smooth.slope(inside), slope, 1e-10 * (1 + float(slope.abs().max()))))
    curvature = derivative(smooth.slope, inside)
    size = 1 + float(curvature.abs().max())
    laws.append(_close("curvature is its derivative", smooth.curvature(inside), curvature, 1e-8 * size))
    return laws


# -------------------------------------------------------------------------------------------------- activations


def check_activation(module: nn.Module, *, device: str | torch.device = "cpu") -> list[str]:
    """Check an activation module: dtypes and layouts kept, odd inputs, gradients, memory, and copies.

    The laws: float64, float32, bfloat16 and float16 in, the same out, finite at moderate inputs and at zero;
    channels_last and permuted strides kept, by bevel's own in the gradient too; empty and 0-d inputs (0-d with shared
    parameters); NaN kept; for the engine's family ±inf gives a limit, every channel keeps the proven bound and, where
    it is a plain convolution, :func:`check_mollified` (:func:`not_applicable` says which of these have no say);
    gradcheck and gradgradcheck by the input and every parameter; one full-size tensor saved for backward; state_dict,
    pickle and deepcopy round trips. The module itself stays as it is.

    Args:
        module: any elementwise activation, also one that is not bevel's.
        device: where the module is. Default: the CPU.

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
    channels = int(getattr(module, "num_parameters", 1))
    channels = channels if channels > 1 else 3
    shape = [2, 3, 4, 5]
    dim = int(getattr(module, "dim", 1)) % len(shape) if getattr(module, "num_parameters", 1) > 1 else 1
    shape[dim] = channels
    x = torch.randn(shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    x = x.to(device)
    x = torch.where(x.abs() < 0.05, x + 0.1, x)  # finite differences must not straddle a kink at zero
    laws = [*_check_dtypes(module, x, dim), *_check_layouts(module, x), *_check_odd(module, x, dim)]
    laws += [_check_saved(module, x.float()), *_check_gradients(module, x, dim), *_check_copies(module, x.float())]
    return laws


def not_applicable(module: nn.Module) -> dict[str, str]:
    """Say which laws of :func:`check_activation` a module is not held to.

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
    """Whether it is a convolution and nothing else."""
    return not terms.multiplies_cdf and all(map(is_zero, (*terms.c0, *terms.c1)))


def _check_dtypes(module: nn.Module, x: Tensor, dim: int) -> list[str]:
    laws = []
    x = x.clone()
    x.select(0 if dim else 1, 0).zero_()  # the knot of most, in every channel
    for dtype in (torch.float64, torch.float32, torch.bfloat16, torch.float16):
        # A module of torch's own wants its parameters in the input's dtype; ours take any.
        own = copy.deepcopy(module).to(dtype) if not isinstance(module, LearnableModule) else module
        given = x.to(dtype).requires_grad_()
        y = own(given)
        (slope,) = torch.autograd.grad(y.sum(), given)
        laws.append(_expect(f"{dtype} is kept", y.dtype == dtype and y.shape == x.shape, f"got {y.dtype} {y.shape}"))
        fine = y.isfinite().all() & slope.isfinite().all()
        laws.append(_expect(f"{dtype} stays finite", fine, "value or slope is not finite for inputs of size one"))
    return laws


def _check_layouts(module: nn.Module, x: Tensor) -> list[str]:
    x = x.float()
    module = copy.deepcopy(module).float()
    want = module(x)
    last = module(x.to(memory_format=torch.channels_last))
    laws = [
        _close("channels_last values", last, want, 1e-6),
        _expect("channels_last is kept", last.is_contiguous(memory_format=torch.channels_last), str(last.stride())),
    ]
    if isinstance(module, LearnableModule):
        given = x.to(memory_format=torch.channels_last).requires_grad_()
        (slope,) = torch.autograd.grad(module(given).sum(), given)
        kept = slope.is_contiguous(memory_format=torch.channels_last)
        laws.append(_expect("channels_last is kept in the gradient", kept, str(slope.stride())))
    strided = module(torch.stack((x, x), dim=-1)[..., 0])
    return [*laws, _close("strided values", strided, want, 1e-6)]


def _check_odd(module: nn.Module, x: Tensor, dim: int) -> list[str]:
    module = copy.deepcopy(module).double()
    empty = module(x[:, :, :0] if dim != 2 else x[:0])
    nan = module(torch.full_like(x, float("nan")))
    laws = [
        _expect("empty input", empty.numel() == 0, f"got {tuple(empty.shape)}"),
        _expect("NaN in, NaN out", nan.isnan().all(), "a NaN became a number"),
    ]
    if getattr(module, "num_parameters", 1) == 1:
        laws.append(_expect("0-d input", module(x[0, 0, 0, 0]).shape == (), "a 0-d input changed its shape"))
    if isinstance(module, Activation):
        for end in (float("inf"), -float("inf")):
            at_end = module(torch.full_like(x, end)).detach()
            near = module(torch.full_like(x, 1e9 if end > 0 else -1e9)).detach()
            good = torch.where(near.abs() > 1e6, at_end == near.sign() * float("inf"), (at_end - near).abs() < 1e-6)
            laws.append(_expect(f"limit at {end}", good.all(), f"got {float(at_end.flatten()[0])}"))
        laws += _check_smoothing(module, x.device, dim)
    return laws


def _check_smoothing(module: Activation, device: torch.device, dim: int) -> list[str]:
    """Every channel's distance to its kinked function, and the laws of a convolution where it is one."""
    terms, n = module.coefficients()
    kernel = module.family.kernel
    laws: dict[str, None] = {}  # each once, in order
    for channel in range(module.num_parameters):
        fixed, sharpness = at_channel(terms, n, channel)
        bound = error_bound(fixed, kernel, sharpness)
        if bound is None:
            return []
        f = PiecewiseLinear(fixed.left, fixed.offset, fixed.knots, fixed.jumps, fixed.steps)
        knots, wide = _around(f, sharpness)
        near = torch.linspace(-4 / sharpness, 4 / sharpness, 81, dtype=torch.float64)
        points = torch.cat([wide, *(near + k for k in knots)])
        channels = points.to(device).expand(module.num_parameters, 1, 1, -1).movedim(0, dim)
        sharp, value = f(points), module(channels).detach().select(dim, channel).flatten().cpu()
        worst = float((value - sharp).abs().max())
        within = worst <= bound + 1e-14 * (1 + float(sharp.abs().max()))
        laws[_expect("the proven bound", within, f"{worst} exceeds {bound} in channel {channel}")] = None
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
    return _expect("one saved tensor", len(large) <= 1, f"{len(large)} tensors of the input's size are kept")


def _check_gradients(module: nn.Module, x: Tensor, dim: int) -> list[str]:
    module = copy.deepcopy(module).double()
    names = [name for name, _ in module.named_parameters()]
    for axis in set(range(x.dim())) - {dim}:
        x = x.narrow(axis, 0, 2)  # few points: the check is quadratic
    inputs = [x.clone().requires_grad_(), *(p.detach().clone().requires_grad_() for p in module.parameters())]

    def f(x: Tensor, *parameters: Tensor) -> Any:
        return torch.func.functional_call(module, dict(zip(names, parameters, strict=True)), (x,))

    return [
        _expect("gradcheck", torch.autograd.gradcheck(f, inputs), "see gradcheck"),
        _expect("gradgradcheck", torch.autograd.gradgradcheck(f, inputs), "see gradgradcheck"),
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
        _expect("state_dict round trip", torch.equal(twin(x), want), "values changed"),
        _expect("pickle round trip", torch.equal(pickle.loads(pickle.dumps(module))(x), want), "values changed"),
        _expect("deepcopy", torch.equal(copy.deepcopy(module)(x), want), "values changed"),
    ]


__all__ = ["check_activation", "check_kernel", "check_mollified", "not_applicable"]
