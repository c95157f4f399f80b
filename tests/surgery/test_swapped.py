"""What a swapped model can still do: everything it could before, and be restored."""

import copy
import io
import pickle
import threading

import pytest
import torch
import torch.nn.functional as F
from surgery_models import Net, RunsIn, X
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

import bevel
from bevel import InvalidValue
from bevel.surgery import swap


def everything(model: nn.Module) -> list[object]:
    return [
        (name, type(m), [(k, id(v)) for k, v in m.__dict__.items() if k[0] != "_"], list(m._modules))
        for name, m in model.named_modules()
    ]


def test_restore_gives_the_same_model(net: Net) -> None:
    before, looks, output = copy.deepcopy(net.state_dict()), everything(net), net(X)
    result = swap(net, "sau", X)
    assert everything(net) != looks
    assert result.restore() is net
    assert everything(net) == looks
    assert list(net.state_dict()) == list(before)
    assert torch.equal(net(X), output)
    result.restore()
    assert everything(net) == looks


def test_a_threshold_at_zero_is_kept_as_the_relu_it_is() -> None:
    model = RunsIn(lambda s, x: F.threshold(s.conv(x), 0.0, 0.0), conv=nn.Conv2d(3, 5, 3))
    before = model(X)
    assert swap(model, "frelu", X).sites[0].bound == 0
    assert torch.equal(model(X), before)


def test_restored_activations_catch_up_with_the_model() -> None:
    model = nn.Sequential(nn.Linear(3, 4), nn.PReLU(4), nn.Linear(4, 4), nn.RReLU()).eval()
    x = torch.randn(2, 3)
    result = swap(model, "sau", x, preserve=False)
    model.double().train()
    result.restore()
    assert {t.dtype for t in model.state_dict().values()} == {torch.float64}
    assert all(m.training for m in model.modules())
    model(x.double())


def test_restored_activations_keep_a_mode_and_dtype_of_their_own() -> None:
    model = nn.Sequential(nn.Linear(3, 4), nn.PReLU(4), nn.RReLU().eval())
    result = swap(model, "sau", torch.randn(2, 3), preserve=False, where="2")
    assert [m.training for m in model] == [True, True, False]
    result.restore()
    assert [m.training for m in model] == [True, True, False]
    prelu = nn.Sequential(nn.Linear(3, 4).bfloat16(), nn.PReLU(4).bfloat16())
    swap(prelu, "sau", torch.randn(2, 3).bfloat16()).restore()
    assert prelu[1].weight.dtype == torch.bfloat16


def test_restore_refuses_to_undo_what_others_changed(net: Net) -> None:
    first = swap(net, "frelu", X)
    second = swap(net, "sau", X, what="frelu", preserve=False)
    with pytest.raises(InvalidValue, match="Undo the later change first"):
        first.restore()
    second.restore()
    first.restore()
    assert isinstance(net.act, nn.ReLU)


def test_the_rest_of_the_model_stays(net: Net) -> None:
    keys = list(net.state_dict())
    pointers = [p.data_ptr() for p in net.parameters()]
    swap(net, "sau", X)
    assert type(net) is Net
    assert [k for k in net.state_dict() if "act" not in k and "bevel" not in k] == keys
    assert [p.data_ptr() for n, p in net.named_parameters() if "act" not in n and "bevel" not in n] == pointers
    assert not any(m.training for m in net.modules())


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_dtypes(net: Net, dtype: torch.dtype) -> None:
    net.to(dtype)
    x = X.to(dtype)
    before = net(x)
    result = swap(net, "frelu", x)
    assert torch.equal(net(x), before)
    assert net(x).dtype == dtype
    expected = torch.float64 if dtype == torch.float64 else torch.float32
    assert {p.dtype for m in result.activations.values() for p in m.parameters()} == {expected}
    result.restore()
    swap(net, "prelu", x)
    torch.testing.assert_close(net(x), before)


def test_copies_and_pickles(net: Net) -> None:
    before = net(X)
    swap(net, "sau:n=50", X)
    expected = net(X)
    assert not torch.equal(expected, before)
    for other in (copy.deepcopy(net), pickle.loads(pickle.dumps(net)), _saved(net)):
        assert torch.equal(other(X), expected)
        with torch.no_grad():
            for p in net.parameters():
                p.add_(1)
        assert torch.equal(other(X), expected)  # its own parameters, not ours
        with torch.no_grad():
            for p in net.parameters():
                p.sub_(1)
        net.load_state_dict(other.state_dict())


def _saved(model: nn.Module) -> nn.Module:
    file = io.BytesIO()
    torch.save(model, file)
    file.seek(0)
    loaded: nn.Module = torch.load(file, weights_only=False)
    return loaded


def test_hooks_stay(net: Net) -> None:
    seen = []
    on_model = net.register_forward_hook(lambda *_: seen.append("model"))
    on_act = net.act.register_forward_hook(lambda *_: seen.append("act"))
    result = swap(net, "frelu", X)
    seen.clear()
    net(X)
    assert seen == ["act", "act", "model"]
    on_act.remove()
    on_model.remove()
    net(X)
    assert len(seen) == 3
    result.restore()


@pytest.mark.compile
@pytest.mark.parametrize("to", ["sau", "frelu", "swish", "relu6"])
def test_compile_has_one_graph_and_compiles_once(net: Net, to: str) -> None:
    from torch._dynamo.testing import CompileCounterWithBackend

    swap(net, to, X, preserve=False)
    torch._dynamo.reset()
    counter = CompileCounterWithBackend("aot_eager")
    compiled = torch.compile(net, backend=counter, fullgraph=True)
    for _ in range(3):
        torch.testing.assert_close(compiled(X), net(X), atol=1e-5, rtol=1e-5)
    assert counter.frame_count == 1


@pytest.mark.compile
@pytest.mark.parametrize("strict", [False, True])
@pytest.mark.filterwarnings("ignore:While compiling, we found certain side effects:UserWarning")  # the step counters
def test_export(net: Net, strict: bool) -> None:
    swap(net, "sau", X)
    exported = torch.export.export(net, (X,), strict=strict)
    torch.testing.assert_close(exported.module()(X), net(X), atol=1e-6, rtol=1e-6)


def test_checkpointed_blocks(net: Net) -> None:
    swap(net, "frelu", X)
    net(X).sum().backward()
    expected = {n: p.grad.clone() for n, p in net.named_parameters() if p.grad is not None}
    net.zero_grad()
    checkpoint(net, X, use_reentrant=False).sum().backward()
    assert expected
    for name, p in net.named_parameters():
        if name in expected:
            assert torch.equal(p.grad, expected[name])  # type: ignore[arg-type]


def test_threads_do_not_disturb_one_another(net: Net) -> None:
    swap(net, "sau:n=5", X)
    expected, wrong = net(X), []

    def work() -> None:
        wrong.extend(1 for _ in range(20) if not torch.allclose(net(X), expected))

    threads = [threading.Thread(target=work) for _ in range(4)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert not wrong


def test_an_exception_does_not_put_the_calls_out_of_step(net: Net) -> None:
    before = net(X)
    swap(net, "frelu", X)
    with pytest.raises(RuntimeError):
        net(X[:, :, :4, :4])  # too small for the second convolution: one call of act has run
    assert torch.equal(net(X), before)


def test_a_shared_activation_called_past_its_block_says_so(net: Net) -> None:
    swap(net, "frelu", X)
    with pytest.raises(InvalidValue, match=r"called from outside that forward\. Call the block"):
        net.act(X)


def in_place(self: RunsIn, x: Tensor) -> Tensor:
    y = self.conv(x)
    F.relu_(y) if self.by_function else self.act(y)
    return y * 2 + y


@pytest.mark.parametrize("by_function", [True, False])
def test_a_call_in_place_whose_result_is_dropped_still_writes(by_function: bool) -> None:
    act = {} if by_function else {"act": nn.ReLU(inplace=True)}
    model = RunsIn(in_place, conv=nn.Conv2d(3, 4, 3), **act)
    model.by_function = by_function  # type: ignore[assignment]
    before = model(X)
    swap(model, "frelu", X)
    after = model(X)
    assert torch.equal(after, before)
    after.sum().backward()
    assert all(p.grad is not None for p in model.parameters())


def test_the_encoders_fused_path_is_left() -> None:
    layer = nn.TransformerEncoderLayer(16, 2, 32, batch_first=True)
    encoder = nn.TransformerEncoder(layer, 2).eval()
    x, mask = torch.randn(2, 5, 16), torch.tensor([[False] * 5, [False] * 3 + [True] * 2])
    with torch.no_grad():
        before = encoder(x)
        result = swap(encoder, "sau:n=1", x, kwargs={"src_key_padding_mask": mask}, preserve=False)
        assert not torch.allclose(encoder(x), before, atol=1e-3)
        assert encoder(x, src_key_padding_mask=mask).shape == x.shape
    result.restore()
    assert encoder.use_nested_tensor
    assert encoder.layers[0].activation_relu_or_gelu == 1
    with torch.no_grad():
        assert torch.equal(encoder(x), before)


def test_each_mode_has_its_own_order() -> None:
    def forward(self: RunsIn, x: Tensor) -> Tensor:
        if self.training:
            x = x + F.relu(self.aux(x))
        return F.relu(self.out(x))

    model = RunsIn(forward, aux=nn.Linear(3, 3), out=nn.Linear(3, 7)).eval()
    x = torch.randn(4, 3)
    result = swap(model, "frelu", x)
    assert sorted(m.num_parameters for m in result.activations.values()) == [3, 7]
    assert model(x).shape == model.train()(x).shape == (4, 7)


def test_the_signature_of_forward_stays(net: Net) -> None:
    import inspect

    before = inspect.signature(net.forward)
    swap(net, "sau", X)
    assert inspect.signature(net.forward) == before
    assert net.forward.__name__ == "forward"


def test_result_prints_old_and_new(net: Net) -> None:
    text = str(swap(net, "sau", X, where="act.0"))
    assert "not in where=" in text
    assert text.splitlines()[1].split()[:8] == ["act.0", "module", "relu", "norm", "6", "1", "1", "shared"]
    assert bevel.surgery.Result is not None


def test_one_object_under_several_names_keeps_its_hooks_and_each_new_one_gets_own() -> None:
    """The new activations shared one set of hook dictionaries: a hook on one fired for all."""
    act = nn.ReLU()
    model = nn.Sequential(nn.Linear(4, 4), act, nn.Linear(4, 4), act, nn.Linear(4, 4), act)
    x = torch.randn(3, 4, requires_grad=True)
    calls: list[str] = []
    old = [
        act.register_forward_hook(lambda *_: calls.append("old")),
        act.register_full_backward_hook(lambda *_: calls.append("back")),
    ]
    swap(model, "frelu", x)
    model[1].register_forward_hook(lambda *_: calls.append("own"))
    model(x).sum().backward()
    assert calls == ["old", "own", "old", "old", "back", "back", "back"]
    for handle in old:
        handle.remove()
    calls.clear()
    model(x).sum().backward()
    assert calls == ["own"]
    with bevel.watch(model, where="3") as record:
        model(x)
    assert record.to_dict()["3"]["calls"] == 1


def test_one_object_under_several_names_folds_each_for_itself() -> None:
    act = nn.SiLU()  # as a YOLO has: one object, 57 times
    blocks = [(nn.Conv2d(3, 3, 1), nn.BatchNorm2d(3), act) for _ in range(5)]
    model = nn.Sequential(*(layer for block in blocks for layer in block)).eval()
    x = torch.randn(2, 3, 4, 4)
    swap(model, "frelu", x, preserve=False)
    for module in model:
        if isinstance(module, bevel.FReLU):
            with torch.no_grad():
                module.positive.fill_(1.5)
    rows = bevel.fold(model, x).rows
    assert [row.new for row in rows] == ["LeakyReLU"] * 5


@pytest.mark.parametrize("shared", [False, True])
def test_a_full_backward_hook_fires_on_the_new_activation(shared: bool) -> None:
    act = nn.ReLU()
    model = nn.Sequential(nn.Linear(4, 4), act, nn.Linear(4, 4), act if shared else nn.Tanh())
    seen: list[tuple[torch.Size, ...]] = []
    act.register_full_backward_hook(lambda m, into, out: seen.append((into[0].shape, out[0].shape)))
    x = torch.randn(3, 4, requires_grad=True)
    swap(model, "sau", x)
    model(x).sum().backward()
    assert seen == [(torch.Size([3, 4]),) * 2] * (2 if shared else 1)


def _replicas(model: nn.Module, count: int) -> list[nn.Module]:
    """What ``torch.nn.parallel.replicate`` does, on the CPU: shallow copies with tensors of their own."""
    modules = list(model.modules())
    place = {module: i for i, module in enumerate(modules)}
    found = []
    for _ in range(count):
        copies = [module._replicate_for_data_parallel() for module in modules]
        for module, twin in zip(modules, copies, strict=True):
            for key, child in module._modules.items():
                if child is not None:
                    setattr(twin, key, copies[place[child]])
            for kind in ("_parameters", "_buffers"):
                for key, tensor in getattr(module, kind).items():
                    setattr(twin, key, None if tensor is None else tensor.detach().clone())
        found.append(copies[0])
    return found


def test_replicas_of_data_parallel_compute_with_their_own_slopes(net: Net) -> None:
    swap(net, "frelu", X)
    want = net(X)
    first, second = _replicas(net, 2)
    assert torch.equal(first(X), want)
    with torch.no_grad():
        for module in second.modules():
            if isinstance(module, bevel.FReLU):
                module.positive.mul_(2.0)
    assert not torch.allclose(second(X), want)
    assert torch.equal(first(X), want)
    assert torch.equal(net(X), want)
    results: dict[int, Tensor] = {}
    runs = enumerate((first, second))
    threads = [threading.Thread(target=lambda i=i, m=m: results.__setitem__(i, m(X))) for i, m in runs]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert torch.equal(results[0], want)
    assert torch.equal(results[1], second(X))


def test_a_model_whose_hooks_hold_what_its_forward_needs_is_swapped_after_it_has_run() -> None:
    """As transformers 5 does: hooks, put on in the first forward, collect the hidden states for the head."""

    class Collects(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.body, self.act, self.head = nn.Linear(4, 4), nn.ReLU(), nn.Linear(4, 2)
            self.ready = False
            self.hidden: list[Tensor] = []

        def forward(self, x: Tensor) -> Tensor:
            if not self.ready:
                self.act.register_forward_hook(self.collect)
                self.ready = True
            self.act(self.body(x))
            return self.head(F.relu(self.hidden.pop()))

        def collect(self, module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
            self.hidden.append(output)

    x = torch.randn(3, 4)
    model = Collects()
    before = model(x)
    assert len(swap(model, "frelu", x).activations) == 2
    torch.testing.assert_close(model(x), before)
    assert len(swap(model, "sau", x, preserve=False, what="frelu").activations) == 2
    model(x)
