"""What an activation keeps for backward: the output where it tells the input, and what is then the same as before."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence

import pytest
import torch
from kept import grads_of, kept_by, some_x
from torch import Tensor, nn
from torch.autograd import forward_ad
from torch.utils.checkpoint import checkpoint

import bevel
from bevel.ops import _operator, using

pytestmark = pytest.mark.skipif(_operator.unavailable() is not None, reason=f"operator: {_operator.unavailable()}")

OWN = [name for name in bevel.ACTIVATIONS if isinstance(bevel.create(name), bevel.nn.Activation)]
TELL = ("frelu", "sau", "smooth_frelu")
"""Those of which some, at some parameters, keep the output."""
SLOPES = {"positive": (1.2, 0.15), "one negative": (1.0, -0.3), "both negative": (-1.0, -0.5), "from ReLU": (1.0, 0.0)}
LEAST = {torch.float32: 1e-30, torch.float64: 1e-290, torch.bfloat16: 1e-30, torch.float16: 1e-4}
EACH: dict[str, Callable[[], bevel.nn.Activation]] = {
    "one sign": lambda: bevel.FReLU(6, 1.2, 0.3),
    "two signs": lambda: bevel.FReLU(6, 1.2, -0.3),
    "sau": lambda: bevel.SAU(6),
    "sau of n = 3": lambda: bevel.SAU(6, n=3.0, learn_n=True),
    "smooth": lambda: bevel.SmoothFReLU(6, n=2.0),
}
each_dtype = pytest.mark.parametrize("dtype", LEAST, ids=str)


@each_dtype
@pytest.mark.parametrize("slopes", SLOPES.values(), ids=SLOPES)
@pytest.mark.parametrize("channels", [1, 6])
def test_gradients_from_the_output_are_those_from_the_input(
    slopes: tuple[float, float], channels: int, dtype: torch.dtype
) -> None:
    """dx to the last bit; the slopes' within twice the error of torch's PReLU, or the rounding of y, an average."""
    module = bevel.FReLU(channels, *slopes)
    if channels > 1:
        with torch.no_grad():
            module.negative += torch.linspace(-0.05, 0.05, channels)
    twin = copy.deepcopy(module)
    twin.save = "input"
    x = some_x(dtype)
    for laid in (x, x.to(memory_format=torch.channels_last), x.transpose(0, 3) if channels == 1 else x):
        g = torch.randn(laid.shape, generator=torch.Generator().manual_seed(1)).to(dtype)
        got, want = grads_of(module, laid, g), grads_of(twin, laid, g)
        size = (g.double().abs() * laid.double().abs()).sum() / channels  # of the sum's terms
        assert torch.equal(got[0], want[0])
        if slopes[0] > 0:  # else x = 0 lies on the other side of the kink
            assert torch.equal(got[1], want[1])
        close = {torch.bfloat16: 2e-3, torch.float16: 3e-4}.get(dtype, 3e-7)
        for a, b in zip(got[2:], want[2:], strict=True):
            assert float((a - b).abs().max() / size) < close


@pytest.mark.parametrize("again", [False, True], ids=["once", "differentiable"])
def test_a_hook_that_packs_what_is_saved_in_another_order_changes_no_gradient(again: bool) -> None:
    """As ``save_on_cpu(pin_memory=True)`` does: the bits of the sides follow y's memory, and hooks may change that."""
    module = bevel.FReLU(6, 1.0, -0.5)
    x = some_x().to(memory_format=torch.channels_last).requires_grad_()
    g = torch.randn(x.shape, generator=torch.Generator().manual_seed(1))
    inputs = [x, *module.parameters()]
    want = torch.autograd.grad(module(x), inputs, g, create_graph=again)
    with torch.autograd.graph.saved_tensors_hooks(lambda t: t.contiguous(), lambda t: t):
        y = module(x)
    got = torch.autograd.grad(y, inputs, g, create_graph=again)
    for a, b in zip(got, want, strict=True):
        torch.testing.assert_close(a, b)
    assert got[0].stride() == want[0].stride()


def test_bytes_kept() -> None:
    """ReLU's where slopes have one sign; one bit an element more where not; the input where a slope is lost."""
    x = torch.randn(64, 64, requires_grad=True)
    for (a, b), bits in (((1.0, 0.15), 0), ((1.0, -0.2), 1)):
        y, size, kept = kept_by(bevel.FReLU(1, a, b), x)
        assert size == y.numel() * 4 + y.numel() // 8 * bits
        assert kept[0].data_ptr() == y.data_ptr()
    y, size, kept = kept_by(bevel.FReLU(1, 1.0, 0.0), x)
    assert (size, kept[0].data_ptr()) == (x.numel() * 4, x.data_ptr())
    module = bevel.FReLU(1, 1.0, 0.15)
    module.save = "input"
    assert kept_by(module, x)[2][0].data_ptr() == x.data_ptr()


@each_dtype
def test_a_slope_too_small_for_its_dtype_keeps_the_input(dtype: torch.dtype) -> None:
    x = some_x(dtype).requires_grad_()
    of = torch.float64 if dtype == torch.float64 else torch.float32
    for factor, keeps_output in ((2.0, True), (0.5, False)):
        module = bevel.FReLU(1, dtype=of)
        with torch.no_grad():
            module.negative.fill_(factor * LEAST[dtype])
        y, _, kept = kept_by(module, x)
        assert (kept[0].data_ptr() == y.data_ptr()) == keeps_output


def test_training_from_zero_and_through_zero() -> None:
    """A slope that starts at 0, as after a swap of ReLU, learns what it learns when the input is kept; so does one that
    changes its sign."""
    x = torch.randn(64, 4)
    for start, goal in ((0.0, 0.3), (0.02, -0.3)):
        modules = [bevel.FReLU(4, 1.0, start) for _ in range(2)]
        modules[1].save = "input"
        for module in modules:
            sgd = torch.optim.SGD(module.parameters(), lr=0.1)
            for _ in range(6):
                sgd.zero_grad()
                (module(x) - bevel.functional.frelu(x, 1.0, goal)).square().mean().backward()
                sgd.step()
        torch.testing.assert_close(modules[0].negative, modules[1].negative, rtol=1e-5, atol=1e-7)
        found = modules[0].negative.detach()
        assert bool(((found - start) * (goal - start) > 1e-3).all())


def test_an_output_that_is_changed_in_place_is_an_error_with_the_ways_out() -> None:
    layer, module = nn.Linear(4, 4), bevel.FReLU(4)
    y = module(layer(torch.randn(3, 4)))
    y += 1
    with pytest.raises(bevel.BevelError, match=r"kept its output .* module\.save = 'input'"):
        y.sum().backward()
    h = layer(torch.randn(3, 4))
    y = module(h)
    h += 1  # nobody needs the input
    y.sum().backward()
    module.save = "input"
    y = module(layer(torch.randn(3, 4)))
    y += 1
    y.sum().backward()
    y = module(layer(torch.randn(3, 4)))
    with torch.no_grad():
        module.negative += 1
    with pytest.raises(bevel.BevelError, match="a parameter was changed in place"):
        y.sum().backward()


def test_far_out() -> None:
    x = torch.tensor([float("inf"), -float("inf"), float("nan"), 3.0])
    for slopes in ((1.0, 0.5), (1.0, -0.5)):
        module, twin = bevel.FReLU(1, *slopes), bevel.FReLU(1, *slopes)
        twin.save = "input"
        for at in (x[:1], x[1:2], x[3:]):
            for a, b in zip(grads_of(module, at, torch.ones(1)), grads_of(twin, at, torch.ones(1)), strict=True):
                torch.testing.assert_close(a, b, equal_nan=True)
        assert grads_of(module, x[2:3], torch.ones(1))[0].isnan().all()
    least = torch.tensor([1e-45, -1e-45])
    for slopes in ((0.3, 0.2), (0.6, 0.2), (0.3, -0.2)):  # what y is rounded to must not lie left of 0
        module, twin = bevel.FReLU(1, *slopes), bevel.FReLU(1, *slopes)
        twin.save = "input"
        assert torch.equal(grads_of(module, least, torch.ones(2))[1], grads_of(twin, least, torch.ones(2))[1])
    y, _, by_slope, _ = grads_of(bevel.FReLU(1, 4.0, 0.5), torch.tensor([3e38]), torch.ones(1))
    assert y.isinf().all()
    assert by_slope.isinf().all()  # what has overflowed does not tell x


def _second(module: nn.Module, x: Tensor) -> Sequence[Tensor]:
    x = x.detach().requires_grad_()
    (d,) = torch.autograd.grad(module(x).square().sum(), x, create_graph=True)
    return torch.autograd.grad(d.pow(3).sum(), [x, *module.parameters()])


@pytest.mark.parametrize("make", EACH.values(), ids=EACH)
def test_what_else_autograd_does(make: Callable[[], bevel.nn.Activation]) -> None:
    module, twin = make(), make()
    twin.save = "input"
    x, g = some_x(), torch.randn(8, 6, 5, 7, generator=torch.Generator().manual_seed(1))
    loose = {} if isinstance(module, bevel.FReLU) else {"rtol": 2e-5, "atol": 2e-4}  # a smooth x has been solved for
    for a, b in zip(_second(module, x), _second(twin, x), strict=True):
        torch.testing.assert_close(a, b, **loose)
    x.requires_grad_()
    y = module(x)
    first = torch.autograd.grad(y, [x, *module.parameters()], g, retain_graph=True)
    again = torch.autograd.grad(y, [x, *module.parameters()], g)
    assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True))
    for _ in range(2):
        module(x).backward(g)
    for p, d in zip(module.parameters(), first[1:], strict=True):
        torch.testing.assert_close(p.grad, 2 * d)
    torch.testing.assert_close(torch.autograd.grad(checkpoint(module, x, use_reentrant=False), x, g)[0], first[0])
    rows = torch.autograd.grad(module(x), x, torch.stack([g, 2 * g]), is_grads_batched=True)[0]
    torch.testing.assert_close(rows, torch.stack([first[0], 2 * first[0]]))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert module(x).dtype == torch.float32
    with torch.inference_mode():
        assert torch.equal(module(x), twin(x))
    with using("cpu"):  # keeps the input
        found = torch.autograd.grad(module(x), x, g)[0]
    torch.testing.assert_close(found, first[0])
    assert torch.equal(found, first[0]) or not isinstance(module, bevel.FReLU)


@pytest.mark.parametrize("make", EACH.values(), ids=EACH)
def test_forward_mode_and_transforms(make: Callable[[], bevel.nn.Activation]) -> None:
    module, twin = make(), make()
    twin.save = "input"
    x, v = some_x(), torch.randn(8, 6, 5, 7, generator=torch.Generator().manual_seed(1))
    with forward_ad.dual_level():
        tangents = [forward_ad.unpack_dual(m(forward_ad.make_dual(x, v))).tangent for m in (module, twin)]
    assert torch.equal(*tangents)
    for transform in (torch.func.grad, torch.func.hessian):
        a, b = (transform(lambda t, m=m: m(t).square().sum())(x[:1, :, 0, 0]) for m in (module, twin))
        assert torch.equal(a, b)
    d, twins = (
        torch.autograd.functional.hessian(lambda t, m=m: m(t).square().sum(), x[:1, :, 0, 0]) for m in (module, twin)
    )
    torch.testing.assert_close(d, twins, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("name", OWN)
def test_each_rule_gives_the_same_function_or_is_refused(name: str) -> None:
    x = some_x()
    module = bevel.create(name, 6) if "num_parameters" in str(bevel.create(name)) else bevel.create(name)
    want = grads_of(module, x, torch.ones_like(x))
    for rule in ("auto", "input", "output"):
        twin = copy.deepcopy(module)
        if rule == "output" and name not in TELL:
            with pytest.raises(bevel.InvalidValue, match="save='output' must go with a function whose output can"):
                twin.save = rule
            continue
        twin.save = rule
        assert copy.deepcopy(twin).save == rule
        for a, b in zip(grads_of(twin, x, torch.ones_like(x)), want, strict=True):
            torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-5)
    with pytest.raises(bevel.InvalidValue, match="save must be one of auto, input, output; got 'x'"):
        module.save = "x"


class Block(nn.Module):
    """Three units; the model may write to the second one's output, and GELU keeps its input."""

    def __init__(self, written: str) -> None:
        super().__init__()
        self.entry, self.first, self.second, self.last = (nn.Linear(*s) for s in ((4, 6), (6, 6), (6, 6), (6, 2)))
        self.relu, self.gelu, self.silu = nn.ReLU(), nn.GELU(), nn.SiLU()
        self.drop, self.written = nn.Dropout(0.5, inplace=True), written

    def forward(self, x: Tensor) -> Tensor:
        h = self.gelu(self.first(self.relu(self.entry(x))))
        if self.written == "by a view":
            h[:, 0] += 1
        elif self.written == "by a unit":
            nn.functional.hardtanh(h, inplace=True)
        elif self.written == "in training":
            h = self.drop(h)
        y: Tensor = self.last(self.silu(self.second(h)))
        return y


@pytest.mark.parametrize("rule", ["auto", "output"])
@pytest.mark.parametrize("written", ["by none", "by a view", "by a unit", "in training"])
def test_a_swap_keeps_the_input_where_the_output_is_written_to(written: str, rule: str) -> None:
    x = torch.randn(3, 4)
    model = Block(written)
    result = bevel.swap(model, "frelu", x, what=("relu", "gelu", "silu"), preserve=False, save=rule)
    saves = [m.save for m in (model.relu, model.gelu, model.silu)]
    assert saves == [rule, rule if written == "by none" else "input", rule]
    model(x).sum().backward()
    again = bevel.surgery.apply_plan(Block(written), result.plan()).model
    assert [m.save for m in (again.relu, again.gelu, again.silu)] == saves
    model.gelu.save = "auto"
    if written not in ("by none", "by a unit"):
        with pytest.raises(bevel.BevelError, match=r"swap\(..., save='input'\)"):
            model(x).sum().backward()


def test_a_swap_keeps_the_input_where_the_output_is_returned() -> None:
    def model() -> nn.Sequential:
        return nn.Sequential(nn.Linear(4, 6), nn.ReLU(), nn.Linear(6, 6), nn.LeakyReLU(0.1))

    x = torch.randn(2, 4)
    swapped = bevel.swap(model(), "frelu", x)
    assert [swapped.model[i].save for i in (1, 3)] == ["auto", "input"]
    again = bevel.surgery.apply_plan(model(), swapped.plan())
    assert [again.model[i].save for i in (1, 3)] == ["auto", "input"]
    forced = bevel.swap(model(), "frelu", x, save="output")
    assert [forced.model[i].save for i in (1, 3)] == ["output", "output"]
    for name, kind in (("squareplus", "Squareplus"), ("swish", "Swish")):  # of the engine, and not
        with pytest.raises(bevel.InvalidValue, match=f"save='output' must go with .*; got {kind}. Use 'auto'."):
            bevel.swap(model(), name, x, save="output", preserve=False)
