"""``act_and_mul`` and ``ActAndMul``: the formula in every dtype, its gradients, and what it keeps for backward."""

import copy
import io
import pickle
from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import bevel
from bevel.errors import InvalidValue
from bevel.functional import act_and_mul
from bevel.nn import ActAndMul
from bevel.ops import _act_and_mul, using

Formula = Callable[[Tensor, Tensor], Tensor]


def _gpt_oss(gate: Tensor, up: Tensor) -> Tensor:
    gate, up = gate.clamp(max=7.0), up.clamp(-7.0, 7.0)
    return (up + 1) * (gate * torch.sigmoid(gate * 1.702))


FORMULAS: dict[str, tuple[Callable[[], ActAndMul], Formula]] = {
    "swiglu": (lambda: ActAndMul(), lambda gate, up: F.silu(gate) * up),
    "geglu": (lambda: ActAndMul("gelu"), lambda gate, up: F.gelu(gate) * up),
    "reglu": (lambda: ActAndMul("relu"), lambda gate, up: F.relu(gate) * up),
    "learnt": (lambda: ActAndMul("gate", num_parameters=5), lambda gate, up: F.gelu(gate) * up),
    "gpt-oss": (lambda: ActAndMul("gate:kernel=logistic,n=1.702,learn_n=false", 7.0, 1.0), _gpt_oss),
}


def _inputs(dtype: torch.dtype = torch.float32) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    gate, up = (5 * torch.randn(64, 5, generator=generator, dtype=torch.float64) for _ in range(2))
    return gate.to(dtype).requires_grad_(), up.to(dtype).requires_grad_()


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("name", FORMULAS)
def test_it_is_the_formula(name: str, dtype: torch.dtype) -> None:
    """Value and both gradients are within two roundings, or as far from float64 as the formula is."""
    make, formula = FORMULAS[name]
    module, inputs = make(), _inputs(dtype)
    true = tuple(t.detach().double().requires_grad_() for t in inputs)
    results = []
    for call, at in ((module, inputs), (formula, inputs), (formula, true)):
        y = call(*at)
        assert y.dtype == at[0].dtype
        results.append([t.detach().double() for t in (y, *torch.autograd.grad(y.sum(), at))])
    for ours, theirs, want in zip(*results, strict=True):
        eps = max(torch.finfo(dtype).eps, 2e-8)  # a learnt n is a logarithm in float32
        rounding = 2 * eps * want.abs().clamp(min=25)  # gate and up are of size 5
        assert bool(((ours - want).abs() <= torch.maximum(rounding, (theirs - want).abs())).all())


def test_every_gradient_twice() -> None:
    module = ActAndMul("gate:learn_slopes=true", limit=1.0, up_offset=0.5, num_parameters=3).double()
    names = [name for name, _ in module.named_parameters()]
    values = [(-1.6, 0.4, 1.7), (0.3, -1.4, 1.9)]
    inputs = [torch.tensor([v], dtype=torch.float64, requires_grad=True) for v in values]
    inputs += [p.detach().clone().requires_grad_() for p in module.parameters()]

    def call(gate: Tensor, up: Tensor, *parameters: Tensor) -> Tensor:
        at = dict(zip(names, parameters, strict=True))
        return torch.func.functional_call(module, at, (gate, up))  # type: ignore[no-any-return]

    assert torch.autograd.gradcheck(call, inputs)
    assert torch.autograd.gradgradcheck(call, inputs)


@pytest.mark.parametrize("spec", ["silu", "gate", "frelu", "mish", "swish"])
def test_gate_and_up_are_kept_once_and_nothing_else_of_their_size(spec: str) -> None:
    module, (gate, up) = ActAndMul(spec, limit=7.0), _inputs()
    kept: list[int] = []

    def pack(t: Tensor) -> Tensor:
        if t.numel() >= gate.numel():
            kept.append(t.data_ptr())
        return t

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda t: t):
        module(gate, up)
    assert sorted(kept) == sorted((gate.data_ptr(), up.data_ptr()))


def test_a_tensor_that_was_changed_since_is_an_error() -> None:
    gate, up = _inputs()
    module = ActAndMul("gate")
    y = module(gate, up)
    with torch.no_grad():
        next(module.parameters()).add_(1.0)
    with pytest.raises(bevel.BevelError, match="changed"):
        y.sum().backward()


def test_random_slopes_are_drawn_once() -> None:
    module, (gate, up) = ActAndMul("rrelu" if "rrelu" in bevel.ACTIVATIONS else nn.RReLU).train(), _inputs()
    y = module(gate, up)
    (dgate,) = torch.autograd.grad(y.sum(), gate)
    torch.testing.assert_close(dgate * gate, y)  # the gradient has the slopes of the value


@pytest.mark.compile
def test_it_compiles_whole_and_copies() -> None:
    module, (gate, up) = ActAndMul("gate", 7.0, 1.0, num_parameters=5), _inputs()
    want = module(gate, up)
    torch.testing.assert_close(torch.compile(module, backend="eager", fullgraph=True)(gate, up), want)
    stream = io.BytesIO()
    torch.save(module.state_dict(), stream)
    twin = ActAndMul("gate:n=3", 7.0, 1.0, num_parameters=5)
    twin.load_state_dict(torch.load(io.BytesIO(stream.getvalue()), weights_only=True))
    for other in (twin, copy.deepcopy(module), pickle.loads(pickle.dumps(module))):
        assert torch.equal(other(gate, up), want)


def test_ends_and_nan() -> None:
    inf, nan = float("inf"), float("nan")
    y = act_and_mul(torch.tensor([inf, -inf, nan, 1.0]), torch.tensor([2.0, 3.0, 1.0, nan]), "relu", limit=7.0)
    assert y[:2].tolist() == [14.0, 0.0]
    assert y[2:].isnan().all()


def test_a_spec_string_serves_every_device_and_dtype_whatever_came_first() -> None:
    """Its module has a buffer, n: on the input's device, and exact whatever the default dtype is."""
    spec = "gate:kernel=logistic,n=1.7021,learn_n=false"
    with torch.device("meta"):
        assert act_and_mul(torch.ones(3), torch.ones(3), spec).is_meta
    x = torch.linspace(-3, 3, 7, dtype=torch.float64)
    torch.set_default_dtype(torch.bfloat16)
    try:
        y, z = (act_and_mul(t, t, spec) for t in (x, x.float()))
    finally:
        torch.set_default_dtype(torch.float32)
    torch.testing.assert_close(y, x * x * torch.sigmoid(1.7021 * x), rtol=1e-14, atol=1e-14)
    torch.testing.assert_close(z, y.float())


def test_what_it_refuses() -> None:
    gate, up = _inputs()
    with pytest.raises(InvalidValue, match=r"one shape, dtype and device; got \(64, 5\) .* and \(64, 4\)"):
        act_and_mul(gate, up[:, :4])
    with pytest.raises(InvalidValue, match="one shape, dtype and device"):
        act_and_mul(gate, up.double())
    with pytest.raises(InvalidValue, match="limit must be finite and > 0; got 0"):
        ActAndMul(limit=0)
    with pytest.raises(InvalidValue, match="up_offset must be finite"):
        ActAndMul(up_offset=float("inf"))
    with pytest.raises(InvalidValue, match="without parameters here, since they would be lost; got 'frelu'"):
        act_and_mul(gate, up, "frelu")
    with pytest.raises(InvalidValue, match="must be a dense tensor"):
        act_and_mul(gate.to_sparse(), up)


def test_a_swap_and_a_fold_see_the_activation_inside() -> None:
    class Block(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.gate, self.up, self.act = nn.Linear(4, 6), nn.Linear(4, 6), ActAndMul("silu")

        def forward(self, x: Tensor) -> Tensor:
            y: Tensor = self.act(self.gate(x), self.up(x))
            return y

    model, x = Block(), torch.randn(8, 4)
    want = model(x)
    (site,) = bevel.swap(model, "gate", x).sites
    assert (site.name, site.feeder, site.channels) == ("act.activation", "gate", 6)
    torch.testing.assert_close(model(x), want, atol=1e-5, rtol=1e-5)
    model(x).sum().backward()
    assert model.act.activation.log_n.grad is not None


TWINS = ("silu", "gelu", "relu", "gate", "frelu", "sau:n=3", "gate:kernel=gelu_tanh,learn_slopes=true")
BENT = "mollified:f=hardswish,kernel=gaussian,n=3,learn=n+bends"
PLACES = ("dense", "halves", "channels", "channels last", "rows apart", "every second")


def _laid_out(place: str, dtype: torch.dtype) -> tuple[Tensor, Tensor, int]:
    """Return gate and up as they may lie, and the channel axis, which has 5 channels."""
    generator = torch.Generator().manual_seed(1)
    both = 2 * torch.randn(2, 7, 5, 9, generator=generator, dtype=torch.float64)
    if place in ("channels", "channels last"):
        layout = torch.channels_last if place == "channels last" else torch.contiguous_format
        gate, up = (t.to(dtype).transpose(0, 1)[None].contiguous(memory_format=layout) for t in both)
        return gate.detach(), up.detach(), 1
    both = both.to(dtype).transpose(2, 3).contiguous()
    if place == "halves":
        gate, up = torch.cat((both[0], both[1]), dim=-1).chunk(2, dim=-1)
    elif place == "rows apart":
        gate, up = both[0][:, ::2], both[1][:, 1:6].contiguous()
    elif place == "every second":
        gate, up = torch.stack((both[0], both[1]), dim=-1).unbind(-1)
    else:
        gate, up = both
    return gate.detach(), up.detach(), -1


needs_operator = pytest.mark.skipif(bevel.backends()["operator"] is not None, reason="needs backend operator")


def _all(module: nn.Module, gate: Tensor, up: Tensor) -> list[Tensor]:
    """Value and every gradient."""
    inputs = (gate.detach().requires_grad_(), up.detach().requires_grad_(), *module.parameters())
    y = module(*inputs[:2])
    g = torch.linspace(-1, 1, y.numel(), dtype=torch.float64).reshape(y.shape).to(y.dtype)
    return [y.detach(), *torch.autograd.grad(y, inputs, g)]


def _product(activation: nn.Module, limit: float | None, offset: float) -> nn.Module:
    """The same product of torch's operations, in the dtype of its inputs."""

    class Product(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.activation = activation

        def forward(self, gate: Tensor, up: Tensor) -> Tensor:
            if limit is not None:
                gate, up = gate.clamp(max=limit), up.clamp(-limit, limit)
            y: Tensor = self.activation(gate) * (up + offset)
            return y

    return Product()


def _errors(got: list[Tensor], want: list[Tensor]) -> list[float]:
    """The largest of each, relative to max(1, |exact|)."""
    return [float(((a.double() - b).abs() / b.abs().clamp(min=1)).max()) for a, b in zip(got, want, strict=True)]


@needs_operator
@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("spec", [*TWINS, BENT])
def test_the_native_pass_is_the_formula(spec: str, place: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Value and every gradient, wherever gate and up lie, with a limit and without; formulas are not asked for.

    Value and both gradients are within twice the error of torch's product with GELU; a parameter's, a sum of 126 terms,
    is held to the size of the largest.
    """
    learnt = spec not in ("silu", "gelu", "relu")
    for dtype, sums in ((torch.float64, 1e-12), (torch.float32, 2e-5), (torch.bfloat16, 2e-2), (torch.float16, 2e-3)):
        gate, up, dim = _laid_out(place, dtype)
        for limit, offset in ((None, 0.0), (1.5, 0.5)):
            module = ActAndMul(spec, limit, offset, num_parameters=5 if learnt else 1, dim=dim)
            module = module.double() if dtype == torch.float64 else module
            with monkeypatch.context() as patch:
                patch.setattr(_act_and_mul, "composed", lambda *_: None)
                found = _all(module, gate, up)
            with using("reference"):
                want = _all(copy.deepcopy(module).double(), gate.double(), up.double())
            assert [t.dtype for t in found[:3]] == [dtype] * 3
            gelu, at = _product(nn.GELU(), limit, offset), (gate.contiguous(), up.contiguous())
            theirs = _errors(_all(gelu, *at), _all(gelu, *(t.double() for t in at)))
            for error, bound in zip(_errors(found[:3], want[:3]), theirs, strict=True):
                assert error <= 2 * (4e-15 if dtype == torch.float64 else bound)
            for got, exact in zip(found[3:], want[3:], strict=True):
                assert float((got.double() - exact).abs().max()) <= sums * (1 + float(exact.abs().max()))


@needs_operator
@pytest.mark.parametrize("spec", [*TWINS, BENT])
def test_what_is_not_asked_for_changes_nothing(spec: str) -> None:
    """Each gradient alone, and those of the parameters alone, are what they are among all, bit for bit."""
    gate, up, dim = _laid_out("dense", torch.float32)
    module = ActAndMul(spec, 1.5, 0.5, num_parameters=1 if spec in ("silu", "gelu", "relu") else 5, dim=dim)
    inputs = (gate.requires_grad_(), up.requires_grad_(), *module.parameters())
    every = torch.autograd.grad(module(gate, up).sum(), inputs)
    several = [(i,) for i in range(len(inputs))] + [tuple(range(2, len(inputs)))] * (len(inputs) > 2)
    for wanted in several:
        for i, t in enumerate(inputs):
            t.requires_grad_(i in wanted)
        got = torch.autograd.grad(module(gate, up).sum(), [inputs[i] for i in wanted])
        for i, d in zip(wanted, got, strict=True):
            assert torch.equal(d, every[i])


@needs_operator
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16, torch.float16], ids=str)
@pytest.mark.parametrize("spec", [*TWINS[3:], BENT])
def test_the_native_pass_has_the_formulas_limits(spec: str, dtype: torch.dtype) -> None:
    """At ±inf and NaN, of either input: value and gradients of both, as the written-out backward has them."""
    ends = torch.tensor([torch.inf, -torch.inf, torch.nan, 0.0, 2.0, -2.0], dtype=dtype)
    gate, up = (t.flatten().contiguous() for t in torch.meshgrid(ends, ends, indexing="ij"))
    for limit in (None, 1.5):
        module = ActAndMul(spec, limit)
        found = _all(module, gate, up)[:3]
        with using("analytic"):
            want = _all(module, gate, up)[:3]
        torch.testing.assert_close(found, want, equal_nan=True)


@needs_operator
def test_a_hook_a_subclass_and_a_mode_see_the_activation() -> None:
    module, (gate, up) = ActAndMul("gate"), _inputs()
    seen: list[Tensor] = []
    handle = module.activation.register_forward_hook(lambda _, inputs, output: seen.append(output))
    module(gate, up)
    handle.remove()
    module(gate, up)
    assert len(seen) == 1

    class Doubled(bevel.nn.Gate):
        def forward(self, input: Tensor) -> Tensor:
            return 2 * super().forward(input)

    doubled = act_and_mul(gate, up, Doubled())
    torch.testing.assert_close(doubled, 2 * module(gate, up))
    with using("analytic"):
        torch.testing.assert_close(module(gate, up), act_and_mul(gate, up, bevel.nn.Gate()))


@needs_operator
@pytest.mark.parametrize("make", [nn.ReLU, nn.SiLU, nn.GELU, bevel.nn.Gate])
def test_a_replaced_forward_is_called(make: Callable[[], nn.Module]) -> None:
    activation, (gate, up) = make(), _inputs()
    activation.forward = torch.sin  # type: ignore[method-assign]
    torch.testing.assert_close(act_and_mul(gate, up, activation), gate.sin() * up)
