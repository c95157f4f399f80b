"""FReLU's relatives against high-precision arithmetic; the random ones repeat, and ship as their evaluation form."""

from collections.abc import Callable
from typing import Any

import mpmath
import pytest
import torch
from torch import Tensor, nn

import bevel
from bevel.errors import InvalidValue
from bevel.ops import using

X = (-7.25, -2.0, -0.375, -1e-3, 1e-3, 0.5, 1.75, 9.0)
Exact = Callable[[Any, dict[str, Any]], Any]


def _srelu(x: Any, p: dict[str, Any]) -> Any:
    if x > p["high"]:
        return p["high"] + p["right"] * (x - p["high"])
    return p["low"] + p["left"] * (x - p["low"]) if x <= p["low"] else x


def _apl(x: Any, p: dict[str, Any]) -> Any:
    return max(0, x) + sum(p[f"height_{i}"] * max(0, p[f"hinge_{i}"] - x) for i in range(3))


FUNCTIONS: dict[str, tuple[dict[str, float], Exact]] = {  # parameters as they are stored
    "pelu": (
        {"log_a": 0.4, "log_b": -0.3},
        lambda x, p: (
            mpmath.exp(p["log_a"] - p["log_b"]) * x
            if x > 0
            else mpmath.exp(p["log_a"]) * (mpmath.exp(x / mpmath.exp(p["log_b"])) - 1)
        ),
    ),
    "mpelu": (
        {"alpha": 0.7, "beta": 1.3},
        lambda x, p: x if x > 0 else p["alpha"] * (mpmath.exp(p["beta"] * x) - 1),
    ),
    "prenu": ({"alpha": 0.6}, lambda x, p: x - p["alpha"] * mpmath.log(1 + x) if x > 0 else mpmath.mpf(0)),
    "srelu": ({"left": -0.3, "right": 0.4, "low": -1.5, "high": 1.25}, _srelu),
    "apl:hinges=3": (
        {"height_0": 0.2, "height_1": -0.4, "height_2": 0.7, "hinge_0": -1.5, "hinge_1": 0.25, "hinge_2": -0.5},
        _apl,  # the last two knots have crossed
    ),
}


@pytest.mark.parametrize(
    ("spec", "backend"), [*((s, "auto") for s in FUNCTIONS), *((s, "analytic") for s in ("srelu", "apl:hinges=3"))]
)
def test_value_and_every_gradient(spec: str, backend: str) -> None:
    """To 13 digits of what is added: mpmath's derivatives, by 30 digits."""
    values, exact = FUNCTIONS[spec]
    module = bevel.create(spec, dtype=torch.float64)
    with torch.no_grad():
        for name, parameter in module.named_parameters():
            parameter.fill_(values[name])
    names = [name for name, _ in module.named_parameters()]
    assert set(names) == set(values)
    for at in X:
        x = torch.tensor([at], dtype=torch.float64, requires_grad=True)
        with using(backend):
            y = module(x)
            got = [float(t) for t in (y.detach(), *torch.autograd.grad(y, (x, *module.parameters())))]
        with mpmath.workdps(30):
            point = [mpmath.mpf(at), *(mpmath.mpf(values[name]) for name in names)]

            def call(*p: Any) -> Any:
                return exact(p[0], dict(zip(names, p[1:], strict=True)))

            places = range(len(point))
            partial = [mpmath.diff(call, tuple(point), tuple(int(i == j) for j in places), h=1e-12) for i in places]
            want = [call(*point), *partial]
        for mine, true in zip(got, want, strict=True):
            assert mine == pytest.approx(float(true), rel=1e-11, abs=2e-14 * (1 + abs(at)))


def test_small_inputs_keep_their_digits() -> None:
    x = torch.tensor([-1e-9, 1e-9], dtype=torch.float64)
    assert bevel.create("pelu", dtype=torch.float64)(x).tolist() == pytest.approx([-1e-9, 1e-9], rel=1e-8)
    assert bevel.create("prenu:alpha=1", dtype=torch.float64)(x)[1].item() == pytest.approx(5e-19, rel=1e-6)


@pytest.mark.compile
@pytest.mark.parametrize("name", ["erelu", "rrelu"])
def test_random_slopes(name: str) -> None:
    module = bevel.create(name)
    x = torch.randn(4, 1000, generator=torch.Generator().manual_seed(0)).requires_grad_()

    def draw() -> tuple[Tensor, Tensor]:
        with torch.random.fork_rng():
            torch.manual_seed(1)
            y = module(x)
        return y.detach(), torch.autograd.grad(y.sum(), x)[0]

    first, second = draw(), draw()
    assert all(map(torch.equal, first, second))  # one seed, one draw
    torch.testing.assert_close(first[1] * x, first[0])  # backward has the slopes of forward
    side = x > 0 if name == "erelu" else x <= 0
    slopes = (first[0] / x)[side].detach()
    low, high = (0.8, 1.2) if name == "erelu" else (1 / 8, 1 / 3)
    assert low <= float(slopes.min()) < low + 0.01 < high - 0.01 < float(slopes.max()) <= high
    assert float(slopes.mean()) == pytest.approx((low + high) / 2, abs=0.01)
    calm = nn.LeakyReLU(11 / 48) if name == "rrelu" else nn.ReLU()
    torch.testing.assert_close(module.eval()(x), calm(x))
    exported = torch.export.export(module, (x.detach(),)).module()
    torch.testing.assert_close(exported(x.detach()), calm(x.detach()))


def test_kinked_ones_start_where_they_say_and_can_be_swapped_in() -> None:
    model, x = nn.Sequential(nn.Linear(3, 4), nn.ReLU()), torch.randn(8, 3)
    want = model(x)
    (site,) = bevel.swap(model, "apl", x).sites
    assert (site.new, site.bound) == ("apl", 0)
    torch.testing.assert_close(model(x), want)
    leaky = nn.Sequential(nn.Linear(3, 4), nn.LeakyReLU(0.2))
    assert bevel.swap(leaky, "srelu", x).sites[0].bound == 0
    with pytest.raises(InvalidValue, match="low must be below high; got 2 and 1"):
        bevel.nn.SReLU(low=2, high=1)


@pytest.mark.parametrize("pieces", [2, 3])
def test_maxout(pieces: int) -> None:
    layer = bevel.nn.Maxout(pieces, dim=-1)
    x = torch.randn(5, 4 * pieces, dtype=torch.float64, requires_grad=True)
    y = layer(x)
    assert y.tolist() == [[max(row[i : i + pieces]) for i in range(0, len(row), pieces)] for row in x.tolist()]
    assert torch.autograd.gradcheck(layer, x)
    with pytest.raises(InvalidValue, match=rf"a multiple of {pieces} channels along dim=-1; got shape \(5, 7\)"):
        layer(torch.ones(5, 7))


@pytest.mark.parametrize("to", ["maxout", bevel.nn.Maxout, "act_and_mul", bevel.nn.ActAndMul])
def test_what_is_not_elementwise_cannot_be_swapped_in(to: Any) -> None:
    with pytest.raises(InvalidValue, match=r"must put an elementwise activation in; (Maxout|ActAndMul) is none"):
        bevel.swap(nn.Sequential(nn.Linear(3, 4), nn.ReLU()), to, torch.randn(8, 3))
