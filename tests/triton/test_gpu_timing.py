"""How ``make bench-gpu`` times, with a stand-in for CUDA whose clock is known."""

import contextlib
import types
from pathlib import Path
from typing import Any

import pytest
import torch

from bevel_lab.bench.gpu import timing
from bevel_lab.bench.gpu.timing import CYCLES, QUEUED, SPAN, Bench
from bevel_lab.bench.rows import read


class Cuda:
    """A device that runs what is queued in order; the host waits for it only where it says so.

    Attributes:
        host, device: what their clocks show.
        spans: seconds between two events that were read.
        slept: seconds that the device was told to sleep.
    """

    def __init__(self) -> None:
        self.host = self.device = 0.0
        self.spans: list[float] = []
        self.slept: list[float] = []
        self.cold: set[int] = set()

    def queue(self, seconds: float, python: float = 0.0) -> None:
        self.host += python
        self.device = max(self.device, self.host) + seconds

    def sleep(self, cycles: int) -> None:
        self.slept.append(cycles / CYCLES)
        self.queue(cycles / CYCLES)

    def synchronize(self, device: object = None) -> None:
        self.host = max(self.host, self.device)

    def event(self, enable_timing: bool) -> Any:
        cuda = self

        class Event:
            at = 0.0

            def record(self) -> None:
                self.at = cuda.device = max(cuda.device, cuda.host)

            def synchronize(self) -> None:
                cuda.synchronize()

            def elapsed_time(self, last: Any) -> float:
                cuda.spans.append(last.at - self.at)
                return (last.at - self.at) * 1e3

        return Event()

    def graph(self, seconds: float, cold: float) -> Any:
        """A graph whose first three replays take longer, as on a card whose clocks are low."""
        replays = iter([cold] * 3)
        return lambda: types.SimpleNamespace(replay=lambda: self.queue(next(replays, seconds), 5e-6))


@pytest.fixture
def cuda(monkeypatch: pytest.MonkeyPatch) -> Cuda:
    made = Cuda()
    monkeypatch.setattr(torch.cuda, "Event", made.event)
    monkeypatch.setattr(torch.cuda, "_sleep", made.sleep)
    monkeypatch.setattr(torch.cuda, "synchronize", made.synchronize)
    monkeypatch.setattr(torch.cuda, "graph", lambda graph: contextlib.nullcontext())
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: "a card")
    monkeypatch.setattr(timing, "time", types.SimpleNamespace(perf_counter=lambda: made.host))
    return made


@pytest.fixture
def bench(cuda: Cuda, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Bench:
    monkeypatch.setattr(timing, "_ask", lambda query: "1980 MHz, 2619 MHz" if "clocks" in query else "580.1")
    return Bench(torch.device("cpu"), dry=False, path=tmp_path / "rows.csv")


@pytest.mark.parametrize("seconds", [3e-6, 40e-6, 1.9e-3, 5e-3])
def test_between_two_events_are_two_milliseconds_of_replays(
    seconds: float, cuda: Cuda, bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where the first replays take ten times as long."""
    monkeypatch.setattr(torch.cuda, "CUDAGraph", cuda.graph(seconds, 10 * seconds))
    sample = bench.replays({"one": lambda i: None}, 4)["one"]
    assert min(cuda.spans[-timing.ROUNDS :]) >= SPAN
    assert sample.median == pytest.approx(max(seconds, 5e-6) / 4, rel=0.01), "a replay makes one call a turn"


def test_calls_are_queued_behind_a_sleep(cuda: Cuda, bench: Bench) -> None:
    """The device's timer sees no Python, and the wall's all of it; the queue holds no more calls than it may."""
    found = bench.calls({"one": lambda i: cuda.queue(10e-6, 50e-6)}, 2)
    assert found["device"]["one"].median == pytest.approx(10e-6, rel=0.01)
    assert found["wall"]["one"].median == pytest.approx(50e-6, rel=0.3)
    steps = min(QUEUED, round(SPAN / 50e-6))
    (slept,) = {round(seconds, 5) for seconds in cuda.slept}
    assert slept == pytest.approx(1.5 * 50e-6 * steps, rel=0.1)
    cuda.spans.clear()
    bench.calls({"one": lambda i: cuda.queue(1e-6, 1e-6)}, 2)
    assert max(cuda.spans) <= 1e-6 * QUEUED * 1.01


def test_a_row_says_the_clocks_and_the_rate_of_a_clone(
    cuda: Cuda, bench: Bench, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(bench, "buffers", lambda *_: [torch.empty(1000, dtype=torch.bfloat16)])
    monkeypatch.setattr(torch.cuda, "CUDAGraph", cuda.graph(1e-3, 1e-3))
    bench.look()
    bench.add("kernel", "forward", {"sau": timing.Sample([1.0])})
    (row,) = read(tmp_path / "rows.csv")
    assert row.clocks == "1980 MHz / 2619 MHz"
    assert row.clone == pytest.approx(2 * 2000 / 1e-3, rel=0.01)
    assert (row.device, "driver 580.1" in row.versions) == ("a card", True)
    monkeypatch.setattr(timing, "_ask", lambda query: "")
    bench.look()
    assert bench.clocks == "unknown"
