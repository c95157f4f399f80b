"""Tensors that are not plain memory: as inputs, as coefficients and as gradients they give what the formulas give."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.fx.experimental.proxy_tensor import make_fx

import bevel
from bevel.ops import using

Call = Callable[[], Sequence[Tensor]]

MODULES = ("sau:n=3", "sau:n=3,form=centred", "frelu:negative=0.3", "smooth_frelu:n=2", "swish")
each_module = pytest.mark.parametrize("spec", MODULES)


class Wrapped(Tensor):
    """A tensor whose memory belongs to the one that it holds."""

    held: Tensor

    @staticmethod
    def __new__(cls, held: Tensor) -> Wrapped:
        made: Wrapped = torch.Tensor._make_wrapper_subclass(  # type: ignore[attr-defined]
            cls, held.shape, held.stride(), dtype=held.dtype, device=held.device, requires_grad=held.requires_grad
        )
        made.held = held.detach()
        return made

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        def opened(value: Any) -> Any:
            return value.held if isinstance(value, Wrapped) else value

        made = func(*torch.utils._pytree.tree_map(opened, args), **torch.utils._pytree.tree_map(opened, kwargs or {}))
        return torch.utils._pytree.tree_map(lambda v: Wrapped(v) if isinstance(v, Tensor) else v, made)


class Named(Tensor):
    """A subclass that changes nothing."""


def _open(t: Tensor) -> Tensor:
    assert not t._is_zerotensor(), "an optimizer cannot write to it"
    return (t.held if isinstance(t, Wrapped) else t.as_subclass(Tensor)) if t.layout == torch.strided else t.to_dense()


def _x(seed: int = 0) -> Tensor:
    return torch.randn(6, 3, generator=torch.Generator().manual_seed(seed))


def _negative_view(x: Tensor) -> Tensor:
    """Return x as a view of memory that holds −x."""
    found = torch.complex(torch.zeros_like(x), -x).conj().imag
    assert found.is_neg()
    return found


def _zero(x: Tensor) -> Tensor:
    """Return zeros without memory, as torch's own backward passes make them."""
    found = torch._efficientzerotensor(x.shape, dtype=x.dtype)
    assert found._is_zerotensor()
    return found


def _same(call: Call) -> None:
    """What the call returns is what it returns with the composed formulas."""
    got = call()
    with using("reference"):
        want = call()
    for a, b in zip(got, want, strict=True):
        torch.testing.assert_close(_open(a), _open(b), rtol=1e-5, atol=1e-6)


def _gradients(module: nn.Module, x: Tensor, call: Callable[[Tensor], Tensor] | None = None) -> Sequence[Tensor]:
    """Return the value, and the gradients of x and of every parameter."""
    y = (call or module)(x)
    leaves = [t for t in (x, *module.parameters()) if t.requires_grad]
    return [y, *torch.autograd.grad((y * _x(1)).sum(), leaves)]


INPUTS: dict[str, Callable[[Tensor], Tensor]] = {
    "negative view": _negative_view,
    "zeros without memory": _zero,
    "wrapper": lambda x: Wrapped(x).requires_grad_(),
    "subclass": lambda x: x.as_subclass(Named).requires_grad_(),
    "view with an offset": lambda x: torch.cat([x, x])[6:].requires_grad_(),
    "overlapping": lambda x: x[:1].expand(6, 3).requires_grad_(),
}


@each_module
@pytest.mark.parametrize("kind", INPUTS)
def test_an_input_of_any_kind(spec: str, kind: str) -> None:
    module = bevel.create(spec, 3)
    _same(lambda: _gradients(module, INPUTS[kind](_x())))


GRADIENTS: dict[str, Callable[[Tensor], Tensor]] = {
    "negative view": _negative_view,
    "zeros without memory": _zero,
    "wrapper": Wrapped,
    "subclass": lambda g: g.as_subclass(Named),
    "overlapping": lambda g: g[:1].expand(6, 3),
    "sparse": lambda g: g.to_sparse(),
}


@each_module
@pytest.mark.parametrize("kind", GRADIENTS)
def test_a_gradient_of_any_kind(spec: str, kind: str) -> None:
    module = bevel.create(spec, 3)
    x = _x().requires_grad_()
    given = GRADIENTS[kind](_x(1))
    got = torch.autograd.grad(module(x), [x, *module.parameters()], given)
    dense = _open(given.clone() if given._is_zerotensor() else given)
    want = torch.autograd.grad(module(x), [x, *module.parameters()], dense)
    for a, b in zip(got, want, strict=True):
        torch.testing.assert_close(_open(a), b, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("kind", ["negative view", "wrapper"])
def test_what_a_hook_gives_back_for_a_saved_tensor(kind: str) -> None:
    module = bevel.SAU(3, n=3.0)
    x = _x().requires_grad_()
    with torch.autograd.graph.saved_tensors_hooks(lambda t: t, lambda t: GRADIENTS[kind](t.detach())):
        y = module(x)
    got = torch.autograd.grad(y.sum(), [x, module.alpha])
    for a, b in zip(got, torch.autograd.grad(module(x).sum(), [x, module.alpha]), strict=True):
        torch.testing.assert_close(_open(a), b, rtol=1e-5, atol=1e-6)


@each_module
def test_a_batch_of_gradients(spec: str) -> None:
    """``is_grads_batched`` and vectorized Jacobians call backward under vmap, with a gradient that has no address."""
    module = bevel.create(spec, 3)
    x = _x().requires_grad_()
    leaves = [x, *module.parameters()]
    rows = torch.eye(18).reshape(18, 6, 3)
    got = torch.autograd.grad(module(x), leaves, rows, is_grads_batched=True)
    want = [torch.autograd.grad(module(x), leaves, row) for row in rows]
    for index, batch in enumerate(got):
        torch.testing.assert_close(batch, torch.stack([w[index] for w in want]), rtol=1e-5, atol=1e-6)
    for strategy in ("reverse-mode", "forward-mode"):
        found = torch.autograd.functional.jacobian(module, _x(), vectorize=True, strategy=strategy)
        torch.testing.assert_close(found, got[0].reshape(6, 3, 6, 3), rtol=1e-5, atol=1e-6)


@each_module
def test_transforms_of_torch_func(spec: str) -> None:
    module = bevel.create(spec, 3)
    want = [module(_x()), module(_x(2))]
    torch.testing.assert_close(torch.func.vmap(module)(torch.stack([_x(), _x(2)])), torch.stack(want))
    torch.testing.assert_close(torch.func.functionalize(module)(_x()), want[0])


@each_module
def test_a_mode_sees_what_is_computed(spec: str) -> None:
    """``make_fx`` records operators: a native pass would leave memory that nobody filled."""
    module = bevel.create(spec, 3)
    x = _x().requires_grad_()

    def gradient(x: Tensor) -> Tensor:
        return torch.autograd.grad(module(x).sum(), x)[0]

    recorded = make_fx(module)(_x()), make_fx(gradient)(x)
    other = _x(2).requires_grad_()
    torch.testing.assert_close(recorded[0](other), module(other))
    torch.testing.assert_close(recorded[1](other), gradient(other))


@pytest.mark.parametrize("kind", ["negative view", "zeros without memory"])
def test_a_coefficient_of_any_kind(kind: str) -> None:
    slope = INPUTS[kind](torch.tensor([0.3, -0.2, 0.1]))
    x = _x()
    for function in (
        lambda: bevel.functional.frelu(x, negative=slope),
        lambda: bevel.functional.sau(x, alpha=slope, n=4.0),
    ):
        _same(lambda function=function: [function()])


def test_the_four_reports() -> None:
    """Each crashed the process, gave the wrong sign, or raised a message of torch's about addresses."""
    x = torch.randn(4, requires_grad=True)
    torch.sgn(bevel.FReLU(1)(x)).sum().backward()
    assert x.grad is not None
    assert x.grad.tolist() == [0.0] * 4

    assert bevel.FReLU(1, negative=0.3)(torch.tensor([1 + 2j]).conj().imag).item() == pytest.approx(-0.6)

    (rows,) = torch.autograd.grad(bevel.SAU(1)(x), x, torch.eye(4), is_grads_batched=True)
    torch.testing.assert_close(rows, torch.diag(torch.where(x > 0, 1.0, 0.15)).detach())


REFUSED: dict[str, tuple[Callable[[Tensor], Tensor], str]] = {
    "sparse": (lambda x: x.to_sparse(), r"sparse.*Use x\.to_dense\(\)"),
    "csr": (lambda x: x.to_sparse_csr(), r"sparse.*Use x\.to_dense\(\)"),
    "mkldnn": (lambda x: x.to_mkldnn(), r"mkldnn.*Use x\.to_dense\(\)"),
    "nested": (lambda x: torch.nested.nested_tensor([x[:2], x[2:]]), r"nested.*to_padded_tensor"),
    "jagged": (lambda x: torch.nested.nested_tensor([x[:2], x[2:]], layout=torch.jagged), r"nested.*\.values\(\)"),
}


@each_module
@pytest.mark.parametrize("kind", REFUSED)
@pytest.mark.filterwarnings("ignore:.*beta state", "ignore:.*prototype stage")
def test_what_is_not_dense_is_refused_by_name(spec: str, kind: str) -> None:
    make, sentence = REFUSED[kind]
    with pytest.raises(bevel.InvalidValue, match=sentence):
        bevel.create(spec, 3)(make(_x()))
