"""The functions behind the two papers' modules."""

from __future__ import annotations

from typing import Literal, get_args

import torch
from torch import Tensor, nn

from bevel import ops
from bevel._checks import check_positive
from bevel._torch_private import undisturbed
from bevel.errors import InvalidValue, did_you_mean
from bevel.family import Family, Slot, lift
from bevel.kernel import KERNELS, SHARP, Kernel
from bevel.ops import check_dtype, evaluate
from bevel.spec import create
from bevel.terms import Coefficient, Terms, as_coefficient, as_number, as_sharpness

SauForm = Literal["published", "exact", "centred"]


def as_form(form: str) -> SauForm:
    """Check the name of one of SAU's three forms."""
    for known in get_args(SauForm):
        if form == known:
            result: SauForm = known
            return result
    raise InvalidValue(
        f"SAU's form must be one of its three; got {form!r}; {did_you_mean(str(form), get_args(SauForm))}"
    )


def sau_family(alpha: Slot, n: Slot, form: SauForm, *, log_n: bool = False) -> Family:
    """SAU: ``left = α``, ``jump = 1 − α``, and the tail that its form adds to the convolution.

    The paper prints the Gaussian term without its factor 1 − α, i.e. the convolution plus ``α·w·φ(nx)``.
    """
    c0: Slot = alpha if form == "published" else 0.0
    c1 = 1.0 if form == "centred" else 0.0
    terms: Terms[Slot] = Terms(alpha, 0.0, (0.0,), (1 - alpha,), (0.0,), (c0,), (c1,), multiplies_cdf=form == "centred")
    return Family(terms, KERNELS["gaussian"], n, log_n)


def frelu_family(
    positive: Slot, negative: Slot, kernel: Kernel, n: Slot, *, log_n: bool = False, multiplies_cdf: bool = False
) -> Family:
    """FReLU smoothed by any kernel, a convolution or a gate: ``left = negative``, ``jump = positive − negative``."""
    none = (0.0,)
    terms: Terms[Slot] = Terms(negative, 0.0, none, (positive - negative,), none, none, none, multiplies_cdf)
    return Family(terms, kernel, n, log_n)


def sau(
    input: Tensor,
    alpha: Coefficient = 0.15,
    n: Coefficient = 20000.0,
    form: str = "published",
    *,
    dim: int = 1,
    backend: str = "auto",
) -> Tensor:
    """SAU: Leaky ReLU smoothed by a Gaussian of width ``1/n``.

    With ``e = exp(−n²x²/2)`` and the Gaussian density φ::

        published   √(2/π)·e/(2n) + (1+α)/2·x + (1−α)/2·x·erf(nx/√2)      what the paper prints
        exact       published − (α/n)·φ(nx)                               the true convolution
        centred     published with x·e for e                              passes through zero

    Args:
        input: float64, float32, bfloat16 or float16, any shape.
        alpha: slope for x ≪ 0; a number, or a 1-D tensor of length one or one per channel along ``dim``. Default: 0.15.
        n: sharpness, finite and > 0; a number or such a tensor. Default: 20000.
        form: ``published``, ``exact`` or ``centred``. Default: ``published``.
        dim: channel axis of per-channel tensors. Default: 1.
        backend: as in :func:`bevel.smooth`. Default: ``auto``.

    Returns:
        A tensor of input's shape and dtype.

    Raises:
        InvalidValue: for a bad form, alpha, n, dtype or channel count.
        UnknownName: for a backend that does not exist.
        BackendUnavailable: if a backend asked for by name cannot be used.

    Example:
        >>> import torch, bevel
        >>> x = torch.tensor([-1.0, 0.0, 1.0])
        >>> [round(y, 4) for y in bevel.functional.sau(x, n=5.0).tolist()]
        [-0.15, 0.0798, 1.0]
        >>> bevel.functional.sau(x, n=5.0, form="centred")[1].item()
        0.0

    Source: Biswas, Kumar, Banerjee, Pandey: SAU: Smooth Activation Function Using Convolution with Approximate
    Identities. ECCV 2022, arXiv:2109.13210.
    """
    (a, sharpness), tensors = lift((as_coefficient(alpha, "alpha"), as_sharpness(n)))
    return evaluate(input, sau_family(a, sharpness, as_form(form)), tensors, dim=dim, backend=backend)


def frelu(
    input: Tensor,
    positive: Coefficient = 1.0,
    negative: Coefficient = 0.01,
    *,
    dim: int = 1,
    backend: str = "auto",
) -> Tensor:
    """Fully parametric ReLU: ``positive·x`` for x > 0, ``negative·x`` otherwise.

    Not Funnel ReLU (Ma et al. 2020) nor Flexible ReLU (Qiu et al. 2018), which share the abbreviation.

    Args:
        input: float64, float32, bfloat16 or float16, any shape.
        positive: slope for x > 0; a number, or a 1-D tensor of length one or one per channel along ``dim``. Default: 1.
        negative: slope for x ≤ 0; a number or such a tensor. Default: 0.01.
        dim: channel axis of per-channel tensors. Default: 1.
        backend: as in :func:`bevel.smooth`. Default: ``auto``.

    Returns:
        A tensor of input's shape and dtype.

    Raises:
        InvalidValue: for bad slopes, dtype or channel count.
        UnknownName: for a backend that does not exist.
        BackendUnavailable: if a backend asked for by name cannot be used.

    Example:
        >>> import torch, bevel
        >>> slopes = torch.tensor([0.5, 0.25])  # one per channel
        >>> bevel.functional.frelu(torch.tensor([[-2.0, -2.0]]), negative=slopes).tolist()
        [[-1.0, -0.5]]

    Source: Varshney, Singh: Optimizing nonlinear activation function for convolutional neural networks. SIViP 2021,
    doi:10.1007/s11760-021-01863-z.
    """
    (a, b), tensors = lift((as_coefficient(positive, "positive"), as_coefficient(negative, "negative")))
    return evaluate(input, frelu_family(a, b, SHARP, 1.0), tensors, dim=dim, backend=backend)


def act_and_mul(
    gate: Tensor,
    up: Tensor,
    activation: str | nn.Module = "silu",
    *,
    limit: float | None = None,
    up_offset: float = 0.0,
) -> Tensor:
    """Multiply an activated gate by a second input: ``activation(gate)·(up + up_offset)``, as SwiGLU and GeGLU do.

    With a limit, gate is clamped above and up on both sides before. ``limit=7``, ``up_offset=1`` and
    ``activation="gate:kernel=logistic,n=1.702,learn_n=false"`` is gpt-oss. Backward computes the activation again: gate
    and up are kept, each once, where ``F.silu(gate) * up`` keeps a third tensor of their size. Half precisions are
    computed in float32 and rounded once. torch's own ``F.glu`` halves one input and is another function.

    Args:
        gate: float64, float32, bfloat16 or float16, any shape.
        up: of gate's shape, dtype and device.
        activation: a module, which may have parameters, or the spec string of one without. Default: ``silu``.
        limit: the largest gate, and the largest magnitude of up; finite and > 0, or None for no limit. Default: None.
        up_offset: what is added to up after its limit, finite. Default: 0.

    Returns:
        A tensor of gate's shape and dtype.

    Raises:
        InvalidValue: for inputs that differ in shape, dtype or device, a bad limit or offset, or a spec string of an
            activation with parameters, which a function has no place for.
        UnknownName: for an activation that does not exist, or an argument that it does not take.

    Example:
        >>> import torch, bevel
        >>> gate, up = torch.tensor([-1.0, 2.0, 9.0]), torch.tensor([3.0, -2.0, 8.0])
        >>> bevel.functional.act_and_mul(gate, up, "relu", limit=7.0, up_offset=1.0).tolist()
        [0.0, -2.0, 56.0]
        >>> gpt_oss = "gate:kernel=logistic,n=1.702,learn_n=false"
        >>> y = bevel.functional.act_and_mul(gate, up, gpt_oss, limit=7.0, up_offset=1.0)

    Source: Shazeer: GLU Variants Improve Transformer. 2020, arXiv:2002.05202; gpt-oss has the limit and the offset.
    """
    check_dtype(gate)
    check_dtype(up)
    if (gate.shape, gate.dtype, gate.device) != (up.shape, up.dtype, up.device):
        raise InvalidValue(
            f"gate and up must have one shape, dtype and device; got {tuple(gate.shape)} {gate.dtype} on {gate.device} "
            f"and {tuple(up.shape)} {up.dtype} on {up.device}."
        )
    limit = None if limit is None else check_positive(limit, "limit", hint="None is no limit.")
    module = _without_parameters(activation, gate) if isinstance(activation, str) else activation
    return ops.act_and_mul(gate, up, module, limit, as_number(up_offset, "up_offset"))


_made: dict[tuple[str, torch.device], nn.Module] = {}


def _without_parameters(spec: str, like: Tensor) -> nn.Module:
    """Return the one module of a spec string where ``like`` is; torch.compile finds it made, and traces its forward."""
    if torch.compiler.is_compiling():
        from bevel import _untraced

        _untraced.call(_make, spec, like.device)
    else:
        _make(spec, like.device)
    return _made[spec, like.device]


def _make(spec: str, device: torch.device) -> None:
    if (spec, device) in _made:
        return
    with undisturbed():
        module = create(spec, device=device)
    if next(module.parameters(), None) is not None:
        raise InvalidValue(
            f"a spec string must name an activation without parameters here, since they would be lost; got {spec!r}. "
            "Give a module, or use bevel.nn.ActAndMul."
        )
    _made[spec, device] = module


__all__ = ["act_and_mul", "frelu", "sau"]
