"""torch.compile: one graph, compiled once, right values and gradients, any batch size."""

import copy
import dataclasses
import pickle
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.fx import GraphModule

import bevel
from bevel.family import Family, Slot, parameter
from bevel.functional import frelu_family
from bevel.kernel import SHARP
from bevel.ops import _cpu, _operator
from bevel.ops._text import read, text_of
from bevel.terms import Terms

from .zoo import CHANNELS, OWNED, RANDOM, inputs, perturbed

pytestmark = pytest.mark.compile
OF_A_FAMILY = [name for name in OWNED if isinstance(bevel.create(name), bevel.nn.Activation)]


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


@pytest.mark.parametrize("name", OWNED)
def test_one_compiled_call_serves_equal_modules_and_their_copies(name: str) -> None:
    """As where each block of a network is compiled alone: torch would give up after eight."""
    first, x = perturbed(name), inputs(3, CHANNELS)
    compiled = torch.compile(lambda module, x: module(x), backend="eager", fullgraph=True)
    compiled(first, x)
    with torch.compiler.set_stance("fail_on_recompile"):
        for module in (bevel.create(name, CHANNELS), copy.deepcopy(first), pickle.loads(pickle.dumps(first))):
            torch.testing.assert_close(compiled(module, x), module(x))


def test_one_compiled_call_tells_functions_of_one_class_apart() -> None:
    kinked = [bevel.Mollified(CHANNELS, f, n=2.0) for f in ("relu", "relu6", "hardtanh")]
    sharp = [bevel.FReLU(CHANNELS) for _ in range(3)]
    for module, factor in zip(sharp, (1.0, 2.0, -1.0), strict=True):
        module.family = frelu_family(factor * parameter(0), parameter(1), SHARP, 1.0)
    compiled, x = torch.compile(lambda module, x: module(x), backend="eager", fullgraph=True), inputs(3, CHANNELS)
    for module in (*kinked, *sharp):
        torch.testing.assert_close(compiled(module, x), module(x))


@pytest.mark.parametrize("name", OF_A_FAMILY)
@pytest.mark.parametrize("trained", [True, False])
def test_a_compiled_graph_has_one_node_for_an_activation(name: str, trained: bool) -> None:
    """What torch.compile need not interpret: FReLU's formulas took it 13 s in a ResNet-18."""
    nodes: list[Any] = []

    def backend(graph: GraphModule, example: list[Tensor]) -> Any:
        nodes.extend(node.target for node in graph.graph.nodes if node.op.startswith("call"))
        return graph.forward

    with torch.set_grad_enabled(trained):
        torch.compile(perturbed(name), backend=backend, fullgraph=True)(inputs(3, CHANNELS))
    own = [target for target in nodes if not isinstance(target, str)]  # a fixed sharpness is moved and copied
    assert len(own) == 1, own


@pytest.mark.parametrize("name", OF_A_FAMILY)
def test_a_text_tells_the_whole_family(name: str) -> None:
    family = bevel.create(name, CHANNELS).family
    assert read(text_of(family)) == family
    assert read(text_of(family), 3.0) == dataclasses.replace(family, n=3.0, log_n=False)


def test_a_text_tells_kernels_products_and_sides() -> None:
    a = parameter(0)
    for kernel in (*bevel.KERNELS.values(), SHARP):
        terms: Terms[Slot] = Terms(a * a, 0.5, (a,), (1.0 - a,), (a,), (0.0,), (0.0,), True, (0.25, 1.0), ("right",))
        family = Family(terms, kernel, parameter(1), True)
        assert read(text_of(family)) == family
    own = bevel.tabulated(lambda u: (1 - u * u) ** 2, 1.0)
    assert text_of(Family(terms, own, 1.0)) == ""


@pytest.mark.parametrize("native", [True, False])
def test_every_kernel(native: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    if not native:  # as on a GPU
        monkeypatch.setattr(_cpu, "unavailable", lambda: "it is not asked for")
    kernels = [k for k in bevel.KERNELS if bevel.KERNELS[k].has_moment]
    module = Each([bevel.Mollified(1, "relu6", k, n=2.0, learn="jumps+n") for k in kernels])
    x = inputs(3, CHANNELS)
    compiled = torch.compile(module, backend="aot_eager", fullgraph=True)
    for got, want in zip(_gradients(compiled, module, x), _gradients(module, module, x), strict=True):
        torch.testing.assert_close(got, want, rtol=1e-4, atol=1e-4)


OF_A_NUMBER: dict[str, Callable[[Tensor, float], Tensor]] = {
    "smooth": lambda x, n: bevel.smooth(x, "relu", "gaussian", n),
    "mollify": lambda x, n: bevel.mollify("relu6", "logistic", n)(x),
    "the slope of mollify": lambda x, n: bevel.mollify("relu", "student", n).slope(x),
    "frelu": lambda x, slope: bevel.functional.frelu(x, 1.0, slope),
    "sau": lambda x, n: bevel.functional.sau(x, 0.15, n),
    "a knot": lambda x, lam: bevel.smooth(x, bevel.kinked.soft_shrink(lam), "box"),
}


@pytest.mark.parametrize("name", OF_A_NUMBER)
def test_a_number_that_changes_is_compiled_twice_at_most(name: str) -> None:
    """Once as a constant, and, when another comes, once with its value left open."""
    function, x = OF_A_NUMBER[name], inputs(3, CHANNELS)
    compiled = torch.compile(function, backend="aot_eager", fullgraph=True)
    for number in (0.5, 1.5):
        torch.testing.assert_close(compiled(x, number), function(x, number))
    with torch.compiler.set_stance("fail_on_recompile"):
        for number in (0.25, 3.0):
            torch.testing.assert_close(compiled(x, number), function(x, number))


OF_A_NARROWED_NUMBER: dict[str, tuple[tuple[float, ...], Callable[[Tensor, float], Tensor]]] = {
    "clamped": ((12.0, 15.0, 40.0), lambda x, n: bevel.smooth(x, "relu", n=min(max(n, 10.0), 30.0))),
    "an integer": ((2, 3, 5), lambda x, k: bevel.smooth(x, "relu", n=k) if 2 <= k <= 6 else x),
    "compared": ((0.5, 1.5, 2.0), lambda x, n: bevel.smooth(x, "relu", n=n) + (n == 2.0)),
}


@pytest.mark.parametrize("name", OF_A_NARROWED_NUMBER)
def test_a_number_of_which_the_function_asks_something(name: str) -> None:
    numbers, function = OF_A_NARROWED_NUMBER[name]
    compiled, x = torch.compile(function, backend="aot_eager", fullgraph=True), inputs(3, CHANNELS)
    for number in numbers:
        torch.testing.assert_close(compiled(x, number), function(x, number))


def test_a_mollification_is_compiled_once() -> None:
    f, x = bevel.mollify("relu6", "logistic", 2.0), inputs(3, CHANNELS)
    compiled = torch.compile(lambda x: f(x), backend="aot_eager", fullgraph=True)
    compiled(x)
    with torch.compiler.set_stance("fail_on_recompile"):
        torch.testing.assert_close(compiled(x + 1), f(x + 1))


class Triangle(bevel.Kernel):
    """A user's, with a number that may change and a tensor that no instance has."""

    name, formula, reach, compact, one = "own_triangle", "1 - |v|", 1.0, True, torch.ones(1)

    def __init__(self, factor: float) -> None:
        self.factor = factor

    def density(self, v: Tensor) -> Tensor:
        return self.factor * self.one * (1 - v)

    def survival(self, v: Tensor) -> Tensor:
        return self.factor * self.one * (1 - v) ** 2 / 2

    def excess(self, v: Tensor) -> Tensor:
        return self.factor * self.one * (1 - v) ** 3 / 6


def test_a_users_kernel_is_no_text_even_if_it_has_a_name(monkeypatch: pytest.MonkeyPatch) -> None:
    kernel, x = Triangle(1.0), inputs(3, CHANNELS)
    monkeypatch.setitem(bevel.KERNELS._load(), kernel.name, kernel)
    compiled = torch.compile(lambda x: bevel.smooth(x, "relu", kernel, 2.0), backend="aot_eager", fullgraph=True)
    for kernel.factor in (1.0, 1.5):
        torch.testing.assert_close(compiled(x), bevel.smooth(x, "relu", kernel, 2.0))


def test_a_users_kernel_made_of_one_of_bevels_is_traced() -> None:
    class Mine(type(bevel.KERNELS["box"])):  # type: ignore[misc]
        name = "own_box"

    kernel, x = Mine(), inputs(3, CHANNELS)
    compiled = torch.compile(lambda x: bevel.smooth(x, "relu", kernel, 2.0), backend="aot_eager", fullgraph=True)
    torch.testing.assert_close(compiled(x), bevel.smooth(x, "relu", kernel, 2.0))


@pytest.mark.parametrize("name", OF_A_NUMBER)
def test_a_compiled_call_refuses_what_an_eager_one_refuses(name: str) -> None:
    compiled = torch.compile(OF_A_NUMBER[name], backend="eager")  # which runs what it cannot trace
    with pytest.raises(bevel.InvalidValue, match="nan"):
        compiled(inputs(3, CHANNELS), float("nan"))


@pytest.mark.process
def test_names_and_kernels_are_first_asked_for_in_a_compiled_call() -> None:
    code = (
        "import torch, bevel\n"
        "def function(x):\n"
        "    y = bevel.smooth(x, 'relu', bevel.KERNELS['box'])\n"
        "    y = y + bevel.functional.act_and_mul(x, x, 'mollified:f=relu,kernel=box,n=3')\n"
        "    return y + bevel.functional.sau(x, 0.15) + bevel.mollify('relu6')(x)\n"
        "x = torch.linspace(-2, 7, 9)\n"
        "got = torch.compile(function, backend='eager', fullgraph=True)(x)\n"
        "print((got - function(x)).abs().max().item())"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    assert float(done.stdout) < 1e-6


@pytest.mark.parametrize("spec", ["silu", "gate:kernel=logistic,n=1.702,learn_n=false", "relu_squared"])
def test_a_gate_that_a_spec_string_names_is_compiled_whole_and_once(spec: str) -> None:
    """Its module is made while a call is compiled, and another's later compiles nothing again."""
    from torch._dynamo.testing import CompileCounterWithBackend

    def gated(x: Tensor) -> Tensor:
        return bevel.functional.act_and_mul(x, x.detach().flip(0), spec)

    counter = CompileCounterWithBackend("aot_eager")
    compiled = torch.compile(gated, backend=counter, fullgraph=True)
    module = nn.Module()
    for got, want in zip(*(_gradients(call, module, inputs(3)) for call in (compiled, gated)), strict=True):
        torch.testing.assert_close(got, want)
    bevel.functional.act_and_mul(inputs(3), inputs(3), f"leaky_relu:negative_slope={len(spec) / 1000}")
    compiled(inputs(3).requires_grad_())
    assert counter.frame_count == 1


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


SAVES = ["sau", "sau:learn_alpha=False", "sau:n=2", "smooth_frelu:negative=0.3", "frelu:negative=0.3"]


def _kept(compiled: object, x: Tensor) -> tuple[Tensor, list[Tensor]]:
    """What a compiled call returns, and what of its size it keeps for backward."""
    assert callable(compiled)
    kept: list[Tensor] = []

    def pack(tensor: Tensor) -> Tensor:
        kept.append(tensor)
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        y = compiled(x)
    return y, [tensor for tensor in kept if tensor.shape == x.shape]


@pytest.mark.parametrize("spec", SAVES)
@pytest.mark.parametrize("save", ["input", "auto", "output"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_a_rule_of_saving_holds_in_a_compiled_graph(spec: str, save: str, dtype: torch.dtype) -> None:
    """auto keeps the output where the slopes are numbers; the values of parameters are not there while it traces."""
    module = bevel.create(spec, CHANNELS)
    module.save = save
    compiled = torch.compile(module, backend="aot_eager_decomp_partition", fullgraph=True)
    x = inputs(3, CHANNELS, 40).to(dtype)
    y, kept = _kept(compiled, x.requires_grad_())
    of_output = save == "output" or (save == "auto" and spec == "sau:learn_alpha=False")
    assert [torch.equal(tensor, y if of_output else x) for tensor in kept] == [True]
    module.save = "input"
    for got, want in zip(_gradients(compiled, module, x), _gradients(module, module, x), strict=True):
        tolerance = 1e-4 if dtype == torch.float32 else 4 * torch.finfo(dtype).eps
        torch.testing.assert_close(got, want, rtol=tolerance, atol=tolerance * want.abs().max().item())


@pytest.mark.parametrize("name", ["frelu", "smooth_frelu"])
def test_a_compiled_output_that_does_not_tell_the_input_gives_nan(name: str) -> None:
    """Asked for, the output is kept whatever the slopes become; where one is 0, gradients are NaN and never wrong."""
    module = bevel.create(f"{name}:negative=0.5", CHANNELS)
    module.save = "output"
    with torch.no_grad():
        module.negative[1] = 0.0
    compiled = torch.compile(module, backend="aot_eager", fullgraph=True)
    x = inputs(3, CHANNELS, 40)
    dx, *slopes = _gradients(compiled, module, x)
    assert dx[:, 1].isnan().all()
    want, *_ = _gradients(module, module, x)
    torch.testing.assert_close(dx[:, 0], want[:, 0], rtol=1e-4, atol=1e-5)
    for slope in slopes:
        if slope.shape == (CHANNELS,):
            assert slope.isnan().tolist() == [c == 1 for c in range(CHANNELS)]


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_a_compiled_graph_finds_the_input_without_the_operator(
    dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A graph may come from a cache, into a process that has the library only."""
    module = bevel.create("smooth_frelu:negative=0.3", CHANNELS)
    module.save = "output"
    compiled = torch.compile(module, backend="aot_eager", fullgraph=True)
    x = inputs(3, CHANNELS, 40).to(dtype)
    want = _gradients(compiled, module, x)
    monkeypatch.setattr(_operator, "unavailable", lambda: "gone")
    for got, expected in zip(_gradients(compiled, module, x), want, strict=True):
        torch.testing.assert_close(got, expected, rtol=2 * torch.finfo(dtype).eps, atol=1e-5)


@pytest.mark.parametrize("name", ["frelu", "smooth_frelu"])
@pytest.mark.parametrize("transform", ["jvp", "hessian", "vmapped"])
def test_a_transform_of_torch_func_compiles(name: str, transform: str) -> None:
    module = perturbed(name)
    x, tangent = inputs(3, CHANNELS).double(), inputs(3, CHANNELS, seed=1).double()
    module.double()

    def function(x: Tensor) -> Tensor:
        if transform == "jvp":
            return torch.stack(torch.func.jvp(module, (x,), (tangent,)))
        if transform == "hessian":
            return torch.func.hessian(lambda row: module(row[None]).square().sum())(x[0])
        return torch.func.vmap(torch.func.grad(lambda row: module(row[None]).square().sum()))(x)

    torch.testing.assert_close(torch.compile(function, backend="eager")(x), function(x))
