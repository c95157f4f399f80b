"""torch.compile: one graph, compiled once, right values and gradients, any batch size."""

import dataclasses

import pytest
import torch
from torch import Tensor, nn

import bevel

from .zoo import CHANNELS, OWNED, RANDOM, inputs, perturbed

pytestmark = pytest.mark.compile


@pytest.fixture(autouse=True)
def _forget() -> None:
    torch.compiler.reset()  # a limit of recompilations is counted per code object, and all share one forward


def _gradients(function: object, module: nn.Module, x: Tensor) -> list[Tensor]:
    assert callable(function)
    x = x.detach().requires_grad_()
    return list(torch.autograd.grad(function(x).square().sum(), [x, *module.parameters()]))


class Each(nn.Module):
    """Every activation by itself; a chain of them would be one kernel, which takes minutes to compile."""

    def __init__(self, modules: list[nn.Module]) -> None:
        super().__init__()
        self.activations = nn.ModuleList(modules)

    def forward(self, x: Tensor) -> Tensor:
        return torch.stack([activation(x) for activation in self.activations])


@pytest.mark.parametrize("name", [*OWNED, *RANDOM])
def test_one_graph_compiled_once_for_every_batch_size(name: str) -> None:
    module = perturbed(name).eval()  # in training some are random
    compiled = torch.compile(module, backend="aot_eager", fullgraph=True, dynamic=True)

    def check(size: int) -> None:
        x = inputs(size, CHANNELS, size + 6, seed=size)
        for got, want in zip(_gradients(compiled, module, x), _gradients(module, module, x), strict=True):
            torch.testing.assert_close(got, want, rtol=1e-4, atol=1e-4)

    check(3)
    with torch.compiler.set_stance("fail_on_recompile"):
        for size in (3, 5, 7):
            check(size)


@pytest.mark.parametrize("name", OWNED)
def test_no_recompilation_on_the_second_call(name: str) -> None:
    module, x = perturbed(name), inputs(3, CHANNELS)
    compiled = torch.compile(module, backend="eager", fullgraph=True)
    torch.testing.assert_close(compiled(x), module(x))
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.mul_(1.1)  # as an optimizer does
    with torch.compiler.set_stance("fail_on_recompile"):
        torch.testing.assert_close(compiled(x + 1), module(x + 1))


def test_a_recompilation_would_be_seen() -> None:
    module, x = bevel.SAU(CHANNELS), inputs(3, CHANNELS)
    compiled = torch.compile(module, backend="eager", fullgraph=True)
    compiled(x)
    with torch.compiler.set_stance("fail_on_recompile"), pytest.raises(RuntimeError, match="recompile"):
        compiled(x.double())


def test_every_kernel() -> None:
    kernels = [k for k in bevel.KERNELS if bevel.KERNELS[k].has_moment]
    module = Each([bevel.Mollified(1, "relu6", k, n=2.0, learn="jumps+n") for k in kernels])
    x = inputs(3, CHANNELS)
    compiled = torch.compile(module, backend="aot_eager", fullgraph=True)
    for got, want in zip(_gradients(compiled, module, x), _gradients(module, module, x), strict=True):
        torch.testing.assert_close(got, want, rtol=1e-4, atol=1e-4)


def test_replacing_a_fixed_sharpness_compiles_nothing_again() -> None:
    from torch._dynamo.testing import CompileCounterWithBackend

    module, x = bevel.SAU(n=1.0), inputs(3)
    counter = CompileCounterWithBackend("eager")
    compiled = torch.compile(module, backend=counter, fullgraph=True)
    compiled(x)
    module.family = dataclasses.replace(module.family, n=2.0)
    torch.testing.assert_close(compiled(x), bevel.SAU(n=2.0)(x))
    assert counter.frame_count == 1


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # Inductor's own
def test_inductor_with_all_of_them_in_one_model() -> None:
    model, x = Each([perturbed(name) for name in OWNED]), inputs(6, CHANNELS)
    compiled = torch.compile(model, fullgraph=True)
    for got, want in zip(_gradients(compiled, model, x), _gradients(model, model, x), strict=True):
        torch.testing.assert_close(got, want, rtol=1e-3, atol=1e-3)
    with torch.compiler.set_stance("fail_on_recompile"):
        other = inputs(6, CHANNELS, seed=1).requires_grad_()
        torch.testing.assert_close(compiled(other), model(other), rtol=1e-5, atol=1e-5)
