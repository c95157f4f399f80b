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
