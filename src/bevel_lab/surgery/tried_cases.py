"""What went wrong for users of bevel or of other libraries: cases of a few lines, each of which says what is right.

A case returns what happens today, in a few words; an exception is a fault. Its docstring says what is tried, and
:func:`refused` returns the message of a refusal.
"""

from __future__ import annotations

import copy
import io
import pickle
import warnings
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

import bevel
from bevel.errors import BevelError
from bevel.training import Alternating, parameter_groups
from bevel_lab.errors import first_line
from bevel_lab.runtime.memory import SavedBytes

CASES: dict[str, list[Callable[[], str]]] = {}
"""Kind of fault → its cases."""


def case(kind: str) -> Callable[[Callable[[], str]], Callable[[], str]]:
    """Add a function to the cases of ``kind``."""

    def add(function: Callable[[], str]) -> Callable[[], str]:
        CASES.setdefault(kind, []).append(function)
        return function

    return add


def refused(do: Callable[[], Any]) -> str:
    """Return the message of the ``BevelError`` that ``do`` raises."""
    try:
        do()
    except BevelError as error:
        return f"refused: {first_line(error)}"
    raise AssertionError("it was accepted")


def small() -> nn.Sequential:
    """Two layers with a ReLU, and weights that do not change."""
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(4, 6), nn.ReLU(), nn.Linear(6, 2)).eval()


X = torch.linspace(-3, 3, 20).reshape(5, 4)


class Optional(nn.Module):
    """A forward that skips a call when it gets one input."""

    def __init__(self) -> None:
        super().__init__()
        self.m, self.a, self.b = (nn.Linear(4, 4) for _ in range(3))

    def forward(self, x: Tensor, extra: Tensor | None = None) -> Tensor:
        if extra is not None:
            x = x + F.relu(self.m(extra))
        return F.relu(self.b(F.relu(self.a(x))))


# ------------------------------------------------------------------------------------------------------------- tensors


@case("Unusual tensors")
def zero_gradient() -> str:
    """The gradient is torch's zero tensor, which has no memory"""
    x = torch.randn(3, 2, requires_grad=True)
    torch.autograd.backward(torch.sgn(bevel.FReLU(2)(x)).sum())
    assert x.grad is not None
    assert not x.grad.any()
    return "zero gradients"


@case("Unusual tensors")
def negative_view() -> str:
    """A lazily negated view: `conj().imag`"""
    found = bevel.FReLU(1, negative=0.3)(torch.tensor([1 + 2j]).conj().imag)
    assert abs(float(found.detach()) + 0.6) < 1e-6
    return "−0.6, as it should be"


@case("Unusual tensors")
def batched_gradients() -> str:
    """A vectorized Jacobian: `is_grads_batched=True`"""
    act, x = bevel.SAU(1), torch.tensor([-1.0, 0.5, 2.0], requires_grad=True)
    found = torch.autograd.grad(act(x), x, torch.eye(3), is_grads_batched=True)[0]
    each = torch.stack([torch.autograd.grad(act(x), x, row)[0] for row in torch.eye(3)])
    torch.testing.assert_close(found, each)
    return "equals row by row"


@case("Unusual tensors")
def sparse() -> str:
    """A sparse input"""
    return refused(lambda: bevel.SAU(1)(torch.eye(3).to_sparse()))


@case("Unusual tensors")
def overflow() -> str:
    """`pau` at 1e8, where x⁵ overflows"""
    found = float(bevel.create("pau")(torch.tensor([1e8])).detach())
    assert abs(found / 5.05e7 - 1) < 0.01
    return f"{found:.3g}"


@case("Unusual tensors")
def changed_output() -> str:
    """The kept output is changed in place before backward"""
    y = bevel.SAU(4)(nn.Linear(4, 4)(X))
    y += 1
    return refused(lambda: torch.autograd.backward(y.sum()))


# ---------------------------------------------------------------------------------------------------------------- swap


@case("Swapping")
def graph_module() -> str:
    """A `GraphModule` of `torch.fx` with two calls of one function, and its copies"""

    class Two(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.b = nn.Linear(4, 4), nn.Linear(4, 4)

        def forward(self, x: Tensor) -> Tensor:
            return F.relu(self.b(F.relu(self.a(x))))

    Two.forward.__annotations__.clear()  # torch 2.11 cannot pickle a traced forward whose annotations are texts
    model = torch.fx.symbolic_trace(Two())
    result = bevel.swap(model, "frelu:negative=-0.5", X, preserve=False)
    assert len(result.activations) == 2
    for twin in (copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
        assert torch.equal(twin(X), model(X))
    return "two sites; deepcopy and pickle carry them"


@case("Swapping")
def skipped_call() -> str:
    """A forward that makes fewer calls than the example: an optional head"""
    model = Optional()
    result = bevel.swap(model, "frelu", X, X)
    of: dict[str, Any] = {site.feeder: result.activations[site.name] for site in result.sites.swapped}
    modules: dict[str, Any] = dict(model.named_children())
    with torch.no_grad():
        for number, act in enumerate(of.values()):
            act.negative.fill_(-1.0 - number)
    assert torch.equal(model(X), of["b"](modules["b"](of["a"](modules["a"](X)))))
    return "each layer keeps its own activation"


@case("Swapping")
def shared_module() -> str:
    """One `nn.ReLU` under several names, with a hook on one of the new ones"""
    act, calls = nn.ReLU(), list[int]()
    model = nn.Sequential(nn.Linear(4, 4), act, nn.Linear(4, 4), act)
    bevel.swap(model, "frelu", X)
    model[1].register_forward_hook(lambda *_: calls.append(1))
    model(X)
    assert calls == [1]
    return "the hook runs once a forward"


@case("Swapping")
def nothing_to_swap() -> str:
    """`where=` matches nothing"""
    return refused(lambda: bevel.swap(small(), "frelu", X, where="nowhere"))


@case("Swapping")
def a_module_for_a_factory() -> str:
    """A module instead of a name: `swap(model, bevel.SAU(2), x)`"""
    return refused(lambda: bevel.swap(small(), bevel.SAU(2), X))


@case("Swapping")
def positive_range() -> str:
    """Softplus makes a positive time step (Mamba)"""
    model = nn.Sequential(nn.Linear(4, 4), nn.Softplus(), nn.Linear(4, 4), nn.ReLU())
    result = bevel.swap(model, "frelu", X, preserve=False)
    assert list(result.activations) == ["3"]
    return "left alone unless it is named"


@case("Swapping")
def plan() -> str:
    """A swapped model is loaded without an example"""
    model = small()
    result = bevel.swap(model, "sau", X)
    again = small()
    bevel.surgery.apply_plan(again, result.plan())
    again.load_state_dict(model.state_dict())
    assert torch.equal(again(X), model(X))
    return "`result.plan()`, `apply_plan`, `load_state_dict`: equal to the bit"


class Layers(nn.Module):
    """Two layers, called by helpers with equal bytecode."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Linear(4, 6), nn.Linear(6, 4)

    def forward(self, x: Tensor) -> Tensor:
        for helper in (self.first, self.second):
            x = helper(x)
        return x

    def first(self, x: Tensor) -> Tensor:
        return F.relu(self.a(x))

    def second(self, x: Tensor) -> Tensor:
        return F.relu(self.b(x))


@case("Swapping")
def equal_helpers() -> str:
    """Two methods with equal bytecode, called from one place"""
    model = Layers()
    a, b = bevel.swap(model, "frelu", X).activations.values()
    with torch.no_grad():
        a.get_parameter("negative").fill_(-1.0)
        b.get_parameter("negative").fill_(-2.0)
    assert torch.equal(model(X), b(model.b(a(model.a(X)))))
    return "each keeps its own activation"


class OtherLayers(Layers):
    """Another function in one of the helpers."""

    def second(self, x: Tensor) -> Tensor:
        return F.gelu(self.b(x))


OtherLayers.__qualname__ = Layers.__qualname__


@case("Swapping")
def another_model() -> str:
    """A plan is applied to a model whose forward calls another function"""
    result = bevel.swap(Layers(), "frelu", X)
    return refused(lambda: bevel.surgery.apply_plan(OtherLayers(), result.plan()))


@case("Swapping")
def wrong_channels() -> str:
    """The channel count does not fit the input"""
    return refused(lambda: bevel.FReLU(5)(X))


# ------------------------------------------------------------------------------------------------------------ training


@case("Training")
def sharpness_is_saved() -> str:
    """A model whose sharpness a schedule has moved is saved and loaded"""
    model = nn.Sequential(nn.Linear(4, 6), bevel.SAU(6, n=2.0))
    schedule = bevel.training.SharpnessSchedule(model, 2.0, 20_000.0, steps=1)
    schedule.step()
    again = nn.Sequential(nn.Linear(4, 6), bevel.SAU(6, n=2.0))
    again.load_state_dict(model.state_dict())
    assert torch.equal(again(X), model(X)), "the loaded one has the sharpness of before"
    return "it computes what it computed"


@case("Training")
def one_cycle() -> str:
    """`OneCycleLR` cycles the momentum of an `Alternating` with AdamW first"""
    model = nn.Sequential(nn.Linear(4, 6), bevel.FReLU(6))
    weights, slopes = parameter_groups(model, lr=0.1, activation_lr=0.05)
    optimizer = Alternating(torch.optim.AdamW([weights]), torch.optim.SGD([slopes], momentum=0.9))
    torch.optim.lr_scheduler.OneCycleLR(optimizer, [0.1, 0.05], total_steps=20, max_momentum=0.8)
    model(X).sum().backward()
    optimizer.step()
    assert optimizer.weights_optimizer.param_groups[0]["betas"][0] == 0.8
    assert optimizer.activations_optimizer.param_groups[0]["momentum"] == 0.8
    return "both momenta are cycled"


@case("Training")
def weight_decay() -> str:
    """Weight decay drags slopes to zero"""
    model = nn.Sequential(nn.Linear(4, 6), bevel.FReLU(6))
    groups = parameter_groups(model, lr=0.1, weight_decay=0.1)
    decayed = [id(p) for group in groups if group.get("weight_decay", 0) for p in group["params"]]
    assert id(model[0].weight) in decayed
    assert not {id(p) for p in model[1].parameters()} & set(decayed)
    return "`parameter_groups` decays no slope"


@case("Training")
def negative_rate() -> str:
    """A negative learning rate"""
    return refused(lambda: parameter_groups(small(), lr=-1))


@case("Training")
def optimizer_of_before() -> str:
    """The optimizer is older than the swap"""
    model = small()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    result = bevel.swap(model, "frelu", X, optimizer=optimizer)
    before = [p.detach().clone() for p in result.parameters.values()]
    model(X).sum().backward()
    optimizer.step()
    assert not all(torch.equal(a, b) for a, b in zip(before, result.parameters.values(), strict=True))
    return "`swap(…, optimizer=…)` adds the slopes, and they learn"


@case("Training")
def memory() -> str:
    """Smooth activations keep several tensors for backward"""
    saved, x = SavedBytes(), torch.randn(64, 32, requires_grad=True)
    with saved.watch(act := bevel.SAU(32)):
        act(x)
    assert saved.total == x.nbytes
    return "SAU keeps one tensor, as a rule its output"


# ---------------------------------------------------------------------------------------------- torch's transformations


@case("Compiling, tracing, exporting")
def compiled() -> str:
    """`torch.compile(fullgraph=True)` of a swapped model"""
    model = Optional()
    bevel.swap(model, "sau", X, X)
    run = torch.compile(model, backend="eager", fullgraph=True)
    torch.testing.assert_close(run(X), model(X))
    return "one graph, equal"


@case("Compiling, tracing, exporting")
def traced() -> str:
    """`torch.jit.trace` of a per-channel activation, at another batch size"""
    model = nn.Sequential(nn.Linear(4, 6), bevel.FReLU(6)).eval()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        made = torch.jit.trace(model, X)  # type: ignore[no-untyped-call]
    torch.testing.assert_close(made(X[:2]), model(X[:2]))
    return "equal"


@case("Compiling, tracing, exporting")
def exported() -> str:
    """`torch.export`, saved and loaded"""
    model, file = nn.Sequential(nn.Linear(4, 6), bevel.SAU(6)).eval(), io.BytesIO()
    torch.export.save(torch.export.export(model, (X,)), file)
    file.seek(0)
    torch.testing.assert_close(torch.export.load(file).module()(X), model(X))
    return "equal"


@case("Compiling, tracing, exporting")
def per_sample() -> str:
    """Per-sample gradients: `vmap(grad(…))` (Opacus, physics-informed networks)"""
    act = bevel.SAU(1, n=5.0)
    parameters = dict(act.named_parameters())
    loss = lambda p, x: torch.func.functional_call(act, p, (x,)).sum()  # noqa: E731
    found = torch.func.vmap(torch.func.grad(loss), (None, 0))(parameters, X)
    alone = [torch.func.grad(loss)(parameters, row) for row in X]
    for name, values in found.items():
        torch.testing.assert_close(values, torch.stack([one[name] for one in alone]))
    return "equal to one by one"


@case("Compiling, tracing, exporting")
def autocast() -> str:
    """Half-precision inputs beside float32 slopes"""
    act, x = bevel.FReLU(4), X.bfloat16()
    y = act(x)
    y.float().sum().backward()
    assert y.dtype == torch.bfloat16
    assert act.negative.grad is not None
    assert act.negative.grad.dtype == torch.float32
    return "the result in bfloat16, the slopes' gradients in float32"


# -------------------------------------------------------------------------------------------------------------- deploy


@case("Deploying")
def random_in_eval() -> str:
    """`fold` of a forward that is random in evaluation (a VAE)"""

    class Noisy(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.body = nn.Sequential(nn.Conv2d(3, 4, 1), bevel.FReLU(4))

        def forward(self, x: Tensor) -> Tensor:
            result: Tensor = self.body(x) + torch.randn(())
            return result

    rows = bevel.fold(Noisy().eval(), torch.randn(2, 3, 4, 4)).rows
    assert [row.new for row in rows] == ["LeakyReLU"]
    return "folded; both runs draw the same numbers"


@case("Deploying")
def positive_of_one() -> str:
    """`harden` where the right slope is 1, but α + (1 − α) is not in float64"""
    (row,) = bevel.harden(nn.Sequential(bevel.SAU(1, alpha=0.3, n=1e6)), 1e-3).rows
    assert row.new == "LeakyReLU"
    return "a Leaky ReLU"
