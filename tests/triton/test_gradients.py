"""Backend ``triton`` against the reference: values, every gradient, every kernel, layout and precision."""

import functools
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

import bevel
from bevel import PiecewiseLinear, smooth
from bevel.errors import InvalidValue
from bevel.family import Family, parameter
from bevel.functional import frelu_family, sau
from bevel.kernel import SHARP
from bevel.ops import evaluate
from bevel.ops.triton import backend as _triton
from bevel.ops.triton.layout import Tuning
from bevel.terms import Terms

KERNELS = [k for k, it in bevel.KERNELS.items() if "excess" in it.triton]


def _function(generator: torch.Generator, knots: int, channels: int) -> tuple[PiecewiseLinear, list[Tensor]]:
    """Return a kinked function whose coefficients are all tensors, shared and per channel in turn."""

    def draw(i: int, scale: float = 1.0) -> Tensor:
        size = channels if i % 2 else 1
        return torch.randn(size, generator=generator, dtype=torch.float64) * scale

    where = [draw(i, 0.1) + i - 1.0 for i in range(knots)]
    left, offset = draw(0), draw(1)
    jumps, steps = [draw(i + 1) for i in range(knots)], [draw(i) for i in range(knots)]
    return PiecewiseLinear(left, offset, where, jumps, steps), [left, offset, *where, *jumps, *steps]


def _both(
    call: Callable[[list[Tensor], str], Tensor], inputs: list[Tensor], g: Tensor, device: torch.device
) -> tuple[list[Tensor], list[Tensor]]:
    """Return value and gradients, of the backend and of the reference on the CPU."""
    results = []
    for where, backend in ((device, "triton"), (torch.device("cpu"), "reference")):
        given = [t.detach().to(where).requires_grad_() for t in inputs]
        y = call(given, backend)
        results.append([t.cpu() for t in (y, *torch.autograd.grad(y, given, g.to(where)))])
    return results[0], results[1]


@pytest.mark.parametrize("kernel", KERNELS)
def test_every_gradient_of_one_knot(kernel: str, device: torch.device) -> None:
    generator = torch.Generator().manual_seed(1)
    _f, coefficients = _function(generator, 1, channels=3)
    n = torch.tensor([0.8, 2.0, 5.0], dtype=torch.float64)
    x = torch.randn(4, 3, 5, generator=generator, dtype=torch.float64)

    def call(given: list[Tensor], backend: str) -> Tensor:
        x, n, left, offset, knot, jump, step = given
        return smooth(x, PiecewiseLinear(left, offset, [knot], [jump], [step]), kernel, n, backend=backend)

    got, want = _both(
        call, [x, n, *coefficients], torch.randn(4, 3, 5, dtype=torch.float64, generator=generator), device
    )
    for a, b in zip(got, want, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-11, atol=1e-11)


@pytest.mark.parametrize("kernel", ["gaussian", "bump", "student"])
def test_every_gradient_of_three_knots(kernel: str, device: torch.device) -> None:
    generator = torch.Generator().manual_seed(3)
    _f, coefficients = _function(generator, 3, channels=2)
    x = torch.randn(2, 2, 9, generator=generator, dtype=torch.float64)

    def call(given: list[Tensor], backend: str) -> Tensor:
        x, n, left, offset, *rest = given
        return smooth(x, PiecewiseLinear(left, offset, rest[:3], rest[3:6], rest[6:]), kernel, n, backend=backend)

    n = torch.tensor([1.5], dtype=torch.float64)
    got, want = _both(
        call, [x, n, *coefficients], torch.randn(2, 2, 9, dtype=torch.float64, generator=generator), device
    )
    for a, b in zip(got, want, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-11, atol=1e-11)


def test_a_step_smoothed_by_cauchy(device: torch.device) -> None:
    """Cauchy has no first moment, so that its text has no excess; its survival is an arc tangent."""
    x = torch.linspace(-9, 9, 61, dtype=torch.float64)

    def call(given: list[Tensor], backend: str) -> Tensor:
        x, n, step = given
        return smooth(x, PiecewiseLinear(knots=[0.3], steps=[step]), "cauchy", n, backend=backend)

    two = torch.tensor([2.0], dtype=torch.float64)
    got, want = _both(call, [x, two, two], torch.ones(61, dtype=torch.float64), device)
    for a, b in zip(got, want, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-13, atol=1e-13)


@pytest.mark.parametrize("gate", [False, True])
def test_extra_terms_and_gates(gate: bool, device: torch.device) -> None:
    """c0, c1, ``multiplies_cdf`` and a weight other than one; no module has all of them."""
    terms = Terms(
        parameter(0) - 0.25, 0.0, (0.2,), (parameter(1),), (0.0,), (parameter(2) + parameter(0),), (parameter(3),), gate
    )
    family = Family(terms, bevel.KERNELS["logistic"], parameter(4), log_n=True)
    x = torch.linspace(-3, 3, 33, dtype=torch.float64)
    values = [torch.tensor([v], dtype=torch.float64) for v in (0.3, 0.7, -0.4, 0.9, 0.6)]

    def call(given: list[Tensor], backend: str) -> Tensor:
        return evaluate(given[0], family, given[1:], dim=0, backend=backend)

    got, want = _both(call, [x, *values], torch.cos(x), device)
    for a, b in zip(got, want, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("kernel", ["gaussian", "logistic", "box", "gelu_tanh"])
def test_every_gradient_of_a_gate(kernel: str, channels: int, device: torch.device) -> None:
    """Of x, both slopes and log n, far into the tails, where x·(1 + erf)/2 has no digits left."""
    module = bevel.nn.Gate(channels, 1.2, -0.3, kernel, 1.5, learn_slopes=True, dtype=torch.float64)
    assert len(module.values()) == 3
    x = torch.cat([torch.linspace(-9, 9, 37), torch.tensor([-30.0, 30.0])]).double().repeat(2, channels, 1)
    x[:, 0] += 0.01

    def call(given: list[Tensor], backend: str) -> Tensor:
        return evaluate(given[0], module.family, given[1:], dim=1, backend=backend)

    got, want = _both(call, [x, *module.values()], torch.cos(x), device)
    for a, b in zip(got, want, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-12, atol=1e-13)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16], ids=str)
@pytest.mark.parametrize(("kernel", "name"), [("gaussian", "gelu"), ("logistic", "silu"), ("gelu_tanh", "gelu")])
def test_a_gate_is_as_exact_as_torchs_own(kernel: str, name: str, dtype: torch.dtype, device: torch.device) -> None:
    """GELU and SiLU with their slopes: at most twice torch's error, relative to max(1, |exact|)."""
    own = getattr(torch.nn.functional, name)
    if kernel == "gelu_tanh":
        own = functools.partial(own, approximate="tanh")
    family = frelu_family(1.0, 0.0, bevel.KERNELS[kernel], 1.0, multiplies_cdf=True)
    x = torch.cat([torch.linspace(-6, 6, 1001), torch.linspace(-30, 30, 31)]).to(device, dtype)

    def error(call: Callable[[Tensor], Tensor]) -> list[float]:
        found = []
        for at in (x, x.double()):
            at = at.detach().requires_grad_()
            y = call(at) if at.dtype == dtype else own(at)
            found.append([t.detach().double() for t in (y, torch.autograd.grad(y.sum(), at)[0])])
        return [float(((a - b).abs() / b.abs().clamp(min=1)).max()) for a, b in zip(*found, strict=True)]

    ours = error(lambda at: evaluate(at, family, [], dim=0, backend="triton"))
    cut = 2**-7 if dtype == torch.bfloat16 and device.type == "cpu" else 0.0  # the interpreter cuts where a chip rounds
    for a, b in zip(ours, error(own), strict=True):
        assert a <= max(2 * b, cut)


def test_the_tails_of_gelu_by_tanh_keep_their_digits(device: torch.device) -> None:
    """In float32, where x·(1 + tanh)/2 has none left of x = −5; its ReLU goes to another backend."""
    gate = frelu_family(1.0, 0.0, bevel.KERNELS["gelu_tanh"], 1.0, multiplies_cdf=True)
    x = torch.linspace(-9.5, -0.1, 400).to(device).requires_grad_()
    y = evaluate(x, gate, [], dim=0, backend="triton")
    exact = x.detach().cpu().double().requires_grad_()
    want = evaluate(exact, gate, [], dim=0, backend="reference")
    slopes = [torch.autograd.grad(t.sum(), at)[0].detach() for t, at in ((y, x), (want, exact))]
    digits = 2e-6 if device.type == "cpu" else 1e-5
    for got, true in ((y.detach(), want.detach()), slopes):
        far = (true.abs() > 1e-30) & ((exact < -1.5) | (exact > -0.5))  # between, the slope passes 0
        assert float(((got.cpu().double() - true) / true)[far].abs().max()) <= digits
    relu = frelu_family(1.0, 0.0, bevel.KERNELS["gelu_tanh"], 1.0)
    assert "has no excess" in str(_triton.refuses(relu, x, []))


LAYOUTS: dict[str, tuple[Callable[[], Tensor], int]] = {
    "nchw": (lambda: torch.randn(2, 3, 4, 5), 1),
    "channels_last": (lambda: torch.randn(2, 3, 4, 5).to(memory_format=torch.channels_last), 1),
    "btc": (lambda: torch.randn(2, 7, 3), -1),
    "c_first": (lambda: torch.randn(3, 700), 0),  # long rows: walks along inner
    "permuted": (lambda: torch.randn(4, 5, 3, 2).permute(3, 2, 0, 1), 1),
    "every_other": (lambda: torch.randn(2, 3, 4, 10)[..., ::2], 1),
    "expanded": (lambda: torch.randn(1, 3, 1, 1).expand(2, 3, 4, 5), 1),
    "one_channel_row": (lambda: torch.randn(3), 0),
    "empty": (lambda: torch.randn(0, 3, 4), 1),
    "unaligned": (lambda: torch.randn(61)[1:].view(4, 3, 5), 1),
}
CASES = [*((layout, torch.float32) for layout in LAYOUTS), ("nchw", torch.bfloat16), ("channels_last", torch.float16)]


@pytest.mark.parametrize(("layout", "dtype"), CASES, ids=str)
def test_layouts_and_dtypes(layout: str, dtype: torch.dtype, device: torch.device) -> None:
    make, dim = LAYOUTS[layout]
    torch.manual_seed(0)
    x = make().to(dtype)
    family = frelu_family(parameter(0), parameter(1), bevel.KERNELS["gaussian"], parameter(2))
    values = [torch.tensor(v) for v in ([0.1, 0.5, -0.3], [1.0, 0.7, 2.0], [2.0])]
    g = torch.randn(x.shape).to(dtype)
    # The same strides and offset on the device, so that an unaligned view stays one there.
    store = torch.empty(x.untyped_storage().nbytes() // x.element_size(), dtype=dtype, device=device)
    given = store.as_strided(x.shape, x.stride(), x.storage_offset())
    if layout == "expanded":
        given[:1, :, :1, :1].copy_(x[:1, :, :1, :1])
    else:
        given.copy_(x)
    given.requires_grad_()
    own = [v.to(device).requires_grad_() for v in values]
    y = evaluate(given, family, own, dim=dim, backend="triton")
    got = torch.autograd.grad(y, (given, *own), g.to(device))
    twin = x.detach().double().contiguous().requires_grad_()
    theirs = [v.double().requires_grad_() for v in values]
    want_y = evaluate(twin, family, theirs, dim=dim, backend="reference")
    want = torch.autograd.grad(want_y, (twin, *theirs), g.double())
    assert y.dtype == dtype
    if layout not in ("every_other", "expanded"):
        assert y.stride() == got[0].stride() == x.stride()
    unit = {torch.float32: 1e-6, torch.bfloat16: 8e-3, torch.float16: 1e-3}[dtype]
    torch.testing.assert_close(y.double().cpu(), want_y, rtol=unit, atol=unit)
    torch.testing.assert_close(got[0].double().cpu(), want[0], rtol=unit, atol=unit)
    for ours, other in zip(got[1:], want[1:], strict=True):  # parameters are float32 with float32 sums
        torch.testing.assert_close(ours.double().cpu(), other, rtol=1e-5, atol=1e-5 * (1 + float(other.abs().max())))


@pytest.mark.parametrize("kind", ["strided", "expanded"])
def test_parameters_need_not_be_dense(kind: str, device: torch.device) -> None:
    """A parameter may be every other element of a longer tensor, or one element expanded to all channels."""
    store = torch.tensor([0.15, 9.0, 0.3, 9.0, -0.2, 9.0], dtype=torch.float64)
    x = torch.linspace(-2, 2, 12, dtype=torch.float64).view(2, 3, 2)

    def call(given: list[Tensor], backend: str) -> Tensor:
        x, store = given
        alpha, n = (store[::2], store[1::2]) if kind == "strided" else (store[:1].expand(3), store[1:2].expand(3))
        return sau(x, alpha, n, backend=backend)

    got, want = _both(call, [x, store], torch.cos(x), device)
    for a, b in zip(got, want, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-12, atol=1e-12)


def test_a_parameter_on_another_device_is_refused(device: torch.device) -> None:
    with pytest.raises(InvalidValue, match="got one on meta"):
        sau(torch.ones(4, device=device), torch.ones(1, device="meta"), 3.0, backend="triton")


@pytest.mark.parametrize("tuning", [Tuning(tile=64, per_processor=3), Tuning(tile=32, per_processor=2)], ids=str)
@pytest.mark.parametrize("shape", [(1000,), (5, 2, 37), (3, 5, 48), (1, 2, 300), (41, 3)], ids=str)
def test_many_trips(
    shape: tuple[int, ...], tuning: Tuning, device: torch.device, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Programs that walk many tiles, with ragged ends, give the sums of one pass; twice the same bits.

    NaN lies around their inputs and a number around their outputs: a lane too many would read or write it.
    """
    outputs: list[Tensor] = []
    plain = torch.empty_like

    def between(t: Tensor, filler: float) -> tuple[Tensor, Tensor]:
        store = torch.full((t.numel() + 512,), filler, dtype=t.dtype, device=t.device)
        return store, store[256 : 256 + t.numel()].view(t.shape)

    def empty_like(t: Tensor) -> Tensor:
        store, inside = between(t, 12345.0)
        outputs.append(store)
        return inside

    channels = shape[1] if len(shape) > 1 else 1
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(shape, generator=generator)
    g = torch.randn(shape, generator=generator)
    slopes = [torch.rand(channels, generator=generator) for _ in range(2)]
    family = frelu_family(parameter(0), parameter(1), SHARP, 1.0)

    def call(given: list[Tensor], backend: str) -> Tensor:
        return evaluate(given[0], family, given[1:], dim=1 if len(shape) > 1 else 0, backend=backend)

    dim = 1 if len(shape) > 1 else 0
    want = _both(call, [x, *slopes], g, torch.device("cpu"))[1]
    fenced = [between(t.to(device), float("nan"))[1].copy_(t) for t in (x, g)]
    own = [s.to(device) for s in slopes]
    needs = (True, True, True)
    _triton.tune(tuning)
    try:
        monkeypatch.setattr(torch, "empty_like", empty_like)
        got, again = (
            [
                _triton.forward(family, dim, fenced[0], own),
                *_triton.backward(family, dim, fenced[1], fenced[0], own, needs),
            ]
            for _ in range(2)
        )
    finally:
        monkeypatch.setattr(torch, "empty_like", plain)
        _triton.tune(Tuning())
    assert len(outputs) == 4
    for store in outputs:
        assert bool((store[:256] == 12345.0).all() & (store[-256:] == 12345.0).all())
    for a, b, c in zip(got, want, again, strict=True):
        assert a is not None
        assert c is not None
        torch.testing.assert_close(a.cpu(), b, rtol=1e-5, atol=1e-5)
        assert torch.equal(a, c)


@pytest.mark.parametrize("form", ["published", "exact", "centred"])
def test_gradcheck(form: str, device: torch.device) -> None:
    x = torch.tensor([-1.3, -0.2, 0.4, 0.9], dtype=torch.float64, device=device, requires_grad=True)
    alpha = torch.tensor([0.15], dtype=torch.float64, device=device, requires_grad=True)
    n = torch.tensor([2.0], dtype=torch.float64, device=device, requires_grad=True)

    def f(x: Tensor, alpha: Tensor, n: Tensor) -> Tensor:
        return sau(x, alpha, n, form, backend="triton")

    assert torch.autograd.gradcheck(f, (x, alpha, n))
    assert torch.autograd.gradgradcheck(f, (x[:2].detach().requires_grad_(), alpha, n))


def test_only_wanted_gradients_are_computed(device: torch.device) -> None:
    x = torch.randn(50, device=device)
    alpha = torch.tensor([0.3], device=device, requires_grad=True)
    (got,) = torch.autograd.grad(sau(x, alpha, 3.0, backend="triton").sum(), alpha)
    (want,) = torch.autograd.grad(sau(x, alpha, 3.0, backend="reference").sum(), alpha)
    torch.testing.assert_close(got, want)
    x.requires_grad_()
    (dx,) = torch.autograd.grad(sau(x, 0.3, 3.0, backend="triton").sum(), x)
    torch.testing.assert_close(dx, torch.autograd.grad(sau(x, 0.3, 3.0, backend="reference").sum(), x)[0])
