"""Pretrained weights: loaded from a local file of weights alone, before a swap that keeps the network's function."""

from __future__ import annotations

import dataclasses
import hashlib
from collections import Counter
from pathlib import Path

import pytest
import torch
from small_trials import trial
from torch import nn

import bevel
from bevel_lab.data.source import Source
from bevel_lab.errors import LabError
from bevel_lab.models import MODELS
from bevel_lab.models import _pretrained as weights
from bevel_lab.report.analysis.data_facts import changed
from bevel_lab.runtime.distributed import ProcessGroup
from bevel_lab.training.activations import ActivationFactory
from bevel_lab.training.run import run_trial
from bevel_lab.training.trainer import Trainer

pytestmark = pytest.mark.network


def _pretrained(path: Path, classes: int = 10) -> nn.Module:
    network = MODELS.item("resnet18").build(ActivationFactory("relu"), 1, (8, 8), classes)
    for norm in network.modules():
        if isinstance(norm, nn.BatchNorm2d):
            norm.running_mean.normal_(0, 0.1)
    torch.save({"state_dict": network.state_dict()}, path)
    return network.eval()


def _trainer(spec: str, folder: Path) -> Trainer:
    one = trial(spec, model="resnet18", weights=str(folder / "weights.pth"))
    return Trainer(one, Source(), torch.device("cpu"), ProcessGroup())


@pytest.mark.parametrize("spec", ["relu", "frelu", "sau"])
def test_fine_tuning_starts_from_the_pretrained_function(spec: str, tmp_path: Path) -> None:
    network = _pretrained(tmp_path / "weights.pth")
    trainer = _trainer(spec, tmp_path)
    x = torch.randn(4, 1, 8, 8)
    tolerance = 1e-3 if spec == "sau" else 0.0  # SAU is within 2e-5 at each of 17 sites, the others are ReLU itself
    torch.testing.assert_close(trainer.model.eval()(x), network(x), rtol=tolerance, atol=tolerance)


def test_a_unit_that_cannot_be_kept_gives_up_no_other(tmp_path: Path) -> None:
    """MobileNetV3 has ReLUs, which FReLU can be, and Hardswishes, which it cannot."""
    import torchvision

    plain = torchvision.models.mobilenet_v3_small(num_classes=3)
    torch.save(plain.state_dict(), tmp_path / "mobilenet.pth")
    factory = ActivationFactory(bevel.canonical("frelu"), str(tmp_path / "mobilenet.pth"))
    model = factory.swap(torchvision.models.mobilenet_v3_small(num_classes=3), torch.zeros(2, 3, 64, 64))
    sites, modules = factory.sites(model), dict(plain.named_modules())
    slopes = {type(modules[name]): call.module.negative[0].item() for name, call in sites.items()}
    assert slopes == {nn.ReLU: 0.0, nn.Hardswish: pytest.approx(0.01)}
    x = torch.randn(2, 16, 8, 8)
    first = next(name for name in sites if isinstance(modules[name], nn.ReLU))
    assert torch.equal(model.get_submodule(first)(x), x.relu())
    counts = Counter(type(modules[name]) for name in sites)
    assert f"of {counts[nn.Hardswish]} of {sum(counts.values())} units: features.0.2 (hardswish), " in factory.loaded
    assert list(sites) == [name for name in dict(model.named_modules()) if name in sites], "in the order of the run"


def test_what_keeps_no_unit_starts_from_its_own_values(tmp_path: Path) -> None:
    _pretrained(tmp_path / "weights.pth")
    trainer = _trainer("swish", tmp_path)
    assert "swish" in trainer.facts["weights"]
    assert "cannot keep the function of 17 of 17 units: " in trainer.facts["weights"]


def test_a_head_of_another_shape_stays_new_and_is_named(tmp_path: Path) -> None:
    _pretrained(tmp_path / "weights.pth", classes=7)
    few = {"epochs": 1, "train_limit": 10, "validation": 0.01}  # a ResNet-18 takes seconds for all digits
    record = run_trial(trial(model="resnet18", weights=str(tmp_path / "weights.pth"), **few))
    assert "initial values stay for" in str(record.data["weights"])
    assert "fc.weight" in str(record.data["weights"])


def _drawn(path: Path, seed: int) -> None:
    """The initial weights of a trial as a file."""
    torch.save(Trainer(trial(seed=seed), Source(), torch.device("cpu"), ProcessGroup()).model.state_dict(), path)


def test_another_file_under_the_same_path_does_not_go_unnoticed(tmp_path: Path) -> None:
    path, state, notes = tmp_path / "weights.pth", tmp_path / "state.pt", list[str]()
    one = trial(weights=str(path), epochs=1)
    _drawn(path, 1)
    first = run_trial(one, state=state, state_every=0)
    again = run_trial(one, state=state, on_note=notes.append)
    assert (again.result, notes) == (first.result, []), "it went on from the checkpoint"
    _drawn(path, 2)
    second = run_trial(one, state=state, on_note=notes.append)
    assert len(notes) == 1
    old, new = first.data["weights_digest"], second.data["weights_digest"]
    assert notes[0].startswith(f"the checkpoint is of weights {old}, not {new}; trial {one.id} starts again")
    assert hashlib.sha256(path.read_bytes()).hexdigest().startswith(str(new))
    assert len(str(new)) == 16
    assert changed([first, again]) == []
    (said,) = changed([first, dataclasses.replace(second, label="other")])
    assert said.startswith("The runs did not start from the same weights: the file's digest is ")
    assert f"{new} (other)" in said


_RESNET50 = {"conv1": "conv1", "layer4.2.conv3": "layer4.2.conv3"}
BACKBONES = {
    "fasterrcnn_resnet50_fpn": ("resnet50", "backbone.body", _RESNET50),
    "ssdlite320_mobilenet_v3": (
        "mobilenet_v3_large",
        "backbone.features",
        {"0.0.0": "features.0.0", "0.13.0": "features.13.block.0.0", "1.0.2.fc2": "features.13.block.2.fc2"},
    ),
    "ssd300_vgg16": ("vgg16", "backbone", {"features.0": "features.0", "extra.0.5": "features.28"}),
    "deeplabv3_resnet50": ("resnet50", "network.backbone", _RESNET50),
    "deeplabv3_mobilenet_v3": (
        "mobilenet_v3_large",
        "network.backbone",
        {"0.0": "features.0.0", "16.0": "features.16.0"},
    ),
    "unet_resnet18": ("resnet18", "encoder", {"conv1": "conv1", "layer4.1.conv2": "layer4.1.conv2"}),
}
"""The classifier, where its layers are, and what the first and the last of them are called there and by itself."""


@pytest.mark.parametrize("name", BACKBONES)
def test_a_classifiers_file_is_the_backbones_start(name: str, tmp_path: Path) -> None:
    """As torchvision saves it, head and all; of the VGG without its head, as the file with the features alone is."""
    import torchvision

    classifier, place, layers = BACKBONES[name]
    state = torchvision.models.get_model(classifier, weights=None).state_dict()
    if classifier == "vgg16":
        state = {key: value for key, value in state.items() if key.startswith("features.")}
    torch.save(state, tmp_path / "weights.pth")
    factory, entry = ActivationFactory("relu", str(tmp_path / "weights.pth")), MODELS.item(name)
    built = entry.build(factory, 3) if entry.task == "detection" else entry.build(factory, 3, (64, 64), 3)
    own = built.state_dict()
    for here, there in layers.items():
        assert torch.equal(own[f"{place}.{here}.weight"], state[f"{there}.weight"])


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


@pytest.mark.parametrize("zipped", [True, False])
def test_a_damaged_file_is_said_in_one_line_of_ours(zipped: bool, tmp_path: Path) -> None:
    path = tmp_path / "weights.pth"
    torch.save({"weight": torch.ones(3, 2)}, path, _use_new_zipfile_serialization=zipped)
    whole, messages = path.read_bytes(), []
    for k in range(0, len(whole), 7):
        for damaged in (whole[:k], whole[:k] + bytes([whole[k] ^ 0xFF]) + whole[k + 1 :]):
            path.write_bytes(damaged)
            try:
                weights.load(nn.Linear(2, 3, bias=False), path)
            except LabError as error:
                messages.append(str(error))
    assert len(messages) > len(whole) // 7, "at least every file that ends early"
    for message in messages:
        assert message.startswith(str(path))
        assert message.isprintable()
        assert len(message) < len(str(path)) + 120


def test_names_that_are_no_text_are_no_state_dict(tmp_path: Path) -> None:
    torch.save({1: torch.ones(3, 2)}, tmp_path / "weights.pth")
    with pytest.raises(LabError, match="holds no state dict"):
        weights.load(nn.Linear(2, 3), tmp_path / "weights.pth")
