"""``bevel inspect``, and the code of the page about surgery."""

import re
from pathlib import Path

import pytest
import torch
from needs import needs
from torch import nn

import bevel_lab.cli
from bevel import InvalidValue, UnknownName
from bevel_lab.models import MODELS, Model
from bevel_lab.registry import ParametricEntry, Registry
from bevel_lab.surgery import compatibility, inspection
from bevel_lab.surgery.inspection import inspect, load, parse_shape
from bevel_lab.tasks.classification import Classification

PAGE = Path(__file__).parents[2] / "docs" / "surgery.md"

FILE = """
import torch
from torch import nn

def make():
    return nn.Sequential(nn.Linear(8, 4), nn.ReLU(), nn.Linear(4, 2), nn.GELU()), (torch.zeros(2, 8),)

def images():
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU())

def wrong():
    return 3

module = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU())

def sized(width, depth=2):
    return nn.ReLU()

def divides():
    return 1 / 0

def leaves():
    raise SystemExit(3)

def misfit():
    return nn.Sequential(nn.Linear(3, 4), nn.ReLU())
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "mine.py"
    path.write_text(FILE)
    return path


def test_the_command_prints_the_table(
    file: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    assert bevel_lab.cli.main(["inspect", f"{file}:make", "--to", "sau"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[2].split() == ["1", "module", "relu", "0", "4", "-1", "1", "sau"]
    assert "sau cannot equal gelu" in lines[3]
    assert lines[-1] == "2 sites: 1 relu, 1 gelu"
    assert bevel_lab.cli.main(["inspect", f"{file}:make", "--to", "sau", "--from-scratch", "--what", "gelu"]) == 0
    assert "not in what=" in capsys.readouterr().out


@needs("torchvision")
def test_names_of_models(file: Path) -> None:
    assert len(inspect("torchvision:squeezenet1_1", shape="1x3x64x64")) == 26
    assert len(inspect(f"{file}:images")) == len(inspect(f"{file}:module")) == 1
    with pytest.raises(UnknownName, match="torchvision has no model 'resnet19'; did you mean"):
        load("torchvision:resnet19")
    with pytest.raises(UnknownName, match="has no module or callable 'mak'; did you mean 'make'"):
        load(f"{file}:mak")
    with pytest.raises(InvalidValue, match=r"must return a torch\.nn\.Module.*got int"):
        load(f"{file}:wrong")
    with pytest.raises(InvalidValue, match="there is no file"):
        load("nowhere.py:make")
    with pytest.raises(InvalidValue, match="a model must be named torchvision:NAME"):
        load("resnet50")
    with pytest.raises(InvalidValue, match="written as 1x3x224x224; got '3xy'"):
        parse_shape("3xy")


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("sized", r"sized in \S+mine.py must be callable without arguments; it takes \(width, depth=2\)"),
        ("divides", r"divides\(\) in \S+mine.py failed at line 20 \(ZeroDivisionError: division by zero\)"),
        ("leaves", r"failed at line 23 \(SystemExit: 3\)"),
        ("misfit", "the model could not be run on the example given"),
        ("torch", "has no module or callable 'torch'"),
    ],
)
def test_a_function_that_makes_no_model_is_said_in_one_line(
    file: Path, capsys: pytest.CaptureFixture[str], name: str, words: str
) -> None:
    assert bevel_lab.cli.main(["inspect", f"{file}:{name}"]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert re.search(words, line), line


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("import torch\nimport no_such_library", "at line 2 (ModuleNotFoundError: No module named 'no_such_library')"),
        ("x = 1\ndef make(:\n", "at line 2 (SyntaxError: invalid syntax)"),
    ],
)
def test_a_file_that_cannot_be_imported_is_said_in_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], text: str, words: str
) -> None:
    (tmp_path / "broken.py").write_text(text)
    assert bevel_lab.cli.main(["inspect", f"{tmp_path / 'broken.py'}:make"]) == 2
    assert capsys.readouterr().err == f"bevel: {tmp_path / 'broken.py'} cannot be imported {words}.\n"


SMALL = {"cnn", "lenet", "mlp", "resnet8", "squeezenet", "ssd_small", "unet_small", "transformer_tiny", "tsm_tiny"}
NAMES = [name for name in MODELS if not isinstance(MODELS[name], ParametricEntry)]


@needs("torchvision", "timm", "tokenizers", "segmentation_models_pytorch")
@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[] if name in SMALL else pytest.mark.network) for name in NAMES]
)
def test_every_model_of_the_lab_is_inspected(name: str) -> None:
    sites = inspect(name)
    assert sum(site.function == "relu" for site in sites) >= 2
    with pytest.raises(InvalidValue, match=r"the shape of an input for \w+ must be \w+×.* written as 1x.*; got 1x1x1"):
        inspect(name, shape="1x1x1")


def test_a_model_of_an_unknown_task_cannot_be_built_without_data(monkeypatch: pytest.MonkeyPatch) -> None:
    class Regression(Classification):
        input_shape = ()

    narrow = Model("a net", lambda activation: nn.ReLU(), task="regression")
    models = Registry[Model]("bevel_lab.models", "model")  # a fresh one: the lab's own stays as it is
    models.register("narrow", narrow)
    monkeypatch.setattr(inspection, "MODELS", models)
    monkeypatch.setattr(inspection, "TASKS", {"regression": Regression})
    with pytest.raises(InvalidValue, match="models for regression cannot be built without data"):
        inspect("narrow")


@needs("transformers")
@pytest.mark.network
def test_the_page_of_compatibility_is_written(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "page.md"
    assert compatibility.main(["--out", str(out), "transformers:t5"]) == 0
    page = out.read_text()
    assert "| transformers:t5 | 4 relu | none | `gate` | 4 | 8.5e-06 |" in page
    assert "| 4 | 0.0e+00 | 4 | 4 | 2.0e-05 |" in page
    assert "transformers:t5" in capsys.readouterr().err


def examples() -> list[str]:
    return re.findall(r"^```python\n(.*?)^```", PAGE.read_text(), flags=re.S | re.M)


@pytest.mark.compile
@needs("torchvision")
def test_the_page_runs() -> None:
    names: dict[str, object] = {"nn": nn}
    for code in examples():
        assert len(code.splitlines()) < 15
        torch.manual_seed(0)
        exec(compile(code, str(PAGE), "exec"), names)
