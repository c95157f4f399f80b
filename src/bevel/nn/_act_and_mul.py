"""An activation of two inputs: act(gate)·up."""

from __future__ import annotations

import torch
from torch import Tensor

from bevel._checks import check_positive
from bevel._entry import Device
from bevel.functional import act_and_mul
from bevel.nn._module import Module
from bevel.spec import Factory, create
from bevel.terms import as_number


class ActAndMul(Module):
    """``activation(gate)·(up + up_offset)`` of two inputs: the middle of SwiGLU, GeGLU and gpt-oss's experts.

    It is no row of ``bevel.ACTIVATIONS``, whose items take one input. Its activation is the submodule ``activation``,
    so that :func:`bevel.find`, ``swap``, ``watch`` and ``harden`` see it there.

    Args:
        activation: the gate's activation, as :func:`bevel.create` takes it. Default: ``silu``.
        limit: the largest gate, and the largest magnitude of up; finite and > 0, or None for no limit. Default: None.
        up_offset: what is added to up after its limit, finite. Default: 0.
        num_parameters: of the activation, 1 (shared) or the channel count. Default: 1.
        dim: channel axis of the activation's parameters. Default: -1, the last, which is a transformer's.
        device, dtype: of the parameters. Default: torch's default device and dtype.

    Shape:
        gate, up: one shape and dtype, float64, float32, bfloat16 or float16. The output has them too.

    Raises:
        InvalidValue: for a bad limit or offset, or an argument of the activation that is out of range.
        UnknownName: for an activation that does not exist, or an argument that it does not take.

    Example:
        >>> import torch, bevel
        >>> swiglu = bevel.nn.ActAndMul("gate:kernel=logistic", num_parameters=8)
        >>> gate, up = torch.randn(2, 8), torch.randn(2, 8)
        >>> torch.allclose(swiglu(gate, up), torch.nn.functional.silu(gate) * up, atol=1e-6)
        True
        >>> quick_gelu = "gate:kernel=logistic,n=1.702,learn_n=false"
        >>> gpt_oss = bevel.nn.ActAndMul(quick_gelu, limit=7.0, up_offset=1.0)

    Source: Shazeer: GLU Variants Improve Transformer. 2020, arXiv:2002.05202; gpt-oss has the limit and the offset.
    """

    not_elementwise = "it takes two inputs; swap the activation of its gate instead"

    def __init__(
        self,
        activation: str | Factory = "silu",
        limit: float | None = None,
        up_offset: float = 0.0,
        *,
        num_parameters: int = 1,
        dim: int = -1,
        device: Device = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        self.limit = None if limit is None else check_positive(limit, "limit", hint="None is no limit.")
        self.up_offset = as_number(up_offset, "up_offset")
        self.activation = create(activation, num_parameters, dim=dim, device=device, dtype=dtype)

    def reset_parameters(self) -> None:
        """Set the parameters of the activation to their initial values; torch's own without any have no such method."""
        reset = getattr(self.activation, "reset_parameters", None)
        if reset is not None:
            reset()

    def forward(self, gate: Tensor, up: Tensor) -> Tensor:
        return act_and_mul(gate, up, self.activation, limit=self.limit, up_offset=self.up_offset)

    def extra_repr(self) -> str:
        return f"limit={self.limit}, up_offset={self.up_offset:g}"
