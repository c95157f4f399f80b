"""What only a GPU can show: graphs, streams, a second device, and tensors beyond 2^31 elements."""

import pytest
import torch
from torch import Tensor

import bevel
from bevel.functional import frelu_family, sau
from bevel.ops import evaluate
from bevel.ops.triton import backend

on_cuda = pytest.mark.skipif("not config.getoption('--device').startswith('cuda')", reason="needs a GPU")


def _frelu(x: Tensor, a: Tensor, b: Tensor) -> Tensor:
    return evaluate(x, FAMILY, (a, b), dim=1, backend="triton")


FAMILY = frelu_family(bevel.family.parameter(0), bevel.family.parameter(1), bevel.kernel.SHARP, 1.0)


@on_cuda
def test_auto_takes_it_and_compile_does_not(device: torch.device) -> None:
    x = torch.randn(100, device=device)
    backend._plans.clear()
    want = bevel.SAU().to(device)(x)
    assert len(backend._plans) == 1
    got = torch.compile(bevel.SAU().to(device))(x)
    torch.testing.assert_close(got, want)
    assert len(backend._plans) == 1


@on_cuda
def test_a_graph_captures_it(device: torch.device) -> None:
    x = torch.randn(4, 8, 100, device=device, requires_grad=True)
    a, b = (torch.rand(8, device=device, requires_grad=True) for _ in range(2))

    def step() -> tuple[Tensor, ...]:
        return torch.autograd.grad(_frelu(x, a, b).sum(), (x, a, b))

    side = torch.cuda.Stream()
    with torch.cuda.stream(side):
        step()
    torch.cuda.synchronize()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        captured = step()
    with torch.no_grad():
        x.copy_(torch.randn_like(x))
        a.add_(1)
    graph.replay()
    torch.cuda.synchronize()
    for got, want in zip(captured, step(), strict=True):
        torch.testing.assert_close(got, want, rtol=0, atol=0)


@on_cuda
def test_it_follows_the_stream(device: torch.device) -> None:
    x = torch.zeros(1 << 22, device=device)
    side = torch.cuda.Stream()
    with torch.cuda.stream(side):
        torch.cuda._sleep(50_000_000)
        x.fill_(2.0)
        y = sau(x, 0.15, 3.0, backend="triton")  # on another stream it would read zeros
    side.synchronize()
    torch.testing.assert_close(y, torch.full_like(y, float(sau(x[:1], 0.15, 3.0, backend="reference"))))


@on_cuda
def test_the_second_gpu(device: torch.device) -> None:
    if torch.cuda.device_count() < 2:
        pytest.skip("one GPU")
    x = torch.randn(1000, device="cuda:1")
    torch.testing.assert_close(sau(x, backend="triton"), sau(x, backend="reference"))
    assert torch.cuda.current_device() == 0


@on_cuda
@pytest.mark.parametrize(
    "shape",
    [((1 << 31) + 1026,), (3, ((1 << 31) + 1026) // 3), (2, (1 << 31) + 16)],
    ids=["flat", "per channel", "long rows"],
)
def test_beyond_two_to_the_31(shape: tuple[int, ...], device: torch.device) -> None:
    if torch.cuda.mem_get_info()[0] < 40 << 30:
        pytest.skip("needs 40 GB")
    x = torch.randn(shape, device=device, dtype=torch.bfloat16)
    slopes = [torch.tensor([2.0, 0.5, 1.0][: shape[0] if len(shape) > 1 else 1], device=device) for _ in range(2)]
    y = evaluate(x, FAMILY, slopes, dim=0, backend="triton")
    end = x.flatten()[-4096:].float()
    torch.testing.assert_close(y.flatten()[-4096:].float(), end * float(slopes[0][-1]), rtol=1e-2, atol=0)
    dx, da, _db = backend.backward(FAMILY, 0, x, x, slopes, (True, True, True))
    assert dx is not None
    assert da is not None
    del y, dx
    positive = sum(torch.relu(part.float()).square().sum(dtype=torch.float64) for part in x.flatten().chunk(64))
    torch.testing.assert_close(da.double().sum(), positive, rtol=1e-4, atol=0)
