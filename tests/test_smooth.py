"""``bevel.smooth``: every backend against the reference, values and every gradient, over layouts and dtypes."""

import dataclasses
import itertools
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

import bevel
from bevel import InvalidValue, PiecewiseLinear, kinked, smooth
from bevel.family import Affine, Family, Slot, parameter
from bevel.functional import frelu, frelu_family, sau
from bevel.kernel import SHARP
from bevel.ops import evaluate
from bevel.terms import Terms

BACKENDS = [b for b, reason in bevel.backends().items() if reason is None and b not in ("reference", "triton")]
KERNELS = [k for k, it in bevel.KERNELS.items() if it.has_moment and it.native > 0]
BENDING = [k for k in KERNELS if k != "student"]
"""Kernels of finite variance."""


def _random_function(
    generator: torch.Generator, knots: int, channels: int, bent: bool = False
) -> tuple[PiecewiseLinear, list[Tensor]]:
    """Return a kinked function whose coefficients are all tensors, some shared and some per channel."""

    def draw(i: int, scale: float = 1.0) -> Tensor:
        size = channels if i % 2 else 1
        t = torch.randn(size, generator=generator, dtype=torch.float64) * scale
        return t.requires_grad_()

    where = [(draw(i, 0.1).detach() + i - 1.0).requires_grad_() for i in range(knots)]
    left, offset = draw(0), draw(1)
    jumps, steps = [draw(i + 1) for i in range(knots)], [draw(i) for i in range(knots)]
    if not bent:
        return PiecewiseLinear(left, offset, where, jumps, steps), [left, offset, *where, *jumps, *steps]
    left_bend, bends = draw(1), [draw(i + 1) for i in range(knots)]
    f = PiecewiseLinear(left, offset, where, jumps, steps, bends, left_bend)
    return f, [left, offset, *where, *jumps, *steps, *bends, left_bend]


@pytest.mark.parametrize(("kernel", "backend"), [(k, b) for k in KERNELS for b in BACKENDS])
@pytest.mark.parametrize("knots", [1, 3])
def test_every_gradient_against_the_reference(kernel: str, knots: int, backend: str) -> None:
    generator = torch.Generator().manual_seed(knots)
    f, coefficients = _random_function(generator, knots, channels=3)
    n = torch.tensor([0.8, 2.0, 5.0], dtype=torch.float64, requires_grad=True)
    x = torch.randn(4, 3, 5, generator=generator, dtype=torch.float64, requires_grad=True)
    g = torch.randn(4, 3, 5, generator=generator, dtype=torch.float64)
    inputs = [x, n, *coefficients]
    want_y = smooth(x, f, kernel, n, backend="reference")
    got_y = smooth(x, f, kernel, n, backend=backend)
    torch.testing.assert_close(got_y, want_y, rtol=1e-12, atol=1e-12)
    want = torch.autograd.grad(want_y, inputs, g)
    got = torch.autograd.grad(got_y, inputs, g)
    for a, b in zip(got, want, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-11, atol=1e-11)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("kernel", BENDING)
@pytest.mark.parametrize("knots", [1, 3])
def test_every_gradient_of_bends(kernel: str, knots: int, backend: str) -> None:
    """Of a function of parabolas, against autograd; knots that have crossed too."""
    generator = torch.Generator().manual_seed(knots)
    f, coefficients = _random_function(generator, knots, channels=3, bent=True)
    if knots > 1:
        with torch.no_grad():
            coefficients[2].fill_(1.3)  # the first knot, right of the second
    n = torch.tensor([0.8, 2.0, 5.0], dtype=torch.float64, requires_grad=True)
    x = torch.randn(4, 3, 5, generator=generator, dtype=torch.float64, requires_grad=True)
    g = torch.randn(4, 3, 5, generator=generator, dtype=torch.float64)
    want_y, got_y = (smooth(x, f, kernel, n, backend=b) for b in ("reference", backend))
    torch.testing.assert_close(got_y, want_y, rtol=1e-12, atol=1e-12)
    inputs = [x, n, *coefficients]
    for a, b in zip(torch.autograd.grad(got_y, inputs, g), torch.autograd.grad(want_y, inputs, g), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-11, atol=1e-11)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32])
def test_bends_in_every_precision(dtype: torch.dtype, backend: str) -> None:
    """Values and gradients in half precision are those of float32, rounded once."""
    x = torch.linspace(-5, 5, 401).to(dtype).requires_grad_()
    n = torch.tensor([3.0], requires_grad=True)
    y = smooth(x, "hardswish", "gaussian", n, backend=backend)
    twin = x.detach().double().requires_grad_()
    wide = n.detach().double().requires_grad_()
    want = smooth(twin, "hardswish", "gaussian", wide, backend="reference")
    unit = {torch.float32: 2e-6, torch.bfloat16: 8e-3, torch.float16: 1e-3}[dtype]
    torch.testing.assert_close(y.double(), want, rtol=unit, atol=unit)
    got, right = (torch.autograd.grad(of.sum(), i) for of, i in ((y, (x, n)), (want, (twin, wide))))
    for a, b in zip(got, right, strict=True):
        torch.testing.assert_close(a.double(), b, rtol=unit, atol=4 * unit)


@pytest.mark.parametrize("backend", ["reference", *BACKENDS])
def test_a_parameter_that_a_parabola_does_not_depend_on(backend: str) -> None:
    """Right of the knot ½·(2 − 2a + 2a)·x² has no a in it, also where x² is infinite."""
    family = Family(
        Terms(
            0.0,
            0.0,
            (0.0,),
            (0.0,),
            (0.0,),
            (0.0,),
            (0.0,),
            curve=(2 * parameter(0), 2 - 2 * parameter(0)),
        ),
        SHARP,
        1.0,
    )
    a = torch.tensor([0.3], requires_grad=True)
    for end, want in ((float("inf"), 0.0), (1e30, 0.0), (-2.0, 4.0)):
        y = evaluate(torch.tensor([end]), family, [a], dim=0, backend=backend)
        assert torch.autograd.grad(y, a)[0].tolist() == [want]


def _products(a: Affine, b: Affine, k: Affine) -> Terms[Slot]:
    """(a·x)² left of 0, and b·(x − k)² + a·b·(x − k) right of k, with a level there that is a·k."""
    none = (0.0, 0.0)
    return Terms(b, a * k, (0.0, k), (0.0, a * b), (0.0, 1 - a * k), none, none, curve=(2 * a * a, -2 * a * a, 2 * b))


@pytest.mark.parametrize("kernel", ["gaussian", "triangle", "sharp"])
@pytest.mark.parametrize("bent", [True, False])
def test_products_of_parameters(kernel: str, bent: bool) -> None:
    terms = _products(*map(parameter, range(3)))
    if not bent:
        terms = dataclasses.replace(terms, curve=())
    smoothing = SHARP if kernel == "sharp" else bevel.KERNELS[kernel]
    family = Family(terms, smoothing, 2.0)
    a = torch.tensor([0.4, -0.7, 1.2], dtype=torch.float64, requires_grad=True)
    b, k = (torch.tensor([v], dtype=torch.float64, requires_grad=True) for v in (0.6, 0.9))
    x = torch.randn(5, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64, requires_grad=True)

    def run(backend: str) -> tuple[Tensor, ...]:
        y = evaluate(x, family, [a, b, k], dim=1, backend=backend)
        return y, *torch.autograd.grad(y, (x, a, b, k), torch.cos(x.detach()))

    for backend in BACKENDS:
        for got, want in zip(run(backend), run("reference"), strict=True):
            torch.testing.assert_close(got, want, rtol=1e-12, atol=1e-12)
    if kernel == "sharp":
        left, right = (bent * (a * x) ** 2 + b * x + a * k, bent * b * (x - k) ** 2 + a * b * (x - k) + b * x + 1)
        want = torch.where(x > k, right, torch.where(x > 0, b * x + a * k, left))
        torch.testing.assert_close(run("analytic")[0], want)
        values = evaluate(x, family, [a, b, k], dim=1, backend="analytic")
        for got, exact in zip(
            torch.autograd.grad(values.sum(), (a, b)), torch.autograd.grad(want.sum(), (a, b)), strict=True
        ):
            torch.testing.assert_close(got, exact)


def test_knots_that_meet_are_one() -> None:
    """Two knots at one place share their bends, as if they were one knot."""
    place = torch.tensor([0.5], dtype=torch.float64)
    x = torch.linspace(-2, 2, 81, dtype=torch.float64)
    two = PiecewiseLinear(0.1, 0.2, [place, place], [1.0, 0.5], [0.3, 0.2], [2.0, -0.5], 0.7)
    one = PiecewiseLinear(0.1, 0.2, [place], [1.5], [0.5], [1.5], 0.7)
    torch.testing.assert_close(smooth(x, two, "gaussian", 3.0), smooth(x, one, "gaussian", 3.0), rtol=1e-14, atol=1e-14)


def test_coefficients_of_an_earlier_version_are_read() -> None:
    """A pickle holds the fields' values in order; curve, sides and products came later."""
    terms: Terms[Slot] = Terms.__new__(Terms)
    terms.__setstate__([0.0, 0.0, (0.0,), (1.0,), (0.0,), (0.0,), (0.0,), False])
    assert terms == Terms(0.0, 0.0, (0.0,), (1.0,), (0.0,), (0.0,), (0.0,))
    expression = Affine.__new__(Affine)
    expression.__setstate__([1.0, ((0, -1.0),)])
    assert expression == 1 - parameter(0)


@pytest.mark.parametrize("backend", [b for b in BACKENDS if b != "analytic"])
def test_native_programs_decline_what_they_do_not_know(backend: str) -> None:
    with pytest.raises(bevel.BackendUnavailable, match=r"right branch.*analytic"):
        smooth(torch.zeros(3), "hard_shrink", SHARP, 1.0, backend=backend)
    smooth(torch.zeros(3), "hard_shrink", SHARP, 1.0)


@pytest.mark.parametrize("backend", ["reference", *BACKENDS])
@pytest.mark.parametrize("form", ["published", "exact", "centred"])
def test_sau_gradcheck_twice(form: str, backend: str) -> None:
    x = torch.tensor([[-1.3, -0.2, 0.4], [0.9, 2.0, -0.7]], dtype=torch.float64, requires_grad=True)
    alpha = torch.tensor([0.15, 0.3, -0.2], dtype=torch.float64, requires_grad=True)
    n = torch.tensor([2.0], dtype=torch.float64, requires_grad=True)

    def f(x: Tensor, alpha: Tensor, n: Tensor) -> Tensor:
        return sau(x, alpha, n, form, backend=backend)

    assert torch.autograd.gradcheck(f, (x, alpha, n))
    assert torch.autograd.gradgradcheck(f, (x, alpha, n))


@pytest.mark.parametrize("backend", BACKENDS)
def test_forward_mode(backend: str) -> None:
    x = torch.randn(4, 3, dtype=torch.float64)
    alpha = torch.tensor([0.1, 0.2, 0.3], dtype=torch.float64)
    tangent_x, tangent_alpha = torch.randn_like(x), torch.randn_like(alpha)

    def run(call: Callable[[Tensor, Tensor], Tensor]) -> Tensor:
        with torch.autograd.forward_ad.dual_level():
            dual = call(
                torch.autograd.forward_ad.make_dual(x, tangent_x),
                torch.autograd.forward_ad.make_dual(alpha, tangent_alpha),
            )
            return torch.autograd.forward_ad.unpack_dual(dual).tangent

    got = run(lambda x, a: sau(x, a, 3.0, backend=backend))
    want = run(lambda x, a: sau(x, a, 3.0, backend="reference"))
    torch.testing.assert_close(got, want, rtol=1e-12, atol=1e-12)


LAYOUTS: dict[str, tuple[Callable[[], Tensor], int]] = {
    "nchw": (lambda: torch.randn(2, 3, 4, 5), 1),
    "channels_last": (lambda: torch.randn(2, 3, 4, 5).to(memory_format=torch.channels_last), 1),
    "btc": (lambda: torch.randn(2, 7, 3), -1),
    "nc": (lambda: torch.randn(6, 3), 1),
    "c_first": (lambda: torch.randn(3, 8), 0),
    "permuted": (lambda: torch.randn(4, 5, 3, 2).permute(3, 2, 0, 1), 1),
    "every_other": (lambda: torch.randn(2, 3, 4, 10)[..., ::2], 1),
    "expanded": (lambda: torch.randn(1, 3, 1, 1).expand(2, 3, 4, 5), 1),
    "one_channel_row": (lambda: torch.randn(3), 0),
    "empty": (lambda: torch.randn(0, 3, 4), 1),
}


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16, torch.float16])
def test_layouts_and_dtypes(layout: str, backend: str, dtype: torch.dtype) -> None:
    make, dim = LAYOUTS[layout]
    torch.manual_seed(0)
    x = make().to(dtype)
    a = torch.tensor([0.1, 0.5, -0.3], requires_grad=True)
    b = torch.tensor([1.0, 0.7, 2.0], requires_grad=True)
    n = torch.tensor([2.0], requires_grad=True)
    given = x.detach().requires_grad_()
    family = frelu_family(parameter(0), parameter(1), bevel.KERNELS["gaussian"], parameter(2))
    y = evaluate(given, family, (b, a, n), dim=dim, backend=backend)
    g = torch.randn(y.shape).to(dtype)
    got = torch.autograd.grad(y, (given, a, b, n), g)
    twin = x.detach().double().contiguous().requires_grad_()
    want_y = smooth(twin, kinked.frelu(b.double(), a.double()), "gaussian", n.double(), backend="reference", dim=dim)
    want = torch.autograd.grad(want_y, (twin, a, b, n), g.double())
    assert y.dtype == dtype
    dense = x.is_contiguous() or x.is_contiguous(memory_format=torch.channels_last) if x.dim() == 4 else True
    if dense and layout not in ("every_other", "expanded"):
        assert y.stride() == x.stride()
    unit = {torch.float64: 1e-12, torch.float32: 1e-6, torch.bfloat16: 8e-3, torch.float16: 1e-3}[dtype]
    torch.testing.assert_close(y.double(), want_y, rtol=unit, atol=unit)
    torch.testing.assert_close(got[0].double(), want[0], rtol=unit, atol=unit)
    for ours, theirs in zip(got[1:], want[1:], strict=True):  # parameters are float32 with float32 sums
        scale = 1e-5 * (1 + float(theirs.abs().max()))
        torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=scale)


@pytest.mark.parametrize("kind", ["strided", "expanded"])
@pytest.mark.parametrize("backend", BACKENDS)
def test_parameters_need_not_be_dense(backend: str, kind: str) -> None:
    """A parameter may be every other element of a longer tensor, or one element expanded to all channels."""
    store = torch.tensor([0.15, 9.0, 0.3, 9.0, -0.2, 9.0], dtype=torch.float64, requires_grad=True)
    x = torch.linspace(-2, 2, 12, dtype=torch.float64).view(2, 3, 2).requires_grad_()

    def run(backend: str) -> tuple[Tensor, ...]:
        alpha, n = (store[::2], store[1::2]) if kind == "strided" else (store[:1].expand(3), store[1:2].expand(3))
        y = sau(x, alpha, n, backend=backend)
        return y, *torch.autograd.grad(y, (x, store), torch.cos(x.detach()))

    for got, want in zip(run(backend), run("reference"), strict=True):
        torch.testing.assert_close(got, want, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("backend", ["auto", "reference", *BACKENDS])
def test_a_parameter_on_another_device_is_refused(backend: str) -> None:
    family = frelu_family(parameter(0), parameter(1), bevel.KERNELS["gaussian"], 3.0)
    given = torch.ones(1, device="meta"), torch.ones(1)
    with pytest.raises(InvalidValue, match=r"the input's device, cpu; got one on meta\. Move"):
        evaluate(torch.ones(4), family, given, dim=0, backend=backend)


@pytest.mark.parametrize("backend", ["reference", *BACKENDS])
def test_ends_and_nan(backend: str) -> None:
    inf, nan = float("inf"), float("nan")
    x = torch.tensor([-inf, inf, nan, -1e30, 1e30, 0.0])
    for kernel in KERNELS:
        relu = smooth(x, kinked.relu(), kernel, 3.0, backend=backend)
        assert relu[0] == 0
        assert relu[1] == inf
        assert relu[2].isnan()
        clip = smooth(x, kinked.relu6(), kernel, 3.0, backend=backend)
        torch.testing.assert_close(clip[[0, 1, 3, 4]], torch.tensor([0.0, 6.0, 0.0, 6.0]))
    for form in ("published", "exact", "centred"):
        y = sau(x, 0.15, 2.0, form, backend=backend)
        assert (y[0], y[1]) == (-inf, inf)
        assert y[2].isnan()
        assert y[[3, 4, 5]].isfinite().all()


@pytest.mark.parametrize("backend", ["reference", *BACKENDS])
def test_slopes_at_the_ends_are_finite(backend: str) -> None:
    x = torch.tensor([-float("inf"), float("inf"), 1e30], requires_grad=True)
    (slope,) = torch.autograd.grad(smooth(x, kinked.leaky_relu(0.1), "gaussian", 3.0, backend=backend).sum(), x)
    torch.testing.assert_close(slope, torch.tensor([0.1, 1.0, 1.0]))


@pytest.mark.parametrize("backend", ["reference", *BACKENDS])
def test_a_kink_has_torchs_slope(backend: str) -> None:
    x = torch.zeros(1, requires_grad=True)
    (ours,) = torch.autograd.grad(frelu(x, 1.0, 0.0, backend=backend), x)
    (theirs,) = torch.autograd.grad(torch.relu(x), x)
    assert ours == theirs == 0


def test_zero_dimensional() -> None:
    x = torch.tensor(0.7, requires_grad=True)
    y = sau(x, torch.tensor([0.2]), 3.0)
    y.backward()
    assert y.shape == ()
    assert x.grad is not None


def test_a_leaf_may_be_used_twice_as_coefficient() -> None:
    """Two coefficients may be one tensor; their gradients add up."""
    shared = torch.tensor([0.4], dtype=torch.float64, requires_grad=True)
    x = torch.randn(9, dtype=torch.float64)
    f = PiecewiseLinear(left=shared, knots=[0.0], jumps=[shared])
    (got,) = torch.autograd.grad(smooth(x, f, "box", 2.0, backend="analytic").sum(), shared)
    (want,) = torch.autograd.grad(smooth(x, f, "box", 2.0, backend="reference").sum(), shared)
    torch.testing.assert_close(got, want)


def test_vmap_and_per_sample_gradients() -> None:
    module = bevel.SmoothFReLU(3)
    x = torch.randn(5, 2, 3)
    names = dict(module.named_parameters())

    def loss(parameters: dict[str, Tensor], x: Tensor) -> Tensor:
        return torch.func.functional_call(module, parameters, (x,)).square().sum()

    per_sample = torch.func.vmap(torch.func.grad(loss), in_dims=(None, 0))(names, x)
    one_by_one = [torch.func.grad(loss)(names, row) for row in x]
    for key, rows in per_sample.items():
        torch.testing.assert_close(rows, torch.stack([d[key] for d in one_by_one]))


@pytest.mark.parametrize("backend", BACKENDS)
def test_only_the_input_is_saved(backend: str) -> None:
    kept: list[int] = []
    x = torch.randn(4, 8, 16, requires_grad=True)
    alpha = torch.full((8,), 0.15, requires_grad=True)
    with torch.autograd.graph.saved_tensors_hooks(lambda t: kept.append(t.numel()) or t, lambda t: t):
        sau(x, alpha, 20000.0, backend=backend)
    assert sorted(kept) == [8, x.numel()]


@pytest.mark.parametrize("backend", BACKENDS)
def test_backward_can_run_again_and_never_writes_what_it_saved(backend: str) -> None:
    x = torch.randn(64, requires_grad=True)
    before = x.detach().clone()
    y = sau(x, torch.tensor([0.15], requires_grad=True), 2.0, backend=backend)
    (first,) = torch.autograd.grad(y.sum(), x, retain_graph=True)
    (second,) = torch.autograd.grad(y.sum(), x)
    assert torch.equal(first, second)
    assert torch.equal(x.detach(), before)


class _ThreeForms(bevel.Kernel):
    """A kernel as users wrote them before there were bends."""

    name, reach, compact = "three", 1.0, True

    def density(self, v: Tensor) -> Tensor:
        return 1 - v

    def survival(self, v: Tensor) -> Tensor:
        return (1 - v) ** 2 / 2

    def excess(self, v: Tensor) -> Tensor:
        return (1 - v) ** 3 / 6


def test_a_kernel_of_three_forms_still_smooths_lines() -> None:
    x = torch.linspace(-2, 2, 41)
    assert torch.equal(
        smooth(x, "relu6", _ThreeForms(), 2.0, backend="analytic"),
        smooth(x, "relu6", "triangle", 2.0, backend="analytic"),
    )


BAD: list[tuple[Callable[[], object], str]] = [
    (lambda: sau(torch.ones(3), n=0.0), "finite and > 0; got 0.0"),
    (lambda: sau(torch.ones(3), n=float("nan")), "finite and > 0; got nan"),
    (lambda: sau(torch.ones(3), n=float("inf")), "finite and > 0; got inf"),
    (lambda: sau(torch.ones(3), form="print"), "one of its three; got 'print'"),
    (lambda: sau(torch.ones(3, dtype=torch.int64)), "got torch.int64"),
    (lambda: sau(torch.ones(3, dtype=torch.complex64)), "got torch.complex64"),
    (lambda: sau(torch.ones(2, 4), torch.ones(3)), r"\(\[3\]\); got shape \(2, 4\)"),
    (lambda: sau(torch.ones(4), torch.ones(3)), r"axis dim=1; got shape \(4,\)"),
    (lambda: sau(torch.ones(4), torch.ones(())), r"1-D floating tensor .* shape \(\)"),
    (lambda: sau(torch.ones(2, 2), torch.ones(2), torch.ones(3)), r"\[2, 3\]"),
    (lambda: PiecewiseLinear(knots=[1.0, 0.0]), "strictly increasing"),
    (lambda: PiecewiseLinear(knots=[1.0, 1.0]), "strictly increasing"),
    (lambda: PiecewiseLinear(knots=[0.0], jumps=[1.0, 2.0]), r"one entry per knot \(1\); got 2"),
    (lambda: PiecewiseLinear(knots=[0.0], bends=[1.0, 2.0]), r"bends must have one entry per knot \(1\); got 2"),
    (lambda: PiecewiseLinear(knots=[0.0], sides=["up"]), r"'left' or 'right'.*got \('up',\)"),
    (lambda: smooth(torch.zeros(1), "hardswish", "student"), "a finite variance; 'student' has none.*'laplace'"),
    (lambda: smooth(torch.zeros(1), "relu_squared", "cauchy"), "a finite variance; 'cauchy' has none"),
    (lambda: smooth(torch.zeros(1), "relu_squared", _ThreeForms()), "'three' gives only the three forms .*tabulated"),
    (lambda: PiecewiseLinear(left=float("nan")), "left must be finite; got nan"),
    (lambda: PiecewiseLinear(knots=0.0), "must be a sequence"),  # type: ignore[arg-type]
    (lambda: PiecewiseLinear(left="1"), "must be a number"),  # type: ignore[arg-type]
    (lambda: kinked.soft_shrink(-1.0), "lam must be finite and > 0; got -1.0"),
    (lambda: kinked.hardtanh(1.0, 0.0), "strictly increasing"),
    (lambda: kinked.soft_shrink("a"), "lam must be a number"),  # type: ignore[arg-type]
    (lambda: kinked.frelu(torch.ones(2), torch.ones(3)), r"as many channels as one another; got \[2, 3\]"),
    (lambda: sau(torch.zeros(1), n=1e39), r"must fit float32, so 1.2e-38 <= n <= 8.5e37; got 1e\+39"),
    (lambda: sau(torch.zeros(1), n=1e-300), "must fit float32"),
    (lambda: sau(torch.zeros(1), alpha=1e39), r"also in float32, which ends at 3.4e38; got 1e\+39"),
    (lambda: bevel.create("squareplus", 1).__class__(b=1e-300), "must fit float32"),
    (lambda: sau([1.0]), "input must be a tensor; got a list"),  # type: ignore[arg-type]
    (lambda: bevel.nn.Swish()([1.0]), "input must be a tensor; got a list"),
    (lambda: smooth(torch.zeros(1), 3), "a PiecewiseLinear or the name of one, as 'relu6'; got 3"),  # type: ignore[arg-type]
    (lambda: bevel.mollify(3), "a PiecewiseLinear or the name"),  # type: ignore[arg-type]
    (lambda: bevel.nn.Mollified(1, 3), "a PiecewiseLinear or the name"),  # type: ignore[arg-type]
    (lambda: bevel.sharpness_for("relu", tolerance="a"), "tolerance must be a number"),  # type: ignore[arg-type]
    (lambda: bevel.SAU(2, alpha=torch.ones(2)), r"alpha must be one number; got a tensor of shape \(2,\)"),  # type: ignore[arg-type]
    (lambda: bevel.SAU(2, n=torch.ones(2)), "n must be one number"),  # type: ignore[arg-type]
    (lambda: bevel.nn.Swish(beta=float("nan")), "beta must be finite; got nan"),
    (lambda: bevel.mollify("relu", "gaussian", torch.tensor([-1.0])), r"n must be finite and > 0 in every .*\[-1.0\]"),
    (lambda: bevel.mollify(PiecewiseLinear(torch.tensor([float("nan")]))), "left must be finite in every channel"),
]


@pytest.mark.parametrize("case", range(len(BAD)))
def test_bad_input_is_named(case: int) -> None:
    call, message = BAD[case]
    with pytest.raises(InvalidValue, match=message):
        call()


def test_unknown_backends_and_kernels_get_near_names() -> None:
    with pytest.raises(bevel.UnknownName, match="did you mean 'analytic'"):
        sau(torch.ones(3), backend="analitic")
    with pytest.raises(bevel.UnknownName, match="did you mean 'gaussian'"):
        smooth(torch.ones(3), kinked.relu(), "gausian")
    assert bevel.backends()["analytic"] is None


def test_kinked_functions_evaluate() -> None:
    x = torch.linspace(-8, 8, 33, dtype=torch.float64)
    F = torch.nn.functional  # noqa: N806 - the field's own name for it
    pairs = {
        "relu": torch.relu(x),
        "leaky_relu": F.leaky_relu(x, 0.01),
        "hardtanh": F.hardtanh(x),
        "relu6": F.relu6(x),
        "absolute": x.abs(),
        "hard_sigmoid": F.hardsigmoid(x),
        "soft_shrink": F.softshrink(x, 0.5),
        "hard_shrink": F.hardshrink(x, 0.5),
        "threshold": F.threshold(x, 0.0, 0.0),
        "hardswish": F.hardswish(x),
        "relu_squared": torch.relu(x) ** 2,
        "step": torch.heaviside(x, torch.zeros_like(x)),
        "frelu": torch.where(x > 0, x, 0.01 * x),
    }
    assert set(pairs) == set(kinked.FUNCTIONS)
    for name, want in pairs.items():
        torch.testing.assert_close(kinked.FUNCTIONS[name]()(x), want, rtol=1e-15, atol=1e-15)


def test_squares_by_their_formulas() -> None:
    x = torch.linspace(-5, 5, 101, dtype=torch.float64)
    F = torch.nn.functional  # noqa: N806 - the field's own name for it
    left, right = 0.5 * x + 0.3 * x * x, 0.5 * x + 0.8 * x * x
    elu = 0.5 * x + 0.7 * (torch.exp(x) - 1 - x)
    pairs = {
        "relu_squared": F.relu(x) ** 2,
        "leaky_relu_squared:negative=0.3": F.leaky_relu(x, 0.3) ** 2,
        "xiprelu:negative=0.3": torch.where(x > 0, right, left),
        "star_relu:scale=0.9,offset=-0.4": 0.9 * F.relu(x) ** 2 - 0.4,
        "xielu:negative=0.7": torch.where(x > 0, right, elu),
        "mollified:f=hardswish,n=1e9": F.hardswish(x),
    }
    for spec, want in pairs.items():
        torch.testing.assert_close(
            bevel.create(spec, dtype=torch.float64)(x), want, rtol=1e-13, atol=1e-9 if "1e9" in spec else 1e-13
        )


@pytest.mark.parametrize("spec", ["relu_squared", "leaky_relu_squared", "star_relu"])
def test_squares_overflow_in_float16_where_their_cards_say(spec: str) -> None:
    module = bevel.create(spec)
    x = torch.tensor([255.0, 300.0], dtype=torch.float16)
    assert module(x).isinf().tolist() == [False, True]


def test_a_knot_has_a_side() -> None:
    x = torch.tensor([-0.5, 0.5, 0.5000001, -0.5000001], dtype=torch.float64)
    F = torch.nn.functional  # noqa: N806 - the field's own name for it
    assert torch.equal(kinked.hard_shrink(0.5)(x), F.hardshrink(x, 0.5))
    for threshold, value in ((0.5, -3.0), (-1.0, 2.0)):
        assert torch.equal(kinked.threshold(threshold, value)(x), F.threshold(x, threshold, value))


@pytest.mark.parametrize("backend", ["reference", *BACKENDS])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_parabolas_far_out_and_beside_their_knots(dtype: torch.dtype, backend: str) -> None:
    inf = float("inf")
    x = torch.tensor([1e30, -1e30, inf, -inf], dtype=dtype, requires_grad=True)
    y = smooth(x, "hardswish", "gaussian", 5.0, backend=backend)
    torch.testing.assert_close(y.detach(), torch.tensor([1e30, 0.0, inf, 0.0], dtype=dtype))
    assert torch.autograd.grad(y.sum(), x)[0].tolist() == [1.0, 0.0, 1.0, 0.0]
    beside = torch.tensor([-3 + 2**-20, 3 - 2**-20, 3 + 2**-20], dtype=dtype)
    want = beside.double() * (beside.double() + 3).clamp(0, 6) / 6
    torch.testing.assert_close(kinked.hardswish()(beside).double(), want, rtol=4 * torch.finfo(dtype).eps, atol=0)


def test_established_names() -> None:
    """The catalog's own claims: Softplus, Squareplus, SmeLU, SMU-1, GELU and SiLU are rows of the engine."""
    x = torch.linspace(-5, 5, 501, dtype=torch.float64)
    F = torch.nn.functional  # noqa: N806 - the field's own name for it
    torch.testing.assert_close(smooth(x, kinked.relu(), "logistic", 2.0), F.softplus(x, beta=2.0, threshold=1e9))
    torch.testing.assert_close(bevel.create("squareplus:b=2.25")(x), (x + torch.sqrt(x * x + 2.25)) / 2)
    smelu = torch.where(x.abs() < 1.5, (x + 1.5) ** 2 / 6, torch.relu(x))
    torch.testing.assert_close(bevel.create("smelu:beta=1.5")(x), smelu)
    smu1 = bevel.create("smu1:alpha=0.25,mu=0.5")(x)
    torch.testing.assert_close(smooth(x, kinked.leaky_relu(0.25), "student", 0.75 / 0.5), smu1)
    gate = Terms(0.0, 0.0, (0.0,), (1.0,), (0.0,), (0.0,), (0.0,), multiplies_cdf=True)
    for kernel, want in (("gaussian", F.gelu(x)), ("logistic", F.silu(x))):
        torch.testing.assert_close(evaluate(x, Family(gate, bevel.KERNELS[kernel], 1.0), []), want)


def test_mollify_reports_its_bound_and_its_inverse() -> None:
    for kernel, f in itertools.product(KERNELS, (kinked.relu(), kinked.absolute(), kinked.hardtanh())):
        n = bevel.sharpness_for(f, kernel, 1e-3)
        assert bevel.mollify(f, kernel, n).max_error == pytest.approx(1e-3)
    for kernel, name in itertools.product(BENDING, ("hardswish", "relu_squared")):
        n = bevel.sharpness_for(name, kernel, 1e-3)
        assert bevel.mollify(name, kernel, n).max_error == pytest.approx(1e-3)
    tight = bevel.mollify(kinked.relu(), "gaussian", 4.0)
    assert tight(torch.zeros(1, dtype=torch.float64)).item() == pytest.approx(tight.max_error, rel=1e-15)
    with pytest.raises(InvalidValue, match="half of each step"):
        bevel.sharpness_for(kinked.step())
    with pytest.raises(InvalidValue, match="tolerance must be finite and > 0"):
        bevel.sharpness_for(kinked.relu(), tolerance=0.0)
    n = torch.tensor([2.0, 4.0])
    two = bevel.mollify("relu", n=n)
    assert two.max_error == pytest.approx(tight.max_error * 2)
    n[1] = -1.0
    with pytest.raises(InvalidValue, match="n must be finite and > 0 in every channel"):
        _ = two.max_error
    for call in (tight, tight.slope, tight.curvature):
        with pytest.raises(InvalidValue, match=r"bfloat16 or float16; got torch\.int64"):
            call(torch.zeros(1, dtype=torch.int64))
