"""Calls under the transforms of torch.func: native passes where they go, with the formulas' results."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.func import functional_call, grad, hessian, jacfwd, jacrev, jvp, vmap

import bevel
from bevel.family import Family
from bevel.ops import _operator, _transforms, using
from bevel.ops._backends import choose

SPECS = (
    "sau:n=3",
    "frelu",
    "smooth_frelu",
    "gate:n=2",
    "sau:form=centred,n=2",
    "mollified:f=hardtanh,n=2",
    "mollified:f=hardswish,n=2",
)
X = torch.randn(4, 3, 5, dtype=torch.double, generator=torch.Generator().manual_seed(0))
Function = Callable[[Tensor], Tensor]
TRANSFORMS: dict[str, Callable[[Function, Function], object]] = {
    "vmap": lambda f, s: vmap(f, in_dims=1)(X),
    "grad": lambda f, s: grad(s)(X),
    "jvp": lambda f, s: jvp(f, (X,), (X.cos(),)),
    "jvp of one of two": lambda f, s: jvp(lambda t, u: f(t) * u, (X, X), (X.cos(), X.sin())),
    "jacfwd": lambda f, s: jacfwd(f)(X[0]),
    "jacrev": lambda f, s: jacrev(f)(X[0, 0]),
    "hessian": lambda f, s: hessian(s)(X[0]),
    "hessian backward": lambda f, s: jacrev(jacrev(s))(X[0, 0]),
    "hessian forward": lambda f, s: jacfwd(jacfwd(f))(X[0, 0]),
    "hessians": lambda f, s: vmap(hessian(s), in_dims=1)(X),
    "gradients of batches of batches": lambda f, s: vmap(vmap(grad(s)))(X),
    "autograd's grad inside": lambda f, s: grad(lambda x: _slopes(f, x).square().sum())(X),
    "autograd's grad of it inside": lambda f, s: grad(lambda x: _slopes(lambda t: _slopes(f, t), x).square().sum())(X),
    "autograd's grad inside, rows": lambda f, s: jacrev(lambda x: _slopes(f, x).sin())(X[0, 0]),
    "autograd's grad inside, forward": lambda f, s: jacfwd(grad(lambda x: _slopes(f, x).sin().sum()))(X[0, 0]),
    "autograd's grad inside batches": lambda f, s: vmap(grad(lambda x: _slopes(f, x).sin().sum()))(X[0]),
    "third derivatives": lambda f, s: jacfwd(hessian(s))(X[0, 0]),
    "third and batches": lambda f, s: vmap(grad(lambda t: hessian(s)(t).sin().sum()))(X[0]),
}


def _slopes(f: Function, x: Tensor) -> Tensor:
    (d,) = torch.autograd.grad(f(x).sum(), x, create_graph=True)
    return d


def _function(module: nn.Module) -> tuple[Function, Function]:
    def f(x: Tensor) -> Tensor:
        y: Tensor = module(x).sin()
        return y

    return f, lambda x: f(x).sum()


def _pairs(got: object, want: object) -> list[tuple[Tensor, Tensor]]:
    both = [t if isinstance(t, tuple) else (t,) for t in (got, want)]
    return list(zip(*both, strict=True))


@pytest.mark.parametrize("transform", TRANSFORMS)
@pytest.mark.parametrize("spec", SPECS)
def test_transforms_give_what_the_formulas_give(spec: str, transform: str) -> None:
    """The parameters' gradients of the result, too: they are outside of the transform."""
    module = bevel.create(spec, num_parameters=5, dim=-1).double()
    run = TRANSFORMS[transform]
    for learnt in (True, False):
        module.requires_grad_(learnt)
        got = run(*_function(module))
        with using("reference"):
            want = run(*_function(module))
        for a, b in _pairs(got, want):
            torch.testing.assert_close(a, b, rtol=1e-9, atol=1e-9)
            if b.requires_grad:
                given = list(module.parameters())
                found = (
                    torch.autograd.grad(t.sin().sum(), given, materialize_grads=True, retain_graph=True) for t in (a, b)
                )
                for da, db in zip(*found, strict=True):
                    torch.testing.assert_close(da, db, rtol=1e-6, atol=1e-6)


@pytest.fixture
def orders(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The orders of the derivatives that native passes have computed."""
    seen: list[int] = []
    plain = _transforms.native_derivatives

    def counted(x: Tensor, call: _transforms.Call) -> list[Tensor] | None:
        found = plain(x, call)
        if found is not None:
            seen.append(len(found) - 1)
        return found

    monkeypatch.setattr(_transforms, "native_derivatives", counted)
    return seen


@pytest.mark.skipif(_operator.unavailable() is not None, reason="no native library")
def test_what_takes_native_passes_and_what_the_formulas(orders: list[int]) -> None:
    module = bevel.SAU(5, n=3.0, dim=-1)
    f, s = _function(module)
    x = X[0].float()
    vmap(f)(x), grad(s)(x), hessian(s)(x)
    assert orders == [0, 1, 2]
    jacfwd(hessian(s))(x[0])
    grad(s)(x.half())
    grad(s)(torch.full_like(x, torch.inf))
    grad(s)(x.clone().requires_grad_())
    vmap(f)(x[:0])
    parameters = dict(module.named_parameters())
    grad(lambda p: functional_call(module, p, (x,)).sum())(parameters)
    vmap(lambda a: functional_call(module, {"alpha": a}, (x,)))(torch.rand(2, 5))
    with using("analytic"):
        grad(s)(x)
    assert orders == [0, 1, 2]


def test_another_device_takes_the_formulas_without_a_look_at_the_values(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_transforms, "choose", lambda *_: pytest.fail("a backend was looked for"))
    module = bevel.SAU(n=3.0).to("meta")
    assert vmap(module)(torch.empty(4, 5, device="meta")).shape == (4, 5)


def test_a_half_and_infinities_have_the_formulas_limits() -> None:
    module = bevel.FReLU(1, 1.0, 0.0)
    ends = torch.tensor([-torch.inf, torch.inf])
    assert grad(lambda t: module(t).sum())(ends).tolist() == [0.0, 1.0]
    sharp = bevel.SAU(n=1e6)
    assert hessian(lambda t: sharp(t).sum())(torch.tensor([0.0, 1.0]).half())[1].tolist() == [0.0, 0.0]


def test_no_grad_outside_of_a_transform_is_kept() -> None:
    module = bevel.SmoothFReLU(5, dim=-1)
    assert grad(lambda t: module(t).sum())(X.float()).requires_grad
    with torch.no_grad():
        assert not grad(lambda t: module(t).sum())(X.float()).requires_grad


def test_a_broken_slope_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    """The formulas are no part of what is compared with them."""
    family: Family = bevel.SAU(n=3.0).family
    x = X.float()
    backend = choose("auto", family, x, [torch.tensor([0.15])])
    if backend is None or not hasattr(backend, "second"):
        pytest.skip("no native library")
    second = backend.second
    monkeypatch.setattr(backend, "second", lambda *a, **k: [2 * t if t is not None else t for t in second(*a, **k)])
    module = bevel.SAU(n=3.0).requires_grad_(False)
    got = grad(lambda t: module(t).sum())(x)
    with using("reference"):
        want = grad(lambda t: module(t).sum())(x)
    torch.testing.assert_close(got, 2 * want, rtol=1e-5, atol=1e-5)
