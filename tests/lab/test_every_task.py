"""What holds for every task alike, on a few samples each: fine-tuning and parameter groups."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import boxes
import numpy as np
import pytest
import scenes
import sentences
import torch
from PIL import Image
from torch import nn

import bevel
from bevel_lab.datasets import Source
from bevel_lab.running import Running
from bevel_lab.tasks.detection import Detection
from bevel_lab.team import Team
from bevel_lab.trial import Trial

RECIPES: dict[str, dict[str, Any]] = {
    "detection": {"model": "ssd_small", "batch_size": 4, "lr": 0.02},
    "segmentation": {"model": "unet_small", "batch_size": 4, "lr": 0.05},
    "translation": {
        "model": "transformer_tiny_prenorm", "batch_size": 10, "lr": 2e-3, "optimiser": "adam", "train_limit": 40,
    },
    "video": {"model": "tsm_tiny", "batch_size": 4, "lr": 0.02, "validation": 0.25},
}  # fmt: skip

every_task = pytest.mark.parametrize("task", RECIPES)


def _clips(root: Path) -> Path:
    """Scikit-learn's digits walking to the right or to the left, as folders of frames."""
    from sklearn.datasets import load_digits

    pictures = load_digits().images
    for number, (part, count) in enumerate({"train": 8, "test": 4}.items()):
        for clip in range(count):
            for step, name in ((2, "right"), (-2, "left")):
                folder = root / part / name / str(clip)
                folder.mkdir(parents=True)
                canvas = np.zeros((16, 16), np.uint8)
                canvas[4:12, 4:12] = pictures[100 * number + clip] * 15
                for k in range(8):
                    Image.fromarray(np.roll(canvas, step * k, 1)).save(folder / f"{k}.png")
    return root


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, Any]]:
    """By task, what a trial of it takes."""
    root = tmp_path_factory.mktemp("data")
    made = {
        "detection": f"folder_voc:{boxes.voc(root / 'voc', {'trainval': 10, 'test': 3})}",
        "segmentation": f"folder_masks:{scenes.street(root / 'street', {'train': (8, 0), 'test': (3, 200)})}",
        "translation": f"folder_text:{sentences.corpus(_folder(root / 'texts'))}:en-de",
        "video": f"folder_clips:{_clips(root / 'clips')}",
    }
    return {task: {"task": task, "dataset": made[task]} | recipe for task, recipe in RECIPES.items()}


def _folder(path: Path) -> Path:
    path.mkdir()
    return path


def _running(spec: str, **settings: Any) -> Running:
    one = Trial(activation=bevel.canonical(spec), **settings)
    return Running(one, Source(), torch.device("cpu"), Team())


# --------------------------------------------------------------------------------------------------------- fine-tuning


def _measured(running: Running) -> dict[str, float]:
    """The test part's metrics; detections by their scores too, since so short a training finds nothing."""

    def measure(model: nn.Module) -> dict[str, float]:
        task, more = running.task, {}
        if isinstance(task, Detection):
            scores = [found["scores"] for found, _ in task.detected(model, task.held)]
            more = {"score": float(torch.cat(scores).mean())}
        return task.test(model) | more

    return running.evaluate(measure)


@every_task
def test_fine_tuning_starts_where_pretraining_ended(
    task: str, settings: dict[str, dict[str, Any]], tmp_path: Path
) -> None:
    trained = _running("relu", epochs=4, **settings[task])
    for _ in range(4):
        trained.advance()
    before, fresh = _measured(trained), _measured(_running("relu", **settings[task]))
    torch.save(trained.model.state_dict(), tmp_path / "relu.pt")
    for spec, tolerance in (("frelu", 1e-5), ("sau", 1e-3)):  # FReLU can be ReLU; SAU is within 2e-5 of it at a unit
        fine = _running(spec, weights=str(tmp_path / "relu.pt"), **settings[task])
        after = _measured(fine)
        assert after == pytest.approx(before, rel=tolerance, abs=tolerance)
        assert after != pytest.approx(fresh, rel=10 * tolerance, abs=10 * tolerance), "not what any network has"
        assert "relu.pt" in fine.loaded["weights"]
        assert "cannot keep" not in fine.loaded["weights"]


# ---------------------------------------------------------------------------------------------------- parameter groups


@every_task
def test_only_weights_decay_and_activations_have_their_own_rate(task: str, settings: dict[str, dict[str, Any]]) -> None:
    running = _running("smooth_frelu", weight_decay=0.25, activation_lr=0.5, **settings[task])
    names = {id(p): name for name, p in running.model.named_parameters()}
    groups = [(names[id(p)], group) for group in running.optimiser.param_groups for p in group["params"]]
    assert sorted(name for name, _ in groups) == sorted(names.values()), "each is in one group"
    own = {names[id(p)] for p in running.activation_parameters}
    assert len(own) == 3 * len(running.sites) > 0, "two slopes and a sharpness"
    shapes = {name: p.ndim for name, p in running.model.named_parameters()}
    for name, group in groups:
        assert group["weight_decay"] == (0.25 if shapes[name] > 1 else 0.0), name
        assert group["scale"] == (0.5 if name in own else 1.0), name
