"""Backend ``triton`` from the output: the pass finds x, as well as backward needs it, or every gradient is NaN."""

from __future__ import annotations

import copy
import gc
import weakref
from collections.abc import Iterator, Sequence
from typing import Any

import pytest
import torch
from kept import grads_of, keeps_output
from torch import Tensor, nn

import bevel
from bevel.family import parameter
from bevel.functional import frelu_family, sau_family
from bevel.kernel import SHARP
from bevel.ops import using
from bevel.ops._inverse import LEAST_SLOPE, bisected, tells
from bevel.ops.triton import backend
from bevel.ops.triton.layout import Tuning

KERNELS = [k for k, it in bevel.KERNELS.items() if "excess" in it.triton]
INF, NAN = float("inf"), float("nan")
SPECS = {
    "frelu:positive=1.2,negative=0.3": ("float32", "float16"),
    "sau": ("float32", "bfloat16"),
    "sau:n=3,form=exact": ("float32",),
    "sau:n=5": ("float64", "float32", "bfloat16", "float16"),
    "smooth_frelu:positive=0.2,negative=1.4,n=2": ("float32", "float16"),
    "smooth_frelu:positive=-1,negative=-0.2,kernel=bump,n=2": ("float64", "bfloat16"),
    **{f"smooth_frelu:kernel={k},n=2": ("float32",) for k in KERNELS},
}


@pytest.fixture(autouse=True)
def _triton(one_program: None) -> Iterator[None]:
    with using("triton"):
        yield


def _made(spec: str, rule: str, device: torch.device, channels: int = 1) -> nn.Module:
    module = bevel.create(spec, num_parameters=channels).to(device)
    module.save = rule  # type: ignore[assignment]
    return module


def _near_and_far(n: float) -> Tensor:
    return torch.cat([torch.linspace(-12, 12, 801), torch.linspace(-3, 3, 801) / n])


def _cpu(tensors: Sequence[Tensor]) -> list[Tensor]:
    return [t.cpu() for t in tensors]


@pytest.mark.parametrize(("spec", "name"), [(spec, name) for spec, names in SPECS.items() for name in names])
def test_slopes_are_within_twice_the_error_of_torchs_gelu(spec: str, name: str, device: torch.device) -> None:
    """The rule of the native pass: relative to max(1, |exact|), at each x by itself."""
    dtype = getattr(torch, name)
    module = _made(spec, "output", device)
    x = _near_and_far(float(module.coefficients()[1])).to(device, dtype)
    assert keeps_output(module, x)
    ones = torch.ones_like(x)

    def worst(got: Tensor, want: Tensor) -> float:
        return float(((got.double() - want).abs() / want.abs().clamp(min=1)).max())

    gelu = worst(grads_of(nn.GELU(), x, ones)[1], grads_of(nn.GELU(), x.double(), ones.double())[1])
    with using("reference"):
        want = grads_of(copy.deepcopy(module).double(), x.double(), ones.double())[1]
    assert worst(grads_of(module, x, ones)[1], want) <= 2 * (4e-15 if dtype == torch.float64 else gelu)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=str)
@pytest.mark.parametrize("spec", ["frelu:negative=0.25", "sau:alpha=0.25,n=5", "smooth_frelu"])
def test_slope_gradients_are_within_twice_the_error_of_torchs_prelu(
    spec: str, dtype: torch.dtype, device: torch.device
) -> None:
    """The root mean square over 256 channels of the error, beside that of the gradient itself."""
    x, g = (torch.randn(64, 256, generator=torch.Generator().manual_seed(i)).to(device, dtype) for i in range(2))

    def error(got: Tensor, want: Tensor) -> float:
        return float((got.double() - want).square().mean().sqrt() / want.square().mean().sqrt())

    prelu = nn.PReLU(256, 0.25).to(device)
    theirs = error(grads_of(prelu.to(dtype), x, g)[2], grads_of(prelu.double(), x.double(), g.double())[2])
    module = _made(spec, "output", device, 256)
    with using("reference"):
        want = grads_of(copy.deepcopy(module).double(), x.double(), g.double())
    for (name, _), a, b in zip(module.named_parameters(), grads_of(module, x, g)[2:], want[2:], strict=True):
        assert name == "log_n" or error(a, b) <= 2 * theirs


@pytest.mark.parametrize("flat", [0.3, 1.1e-4])
@pytest.mark.parametrize("kernel", KERNELS)
def test_the_passs_inverse_and_ninety_halvings(kernel: str, flat: float, device: torch.device) -> None:
    """Where the function is steep; where it is not, x may differ by what a rounding of y moves it."""
    family = frelu_family(parameter(0), parameter(1), bevel.KERNELS[kernel], 3.0)
    x = _near_and_far(3.0).double()
    slopes = [torch.tensor([s], dtype=torch.float64) for s in (1.0, flat)]
    at = family.formulas(x, slopes, 0)
    y, slope = at.value(), at.slope()
    found = backend.inverse(family, 0, y.to(device), [s.to(device) for s in slopes]).cpu()
    halved = bisected(family, 0, y, slopes)
    loss = 4e-16 * (y.abs() + 0.3) / slope + 1e-15 * x.abs()
    assert bool(((found - halved).abs() <= 8 * loss).all())
    assert bool(((halved - x).abs() <= 8 * loss).all())


LOOSE = Tuning(tile=64, per_processor=3)
LAYOUTS: dict[str, tuple[tuple[int, ...], bool]] = {
    "flat": ((700,), False),
    "long rows": ((1, 2, 300), True),
    "planes": ((5, 2, 37), True),
    "packed": ((3, 5, 48), True),
    "channels last": ((41, 3), True),
}


@pytest.mark.parametrize("kernel", ["sharp", "gaussian"])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_every_layout_has_the_gradients_from_the_input(layout: str, kernel: str, device: torch.device) -> None:
    """Of programs that walk many tiles with ragged ends; parameters shared and per channel in turn."""
    shape, many = LAYOUTS[layout]
    generator = torch.Generator().manual_seed(0)
    x, g = (torch.randn(shape, generator=generator, dtype=torch.float64) for _ in range(2))
    dim = 1 if many else 0
    lengths = (shape[dim] if many else 1, 1, shape[dim] if many else 1)
    values = [0.51 + torch.rand(k, generator=generator, dtype=torch.float64) for k in lengths]
    if kernel == "sharp":
        family, values = frelu_family(parameter(0), parameter(1), SHARP, 1.0), values[:2]
    else:
        family = frelu_family(parameter(0), parameter(1), bevel.KERNELS[kernel], parameter(2))
    x, g, *values = (t.to(device) for t in (x, g, *values))
    needs = (True,) * (1 + len(values))
    backend.tune(LOOSE)
    y = backend.forward(family, dim, x, values)
    got = backend.backward_from_output(family, dim, g, y, values, needs)
    for a, b in zip(got, backend.backward(family, dim, g, x, values, needs), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-11, atol=1e-11)
    (only,) = backend.backward_from_output(family, dim, g, y, values, (True, *(False for _ in values)))[:1]
    assert torch.equal(only, got[0])  # type: ignore[arg-type]


def _slopes(dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    least = LEAST_SLOPE[dtype]
    values = [0.0, -0.0, 0.9 * least, 1.1 * least, 2e-4, 0.9e-4, 0.3, 0.5, 0.6, 1.0, 3.0, -0.2, -1.0, INF, NAN]
    grid = torch.tensor(values, dtype=torch.float64 if dtype == torch.float64 else torch.float32)
    pairs = torch.cartesian_prod(grid, grid)
    return pairs[:, 0].contiguous(), pairs[:, 1].contiguous()


@pytest.mark.parametrize("dtype", LEAST_SLOPE, ids=str)
@pytest.mark.parametrize("kind", ["sharp", "convolution", "published"])
def test_the_pass_and_its_twin_agree_on_which_slopes_tell(kind: str, dtype: torch.dtype, device: torch.device) -> None:
    """One channel a pair of slopes. Where they do not tell, dx and the sums are NaN: never a wrong number."""
    right, left = _slopes(dtype)
    if kind == "published":
        family, values = sau_family(parameter(0), 3.0, "published"), [torch.cat([left.unique(), left[:1] + 1])]
    else:
        kernel = SHARP if kind == "sharp" else bevel.KERNELS["box"]
        family, values = frelu_family(parameter(0), parameter(1), kernel, 3.0), [right, left]
    values = [v.to(device) for v in values]
    told = tells(family, dtype, values).cpu()
    assert told.any()
    assert not told.all()
    x = torch.tensor([[-2.0], [-0.1], [0.1], [2.0]]).expand(4, len(told)).contiguous().to(device, dtype)
    y = backend.forward(family, 1, x, values)
    needs = (True,) * (1 + len(values))
    dx, *sums = _cpu(backend.backward_from_output(family, 1, torch.ones_like(y), y, values, needs))  # type: ignore[misc]
    assert torch.equal(dx.isnan(), ~told.expand_as(dx))
    for total in sums:
        assert torch.equal(total.isnan(), ~told)


@pytest.mark.parametrize("dtype", LEAST_SLOPE, ids=str)
def test_the_smallest_numbers_have_the_slope_of_their_side_or_nan(dtype: torch.dtype, device: torch.device) -> None:
    """At a slope of ½ or less the smallest y right of 0 is rounded to 0, which lies left."""
    if dtype == torch.bfloat16 and device.type == "cpu":
        pytest.skip("Triton's interpreter has no subnormal bfloat16")
    smallest = torch.finfo(dtype).smallest_normal * torch.finfo(dtype).eps
    right, left = (t.flatten() for t in torch.meshgrid(*[torch.tensor([0.3, 0.5, 0.51, 1.0, 2.0])] * 2, indexing="ij"))
    family, values = frelu_family(parameter(0), parameter(1), SHARP, 1.0), [right.to(device), left.to(device)]
    x = torch.tensor([[-smallest], [smallest]], dtype=dtype).expand(2, len(right)).contiguous().to(device)
    y = backend.forward(family, 1, x, values)
    dx = backend.backward_from_output(family, 1, torch.ones_like(y), y, values, (True, False, False))[0]
    want = torch.stack([left, torch.where(right > 0.5, right, torch.nan)])
    want[0][right <= 0.5] = torch.nan
    torch.testing.assert_close(dx.cpu(), want.to(dtype), equal_nan=True)  # type: ignore[union-attr]


def test_what_tells_is_said_where_the_parameters_are() -> None:
    """A number beside a learnt jump lies on the device of the jump, on a GPU too."""
    module = bevel.create("mollified:f=leaky_relu(0.3),kernel=gaussian,n=3,learn=jumps")
    assert tells(module.family, torch.float32, [p.to("meta") for p in module.values()]).device.type == "meta"


def test_far_out(device: torch.device) -> None:
    for spec in ("frelu:negative=0.5", "sau:n=3", "smooth_frelu:kernel=student,negative=0.3"):
        module, twin = (_made(spec, rule, device) for rule in ("output", "input"))
        x = torch.tensor([-0.0, 0.0, 1e-30, -1e-30, 3e37, -3e37, INF, -INF], device=device)
        for at in x.unbind():
            one = torch.ones_like(at)
            for a, b in zip(grads_of(module, at, one), grads_of(twin, at, one), strict=True):
                torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-6, equal_nan=True)
        at = torch.tensor([NAN], device=device)
        assert grads_of(module, at, torch.ones_like(at))[1].isnan().all()
    module = _made("smooth_frelu:positive=4,negative=0.5", "output", device)
    x = torch.tensor([3e4], dtype=torch.half, device=device)
    y, d, by_positive, *_ = grads_of(module, x, torch.ones_like(x))
    assert y.isinf().all(), "what has overflowed does not tell x"
    assert d.item() == 4
    assert by_positive.isinf().all()


def test_the_input_is_let_go_and_a_change_of_the_output_is_an_error(device: torch.device) -> None:
    module = _made("sau:n=3", "output", device)
    x = torch.randn(50, device=device)
    gone = weakref.ref(x)
    y = module(x)
    del x
    gc.collect()
    assert gone() is None
    y += 1
    with pytest.raises(bevel.BevelError, match=r"kept its output .* module\.save = 'input'"):
        y.sum().backward()
    y = module(torch.randn(50, device=device))
    with torch.no_grad():
        module.alpha += 0.1  # type: ignore[operator]
    with pytest.raises(bevel.BevelError, match="a parameter was changed in place"):
        y.sum().backward()


def _mollified(slope: float) -> bevel.nn.Activation:
    module: Any = bevel.create(f"mollified:f=leaky_relu({slope}),kernel=gaussian,n=3")
    return module


def test_auto_keeps_the_output_where_the_slopes_are_numbers(device: torch.device) -> None:
    """What is learnt is not known to the host. A number is, and is judged as the pass would."""
    x = torch.randn(50, generator=torch.Generator().manual_seed(0)).to(device).requires_grad_()
    for module in (bevel.SAU(n=3.0), bevel.FReLU(), bevel.SmoothFReLU(1, 1.0, 0.3)):
        assert not keeps_output(module.to(device), x)
    for slope, keeps in ((0.3, True), (0.0, False), (-0.3, False), (0.9e-4, False)):
        assert keeps_output(_mollified(slope).to(device), x) == keeps
    module = _mollified(0.3).to(device)
    got = grads_of(module, x, torch.cos(x))
    module.save = "input"
    torch.testing.assert_close(got, grads_of(module, x, torch.cos(x)))


def test_what_the_slopes_alone_do_not_judge_keeps_its_input(device: torch.device) -> None:
    module = _made("sau:n=3,form=centred,alpha=0.3", "output", device)
    assert not keeps_output(module, torch.randn(9, device=device))


def test_training_from_zero_and_through_zero(device: torch.device) -> None:
    """With ``auto`` a slope learns what it learns when the input is kept; with ``output`` it does, or is NaN."""
    x = torch.randn(64, 4, generator=torch.Generator().manual_seed(0)).to(device)
    for start, goal in ((0.0, 0.3), (0.02, -0.3)):
        modules = [_made(f"smooth_frelu:negative={start}", rule, device, 4) for rule in ("input", "auto", "output")]
        lost = []
        for module in modules:
            sgd = torch.optim.SGD(module.parameters(), lr=1.0)
            for _ in range(3):
                sgd.zero_grad()
                (module(x) - bevel.functional.frelu(x, 1.0, goal)).square().mean().backward()
                sgd.step()
            lost.append(bool(module.negative.isnan().any()))  # type: ignore[union-attr]
        assert torch.equal(modules[0].negative, modules[1].negative)  # type: ignore[arg-type]
        found: Tensor = modules[0].negative.detach()  # type: ignore[assignment, union-attr]
        assert bool(((found - start) * (goal - start) > 1e-3).all())
        assert lost == [False, False, True]


def _second(module: nn.Module, x: Tensor) -> Sequence[Tensor]:
    x = x.detach().requires_grad_()
    (d,) = torch.autograd.grad(module(x).square().sum(), x, create_graph=True)
    return torch.autograd.grad(d.pow(3).sum(), [x, *module.parameters()])


@pytest.mark.parametrize("spec", ["frelu:negative=0.3", "sau:n=3"])
def test_what_else_autograd_does(spec: str, device: torch.device) -> None:
    module, twin = (_made(spec, rule, device, 3).double() for rule in ("output", "input"))
    generator = torch.Generator().manual_seed(1)
    x, g = (torch.randn(4, 3, 2, 2, generator=generator, dtype=torch.float64).to(device) for _ in range(2))
    for a, b in zip(_second(module, x), _second(twin, x), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-9, atol=1e-9)
    x.requires_grad_()
    inputs = [x, *module.parameters()]
    first = torch.autograd.grad(module(x), inputs, g)
    turned = (lambda t: t.mT.contiguous().mT if t.dim() > 1 else t), lambda t: t
    with torch.autograd.graph.saved_tensors_hooks(*turned):
        y = module(x)
    for a, b in zip(torch.autograd.grad(y, inputs, g), first, strict=True):
        torch.testing.assert_close(a, b)
    rows = torch.autograd.grad(module(x), x, torch.stack([g, 2 * g]), is_grads_batched=True)[0]
    torch.testing.assert_close(rows, torch.stack([first[0], 2 * first[0]]))
    with torch.inference_mode():
        assert torch.equal(module(x), twin(x))


def test_a_graph_of_gradients_has_nan_too_where_a_slope_does_not_tell(device: torch.device) -> None:
    module = _made("frelu", "output", device, 3)
    with torch.no_grad():
        module.negative.copy_(torch.tensor([0.3, 0.0, -0.3]))  # type: ignore[operator, union-attr]
    x = torch.randn(4, 3, generator=torch.Generator().manual_seed(0)).to(device).requires_grad_()
    (d,) = torch.autograd.grad(module(x).sum(), x, create_graph=True)
    assert d.isnan().any(0).tolist() == [False, True, True]
