"""``torch.jit.trace``, the TorchScript exporter of ONNX, TensorBoard's graph and ``torch.fx`` take every activation."""

import copy
import io
import warnings
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, fx, nn

import bevel


@pytest.fixture(autouse=True)
def _quiet() -> Iterator[None]:
    """Tracing is deprecated, and says so; that is not ours. A TracerWarning would be: it means that values are read."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        warnings.simplefilter("ignore", FutureWarning)
        yield


OWN = [name for name in bevel.ACTIVATIONS if bevel.ACTIVATIONS[name].owned]


def per_channel(name: str) -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 8, 3), bevel.create(name, 8), nn.Conv2d(8, 2, 1)).eval()


X = torch.randn(2, 3, 6, 6, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("name", OWN)
def test_traced_per_channel(name: str) -> None:
    model = per_channel(name)
    traced = torch.jit.trace(model, X)
    other = torch.randn(3, 3, 9, 9)
    torch.testing.assert_close(traced(other), model(other), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("name", OWN)
def test_traced_without_a_warning_of_constants(name: str) -> None:
    """Recorded, not raised: torch's C++ code drops the exception of a warning and fails at some later place."""
    with warnings.catch_warnings(record=True) as found:
        warnings.simplefilter("always")
        torch.jit.trace(per_channel(name), X)
    assert not [str(one.message) for one in found if issubclass(one.category, torch.jit.TracerWarning)]


@pytest.mark.parametrize("name", OWN)
def test_recorded_by_fx_as_one_node(name: str) -> None:
    model = per_channel(name)
    graph = fx.symbolic_trace(model)
    assert [node.target for node in graph.graph.nodes if node.op == "call_module"] == ["0", "1", "2"]
    assert torch.equal(graph(X), model(X))
    assert torch.equal(copy.deepcopy(graph)(X), model(X))


@pytest.mark.parametrize("kernel", [name for name in bevel.KERNELS if bevel.KERNELS[name].has_moment])
def test_every_kernel_is_traced(kernel: str) -> None:
    model = nn.Sequential(bevel.SmoothFReLU(3, kernel=kernel, n=2.0))
    traced = torch.jit.trace(model, X)
    other = torch.randn(3, 3, 9, 9)
    torch.testing.assert_close(traced(other), model(other), atol=1e-5, rtol=1e-5)


def test_the_wrong_number_of_channels_is_still_refused_in_a_trace() -> None:
    for name in ("sau", "pau"):
        model = nn.Sequential(bevel.create(name, 8))
        with pytest.raises(bevel.InvalidValue, match=r"channels along dim=1.*got shape \(2, 3, 6, 6\)"):
            torch.jit.trace(model, X)


class Mixed(nn.Module):
    """A function, and a module called twice."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.c = nn.Conv2d(3, 4, 3), nn.Conv2d(4, 4, 1), nn.Conv2d(4, 4, 1)
        self.act = nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        x = self.act(self.b(F.relu(self.a(x))))
        return self.act(self.c(x))


def test_a_swapped_model_is_traced() -> None:
    model = Mixed().eval()
    bevel.swap(model, "sau:n=5", X, preserve=False)
    traced = torch.jit.trace(model, X)
    other = torch.randn(3, 3, 9, 9)
    torch.testing.assert_close(traced(other), model(other), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("to", ["sau", "gelu"])
def test_script_of_a_swapped_model_says_what_can(to: str) -> None:
    model = Mixed().eval()
    bevel.swap(model, to, X, preserve=False)
    with pytest.raises(bevel.BevelError, match=r"torch\.jit\.script cannot compile .* torch\.export\.export"):
        torch.jit.script(model)


@pytest.mark.compile
def test_onnx_by_torchscript(tmp_path: Path) -> None:
    pytest.importorskip("onnx")
    runtime = pytest.importorskip("onnxruntime")
    for name in ("sau", "frelu", "smooth_frelu"):
        model = per_channel(name)
        file = io.BytesIO()
        torch.onnx.export(model, (X,), file, dynamo=False)
        session = runtime.InferenceSession(file.getvalue(), providers=["CPUExecutionProvider"])
        (found,) = session.run(None, {session.get_inputs()[0].name: X.numpy()})
        torch.testing.assert_close(torch.from_numpy(found), model(X), atol=1e-5, rtol=1e-4)


def test_tensorboards_graph(tmp_path: Path) -> None:
    tensorboard = pytest.importorskip("torch.utils.tensorboard")
    with tensorboard.SummaryWriter(str(tmp_path)) as writer:
        writer.add_graph(per_channel("frelu"), X)
    assert any(tmp_path.iterdir())
