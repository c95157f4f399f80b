"""``bevel inspect``, and the code of the page about surgery."""

import re
from pathlib import Path

import pytest
import torch
from needs import needs
from torch import nn

import bevel_lab.cli
from bevel import InvalidValue, UnknownName
from bevel_lab.surgery import compatibility
from bevel_lab.surgery.inspection import inspect, load, parse_shape

PAGE = Path(__file__).parents[2] / "docs" / "surgery.md"

FILE = """
import torch
from needs import needs
from torch import nn

def make():
    return nn.Sequential(nn.Linear(8, 4), nn.ReLU(), nn.Linear(4, 2), nn.GELU()), (torch.zeros(2, 8),)

def images():
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU())

def wrong():
    return 3
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "mine.py"
    path.write_text(FILE)
    return path


def test_the_command_prints_the_table(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert bevel_lab.cli.main(["inspect", f"{file}:make", "--to", "sau"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[1].split() == ["1", "module", "relu", "0", "4", "-1", "1", "sau"]
    assert "sau cannot equal gelu" in lines[2]
    assert lines[-1] == "2 sites: 1 relu, 1 gelu"
    assert bevel_lab.cli.main(["inspect", f"{file}:make", "--to", "sau", "--from-scratch", "--what", "gelu"]) == 0
    assert "not in what=" in capsys.readouterr().out


@needs("torchvision")
def test_names_of_models(file: Path) -> None:
    assert len(inspect("torchvision:squeezenet1_1", shape="1x3x64x64")) == 26
    assert len(inspect(f"{file}:images")) == 1
    with pytest.raises(UnknownName, match="torchvision has no model 'resnet19'; did you mean"):
        load("torchvision:resnet19")
    with pytest.raises(UnknownName, match="has no callable 'mak'; did you mean 'make'"):
        load(f"{file}:mak")
    with pytest.raises(InvalidValue, match=r"returns a torch\.nn\.Module.*got int"):
        load(f"{file}:wrong")
    with pytest.raises(InvalidValue, match="there is no file"):
        load("nowhere.py:make")
    with pytest.raises(InvalidValue, match="a model is named torchvision:NAME"):
        load("resnet50")
    with pytest.raises(InvalidValue, match="written as 1x3x224x224; got '3xy'"):
        parse_shape("3xy")


@needs("transformers")
def test_the_page_of_compatibility_is_written(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "page.md"
    assert compatibility.main(["--out", str(out), "transformers:t5"]) == 0
    assert "| transformers:t5 | 4 relu | none | 4 | 0.0e+00 | 4 | 4 | 2.0e-05 |" in out.read_text()
    assert "transformers:t5" in capsys.readouterr().err


def examples() -> list[str]:
    return re.findall(r"^```python\n(.*?)^```", PAGE.read_text(), flags=re.S | re.M)


@needs("torchvision")
def test_the_page_runs() -> None:
    names: dict[str, object] = {"nn": nn}
    for code in examples():
        assert len(code.splitlines()) < 15
        torch.manual_seed(0)
        exec(compile(code, str(PAGE), "exec"), names)
