"""Detection data sets in the formats of VOC and COCO: scikit-learn's digits on a dark ground, with boxes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from sample_digits import sample_digits

WIDE, HIGH = 80, 64
CLASSES = ("zero", "one", "two")
PARTS = {"trainval": 9, "test": 3}

Box = tuple[str, int, int, int, int]


def draw_scene(number: int) -> tuple[np.ndarray, list[Box]]:
    """Draw an image with two digits (uint8 H×W×3); return it with the digits' names and edges."""
    digits, found = sample_digits(), []
    draw = torch.Generator().manual_seed(number)
    canvas = np.full((HIGH, WIDE, 3), 20, np.uint8)
    for half in range(2):
        kind = int(torch.randint(len(CLASSES), (1,), generator=draw))
        side = int(torch.randint(20, 32, (1,), generator=draw))
        left = 40 * half + int(torch.randint(0, 40 - side, (1,), generator=draw))
        top = int(torch.randint(0, HIGH - side, (1,), generator=draw))
        pixels = Image.fromarray(digits.images[np.flatnonzero(digits.target == kind)[number]].astype(np.uint8) * 15)
        canvas[top : top + side, left : left + side] = np.asarray(pixels.resize((side, side)))[..., None]
        found.append((CLASSES[kind], left, top, left + side, top + side))
    return canvas, found


def write_voc(folder: Path, parts: dict[str, int] = PARTS) -> Path:
    """Write a data set in VOC's layout: image K of a part is called PART_K; image 0 has a difficult object."""
    for name in ("JPEGImages", "Annotations", "ImageSets/Main"):
        (folder / name).mkdir(parents=True)
    start = 0
    for part, count in parts.items():
        names = [f"{part}_{k}" for k in range(count)]
        (folder / "ImageSets" / "Main" / f"{part}.txt").write_text("".join(f"{name}\n" for name in names))
        for k, name in enumerate(names):
            canvas, found = draw_scene(start + k)
            Image.fromarray(canvas).save(folder / "JPEGImages" / f"{name}.jpg", quality=95)
            (folder / "Annotations" / f"{name}.xml").write_text(_xml(found, difficult=k == 0))
        start += count
    return folder


def _xml(found: list[Box], difficult: bool) -> str:
    size = f"<size><width>{WIDE}</width><height>{HIGH}</height><depth>3</depth></size>"
    lines = ["<annotation>", f"\t{size}"]
    for index, (name, left, top, right, bottom) in enumerate(found):
        edges = f"<xmin>{left}</xmin><ymin>{top}</ymin><xmax>{right}</xmax><ymax>{bottom}</ymax>"
        lines += ["\t<object>", f"\t\t<name>{name}</name><difficult>{int(difficult and index == 1)}</difficult>"]
        lines += [f"\t\t<bndbox>{edges}</bndbox>", "\t</object>"]
    return "\n".join([*lines, "</annotation>\n"])


def write_coco(folder: Path, counts: tuple[int, int] = (8, 4)) -> Path:
    """Write a data set in COCO's layout: categories are 3, 5 and 8; the first object of a part is a crowd."""
    (folder / "annotations").mkdir(parents=True)
    start = 0
    for part, count in zip(("train2017", "val2017"), counts, strict=True):
        (folder / part).mkdir()
        content: dict[str, Any] = {"images": [], "annotations": []}
        content["categories"] = [{"id": i, "name": name} for i, name in zip((8, 3, 5), CLASSES, strict=True)]
        for number in range(start, start + count):
            canvas, found = draw_scene(number)
            Image.fromarray(canvas).save(folder / part / f"{number:012}.jpg")
            size = {"width": WIDE, "height": HIGH}
            content["images"].append({"id": number, "file_name": f"{number:012}.jpg", **size})
            for name, left, top, right, bottom in found:
                box = {"bbox": [left, top, right - left, bottom - top], "area": (right - left) * (bottom - top)}
                kind = {"category_id": (8, 3, 5)[CLASSES.index(name)], "iscrowd": int(not content["annotations"])}
                index = len(content["annotations"]) + 1000 * start
                content["annotations"].append({"id": index, "image_id": number, **box, **kind})
        (folder / "annotations" / f"instances_{part}.json").write_text(json.dumps(content))
        start += count
    return folder
