"""Pretrained weights: loaded from a local file of weights alone, before a swap that keeps the network's function."""

from __future__ import annotations

import dataclasses
import hashlib
from pathlib import Path

import pytest
import torch
from small import trial
from torch import nn

from bevel_lab import weights
from bevel_lab.datasets import Source
from bevel_lab.errors import LabError
from bevel_lab.models import MODELS
from bevel_lab.report.facts import changed
from bevel_lab.running import Running
from bevel_lab.sites import Factory
from bevel_lab.team import Team
from bevel_lab.train import run


def _pretrained(path: Path, classes: int = 10) -> nn.Module:
    network = MODELS.item("resnet18").build(Factory("relu"), 1, (8, 8), classes)
    for norm in network.modules():
        if isinstance(norm, nn.BatchNorm2d):
            norm.running_mean.normal_(0, 0.1)
    torch.save({"state_dict": network.state_dict()}, path)
    return network.eval()


@pytest.mark.parametrize("spec", ["relu", "frelu", "sau"])
def test_fine_tuning_starts_from_the_pretrained_function(spec: str, tmp_path: Path) -> None:
    network = _pretrained(tmp_path / "weights.pth")
    running = Running(
        trial(spec, model="resnet18", weights=str(tmp_path / "weights.pth")), Source(), torch.device("cpu"), Team()
    )
    x = torch.randn(4, 1, 8, 8)
    tolerance = 1e-3 if spec == "sau" else 0.0  # SAU is within 2e-5 at each of 17 sites, the others are ReLU itself
    torch.testing.assert_close(running.model.eval()(x), network(x), rtol=tolerance, atol=tolerance)


def test_a_head_of_another_shape_stays_new_and_is_named(tmp_path: Path) -> None:
    _pretrained(tmp_path / "weights.pth", classes=7)
    record = run(trial(model="resnet18", weights=str(tmp_path / "weights.pth"), epochs=1, train_limit=50))
    assert "initial values stay for" in str(record.data["weights"])
    assert "fc.weight" in str(record.data["weights"])


def _drawn(path: Path, seed: int) -> None:
    """The initial weights of a trial as a file."""
    torch.save(Running(trial(seed=seed), Source(), torch.device("cpu"), Team()).model.state_dict(), path)


def test_another_file_under_the_same_path_does_not_go_unnoticed(tmp_path: Path) -> None:
    path, state, notes = tmp_path / "weights.pth", tmp_path / "state.pt", list[str]()
    one = trial(weights=str(path), epochs=1)
    _drawn(path, 1)
    first = run(one, state=state, state_every=0)
    again = run(one, state=state, on_note=notes.append)
    assert (again.result, notes) == (first.result, []), "it went on from the checkpoint"
    _drawn(path, 2)
    second = run(one, state=state, on_note=notes.append)
    assert len(notes) == 1
    old, new = first.data["weights_digest"], second.data["weights_digest"]
    assert notes[0].startswith(f"the checkpoint is of weights {old}, not {new}; trial {one.id} starts again")
    assert hashlib.sha256(path.read_bytes()).hexdigest().startswith(str(new))
    assert len(str(new)) == 16
    assert changed([first, again]) == []
    (said,) = changed([first, dataclasses.replace(second, label="other")])
    assert said.startswith("The runs did not start from the same weights: the file's digest is ")
    assert f"{new} (other)" in said


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (None, "there is no weight file"),
        (b"no torch file", "is not a file of weights alone"),
        ({"a": 1}, "holds no state dict"),
        ({"a": torch.ones(3)}, "fits 0 of the model's"),
    ],
)
def test_a_file_that_will_not_do_is_named(content: object, words: str, tmp_path: Path) -> None:
    path = tmp_path / "weights.pth"
    if isinstance(content, bytes):
        path.write_bytes(content)
    elif content is not None:
        torch.save(content, path)
    with pytest.raises(LabError, match=words):
        weights.load(nn.Linear(3, 3), path)


def test_a_file_with_code_in_it_is_refused(tmp_path: Path) -> None:
    torch.save(nn.Linear(3, 3), tmp_path / "weights.pth")
    with pytest.raises(LabError, match="is not a file of weights alone"):
        weights.load(nn.Linear(3, 3), tmp_path / "weights.pth")
