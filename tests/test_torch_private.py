"""Names that torch does not promise to keep: each one that bevel uses, and what stops working without it."""

from __future__ import annotations

import ast
import importlib
import re
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from torch.autograd import forward_ad
from torch.overrides import TorchFunctionMode

import bevel
from bevel import _torch_private as private

WITHOUT = {
    "torch._C._current_graph_task_id": "what a run of autograd that broke off left is taken for the next one's",
    "torch._C._are_functorch_transforms_active": "under torch.func a call takes a backend that vmap cannot follow",
    "torch.compiler._is_compiling_flag": "export records a native pass instead of operators",
    "torch.compiler._is_exporting_flag": "export records operators that not every runtime has",
    "torch.fx.experimental.symbolic_shapes.has_static_value": "a compiled call fails where a number changes",
    "torch.fx.experimental.symbolic_shapes.guard_scalar": "a compiled call fails where a number is compared",
    "torch._C._FunctionBase.apply": "every call of an activation looks for what torch.func left behind",
    "torch._C._FunctionBase.to_save": "backward finds no saved tensors",
    "torch._C._FunctionBase.materialize_grads": "a missing gradient becomes zeros",
    "torch.ops.aten.relu.default._op": "backend operator has no operators to call",
    "torch._C._set_tracing_state": "torch.jit.trace sees tensors where the number of channels is checked",
    "torch._C._get_tracing_state": "torch.jit.trace records an opaque autograd function instead of operators",
    "torch._C._will_engine_execute_node": "second derivatives leave tensors with calls that no run comes to",
    "torch.autograd.forward_ad._current_level": "forward-mode tangents are lost in inference",
    "torch._dynamo.skip_frame": "what a forward calls that torch.compile gave up on keeps its function",
    "torch._guards.TracingContext": "under torch.compile a swapped forward cannot tell its calls apart by line",
    "torch._C._len_torch_dispatch_stack": "make_fx records a native pass as memory that nobody fills",
    "torch.Tensor._is_zerotensor": "gradients may be zeros without memory, which an optimizer cannot write to",
    "torch._C._functorch": "under torch.func a call takes the formulas, which are slower",
    "torch._C._functorch._add_batch_dim": "under torch.func a call takes the formulas, which are slower",
    "torch._C._functorch._unwrap_for_grad": "under torch.func a call takes the formulas, which are slower",
    "torch._C._functorch._wrap_for_grad": "under torch.func a call takes the formulas, which are slower",
    "torch._functorch.utils.enable_single_level_autograd_function": "under torch.func a call takes the formulas",
    "torch.autograd.function._SingleLevelFunction": "under torch.func a call takes the formulas, which are slower",
    "torch._functorch.pyfunctorch.coerce_cinterpreter": "under torch.func a call takes the formulas, which are slower",
    "torch._functorch.pyfunctorch.temporarily_clear_interpreter_stack": "a kernel is not made under vmap",
    "torch._C.DisableTorchFunction": "a kernel that is first asked for while a model is exported is not made",
    "torch.ops.aten.relu_.default._schema": "swap does not see that a model writes to an output, and backward fails",
    "torch.Tensor._version": "find and swap take a sigmoid that was changed in place for a part of SiLU",
    "torch._C._nn": "find and swap do not see calls such as torch._C._nn.gelu",
    "torch._C._len_torch_function_stack": "a swapped block inside a swapped block counts its calls twice",
    "torch._C._get_function_stack_at": "a swapped block inside a swapped block counts its calls twice",
    "torch._C._pop_torch_function_stack": "a swapped block inside a swapped block counts its calls twice",
    "torch._C._push_on_torch_function_stack": "a swapped block inside a swapped block counts its calls twice",
    "torch._subclasses.fake_tensor.FakeTensor": "find cannot tell a model that is built under a FakeTensorMode",
    "torch._subclasses.fake_tensor.FakeTensorMode": "find would have to run the model for real",
    "torch._subclasses.fake_tensor.FakeCopyMode": "find would have to copy the model's memory",
    "torch.utils._python_dispatch.TorchDispatchMode": "channel axes, and what fold may scale, are unknown",
    "torch.utils._python_dispatch._disable_current_modes": "a fixed sharpness cannot be read beside fake tensors",
    "torch.nn.modules.module._has_any_global_hook": "a hook of all modules does not see an ActAndMul's activation",
    "torch.utils._pytree.tree_leaves": "tensors inside a model's nested result are not found",
    "torch.utils._pytree.tree_map": "nested arguments of a model do not become fake tensors",
}
OF_A_MODULE = {
    "_modules": "swap cannot put an activation where the old one hung",
    "_parameters": "fold does not see that two layers share a weight",
    "_buffers": "reading a fixed sharpness takes longer than a small forward",
    "_apply": "half() rounds the sharpness",
    "_load_from_state_dict": "states saved before the sharpness was part of them do not load",
    "_forward_hooks": "fold scales a layer with a hook; find calls the user's hooks",
    "_forward_pre_hooks": "fold scales a layer whose hook changes the input",
    "_backward_hooks": "the copy that find runs calls the user's hooks",
    "_backward_pre_hooks": "the copy that find runs calls the user's hooks",
    "_forward_hooks_with_kwargs": "hooks of a module with several names are called with the wrong arguments",
    "_forward_hooks_always_called": "hooks of a module with several names are not called after an error",
    "_forward_pre_hooks_with_kwargs": "hooks of a module with several names are called with the wrong arguments",
    "_is_full_backward_hook": "full backward hooks of a swapped activation never fire",
    "_replicate_for_data_parallel": "replicas of nn.DataParallel compute with the original's slopes",
}
OF_AN_OPTIMIZER = {
    "_optimizer_load_state_dict_pre_hooks": "hooks on the loading of an Alternating are not called",
    "_optimizer_load_state_dict_post_hooks": "hooks on the loading of an Alternating are not called",
}


@pytest.mark.parametrize("name", WITHOUT)
def test_torch_has_it(name: str) -> None:
    holder, _, last = name.rpartition(".")
    parts, rest = holder.split("."), [last]
    while True:  # what can be imported, then attributes of it
        try:
            found: Any = importlib.import_module(".".join(parts))
            break
        except ModuleNotFoundError:
            rest.insert(0, parts.pop())
    for part in rest:
        found = getattr(found, part, None)
    assert found is not None, f"this torch has no {name}: {WITHOUT[name]}. See bevel/_torch_private.py."


@pytest.mark.parametrize("name", OF_A_MODULE)
def test_a_module_has_it(name: str) -> None:
    assert hasattr(nn.Linear(1, 1), name), f"a module has no {name}: {OF_A_MODULE[name]}. See bevel/_torch_private.py."


@pytest.mark.parametrize("name", OF_AN_OPTIMIZER)
def test_an_optimizer_has_it(name: str) -> None:
    sgd = torch.optim.SGD(nn.Linear(1, 1).parameters(), lr=0.1)
    assert hasattr(sgd, name), f"an optimizer has no {name}: {OF_AN_OPTIMIZER[name]}. See bevel/_torch_private.py."


# ------------------------------------------------------------------------------------------------- what they do


def test_a_transform_of_torch_func_is_seen() -> None:
    seen: list[bool] = []

    def f(x: torch.Tensor) -> torch.Tensor:
        seen.append(private.func_transforms_active())
        return x * x

    torch.func.grad(f)(torch.tensor(1.0))
    f(torch.tensor(1.0))
    assert seen == [True, False]


@pytest.mark.filterwarnings("ignore:`torch.jit.trace`")
@pytest.mark.filterwarnings("ignore:.*jit.*deprecated")
def test_a_trace_is_seen() -> None:
    seen: list[bool] = []

    def f(x: torch.Tensor) -> torch.Tensor:
        seen.append(private.jit_tracing())
        return x * x

    torch.jit.trace(f, torch.tensor(1.0), check_trace=False)
    f(torch.tensor(1.0))
    assert seen == [True, False]


@pytest.mark.filterwarnings("ignore:.*jit.*deprecated")
@pytest.mark.filterwarnings("ignore:`torch.jit.trace`")
def test_sizes_are_numbers_where_a_trace_is_paused() -> None:
    seen: list[bool] = []

    def f(x: torch.Tensor) -> torch.Tensor:
        seen.append(isinstance(x.shape[0], torch.Tensor))
        with private.jit_paused():
            seen.append(isinstance(x.shape[0], torch.Tensor))
        seen.append(isinstance(x.shape[0], torch.Tensor))
        return x * x

    torch.jit.trace(f, torch.ones(3), check_trace=False)
    assert seen == [True, False, True]


def test_zeros_without_memory_are_seen() -> None:
    assert private.is_zero_tensor(torch._efficientzerotensor((3,)))
    assert not private.is_zero_tensor(torch.zeros(3))


def test_a_mode_over_the_dispatcher_is_seen() -> None:
    with private.TorchDispatchMode():
        assert private.dispatch_mode_active()
    assert not private.dispatch_mode_active()


def test_a_run_of_autograd_has_a_number_and_knows_which_nodes_it_comes_to() -> None:
    x = torch.ones(1, requires_grad=True)
    first = x * 2
    y = first * 3
    z = y * 5
    seen: list[tuple[int, bool]] = []
    z.register_hook(lambda _: seen.append((private.graph_task(), private.will_run(first.grad_fn))))
    torch.autograd.grad(z, y, retain_graph=True)
    torch.autograd.grad(z, x)
    assert [runs for _, runs in seen] == [False, True]
    assert seen[0][0] != seen[1][0]


@pytest.mark.compile
def test_an_eager_call_is_told_from_all_others() -> None:
    seen: list[bool] = []

    def f(x: torch.Tensor) -> torch.Tensor:
        seen.append(private.plainly_eager())
        return x * x

    f(torch.tensor(1.0))
    with torch.no_grad(), torch.autocast("cpu"):
        f(torch.tensor(1.0))
    assert seen == [True, True]
    seen.clear()
    torch.func.grad(f)(torch.tensor(1.0))
    torch.compile(f, backend="eager")(torch.tensor(1.0))
    torch.export.export(_Calls(f), (torch.tensor(1.0),), strict=False)
    with private.TorchDispatchMode():
        seen.append(private.plainly_eager())
    with forward_ad.dual_level():
        f(torch.tensor(1.0))
    assert seen == [False] * len(seen)
    assert len(seen) >= 5


class _Calls(nn.Module):
    def __init__(self, function: Any) -> None:
        super().__init__()
        self.function = function

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.function(x)  # type: ignore[no-any-return]


def test_an_operators_function_is_the_one_that_torch_calls() -> None:
    add = private.operator_function("aten", "relu")
    assert torch.equal(add(torch.tensor([-1.0, 2.0])), torch.tensor([0.0, 2.0]))


def test_a_bare_apply_saves_and_leaves_out_what_is_missing() -> None:
    got: list[Any] = []

    class Twice(torch.autograd.Function):
        @staticmethod
        def forward(ctx: Any, x: torch.Tensor) -> torch.Tensor:
            ctx.to_save = (x,)
            ctx.materialize_grads = False
            return 2 * x

        @staticmethod
        def backward(ctx: Any, g: Any) -> Any:
            got.append((ctx.saved_tensors[0], g))
            return None if g is None else 2 * g

    class Stop(torch.autograd.Function):
        @staticmethod
        def forward(ctx: Any, x: torch.Tensor) -> torch.Tensor:
            return x.clone()

        @staticmethod
        def backward(ctx: Any, g: Any) -> None:
            return None

    x = torch.ones(2, requires_grad=True)
    private.bare_apply(Twice)(x).sum().backward()
    assert torch.equal(x.grad, torch.full((2,), 2.0))  # type: ignore[arg-type]
    Stop.apply(private.bare_apply(Twice)(x)).sum().backward()
    assert [saved is x for saved, _ in got] == [True, True]
    assert got[1][1] is None


def test_forward_mode_is_seen() -> None:
    with forward_ad.dual_level():
        assert private.forward_mode_active()
    assert not private.forward_mode_active()


class _Mode(TorchFunctionMode):
    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return func(*args, **(kwargs or {}))


def test_function_modes_are_exchanged_and_put_back() -> None:
    bottom, outer, inner = _Mode(), _Mode(), _Mode()
    before = private.function_modes()
    with bottom, outer:
        present = private.function_modes()
        assert present == [*before, bottom, outer]
        private.exchange_function_modes(present, [*before, bottom, inner])
        assert private.function_modes() == [*before, bottom, inner]
        elsewhere: list[list[Any]] = []
        thread = threading.Thread(target=lambda: elsewhere.append(private.function_modes()))
        thread.start()
        thread.join()
        assert elsewhere == [[]]  # the stack is the thread's own
        private.exchange_function_modes(private.function_modes(), present)
    assert private.function_modes() == before


def test_a_submodule_is_replaced_past_setattr() -> None:
    model = nn.Sequential(nn.ReLU())
    new = nn.GELU()
    private.submodules(model)["0"] = new
    assert model[0] is new


def test_registered_parameters_are_listed_once_each() -> None:
    layer = nn.Linear(2, 2, bias=False)
    assert private.own_tensors(layer) == ({"weight": layer.weight, "bias": None}, {})
    assert list(private.own_parameters(layer)) == [layer.weight]  # a parameter of value None is none
    assert list(private.own_parameters(nn.Sequential(layer))) == []


def test_hooks_are_seen_dropped_and_moved() -> None:
    calls: list[str] = []
    old, new = nn.ReLU(), nn.ReLU()
    assert not private.forward_hooks(old)
    before = old.register_forward_pre_hook(lambda m, a: calls.append("before"))
    assert len(private.forward_hooks(old)) == 1
    old.register_forward_hook(lambda m, a, o: calls.append("after"))
    old.register_full_backward_hook(lambda m, i, o: calls.append("backward"))
    private.move_hooks(old, new)
    new(torch.ones(1, requires_grad=True)).sum().backward()
    assert calls == ["before", "after", "backward"]
    private.drop_later_hooks(new, keep=lambda hook: False)
    calls.clear()
    new(torch.ones(1, requires_grad=True)).sum().backward()
    assert calls == ["before"]
    before.remove()  # the handle of the old module removes from the new one
    new(torch.ones(1))
    assert calls == ["before"]


def test_hooks_are_followed_as_long_as_they_stay() -> None:
    calls: list[str] = []
    old, new, other = nn.ReLU(), nn.ReLU(), nn.ReLU()
    handles = [
        old.register_forward_pre_hook(lambda m, a: calls.append("before")),
        old.register_forward_hook(lambda m, a, k, o: calls.append("after"), with_kwargs=True),
        old.register_full_backward_hook(lambda m, i, o: calls.append("backward")),
    ]
    for module in (new, other):
        private.follow_hooks(old, module)
    new.register_forward_hook(lambda m, a, o: calls.append("own"))
    new(torch.ones(1, requires_grad=True)).sum().backward()
    assert calls == ["before", "after", "own", "backward"]
    calls.clear()
    other(torch.ones(1, requires_grad=True)).sum().backward()
    assert calls == ["before", "after", "backward"]
    for handle in handles:
        handle.remove()
    calls.clear()
    new(torch.ones(1, requires_grad=True)).sum().backward()
    assert calls == ["own"]


def test_hooks_after_a_forward_are_dropped_unless_kept() -> None:
    calls: list[str] = []
    module = nn.ReLU()

    def kept(m: nn.Module, a: Any, o: Any) -> None:
        calls.append("kept")

    module.register_forward_hook(kept)
    module.register_forward_hook(lambda m, a, o: calls.append("dropped"))
    private.drop_later_hooks(module, keep=lambda hook: hook is kept)
    module(torch.ones(1))
    assert calls == ["kept"]


def test_a_replica_is_a_shallow_copy_whatever_the_instance_has() -> None:
    module = nn.Sequential(nn.Linear(2, 2))
    setattr(module, private.REPLICATE, None)
    twin = private.replicate(module)
    assert twin is not module
    assert twin[0] is module[0]  # nn.DataParallel replaces it afterwards


@pytest.mark.compile
def test_the_stack_of_what_is_traced() -> None:
    seen: list[str] = []

    @torch.compiler.assume_constant_result
    def look() -> None:
        seen.extend(summary.name for summary in private.traced_stack())

    def traced(x: torch.Tensor) -> torch.Tensor:
        look()
        return x + 1

    torch.compile(traced, backend="eager", fullgraph=True)(torch.ones(1))
    assert seen[-1] == "traced"
    assert not private.traced_stack()


@pytest.mark.compile
def test_a_function_is_left_to_eager_mode() -> None:
    def skipping(x: torch.Tensor) -> tuple[bool, torch.Tensor]:
        if torch.compiler.is_dynamo_compiling():
            private.skip_frame()(msg="not here")
        return torch.compiler.is_dynamo_compiling(), x + 1

    traced, result = torch.compile(skipping, backend="eager")(torch.ones(1))
    assert not traced
    assert result == 2

    def strict(x: torch.Tensor) -> torch.Tensor:
        private.skip_frame()(msg="not here")
        return x + 1

    with pytest.raises(RuntimeError, match="not here"):
        torch.compile(strict, backend="eager", fullgraph=True)(torch.ones(1))


def test_tensors_of_one_memory_have_one_address() -> None:
    x, y = torch.zeros(4), torch.zeros(4)
    assert private.storage_address(x) == private.storage_address(x[2:])
    assert private.storage_address(x) != private.storage_address(y)
    with private.FakeTensorMode() as mode:
        fake = mode.from_tensor(x)
        assert private.storage_address(fake) == private.storage_address(fake[2:])


def test_writes_are_counted_where_torch_counts_them() -> None:
    x = torch.zeros(4)
    before = private.version(x)
    x[2:].add_(1)
    assert private.version(x) == before + 1
    with torch.inference_mode():
        assert private.version(torch.zeros(4).add_(1)) == 0


def test_hooks_on_loading_are_listed() -> None:
    sgd = torch.optim.SGD(nn.Linear(1, 1).parameters(), lr=0.1)

    def before(optimizer: Any, state: dict[str, Any]) -> None: ...

    def after(optimizer: Any) -> None: ...

    sgd.register_load_state_dict_pre_hook(before)
    sgd.register_load_state_dict_post_hook(after)
    assert private.load_state_hooks(sgd) == ([before], [after])


def test_failures_on_fake_tensors_are_logged_under_that_name(caplog: pytest.LogCaptureFixture) -> None:
    assert torch._subclasses.fake_tensor.log.name == private.FAKE_TENSOR_LOG


# --------------------------------------------------------------------------------------------- and nothing elsewhere

LIBRARY = Path(bevel.__file__).parent
PRIVATE = ("_torch_private.py", "_torch_func.py")


def _private_uses(tree: ast.AST, own: set[str]) -> Iterator[str]:
    """Names with one leading underscore that are imported from torch, or read off something that bevel did not make."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import | ast.ImportFrom):
            module = getattr(node, "module", None) or ""
            names = [f"{module}.{a.name}".lstrip(".") for a in node.names]
            yield from (n for n in names if n.split(".")[0] == "torch" and "._" in n)
        elif isinstance(node, ast.Attribute) and re.match("_[^_]", node.attr) and node.attr not in own:
            yield from {ast.unparse(node)} - {"sys._getframe"}


def _defined(tree: ast.AST) -> set[str]:
    """Names that a file makes methods or attributes, or imports from bevel; a function's name is no attribute's."""
    found: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.ClassDef):
            found |= {part.name for part in node.body if isinstance(part, ast.FunctionDef | ast.ClassDef)}
            found |= {p.target.id for p in node.body if isinstance(p, ast.AnnAssign) and isinstance(p.target, ast.Name)}
        elif isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store):
            found.add(node.attr)
        elif isinstance(node, ast.ImportFrom) and (node.module or "").startswith("bevel"):
            found |= {a.name for a in node.names}
    return found


def test_only_what_can_be_read_off_an_object_is_of_bevel() -> None:
    text = "def _version(): ...\n_total: int = 0\nclass A:\n  _size: int\n  def _mine(self): self._kept = 1"
    assert _defined(ast.parse(text)) == {"_size", "_mine", "_kept"}


def _made(node: ast.stmt) -> list[str]:
    """The names that a statement makes."""
    if isinstance(node, ast.FunctionDef | ast.ClassDef):
        return [node.name]
    targets = node.targets if isinstance(node, ast.Assign) else [node.target] if isinstance(node, ast.AnnAssign) else []
    return [target.id for target in targets if isinstance(target, ast.Name)]


def test_every_public_name_of_the_file_is_in_its_list() -> None:
    made = [name for node in ast.parse(Path(private.__file__).read_text()).body for name in _made(node)]
    assert {name for name in made if not name.startswith("_")} <= set(private.__all__)


def test_no_other_file_uses_what_torch_keeps_to_itself() -> None:
    trees = {p: ast.parse(p.read_text()) for p in sorted(LIBRARY.rglob("*.py")) if p.name not in PRIVATE}
    own = set().union(*map(_defined, trees.values()))
    found = [f"{p.relative_to(LIBRARY)}: {use}" for p, tree in trees.items() for use in _private_uses(tree, own)]
    assert not found, f"put these into bevel/_torch_private.py: {found}"


@pytest.mark.parametrize(
    "text", ["from torch.utils import _pytree", "import torch._C", "torch._C.f()", "m._forward_hooks", "t.storage()._x"]
)
def test_a_private_use_would_be_found(text: str) -> None:
    assert list(_private_uses(ast.parse(text), {"_mine"}))


def test_the_names_without_an_underscore_are_used_in_one_place() -> None:
    """A Function writes them in its forward, where a call of a helper would cost as much as what they save."""
    users = {p.name for p in LIBRARY.rglob("*.py") if re.search(r"\w\.(to_save|materialize_grads)\b", p.read_text())}
    assert users == {"_direct.py"}
    assert all(name in str(private.__doc__) for name in ("to_save", "materialize_grads", "_direct.py"))


def test_a_private_name_of_bevel_is_none_of_torch() -> None:
    assert not list(_private_uses(ast.parse("self._mine()\nfrom bevel._checks import count"), {"_mine"}))


def test_every_private_name_is_in_the_list() -> None:
    """The other way round: what the files use is what the tables above say something about."""
    trees = [ast.parse((LIBRARY / name).read_text()) for name in PRIVATE]
    own = {"_C", "_F", "__all__", "_interpreter", "_tangent"}
    used = {use.rpartition(".")[2] for tree in trees for use in _private_uses(tree, own)}
    told = {name.rpartition(".")[2] for name in (*WITHOUT, *OF_A_MODULE, *OF_AN_OPTIMIZER)}
    assert used <= told | {"_cdata", "_dynamo"}, used - told
