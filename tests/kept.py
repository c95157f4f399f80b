"""For the tests of what an activation keeps for backward."""

import torch
from torch import Tensor, nn


def kept_by(module: nn.Module, x: Tensor) -> tuple[Tensor, int, list[Tensor]]:
    """The result, the bytes kept for backward beside parameters, and the tensors that were kept."""
    kept: list[Tensor] = []
    with torch.autograd.graph.saved_tensors_hooks(lambda t: kept.append(t) or t, lambda t: t):  # type: ignore[func-returns-value]
        y = module(x)
    own = {p.untyped_storage().data_ptr() for p in module.parameters()}
    large = {t.untyped_storage().data_ptr(): t.untyped_storage().nbytes() for t in kept}
    return y, sum(n for at, n in large.items() if at not in own), kept


def grads_of(module: nn.Module, x: Tensor, g: Tensor) -> list[Tensor]:
    x = x.detach().requires_grad_()
    y = module(x)
    return [y.detach(), *torch.autograd.grad(y, [x, *module.parameters()], g)]


def some_x(dtype: torch.dtype = torch.float32) -> Tensor:
    x = torch.randn(8, 6, 5, 7, generator=torch.Generator().manual_seed(0)).to(dtype)
    x.view(-1)[:3] = torch.tensor([0.0, -0.0, 3.0], dtype=dtype)
    return x


def keeps_output(module: nn.Module, x: Tensor) -> bool:
    """Whether the first tensor that is kept is the result."""
    y, _, kept = kept_by(module, x)
    return kept[0].data_ptr() == y.data_ptr()
