"""A few samples of every task but classification, and settings of a trial on them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import box_data
import numpy as np
import scene_data
import sentence_data
from PIL import Image
from sample_digits import sample_digits

RECIPES: dict[str, dict[str, Any]] = {
    "detection": {"model": "ssd_small", "batch_size": 4, "lr": 0.02},
    "segmentation": {"model": "unet_small", "batch_size": 4, "lr": 0.05},
    "translation": {
        "model": "transformer_tiny_prenorm", "batch_size": 10, "lr": 2e-3, "optimizer": "adam", "train_limit": 40,
    },
    "video": {"model": "tsm_tiny", "batch_size": 4, "lr": 0.02, "validation": 0.25},
}  # fmt: skip


def trial_settings(root: Path) -> dict[str, dict[str, Any]]:
    """Write samples of every task below ``root``; return fields of a trial by task."""
    made = {
        "detection": f"folder_voc:{box_data.write_voc(root / 'voc', {'trainval': 10, 'test': 3})}",
        "segmentation": f"folder_masks:{scene_data.write_parts(root / 'street', {'train': (8, 0), 'test': (3, 200)})}",
        "translation": f"folder_text:{sentence_data.write_corpus(_new_folder(root / 'texts'))}:en-de",
        "video": f"folder_clips:{write_clips(root / 'clips')}",
    }
    return {task: {"task": task, "dataset": made[task]} | recipe for task, recipe in RECIPES.items()}


def _new_folder(path: Path) -> Path:
    path.mkdir()
    return path


def write_clips(root: Path) -> Path:
    """Write clips of scikit-learn's digits that walk to the right or to the left, as folders of frames."""
    pictures = sample_digits().images
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
