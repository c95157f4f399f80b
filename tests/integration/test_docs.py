"""Every Python block of the pages on training, deploying and exporting runs, page by page, and is short."""

import re
from pathlib import Path
from typing import Any

import pytest
import torch
from needs import needs

DOCS = Path(__file__).parents[2] / "docs"
BLOCK = re.compile(r"^```python\n(.*?)^```", re.MULTILINE | re.DOTALL)


@pytest.mark.parametrize(
    "page",
    [
        "training",
        "deploy",
        pytest.param("export", marks=needs("onnxscript", "onnxruntime")),
        pytest.param("smooth-to-hard", marks=needs("onnxscript", "onnxruntime", "torchao", "sklearn")),
        pytest.param("recipes", marks=needs("timm", "transformers", "lightning", "torchao")),
    ],
)
@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # the exporter's own
@pytest.mark.filterwarnings("ignore::FutureWarning")
def test_the_pages_code_runs(page: str, capsys: pytest.CaptureFixture[str]) -> None:
    blocks = BLOCK.findall((DOCS / f"{page}.md").read_text())
    assert blocks
    names: dict[str, Any] = {}
    with torch.random.fork_rng():
        torch.manual_seed(0)
        for number, block in enumerate(blocks):
            assert block.count("\n") < 15, f"block {number} of {page}.md is too long to be an example"
            exec(compile(block, f"{page}.md, block {number}", "exec"), names)
