"""A fixed sharpness is part of a module's state: moved, copied, averaged, saved and loaded with it."""

from __future__ import annotations

import copy
import io
import math
import pickle
import warnings
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn
from torch.overrides import TorchFunctionMode
from torch.torch_version import TorchVersion

import bevel
from bevel._torch_private import storage_address
from bevel.errors import InvalidValue
from bevel.nn import Activation
from bevel.ops import _cpu, evaluate

SPECS = (
    "sau:n=2",
    "sau:n=2,form=centred,learn_alpha=false",
    "smooth_frelu:learn_n=false",
    "mollified:f=relu6,kernel=box",
)
SMOOTH = (*SPECS, "squareplus", "smelu", "smooth_frelu")
each_spec = pytest.mark.parametrize("spec", SMOOTH)


def _model(spec: str = "sau:n=2") -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(3, 4), bevel.create(spec, 4))


def _trained(spec: str = "sau:n=2", end: float = 20000.0) -> nn.Sequential:
    """Return a model that a schedule has led to another sharpness."""
    model = _model(spec)
    schedule = bevel.SharpnessSchedule(model, 2.0, end, steps=2)
    schedule.step()
    schedule.step()
    return model


def _x() -> Tensor:
    return torch.linspace(-2, 2, 60).reshape(20, 3)


def _n(model: nn.Sequential) -> float:
    n = model[1].coefficients()[1]
    return float(n[0]) if isinstance(n, Tensor) else n


@each_spec
def test_what_a_schedule_reached_is_saved_and_loaded(spec: str) -> None:
    trained, file = _trained(spec), io.BytesIO()
    torch.save(trained.state_dict(), file)
    file.seek(0)
    loaded = _model(spec)
    loaded.load_state_dict(torch.load(file, weights_only=True))
    assert _n(loaded) == pytest.approx(20000.0, rel=1e-5)
    assert torch.equal(loaded(_x()), trained(_x()))
    with torch.device("meta"):
        late = _model(spec)
    late.load_state_dict(trained.state_dict(), assign=True)
    assert torch.equal(late(_x()), trained(_x()))
    late = _model(spec).to("meta").to_empty(device="cpu")
    late.load_state_dict(trained.state_dict())
    assert torch.equal(late(_x()), trained(_x()))


def test_a_state_from_before_n_was_in_it_loads_with_a_note() -> None:
    model = nn.Sequential(bevel.SAU(2, n=7.0), bevel.nn.Squareplus(), bevel.FReLU(2))
    old = {key: value for key, value in model.state_dict().items() if not key.endswith(".n")}
    assert len(old) == 3
    with pytest.warns(UserWarning, match=r"before n was part of it; they keep the n that they were made with"):
        model.load_state_dict(old)
    assert [model[i].family.n for i in (0, 1)] == [7.0, 0.5]
    with torch.device("meta"):
        late = nn.Sequential(bevel.SAU(2, n=7.0), bevel.nn.Squareplus(), bevel.FReLU(2))
    with pytest.warns(UserWarning, match="before n was part of it"):
        late.load_state_dict(old, assign=True)
    assert torch.equal(late(torch.ones(3, 2)), model(torch.ones(3, 2)))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        late.load_state_dict(model.state_dict())


@each_spec
def test_copies_have_it(spec: str) -> None:
    trained = _trained(spec)
    for twin in (copy.deepcopy(trained), pickle.loads(pickle.dumps(trained))):
        assert torch.equal(twin(_x()), trained(_x()))
        assert all(a.data_ptr() != b.data_ptr() for a, b in zip(twin.buffers(), trained.buffers(), strict=True))


def test_a_module_that_was_pickled_before_n_was_a_buffer() -> None:
    new = bevel.SAU(2, n=7.0)
    state = {k: v for k, v in new.__dict__.items() if k not in ("_family", "_family_of_buffer", "_place")}
    state["_buffers"] = {}
    old = bevel.SAU.__new__(bevel.SAU)
    old.__setstate__(copy.deepcopy(state) | {"family": new.family})
    assert old.n.item() == 7.0
    assert torch.equal(old(torch.ones(1, 2)), new(torch.ones(1, 2)))


@pytest.mark.parametrize("use_buffers", [False, True])
def test_an_average_of_models_has_it(use_buffers: bool) -> None:
    model = _model()
    average = AveragedModel(model, multi_avg_fn=get_ema_multi_avg_fn(0.5), use_buffers=use_buffers)
    average.update_parameters(model)
    model[1].n.fill_(4.0)
    average.update_parameters(model)
    assert average.module[1].family.n == (3.0 if use_buffers else 4.0)
    want = copy.deepcopy(average.module)
    want[1] = bevel.SAU(4, n=average.module[1].n.item())
    assert torch.equal(average(_x()), want(_x()))
    average.module[1].n.data.copy_(torch.tensor([9.0]))  # which no version counts
    assert average.module[1].family.n == 9.0


def test_the_text_of_a_module_shows_the_present_n() -> None:
    assert "n=20000, form" in repr(_trained()[1])
    assert "n=300," in repr(_trained("smooth_frelu", 300.0)[1])
    assert repr(bevel.SAU(2, n=5.0)) == (
        "SAU(num_parameters=2, alpha=0.15, n=5, form='published', learn_alpha=True, learn_n=False, dim=1)"
    )
    squareplus = bevel.nn.Squareplus(b=4.0)
    assert repr(squareplus) == "Squareplus(b=4)"
    squareplus.n.fill_(1.0)
    assert repr(squareplus) == "Squareplus(b=1)"
    learnt = bevel.SmoothFReLU(2, n=4.0)
    with torch.no_grad():
        learnt.log_n[1] = math.log(8.0)
    assert "n=4..8," in repr(learnt)
    assert "n=4," in repr(bevel.SmoothFReLU(2, n=4.0, device="meta"))
    with FakeTensorMode():
        assert "n=4," in repr(bevel.SmoothFReLU(2, n=4.0))  # has no values
        assert "n=4..8," in repr(learnt)


@pytest.mark.parametrize(("spec", "name", "start"), [("squareplus", "b", 4.0), ("smelu", "beta", 2.0)])
def test_a_width_is_the_present_one(spec: str, name: str, start: float) -> None:
    module = bevel.create(spec)
    assert getattr(module, name) == start
    loaded = bevel.create(spec)
    module.set_sharpness(10.0)
    loaded.load_state_dict(module.state_dict())
    want = 0.01 if name == "b" else 0.1
    assert getattr(loaded, name) == getattr(module, name) == pytest.approx(want)
    assert repr(loaded).endswith(f"({name}={want})")
    with torch.device("meta"):
        assert getattr(bevel.create(spec), name) == start


@pytest.mark.parametrize("n", [70001.5, 20001.0, 1e-30])
def test_another_dtype_leaves_it_alone(n: float) -> None:
    module = bevel.SAU(2, n=n)
    for convert in (nn.Module.half, nn.Module.bfloat16, nn.Module.float, nn.Module.double):
        convert(module)
        assert module.n.dtype == torch.float64
        assert module.n.item() == module.family.n == n


@pytest.mark.parametrize("spec", SPECS)
@pytest.mark.parametrize("n", [20000.0, 0.1])
def test_the_function_is_that_of_a_constant_to_the_bit(spec: str, n: float) -> None:
    module = bevel.create(spec, 3)
    module.save = "input"  # as evaluate does; from a kept output x is found to a rounding
    module.n.fill_(n)
    x = torch.randn(6, 3, generator=torch.Generator().manual_seed(0)).requires_grad_()
    y = module(x)
    module.n.copy_(module.n)  # as DistributedDataParallel does before every forward
    constant = evaluate(x, module.family, module.values())
    assert module.family.n == n
    assert torch.equal(y, constant)
    leaves = [x, *module.parameters()]
    for a, b in zip(
        torch.autograd.grad(y.sum(), leaves, retain_graph=True),
        torch.autograd.grad(constant.sum(), leaves),
        strict=True,
    ):
        assert torch.equal(a, b)
    module.save = "auto"
    for a, b in zip(torch.autograd.grad(module(x).sum(), leaves), torch.autograd.grad(y.sum(), leaves), strict=True):
        torch.testing.assert_close(a, b)


def test_torch_func_takes_it() -> None:
    module, x = bevel.SAU(n=2.0), _x()
    n = torch.tensor([[2.0], [5.0]], dtype=torch.float64)
    found = torch.func.vmap(lambda n: torch.func.functional_call(module, {"n": n}, (x,)))(n)
    torch.testing.assert_close(found, torch.stack([bevel.SAU(n=2.0)(x), bevel.SAU(n=5.0)(x)]))
    leaf = n[1].clone().requires_grad_()
    (slope,) = torch.autograd.grad(torch.func.functional_call(module, {"n": leaf}, (x,)).sum(), leaf)
    learnt = bevel.SAU(n=5.0, learn_n=True)
    (want,) = torch.autograd.grad(learnt(x).sum(), learnt.log_n)
    torch.testing.assert_close(slope.float(), want / 5.0)
    assert module.family.n == 2.0


@pytest.mark.parametrize("spec", ["squareplus", "sau:learn_alpha=false"])
def test_fake_tensors_pass_a_real_module_without_parameters(spec: str) -> None:
    """As they pass torch's own activations."""
    module = bevel.create(spec, 1)
    with FakeTensorMode():
        assert module(torch.empty(2, 3)).shape == (2, 3)


def test_reset_gives_the_first_n_back() -> None:
    trained = _trained()
    trained[1].reset_parameters()
    assert trained[1].family.n == 2.0


@pytest.mark.compile
@pytest.mark.parametrize("backend", ["eager", "aot_eager"])
def test_a_compiled_model_follows_without_compiling_again(backend: str) -> None:
    model = _model()
    compiled = torch.compile(model, backend=backend, fullgraph=True)
    x = _x().requires_grad_()
    torch.testing.assert_close(compiled(x), model(x))
    with torch.compiler.set_stance("fail_on_recompile"):
        for change in (lambda: model[1].n.fill_(5.0), lambda: model.load_state_dict(_trained().state_dict())):
            change()
            leaves = [x, *model.parameters()]
            got = torch.autograd.grad(compiled(x).sum(), leaves)
            for a, b in zip(got, torch.autograd.grad(model(x).sum(), leaves), strict=True):
                torch.testing.assert_close(a, b)


@pytest.mark.compile
def test_an_exported_program_has_it_in_its_state() -> None:
    program = torch.export.export(_trained(), (_x(),)).module()
    torch.testing.assert_close(program(_x()), _trained()(_x()))
    program.load_state_dict(_trained(end=3.0).state_dict())
    torch.testing.assert_close(program(_x()), _trained(end=3.0)(_x()))


@pytest.mark.compile
@pytest.mark.skipif(_cpu.unavailable() is not None, reason=f"backend cpu: {_cpu.unavailable()}")
@pytest.mark.skipif(TorchVersion(torch.__version__) < (2, 12), reason="torch 2.11 refuses it: docs/start.md")
def test_a_compiled_call_keeps_the_n_that_it_was_made_with() -> None:
    """n may be written between a forward and its backward, as DistributedDataParallel writes to buffers."""
    module = bevel.SAU(2, n=3.0)
    compiled = torch.compile(module, backend="aot_eager", fullgraph=True)
    x = torch.linspace(-1, 1, 8).reshape(4, 2).requires_grad_()

    def gradients(f: nn.Module) -> tuple[Tensor, ...]:
        module.n.fill_(5.0)
        first = f(x)
        module.n.fill_(3.0)
        return torch.autograd.grad((first + f(x)).sum(), [x, *module.parameters()])

    for got, want in zip(gradients(compiled), gradients(module), strict=True):
        torch.testing.assert_close(got, want)


def test_where_n_is_not_read_a_call_gets_a_copy() -> None:
    """Else a change of n between a forward and its backward would be in the backward alone."""
    module = bevel.SAU(2, device="meta")
    _, (*_, n) = module.at_call(torch.empty(3, 2, device="meta"), eager=True)
    assert storage_address(n) != storage_address(module.n)


class WithoutFloat64(TorchFunctionMode):
    """A device "meta" that has no float64, as Apple's."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if str(kwargs.get("device")) == "meta" and kwargs.get("dtype") == torch.float64:
            raise TypeError("Cannot convert a MPS Tensor to float64 dtype as the MPS framework doesn't support it.")
        return func(*args, **kwargs)


def test_a_device_without_float64_holds_it_in_float32() -> None:
    with WithoutFloat64():
        made = bevel.SAU(2, n=3.0, device="meta")
    assert made.n.dtype == torch.float32
    assert made.n.is_meta


def test_only_smooth_modules_with_a_fixed_n_have_the_buffer() -> None:
    assert not list(bevel.FReLU().buffers())
    assert not list(bevel.SmoothFReLU().buffers())
    module = bevel.SAU(n=3.0)
    module.family = bevel.FReLU().family
    assert not list(module.buffers())
    assert isinstance(module, Activation)
    assert [b.device.type for b in bevel.nn.SmeLU(device="meta").buffers()] == ["meta"]


@pytest.mark.parametrize("name", ["frelu", "relu_squared"])
def test_what_is_not_smoothed_has_no_sharpness_to_set(name: str) -> None:
    with pytest.raises(InvalidValue, match="only a smoothed activation has a sharpness"):
        bevel.create(name).set_sharpness(5.0)
