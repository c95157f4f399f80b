"""A plan refuses a model whose forward or activations compute something else, and only such a model."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bevel import FReLU, InvalidValue
from bevel.surgery import apply_plan, swap
from bevel.surgery._likeness import likeness

V = torch.randn(5, 4, generator=torch.Generator().manual_seed(0))


class Model(nn.Module):
    """Two layers under the forward that a subclass has."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Linear(4, 4), nn.Linear(4, 4)
        self.ls = nn.ModuleList([self.a, self.b])
        self.fn: Any = F.relu


def named(forward: Callable[..., Tensor], **more: Any) -> type[Model]:
    """A class of one name, with this forward."""
    return type("Same", (Model,), {"forward": forward} | more)


def helper(x: Tensor) -> Tensor:
    return F.relu(x)


def of_attribute(function: Callable[..., Tensor]) -> type[Model]:
    def init(self: Model) -> None:
        Model.__init__(self)
        self.fn = function

    return named(lambda s, x: F.relu(s.b(s.fn(s.a(x)))), __init__=init)


DIFFER: dict[str, tuple[type[Model], type[Model]]] = {
    "another function": (
        named(lambda s, x: F.relu(s.b(F.relu(s.a(x))))),
        named(lambda s, x: F.gelu(s.b(F.relu(s.a(x))))),
    ),
    "layers exchanged": (
        named(lambda s, x: F.relu(s.b(F.relu(s.a(x))))),
        named(lambda s, x: F.relu(s.a(F.relu(s.b(x))))),
    ),
    "another constant": (
        named(lambda s, x: F.leaky_relu(s.b(s.a(x)), 0.1)),
        named(lambda s, x: F.leaky_relu(s.b(s.a(x)), 0.2)),
    ),
    "another index": (named(lambda s, x: F.relu(s.ls[0](x))), named(lambda s, x: F.relu(s.ls[1](x)))),
    "inside a comprehension": (
        named(lambda s, x: F.relu(s.a(sum(2 * y for y in (x, x))))),
        named(lambda s, x: F.relu(s.a(sum(3 * y for y in (x, x))))),
    ),
    "a method": (
        named(lambda s, x: F.relu(s.b(s.part(x))), part=lambda s, x: F.relu(s.a(x))),
        named(lambda s, x: F.relu(s.b(s.part(x))), part=lambda s, x: F.gelu(s.a(x))),
    ),
    "a function in an attribute": (of_attribute(F.relu), of_attribute(F.gelu)),
}


@pytest.mark.parametrize("kind", DIFFER)
def test_a_forward_that_computes_something_else_is_refused(kind: str) -> None:
    mine, other = DIFFER[kind]
    plan = swap(mine(), "frelu", V).plan()
    apply_plan(mine(), plan)
    with pytest.raises(InvalidValue, match="needs the forward that Same had; found another one"):
        apply_plan(other(), plan)


def test_a_docstring_and_lines_do_not_count() -> None:
    def forward(self: Model, x: Tensor) -> Tensor:
        """Say what it does."""
        return F.relu(self.b(F.relu(self.a(x))))

    plan = swap(named(forward)(), "frelu", V).plan()

    def forward(self: Model, x: Tensor) -> Tensor:  # type: ignore[no-redef]
        """Say it in other words."""

        return F.relu(self.b(F.relu(self.a(x))))

    assert [site.new for site in apply_plan(named(forward)(), plan).sites] == ["frelu", "frelu"]


def test_a_function_of_the_same_file_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    made = named(lambda s, x: helper(s.a(x)))
    plan = swap(made(), "frelu", V).plan()
    monkeypatch.setitem(globals(), "helper", _edited)
    with pytest.raises(InvalidValue, match="found another one"):
        apply_plan(made(), plan)


def _edited(x: Tensor) -> Tensor:
    return F.gelu(x)


@pytest.mark.process
def test_another_process_has_the_same_checksums() -> None:
    """Constants may be sets, whose order each process draws anew."""
    source = (
        "import torch.nn as nn\n"
        "class Sets(nn.Module):\n"
        "    def forward(self, x):\n"
        "        return [y for y in x if y in {'a', 'b', 'c', 'd', 1, 2.0, (None, b'e')}]\n"
    )
    said = "from bevel.surgery._likeness import likeness\nprint(likeness(Sets())[1])"
    made = [
        subprocess.run(
            [sys.executable, "-c", source + said], env={"PYTHONHASHSEED": seed}, capture_output=True, text=True
        )
        for seed in "12"
    ]
    names: dict[str, Any] = {}
    exec(compile(source, "<string>", "exec"), names)
    here = str(likeness(names["Sets"]())[1])
    assert [run.stdout.strip() for run in made] == [here, here], made[0].stderr


MODULES: dict[str, tuple[nn.Module, nn.Module, str]] = {
    "another slope": (nn.LeakyReLU(0.1), nn.LeakyReLU(0.2), r"the LeakyReLU that was at '1'; found one that computes"),
    "another alpha": (nn.ELU(), nn.ELU(0.5), r"the ELU that was at '1'; found one that computes another function: ELU"),
    "another width": (nn.PReLU(), nn.PReLU(4), r"a layer '1' with parameters of shape \[\[1\]\]; found \[\[4\]\]"),
}


@pytest.mark.parametrize("kind", MODULES)
def test_a_module_that_computes_something_else_is_refused(kind: str) -> None:
    mine, other, text = MODULES[kind]
    to = "frelu" if kind != "another alpha" else "mollified:n=3"
    plan = swap(nn.Sequential(nn.Linear(4, 4), mine), to, V, preserve=False).plan()
    with pytest.raises(InvalidValue, match=f"site '1' needs {text}"):
        apply_plan(nn.Sequential(nn.Linear(4, 4), other), plan)


def test_a_trained_prelu_is_the_same_module() -> None:
    trained = nn.PReLU(init=0.7)
    plan = swap(nn.Sequential(nn.Linear(4, 4), trained), "frelu", V).plan()
    model = nn.Sequential(nn.Linear(4, 4), nn.PReLU())
    (site,) = apply_plan(model, plan).sites
    assert (site.new, type(model[1])) == ("frelu", FReLU)


def test_a_plan_with_too_few_values_is_refused() -> None:
    plan = json.loads(swap(nn.Sequential(nn.Linear(4, 4), nn.LeakyReLU(0.1)), "frelu", V).plan())
    plan["values"]["1"].pop()
    with pytest.raises(InvalidValue, match="site '1'"):
        apply_plan(nn.Sequential(nn.Linear(4, 4), nn.LeakyReLU(0.1)), json.dumps(plan))


class Blocks(nn.Module):
    """A loop whose norms feed nothing themselves, beside a module that is swapped first."""

    def __init__(self, width: int = 4) -> None:
        super().__init__()
        self.first = nn.Sequential(nn.Linear(4, 4), nn.ReLU())
        self.act = nn.ReLU()
        self.layers = nn.ModuleList([nn.Linear(4, 4), nn.Linear(4, width)])
        self.layers.append(nn.Linear(width, 4))

    def forward(self, x: Tensor) -> Tensor:
        x = self.first(x)
        for layer in self.layers:
            x = self.act(layer(x))
        return x


def test_a_layer_that_differs_is_told_by_its_own_site() -> None:
    plan = json.loads(swap(Blocks(), "frelu", V).plan())
    plan["sites"] = [site | {"feeder": ""} for site in plan["sites"]]  # what is left are the marks
    with pytest.raises(InvalidValue, match=r"site 'act\.1' needs a layer 'layers\.1' with parameters of shape"):
        apply_plan(Blocks(6), plan)


# ------------------------------------------------------------------------------------------------ plans of version 1

OLD = Path(__file__).with_name("plan_1.json").read_text(encoding="utf-8")
SOURCE = """
import torch.nn as nn, torch.nn.functional as F
class Old(nn.Module):
    def __init__(self):
        super().__init__()
        self.a, self.b, self.act = nn.Linear(4, 4), nn.Linear(4, 4), nn.LeakyReLU(0.1)
    def forward(self, x):
        x = self.act(self.a(x))
        return F.relu(self.b(F.relu(x))) + F.relu(-self.act(x))
"""


def old(source: str) -> nn.Module:
    names: dict[str, Any] = {}
    exec(compile(source, "old.py", "exec"), names)
    model: nn.Module = names["Old"]()
    return model


def test_a_plan_of_version_1_is_read() -> None:
    """It was written before names and constants counted; it keeps the checksums that it has."""
    model, new = old(SOURCE), old(SOURCE)
    new.load_state_dict(model.state_dict())
    result = apply_plan(new, OLD)
    of = {site.name: result.activations[site.name] for site in result.sites}
    with torch.no_grad():
        for number, module in enumerate(of.values()):
            module.negative.fill_(-1.0 - number)
    x = of["act.0"](model.a(V))
    want = of["bevel_sites.relu_1"](model.b(of["bevel_sites.relu"](x))) + of["bevel_sites.relu_2"](-of["act.1"](x))
    assert torch.equal(new(V), want)
    assert json.loads(result.plan()) == json.loads(OLD)
    if sys.version_info[:2] == tuple(json.loads(OLD)["python"]):
        moved = old("\n\n" + SOURCE)  # lines alone would not find its calls
        apply_plan(moved, OLD)
        moved.load_state_dict(new.state_dict())
        assert torch.equal(moved(V), want)
