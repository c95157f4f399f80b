"""The bench's networks for inference: each is what is shipped, and every runtime computes the same with it."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest
import torch
from needs import needs
from torch import Tensor, nn

from bevel_lab.bench import inference, page, rows
from bevel_lab.bench.cpu import resnet18
from bevel_lab.bench.nets.resnet import Block
from bevel_lab.bench.rows import Collector
from bevel_lab.bench.targets import SHIPPED
from bevel_lab.bench.timing import Sample
from bevel_lab.runtime import inference as runtimes

X = torch.randn(1, 3, 8, 8, generator=torch.Generator().manual_seed(0))


class Residual(nn.Module):
    """An activation after a layer, and one after a sum into which nothing folds."""

    def __init__(self) -> None:
        super().__init__()
        self.one, self.two, self.head = nn.Conv2d(3, 4, 3), nn.Conv2d(4, 4, 1), nn.Linear(4, 2)
        self.first, self.sum = nn.ReLU(), nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        h = self.first(self.one(x))
        return self.head(self.sum(self.two(h) + h).mean((2, 3)))


def _build() -> nn.Module:
    torch.manual_seed(0)
    return Residual()


@pytest.fixture(scope="module")
def models() -> dict[str, nn.Module]:
    return inference.networks(_build, X)


KINDS = {
    "relu": ("ReLU", "ReLU"),
    "gelu": ("GELU", "GELU"),
    "silu": ("SiLU", "SiLU"),
    "gate, hardened": ("ReLU", "ReLU"),
    "sau as exported": ("SAU", "SAU"),
    "sau, hardened and folded": ("PReLU", "PReLU"),
    "sau, hardened, slopes merged": ("LeakyReLU", "LeakyReLU"),
    "sau, one slope a site from the beginning, hardened": ("LeakyReLU", "LeakyReLU"),
    "frelu as exported": ("FReLU", "FReLU"),
    "frelu, folded": ("PReLU", "FReLU"),
}


def test_each_case_is_what_its_name_says(models: dict[str, nn.Module]) -> None:
    assert {name: (type(m.first).__name__, type(m.sum).__name__) for name, m in models.items()} == KINDS
    assert set(SHIPPED) < set(models)
    slopes = models["sau, hardened and folded"].first.weight
    assert isinstance(slopes, Tensor)
    assert slopes.unique().numel() == 4


def test_its_network_is_that_of_whole_networks_with_the_stem_for_small_images() -> None:
    with torch.device("meta"):
        model = resnet18()
    assert sum(p.numel() for p in model.parameters()) == 11_173_962, "torchvision's with ten classes and that stem"
    assert isinstance(model, nn.Sequential)
    assert isinstance(model[4], Block)


@needs("onnxruntime", "onnxscript")
def test_onnx_runtime_runs_the_same_network(models: dict[str, nn.Module]) -> None:
    for name in ("sau, hardened and folded", *SHIPPED):
        (found,) = runtimes.ready(models[name], X, "onnxruntime")()  # type: ignore[misc]
        torch.testing.assert_close(torch.from_numpy(found), models[name](X).detach(), rtol=1e-5, atol=1e-5)
    assert runtimes.available(compiled=False) == ("eager", "onnxruntime")
    assert runtimes.available() == runtimes.RUNTIMES


def test_eager_runs_the_same_network(models: dict[str, nn.Module]) -> None:
    for model in models.values():
        y = runtimes.ready(model, X, "eager")()
        assert isinstance(y, Tensor)
        assert torch.equal(y, model(X))
    found = inference.timed({"relu": models["relu"]}, X, "eager", rounds=2)
    assert Counter({name: len(sample.values) for name, sample in found.items()}) == {"relu": 2}


def test_the_page_has_a_column_for_each_runtime(tmp_path: Path) -> None:
    bench = Collector("a machine", {"torch": "2.15"})
    bench.add("speed", "both", {"relu": Sample([1.0])}, elements=1 << 20, dtype="float32", layout="nchw", threads=1)
    for runtime, times in (("eager", (2e-3, 3e-3)), ("onnxruntime", (1e-3, 1.02e-3))):
        samples = {"relu": Sample([times[0]]), SHIPPED[0]: Sample([times[1]])}
        bench.add("inference", "call", samples, layout=runtime, threads=1, dtype="float32", timer="processor")
    rows.write(bench.rows, tmp_path / "rows.csv")
    page.write_cpu(rows.read(tmp_path / "rows.csv"), tmp_path / "page.md")
    text = (tmp_path / "page.md").read_text()
    assert "| gate, hardened | 1.50 (3.00) | 1.02 (1.02) |" in text
    assert (
        "| gate, hardened: ResNet-18, one image | relu | 1.05 | 1.50 (1 thread, eager); 1.02 (1 thread, onnxr" in text
    )


def test_the_page_on_shipping_has_the_measured_table(tmp_path: Path) -> None:
    docs = Path(__file__).parents[2] / "docs"
    found = rows.find(rows.read(docs / "performance.csv"), section="inference")
    page.write_cpu(found, tmp_path / "page.md")
    section = (tmp_path / "page.md").read_text().partition("\n## Inference")[2]
    table = [line for line in section.splitlines() if line.startswith("|")]
    assert len(table) == 2 + len(KINDS)
    assert "\n".join(table) in (docs / "smooth-to-hard.md").read_text()
