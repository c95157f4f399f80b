"""The rows of the table in docs/export.md hold for every activation that bevel computes (see test_compile too)."""

import copy
import importlib
import io
import pickle
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.func import functional_call, grad, hessian, jacfwd, jvp, vmap
from torch.utils.checkpoint import checkpoint

import bevel
from bevel.ops._text import text_of

from .zoo import CHANNELS, OWNED, inputs, perturbed, zoo

each = pytest.mark.parametrize("name", OWNED)


def _parameters(module: nn.Module) -> dict[str, Tensor]:
    return {k: v.detach() for k, v in module.named_parameters()}


def _gradients(module: nn.Module, x: Tensor) -> list[Tensor]:
    x = x.detach().requires_grad_()
    return list(torch.autograd.grad(module(x).square().sum(), [x, *module.parameters()]))


@each
def test_vmap(name: str) -> None:
    module, x = perturbed(name), inputs(5, 2, CHANNELS)
    torch.testing.assert_close(vmap(module)(x), torch.stack([module(row) for row in x]))
    if any(True for _ in module.parameters()):  # an ensemble: parameters batched too
        stacked = {k: torch.stack([v, v + 0.1]) for k, v in _parameters(module).items()}
        both = vmap(lambda p: functional_call(module, p, (x[0],)))(stacked)
        one = functional_call(module, {k: v[1] for k, v in stacked.items()}, (x[0],))
        torch.testing.assert_close(both[1], one)


@each
def test_per_sample_gradients(name: str) -> None:
    module, x = perturbed(name), inputs(3, CHANNELS)
    module.dim = -1  # a sample has no batch axis

    def loss(parameters: dict[str, Tensor], row: Tensor) -> Any:
        return functional_call(module, parameters, (row,)).square().sum()

    per_sample = vmap(grad(loss), in_dims=(None, 0))(_parameters(module), x)
    for i, row in enumerate(x):
        want = _gradients(module, row)[1:]
        for got, one in zip(per_sample.values(), want, strict=True):
            torch.testing.assert_close(got[i], one, rtol=1e-4, atol=1e-5)


@each
def test_forward_mode(name: str) -> None:
    module, x = perturbed(name).double(), inputs(6, CHANNELS).double()
    tangent = torch.ones_like(x)
    value, slope = jvp(module, (x,), (tangent,))
    point = x.clone().requires_grad_()
    (want,) = torch.autograd.grad(module(point).sum(), point)
    torch.testing.assert_close(value, module(x))
    torch.testing.assert_close(slope, want, rtol=1e-9, atol=1e-9)
    with torch.autograd.forward_ad.dual_level():  # outside torch.func: the operation's own jvp
        dual = module(torch.autograd.forward_ad.make_dual(x, tangent))
        eager = torch.autograd.forward_ad.unpack_dual(dual).tangent
    torch.testing.assert_close(eager, want, rtol=1e-9, atol=1e-9)


@each
def test_hessian(name: str) -> None:
    module, x = perturbed(name).double(), inputs(CHANNELS).double() + 0.05  # off the knots
    module.dim = -1

    def f(x: Tensor) -> Any:
        return module(x).sum()

    slope, step = grad(f), 1e-6
    want = (slope(x + step) - slope(x - step)) / (2 * step)  # elementwise: the hessian is diagonal
    torch.testing.assert_close(hessian(f)(x), torch.diag(want), rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(jacfwd(jacfwd(f))(x), torch.diag(want), rtol=1e-5, atol=1e-6)


@each
def test_double_backward(name: str) -> None:
    module, x = perturbed(name).double(), (inputs(3, CHANNELS).double() + 0.05).requires_grad_()
    (slope,) = torch.autograd.grad(module(x).sum(), x, create_graph=True)
    assert slope.requires_grad or name == "frelu"  # its slope is constant in x, but not in its parameters
    penalty = slope.square().sum()
    found = torch.autograd.grad(penalty, [x, *module.parameters()], allow_unused=True)
    step = 1e-6
    with torch.no_grad():
        for parameter, got in zip(module.parameters(), found[1:], strict=True):
            change = []
            for sign in (1, -1):
                parameter[0] += sign * step
                with torch.enable_grad():
                    (moved,) = torch.autograd.grad(module(x).sum(), x)
                change.append(moved.square().sum())
                parameter[0] -= sign * step
            want = (change[0] - change[1]) / (2 * step)
            torch.testing.assert_close(torch.zeros(()).double() if got is None else got[0], want, rtol=1e-4, atol=1e-6)


@each
def test_autocast_and_mixed_dtypes(name: str) -> None:
    module, x = perturbed(name), inputs(64, CHANNELS)
    want = module(x)
    layer = nn.Sequential(nn.Linear(CHANNELS, CHANNELS), module)
    with torch.autocast("cpu", torch.bfloat16):
        y = layer(x)
        y.float().square().mean().backward()
    assert y.dtype == torch.bfloat16  # the linear layer's output, kept
    assert all(p.grad is not None and p.grad.dtype == torch.float32 for p in layer.parameters())
    rounded = x.bfloat16()
    for own, given in ((module, rounded), (copy.deepcopy(module).bfloat16(), x), (module, x.double())):
        got = own(given)
        assert got.dtype == given.dtype
        torch.testing.assert_close(got.float(), want, rtol=0.05, atol=0.05)


@each
def test_deterministic_algorithms(name: str) -> None:
    module, x = perturbed(name), inputs(64, CHANNELS, 33)
    torch.use_deterministic_algorithms(True)
    try:
        first, second = _gradients(module, x), _gradients(module, x)
    finally:
        torch.use_deterministic_algorithms(False)
    assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True))


@each
def test_meta_and_fake_tensors(name: str) -> None:
    with torch.device("meta"):
        module = bevel.create(name, CHANNELS)
    assert all(p.is_meta for p in module.parameters())
    y = module(torch.empty(2, CHANNELS, 3, device="meta"))
    assert y.is_meta
    assert y.shape == (2, CHANNELS, 3)
    with FakeTensorMode():
        fake = bevel.create(name, CHANNELS)
        x = torch.empty(2, CHANNELS, 3, requires_grad=True)
        y = fake(x)
        y.sum().backward()
    assert y.shape == (2, CHANNELS, 3)
    assert x.grad is not None


@each
def test_copies(name: str) -> None:
    module, x = perturbed(name), inputs(3, CHANNELS)
    want = module(x)
    stream = io.BytesIO()
    torch.save(module.state_dict(), stream)
    stream.seek(0)
    loaded = bevel.create(name, CHANNELS)
    loaded.load_state_dict(torch.load(stream, weights_only=True))
    for twin in (copy.deepcopy(module), pickle.loads(pickle.dumps(module)), loaded):
        assert torch.equal(twin(x), want)
    with torch.no_grad():
        for parameter in loaded.parameters():
            parameter += 1
    assert torch.equal(module(x), want), "a copy shares storage"


@each
@pytest.mark.parametrize("reentrant", [True, False])
def test_activation_checkpointing(name: str, reentrant: bool) -> None:
    module, x = perturbed(name), inputs(8, CHANNELS)

    def saved(x: Tensor) -> Any:
        return checkpoint(module, x, use_reentrant=reentrant)

    plain, other = x.clone().requires_grad_(), x.clone().requires_grad_()
    want = torch.autograd.grad(module(plain).square().sum(), [plain, *module.parameters()])
    saved(other).square().sum().backward()
    got = [other.grad, *(p.grad for p in module.parameters())]
    assert all(g is not None and torch.equal(g, w) for g, w in zip(got, want, strict=True))


@each
@pytest.mark.parametrize("dtype", [torch.complex64, torch.int64, torch.bool])
def test_a_dtype_torch_has_no_derivative_for_is_refused(name: str, dtype: torch.dtype) -> None:
    with pytest.raises(bevel.InvalidValue, match=f"float64, float32, bfloat16 or float16; got {dtype}"):
        bevel.create(name, CHANNELS)(torch.ones(2, CHANNELS).to(dtype))


LAYOUTS: dict[str, Callable[[], Tensor]] = {
    "contiguous": lambda: inputs(3, CHANNELS, 5, 2),
    "channels_last": lambda: inputs(3, CHANNELS, 5, 2).to(memory_format=torch.channels_last),
    "transposed": lambda: inputs(5, CHANNELS, 3).transpose(0, 2),
    "with gaps": lambda: inputs(3, CHANNELS, 5, 2)[..., 0],
    "expanded": lambda: inputs(3, CHANNELS, 1).expand(3, CHANNELS, 6),
    "empty": lambda: inputs(3, CHANNELS, 0),
    "bfloat16": lambda: inputs(3, CHANNELS).bfloat16(),
}


def _spread(module: nn.Module) -> nn.Module:
    """Give every channel its own parameters."""
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.add_(torch.linspace(0.0, 0.2, CHANNELS))
    return module


FAMILIES: dict[str, Callable[[], nn.Module]] = {
    "a sharpness and two slopes": lambda: perturbed("smooth_frelu"),
    "an extra moment": lambda: _spread(bevel.SAU(CHANNELS, n=3.0)),
    "a moment times x": lambda: _spread(bevel.SAU(CHANNELS, n=3.0, form="centred", learn_n=True)),
    "six learnt knots": lambda: _spread(
        bevel.Mollified(
            CHANNELS,
            bevel.PiecewiseLinear(0.1, 0.2, [-2.0, -1.0, 0.0, 0.5, 1.0, 2.0], [0.3, -0.2, 0.5, 0.1, -0.4, 0.2]),
            "biweight", n=2.0, learn="offset+knots+jumps+n",
        )
    ),
    "no parameter": lambda: bevel.Mollified(1, "relu6", "box", n=2.0),
}  # fmt: skip


@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor that is not a leaf:UserWarning")  # opcheck's own
@pytest.mark.parametrize(
    ("family", "layout"),
    [("a sharpness and two slopes", layout) for layout in LAYOUTS] + [(f, "contiguous") for f in list(FAMILIES)[1:]],
)
def test_opcheck_of_the_operator_that_compiled_graphs_call(family: str, layout: str) -> None:
    importlib.import_module("bevel.ops._custom_op")  # registers it
    if bevel.backends().get("cpu", "absent") is not None:
        pytest.skip("the native library is not built here; nothing else registers an operator")
    module = FAMILIES[family]()
    x = LAYOUTS[layout]()
    rest = (None, text_of(module.family), 1, False)
    parameters = [p.detach() for p in module.values()]
    learnt = [p.clone().requires_grad_() for p in parameters]
    torch.library.opcheck(torch.ops.bevel.evaluate.default, (x.detach().requires_grad_(), learnt, *rest))
    g = torch.ones_like(x)
    torch.library.opcheck(torch.ops.bevel.evaluate_backward.default, (g, x, parameters, *rest))


def test_no_other_operator_is_registered() -> None:
    zoo()(inputs(2, CHANNELS))
    ours = {n for n in torch._C._dispatch_get_all_op_names() if n.split("::")[0].startswith("bevel")}
    passes = {f"{n}{s}" for n in ("forward", "backward") for s in ("", "_sharp", "_smooth")} | {
        "inverse",
        "second",
        "pair_forward",
        "pair_backward",
    }
    eager = {f"bevel_operator::{name}" for name in passes}  # tests/test_operator.py
    assert ours <= {"bevel::evaluate", "bevel::evaluate_backward", *eager}, "add torch.library.opcheck for it"


@pytest.fixture
def graph_pool() -> Iterator[None]:
    if not torch.cuda.is_available():
        pytest.skip("CUDA graphs need a CUDA device")
    yield
    torch.cuda.synchronize()


@pytest.mark.usefixtures("graph_pool")
@each
def test_cuda_graphs(name: str) -> None:
    module, x = perturbed(name).cuda(), inputs(64, CHANNELS).cuda().requires_grad_()
    step: Callable[[], list[Tensor]] = lambda: list(  # noqa: E731
        torch.autograd.grad(module(x).square().sum(), [x, *module.parameters()])
    )
    side = torch.cuda.Stream()
    with torch.cuda.stream(side):
        step()  # compiles and warms up outside the capture
    torch.cuda.current_stream().wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        captured = step()
    with torch.no_grad():
        x.copy_(inputs(64, CHANNELS, seed=1))
    graph.replay()
    for got, want in zip(captured, step(), strict=True):
        torch.testing.assert_close(got, want)
