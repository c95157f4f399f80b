"""Segmentation: what is read, what is learnt from it, how it is measured, and what is refused."""

from __future__ import annotations

import base64
import dataclasses
import io
import shutil
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scene_data
import torch
from PIL import Image
from sample_data import place
from torch import nn

import bevel
from bevel.errors import InvalidValue
from bevel_lab.data.images.masks import VOID, Crop, MaskedImages, cropped
from bevel_lab.data.source import Source
from bevel_lab.datasets import DATASETS
from bevel_lab.datasets import load as load_named
from bevel_lab.datasets.camvid import CamVid
from bevel_lab.datasets.cityscapes import CityscapesFine
from bevel_lab.errors import LabError
from bevel_lab.experiment.record import Record
from bevel_lab.experiment.trial import Trial
from bevel_lab.models import MODELS
from bevel_lab.runtime.distributed import ProcessGroup
from bevel_lab.tasks._metrics import SegmentationMetrics
from bevel_lab.tasks._pictures import draw_mask
from bevel_lab.tasks.segmentation import Segmentation
from bevel_lab.training import result
from bevel_lab.training.activations import ActivationFactory
from bevel_lab.training.run import run_trial
from bevel_lab.training.trainer import Trainer


@pytest.fixture
def street(tmp_path: Path) -> Path:
    """A folder of images and masks: 12 to train, 4 to validate, 6 to test."""
    return scene_data.write_parts(tmp_path / "street", {"train": (12, 0), "val": (4, 100), "test": (6, 200)})


def _load(path: Path, skip: bool = False) -> MaskedImages:
    data: MaskedImages = DATASETS.item(f"folder_masks:{path}").load(Source(skip_invalid=skip))
    return data


def _trial(path: Path, spec: str = "relu", **settings: Any) -> Trial:
    recipe: dict[str, Any] = {
        "model": "unet_small", "dataset": f"folder_masks:{path}", "task": "segmentation", "epochs": 3, "batch_size": 4,
        "lr": 0.1,
    }  # fmt: skip
    return Trial(activation=bevel.canonical(spec), **(recipe | settings))


def _trainer(one: Trial, source: Source | None = None) -> Trainer:
    return Trainer(one, source or Source(), torch.device("cpu"), ProcessGroup())


# -------------------------------------------------------------------------------------------------------- what is read


def test_images_and_masks_are_read_as_they_are(street: Path) -> None:
    data = _load(street)
    assert data.validation is not None
    assert (len(data.train), len(data.validation), len(data.test)) == (12, 4, 6)
    assert (data.size, data.crop, data.classes) == ((48, 64), (32, 32), tuple(scene_data.NAMES))
    scene = data.train.read(3)
    assert (scene.dtype, scene.shape) == (torch.uint8, (4, 48, 64))
    assert np.array_equal(scene[3], scene_data.draw_scene(3)[1])
    with Image.open(street / "train" / "images" / "003.jpg") as image:
        assert np.array_equal(scene[:3].permute(1, 2, 0), np.asarray(image))
    assert data.facts["classes"] == "sky, building, road"
    digest = data.facts["digest"]
    mask = scene_data.draw_scene(3)[1]
    mask[0, 0] = 1
    Image.fromarray(mask).save(street / "train" / "masks" / "003.png")
    assert _load(street).facts["digest"] != digest, "one pixel of one mask"


def test_a_folder_without_parts_gets_a_fixed_test_part_and_says_so(tmp_path: Path) -> None:
    scene_data.write_scenes(tmp_path, "images", "masks", 10, 0)
    (tmp_path / "classes.txt").write_text("\n".join(scene_data.NAMES))
    with pytest.warns(UserWarning, match="a fixed test part of 2 pictures was drawn"):
        data = _load(tmp_path)
    assert (len(data.train), len(data.test), data.validation) == (8, 2, None)
    assert not {*data.train.names} & {*data.test.names}
    assert "was drawn" in str(data.facts["note"])


def test_palette_and_black_and_white_masks_hold_numbers(street: Path) -> None:
    folder = street / "train" / "masks"
    Image.open(folder / "000.png").convert("P").save(folder / "000.png")
    drawn = Image.fromarray(scene_data.draw_scene(1)[1], "P")
    drawn.putpalette([200, 0, 0, 0, 200, 0] * 128)
    drawn.save(folder / "001.png")
    Image.fromarray(scene_data.draw_scene(2)[1] == 1).save(folder / "002.png")
    data = _load(street)
    assert np.array_equal(data.train.read(1)[3], scene_data.draw_scene(1)[1])
    assert np.array_equal(data.train.read(2)[3], scene_data.draw_scene(2)[1] == 1)


def _city(root: Path) -> Path:
    """Cityscapes' layout: two training scenes and one for validation, with its label numbers."""
    for split, town, count in (("train", "aachen", 2), ("val", "ulm", 1)):
        for number in range(count):
            image, mask = scene_data.draw_scene(number)
            stem = f"{town}_{number:06}_000019"
            numbers = np.choose(np.where(mask == VOID, 3, mask), [23, 11, 7, 1]).astype(np.uint8)
            for kind, name, pixels in (
                ("leftImg8bit", f"{stem}_leftImg8bit.png", image),
                ("gtFine", f"{stem}_gtFine_labelIds.png", numbers),
            ):
                path = root / "cityscapes" / kind / split / town / name
                path.parent.mkdir(parents=True, exist_ok=True)
                Image.fromarray(pixels).save(path)
    return root


def test_cityscapes_numbers_become_its_nineteen_classes(tmp_path: Path) -> None:
    data = DATASETS.item("cityscapes_subset").load(Source(_city(tmp_path)))
    assert (len(data.classes), data.classes[0], data.classes[10], data.classes[18]) == (19, "road", "sky", "bicycle")
    assert data.colors[0] == (128, 64, 128)
    mine = np.choose(np.where(scene_data.draw_scene(1)[1] == VOID, 3, scene_data.draw_scene(1)[1]), [10, 2, 0, VOID])
    assert np.array_equal(data.train.read(1)[3], mine)
    assert data.train.names[1] == "aachen_000001_000019_leftImg8bit.png"


@pytest.mark.parametrize("hidden", [".ipynb_checkpoints", "__MACOSX", "aachen/._"])
def test_what_is_hidden_is_no_scene_of_cityscapes(tmp_path: Path, hidden: str) -> None:
    _city(tmp_path)
    for kind in ("leftImg8bit", "gtFine"):
        folder = tmp_path / "cityscapes" / kind / "train"
        if hidden.startswith("aachen"):
            for path in list((folder / "aachen").iterdir()):
                shutil.copy(path, folder / f"{hidden}{path.name}")
        else:
            shutil.copytree(folder / "aachen", folder / hidden)
    assert len(DATASETS.item("cityscapes_subset").load(Source(tmp_path)).train) == 2


def test_what_is_wrong_with_cityscapes_is_named(tmp_path: Path) -> None:
    with pytest.raises(LabError, match=r"cityscapes is not in torchvision's layout .* without an account"):
        DATASETS.item("cityscapes_subset").load(Source(tmp_path))
    _city(tmp_path)
    with pytest.raises(LabError, match=r"has 2 training images, 1 validation images, where the whole has 2,975, 500"):
        DATASETS.item("cityscapes").load(Source(tmp_path))
    exact = CityscapesFine((2, 1), (48, 64), (32, 32))
    assert exact.load(Source(tmp_path)).crop == (32, 32)
    next((tmp_path / "cityscapes" / "gtFine" / "train" / "aachen").iterdir()).unlink()
    with pytest.raises(
        LabError, match=r"leftImg8bit.png has no mask .*labelIds.png; put it there, or .* --skip-invalid"
    ):
        exact.load(Source(tmp_path))
    with pytest.warns(UserWarning, match=r"skipped as invalid, 1: .* has no mask"):
        data = exact.load(Source(tmp_path, skip_invalid=True))
    assert len(data.train) == 1
    assert str(data.facts["skipped"]).startswith("1: leftImg8bit/train/aachen/")


@pytest.fixture(scope="session")
def streets(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data root with the real sample of CamVid."""
    return place(tmp_path_factory.mktemp("streets"), "camvid_half")


def test_the_real_camvid_sample(streets: Path) -> None:
    data = load_named("camvid_half", Source(streets))
    assert data.validation is not None
    assert (len(data.train), len(data.validation), len(data.test)) == (184, 51, 117)
    assert (data.size, data.crop, len(data.classes)) == ((180, 240), (128, 160), 11)
    assert data.train.in_memory is not None
    shares = torch.bincount(data.train.in_memory[:, 3].flatten(), minlength=256) / data.train.in_memory[:, 3].numel()
    assert shares[11:VOID].sum() == 0
    assert 0.2 < shares[3] < 0.4, "road"
    assert 0 < shares[VOID] < 0.1
    with pytest.raises(LabError, match=r"has 184 training images, 51 .*, 117 .* where the whole has 367, 101, 233"):
        CamVid("camvid_half", (367, 101, 233), (180, 240)).load(Source(streets))
    with pytest.raises(LabError, match=r"there is no folder .*CamVid; pass --data-root .*, or --download to fetch it"):
        DATASETS.item("camvid").load(Source(streets))


# ------------------------------------------------------------------------------------------------------- what is wrong


def _save(path: str, pixels: np.ndarray) -> Callable[[Path], object]:
    return lambda root: Image.fromarray(pixels).save(root / path)


def _cut(path: str) -> Callable[[Path], object]:
    return lambda root: (root / path).write_bytes((root / path).read_bytes()[:-40])


ODD = scene_data.draw_scene(2)[1].copy()
ODD[7, 9] = 3
DAMAGE = [
    (lambda root: (root / "train/masks/002.png").unlink(), r"002.jpg has no partner 002.\* in .*masks; put it there"),
    (lambda root: (root / "train/images/002.jpg").unlink(), r"002.png has no partner 002.\* in .*images"),
    (_save("train/masks/002.png", ODD), r"002.png has label 3 in row 7, column 9, where labels are 0 … 2, and 255 for"),
    (_save("train/masks/002.png", np.full((48, 64), VOID, np.uint8)), r"002.png is void everywhere; label something"),
    (_save("train/masks/002.png", ODD[:40]), r"002.png has 40×64 pixels and its image 48×64; give them one size"),
    (_save("train/masks/002.png", np.zeros((48, 64, 3), np.uint8)), r"002.png has pixels of Pillow's mode RGB; a mask"),
    (_cut("train/masks/002.png"), r"002.png is no whole image"),
    (_cut("test/images/202.jpg"), r"202.jpg is no whole image"),
    (
        lambda root: scene_data.write_scenes(root / "train", "images", "masks", 1, 2, (32, 64)),
        "002.jpg has 32×64 pixels where the data",
    ),
]  # fmt: skip


@pytest.mark.parametrize(("damage", "words"), DAMAGE)
def test_a_bad_pair_is_named_or_left_out_and_counted(
    street: Path, damage: Callable[[Path], object], words: str
) -> None:
    damage(street)
    with pytest.raises(LabError, match=words + r".*, or skip it with --skip-invalid\."):
        _load(street)
    with pytest.warns(UserWarning, match=r"skipped as invalid, 1: .*02"):
        data = _load(street, skip=True)
    assert len(data.train) + len(data.test) == 17
    assert ("002.jpg" in data.train.names) != ("202.jpg" in data.test.names), "the bad one is gone, no other"
    assert str(data.facts["skipped"]).startswith("1: t"), "relative to the folder"
    assert data.skipped


@pytest.mark.parametrize("pair", [("002.gif", "002.gif"), ("town/002.jpg", "town/002.png")])
def test_what_is_no_image_file_is_not_passed_over_in_silence(street: Path, pair: tuple[str, str]) -> None:
    """A pair in a format, or a folder, that is not read would be missing without a word."""
    for (kind, old), new in zip((("images", "002.jpg"), ("masks", "002.png")), pair, strict=True):
        folder = street / "train" / kind
        (folder / ".DS_Store").write_bytes(b"hidden")
        (folder / new).parent.mkdir(exist_ok=True)
        with Image.open(folder / old) as picture:
            picture.save(folder / new)
        (folder / old).unlink()
    first = pair[0].partition("/")[0]
    with pytest.raises(
        LabError, match=rf"train/images/{first} is no image file \(.jpg, .*\); move it away, or skip it"
    ):
        _load(street)
    with pytest.warns(
        UserWarning, match=rf"skipped as invalid, 2: train/images/{first} is .*; train/masks/{first} is no"
    ):
        assert len(_load(street, skip=True).train) == 11


def test_one_odd_image_leaves_out_itself_and_no_other(street: Path) -> None:
    scene_data.write_scenes(street / "train", "images", "masks", 1, 0, (32, 64))
    with pytest.raises(LabError, match=r"train/images/000\.jpg has 32×64 pixels where the data set's have 48×64"):
        _load(street)
    with pytest.warns(UserWarning, match="skipped as invalid, 1: train/images/000.jpg has 32×64"):
        data = _load(street, skip=True)
    assert (data.size, len(data.train), len(data.test)) == ((48, 64), 11, 6)


@pytest.mark.parametrize("part", ["train", "val", "test"])
def test_parts_beside_images_in_no_part_are_refused(tmp_path: Path, part: str) -> None:
    """One of the two would not be read, and a test part would be drawn although there is one."""
    scene_data.write_parts(tmp_path, {part: (3, 0)})
    scene_data.write_scenes(tmp_path, "images", "masks", 10, 0)
    with pytest.raises(LabError, match=f"has images and masks beside {part}, which would not be read; put them into"):
        _load(tmp_path)


@pytest.mark.parametrize(("damage", "words"), [DAMAGE[2], DAMAGE[7]])
def test_pairs_that_are_not_held_are_checked_when_they_are_read(
    street: Path, damage: Callable[[Path], object], words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bevel_lab.datasets._masks.IN_MEMORY_BYTES", 0)
    damage(street)
    data = _load(street)
    assert data.train.in_memory is None
    with pytest.raises(LabError, match=words):
        run_trial(_trial(street, epochs=1))
    with pytest.warns(UserWarning, match="skipped as invalid"):
        assert run_trial(_trial(street, epochs=1), source=Source(skip_invalid=True)).data["skipped"]


@pytest.mark.parametrize(
    "text", ["\ufeffsky\nbuilding\nroad", "sky \r\nbuilding\r\nroad\r\n\r\n", "sky\nbuilding\nroad\n \n"]
)
def test_classes_are_numbered_by_their_lines(street: Path, text: str) -> None:
    (street / "classes.txt").write_bytes(text.encode())
    assert _load(street).classes == ("sky", "building", "road")


@pytest.mark.parametrize(("text", "line"), [("sky\n\nbuilding\nroad\n", 2), ("\ufeff\nsky\nbuilding\nroad", 1)])
def test_a_blank_line_among_the_classes_is_named(street: Path, text: str, line: int) -> None:
    """Whoever counts lines in an editor numbers the classes after it higher by one."""
    (street / "classes.txt").write_bytes(text.encode())
    with pytest.raises(
        LabError, match=rf"classes.txt, line {line} is blank, so the classes after it have unclear numb"
    ):
        _load(street)


def test_a_folder_that_will_not_do_is_named(street: Path) -> None:
    with pytest.raises(LabError, match="there is no folder nowhere; folder_masks: takes a path"):
        _load(Path("nowhere"))
    (street / "classes.txt").write_text("one")
    with pytest.raises(LabError, match=r"classes.txt names 1 classes; it takes 2 … 255"):
        _load(street)
    (street / "classes.txt").unlink()
    with pytest.raises(LabError, match=r"classes.txt cannot be read .* write the name of a class on every line"):
        _load(street)
    (street / "classes.txt").write_text("background\nthing")
    for number in range(12):
        pixels = np.where(scene_data.draw_scene(number)[1] == 1, VOID, 0).astype(np.uint8)
        Image.fromarray(pixels).save(street / "train" / "masks" / f"{number:03}.png")
    for part in ("val", "test"):
        shutil.rmtree(street / part)
        shutil.copytree(street / "train", street / part)
    with pytest.raises(LabError, match=r"hold class 0 and void \(255\) only; write the second class"):
        _load(street)
    for part in ("val", "test"):
        shutil.rmtree(street / part)
    with pytest.raises(LabError, match="has train but neither test nor val"):
        _load(street)
    shutil.rmtree(street / "train" / "images")
    (street / "test").mkdir()
    with pytest.raises(LabError, match=r"there is no folder .*images"):
        _load(street)


def test_settings_that_do_not_fit_are_refused(street: Path) -> None:
    for settings, words in (
        ({"cutmix": 1.0}, "cutmix must be 0 for segmentation, got 1.0"),
        ({"model": "cnn"}, "model 'cnn' is for classification; choose one for segmentation"),
        ({"dataset": "digits"}, "data set 'digits' gives LabeledImages"),
    ):
        with pytest.raises(InvalidValue, match=words):
            _trainer(_trial(street, **settings))
    tiny = dataclasses.replace(_load(street), crop=(16, 16))
    with pytest.raises(InvalidValue, match=r"takes images of at least 32 pixels a side; .* has 16×16"):
        Segmentation(_trial(street, model="unet_resnet18"), tiny, torch.device("cpu"))
    with pytest.raises(InvalidValue, match="training needs at least 2 samples; 12 of 12 are held out"):
        Segmentation(_trial(street, validation=0.99), dataclasses.replace(tiny, validation=None), torch.device("cpu"))


# --------------------------------------------------------------------------------------------------------- the measure


def test_metrics_are_torchmetrics_own_reference_values() -> None:
    metrics = SegmentationMetrics(3)
    metrics.add(torch.tensor([[[2, 1, 0, 1]]]), torch.tensor([[[2, 1, 0, 0]]]))
    # of torchmetrics' documentation of MulticlassJaccardIndex: (1/2 + 1/2 + 1) / 3
    assert metrics.result()["miou"] == pytest.approx(0.6667, abs=1e-4)
    assert metrics.result()["accuracy"] == 0.75


def test_void_does_not_count_and_an_absent_class_has_no_iou() -> None:
    truth = torch.tensor([[[0, 0, 1, VOID]], [[1, 1, VOID, VOID]]])
    guess = torch.tensor([[[0, 1, 1, 2]], [[1, 1, 0, 2]]])
    one, parts = SegmentationMetrics(4), SegmentationMetrics(4)
    torch.use_deterministic_algorithms(True)
    try:
        one.add(guess, truth)
        for k in range(2):
            parts.add(guess[k : k + 1], truth[k : k + 1])
        assert torch.are_deterministic_algorithms_enabled()
    finally:
        torch.use_deterministic_algorithms(False)
    # class 0: 1 of 2; class 1: 3 of 4; classes 2 and 3 are nowhere outside void
    assert one.result() == pytest.approx({"miou": (1 / 2 + 3 / 4) / 2, "accuracy": 4 / 5})
    assert parts.result() == one.result()


def test_the_loss_is_cross_entropy_without_void(street: Path) -> None:
    task = _trainer(_trial(street)).task
    assert isinstance(task, Segmentation)
    torch.manual_seed(0)
    masks = torch.randint(0, 3, (2, 5, 7))
    masks[0, :2] = VOID
    logits = torch.randn(2, 3, 5, 7)
    loss, more = task.loss(nn.Identity(), (logits, masks))
    pixels = [
        nn.functional.cross_entropy(x[None], y[None], ignore_index=VOID) for x, y in zip(logits, masks, strict=True)
    ]
    torch.testing.assert_close(loss, torch.stack(pixels).mean())
    right = [float((x.argmax(0) == y)[y != VOID].float().mean()) for x, y in zip(logits, masks, strict=True)]
    assert float(more["accuracy"]) == pytest.approx(sum(right) / 2)
    masks[1] = VOID
    assert float(task.loss(nn.Identity(), (logits, masks))[0]) == pytest.approx(float(pixels[0]) / 2)


# -------------------------------------------------------------------------------------------------------- augmentation


def test_image_and_mask_are_cut_alike() -> None:
    scene = torch.arange(4 * 6 * 8, dtype=torch.uint8).view(4, 6, 8)
    found = Crop(1, 2, 3, 4, True).apply(scene)
    assert found.shape == (4, 3, 4)
    assert torch.equal(found, scene[:, 1:4, 2:6].flip(2))
    assert [cropped((side, 1024)) for side in (24, 48, 180, 1024)] == [(24, 768), (32, 768), (128, 768), (768, 768)]


def test_draws_follow_from_seed_epoch_and_sample_only(street: Path) -> None:
    task = _trainer(_trial(street)).task
    assert isinstance(task, Segmentation)
    order = list(torch.randperm(12).split(4))

    def images(epoch: int, *shares: tuple[int, int]) -> list[torch.Tensor]:
        parts = [list(task.batches(order, 5, epoch, lambda count, s=s: s)) for s in shares]
        return [torch.cat([batch[kind] for batch in step]) for step in zip(*parts, strict=True) for kind in (0, 1)]

    once = images(1, (0, 4))
    assert all(torch.equal(a, b) for a, b in zip(once, images(1, (0, 3), (3, 4)), strict=True))
    assert not any(torch.equal(a, b) for a, b in zip(once, images(2, (0, 4)), strict=True))
    assert once[0].shape == (4, 3, 32, 32)
    assert {int(v) for v in once[1].unique()} <= {0, 1, 2, VOID}
    whole = _trainer(_trial(street, augment=False)).task
    masks = next(iter(whole.batches([torch.arange(12)], 5, 0)))[1]
    assert np.array_equal(masks[4], scene_data.draw_scene(4)[1])


def test_a_crop_shows_an_image_where_its_mask_is(street: Path) -> None:
    task = _trainer(_trial(street)).task
    assert isinstance(task, Segmentation)
    for images, masks in task.batches([torch.arange(12)], 0, 0):
        blue = images[:, 2] - images[:, 0]
        assert (blue[masks == 0].mean() - blue[masks == 1].mean()) > 1, "the sky is bluer than a building"


def test_files_read_when_needed_train_as_those_held(street: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    held = _load(street)
    monkeypatch.setattr("bevel_lab.datasets._masks.IN_MEMORY_BYTES", 0)
    lazy = _load(street)
    assert lazy.train.in_memory is None
    keys = [[(0, None), (3, None)], [(2, Crop(3, 4, 32, 32, True)), (1, Crop(0, 0, 32, 32, False))]]
    for a, b in zip(held.train.batches(keys), lazy.train.batches(keys), strict=True):
        assert torch.equal(a, b)


# -------------------------------------------------------------------------------------------------------------- models

UNITS = {"unet": 18, "unet_bn": 18, "unet_small": 14, "unet_resnet18": 27, "deeplabv3_mobilenet_v3": 46}
UNITS["deeplabv3_resnet50"] = 56  # 49 of the backbone, 5 branches, their sum, the head


@pytest.mark.parametrize("name", UNITS)
def test_a_model_gives_logits_of_its_images_size_and_every_unit_is_swapped(name: str) -> None:
    factory = ActivationFactory(bevel.canonical("frelu"))
    with torch.device("meta") if name in ("unet", "unet_bn") else torch.device("cpu"):
        model = MODELS.item(name).build(factory, 3, (64, 64), 7).eval()
        with torch.no_grad():
            assert model(torch.zeros(1, 3, 70, 93)).shape == (1, 7, 70, 93)
    assert len(factory.sites(model)) == UNITS[name]
    numbers = sum(p.numel() for p in model.parameters())
    if name == "unet":
        assert round(numbers / 1e6, 1) == 31.0


def test_fine_tuning_starts_from_torchvisions_own_file(street: Path, tmp_path: Path) -> None:
    from torchvision.models.segmentation import deeplabv3_mobilenet_v3_large

    torch.manual_seed(1)
    network = deeplabv3_mobilenet_v3_large(weights=None, weights_backbone=None, num_classes=21, aux_loss=True)
    torch.save(network.state_dict(), tmp_path / "coco.pth")
    one = _trial(street, "frelu", model="deeplabv3_mobilenet_v3", weights=str(tmp_path / "coco.pth"))
    trainer = _trainer(one)
    own = dict(trainer.model.named_parameters())
    assert torch.equal(own["network.classifier.1.weight"], network.classifier[1].weight)
    assert "initial values stay for classifier.4.weight, classifier.4.bias" in trainer.facts["weights"]


# ------------------------------------------------------------------------------------------------------------ training


class _Stop(Exception):
    """Stands for a crash."""


def test_an_interrupted_trial_ends_as_an_undisturbed_one(street: Path, tmp_path: Path) -> None:
    one, state = _trial(street, "smooth_frelu", alternate="step"), tmp_path / "state.pt"

    def crash(done: int, epoch: object) -> None:
        if done == 2:
            raise _Stop

    with pytest.raises(_Stop):
        run_trial(one, state=state, state_every=0, on_epoch=crash)
    reached: list[int] = []
    resumed = run_trial(one, state=state, state_every=0, on_epoch=lambda done, epoch: reached.append(done))
    assert reached == [3], "it went on, it did not start again"
    assert resumed.result == run_trial(one).result


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> tuple[Trainer, Record]:
    """A trained U-Net on scenes that take seconds to learn."""
    root = scene_data.write_parts(tmp_path_factory.mktemp("learnt"), {"train": (24, 0), "test": (6, 200)})
    trainer = _trainer(_trial(root, "frelu", epochs=8))
    while len(trainer.epochs) < 8:
        trainer.advance()
    return trainer, result.make_record(trainer, "frelu")


def test_it_learns_far_above_chance(trained: tuple[Trainer, Record]) -> None:
    record = trained[1]
    assert record.epochs[-1].train["loss"] < record.epochs[0].train["loss"] / 2
    assert record.metric == "miou"
    assert record.test["miou"] > 0.6, "one class everywhere has at most a third"
    assert record.test["accuracy"] > 0.8
    assert set(record.epochs[0].validation) == {"loss", "miou", "accuracy"}
    assert Record.from_json(record.to_json()) == record


@pytest.mark.parametrize(
    ("spec", "hard", "folded"), [("frelu", 0, 14), ("sau", 14, 0), ("smooth_frelu:n=1000", 14, 14)]
)
def test_folded_and_hardened_it_measures_the_same(street: Path, spec: str, hard: int, folded: int) -> None:
    trainer = _trainer(_trial(street, spec, lr=0.3))
    for _ in range(3):
        trainer.advance()
    before = trainer.evaluate(trainer.task.test)
    example = torch.zeros(2, 3, 48, 64)
    hardened = bevel.harden(trainer.model, 1e-3, example)
    result = bevel.fold(hardened.model, example)
    assert sum(bool(row.new) for row in hardened.rows) == hard, str(hardened)
    assert sum(bool(row.into) for row in result.rows) == folded, str(result)
    with torch.no_grad():
        found = trainer.task.test(result.model.eval())
    assert found["miou"] == pytest.approx(before["miou"], abs=2e-3)
    assert found["loss"] == pytest.approx(before["loss"], rel=2e-3)


def test_pictures_show_the_image_through_its_mask_and_name_the_colours(trained: tuple[Trainer, Record]) -> None:
    trainer, record = trained
    assert [picture.title for picture in record.pictures] == ["200.jpg", "202.jpg", "204.jpg"]
    assert all(_pixels(picture.given).shape == (48, 64, 3) for picture in record.pictures)
    task = trainer.task
    assert isinstance(task, Segmentation)
    mask, image = scene_data.draw_scene(202)[1], _pixels(record.pictures[1].given).astype(float)
    colors = np.array([*task.data.colors, (0, 0, 0)])
    for uri, least in ((record.pictures[1].truth, 0.99), (record.pictures[1].guess, 0.8)):
        found = _pixels(uri)
        expected = 0.6 * colors[np.where(mask == VOID, 3, mask)] + 0.4 * image
        near = np.abs(found[:48] - expected).max(-1) < 24  # the image's colors are rounded to few, twice
        assert near[mask != VOID].mean() > least
        legend = {tuple(color) for color in found[48:].reshape(-1, 3).tolist()}
        assert legend >= {tuple(color) for color in colors[:3].tolist()}
        assert (0, 0, 0) in legend, "names are black"
    truth = draw_mask(
        torch.zeros(3, 4, 100).byte(), torch.full((4, 100), 2).byte(), task.data.classes, task.data.colors
    )
    assert {tuple(c) for c in _pixels(truth)[4:].reshape(-1, 3).tolist()} == {
        task.data.colors[2], (0, 0, 0), (255, 255, 255),
    }, "what does not occur is not named"  # fmt: skip


def test_pictures_are_small() -> None:
    draw = torch.Generator().manual_seed(0)
    noise = torch.randint(256, (3, 512, 1024), generator=draw).byte()
    mask = torch.randint(19, (8, 16), generator=draw).byte().repeat_interleave(64, 0).repeat_interleave(64, 1)
    names, colors = [f"class {k}" for k in range(19)], [(13 * k, 255 - 13 * k, 7 * k) for k in range(19)]
    drawn = _pixels(draw_mask(noise, mask, names, colors))
    assert drawn.shape[1] == 160
    assert 80 + 12 * 4 <= drawn.shape[0] < 80 + 12 * 19, "several names a line"
    assert len(draw_mask(noise, mask, names, colors)) < 25_000


def _pixels(uri: str) -> np.ndarray:
    with Image.open(io.BytesIO(base64.b64decode(uri.removeprefix("data:image/png;base64,")))) as image:
        return np.asarray(image.convert("RGB"))


@pytest.mark.parametrize(
    "settings",
    [
        {"precision": "bfloat16", "channels_last": True, "spec": "sau"},
        {"sharpness": "2:200", "optimizer": "adam", "lr": 0.01, "spec": "smooth_frelu"},
        {"model": "deeplabv3_mobilenet_v3", "label_smoothing": 0.1, "train_limit": 4},
    ],
)
def test_every_way_of_training_runs(street: Path, settings: dict[str, Any]) -> None:
    record = run_trial(_trial(street, **({"epochs": 2} | settings)))
    assert record.epochs[-1].train["loss"] < 3
    assert 0 <= record.test["miou"] <= 1


@pytest.mark.network
def test_a_small_u_net_learns_real_streets(streets: Path) -> None:
    one = Trial(
        activation=bevel.canonical("frelu"), model="unet_small", dataset="camvid_half", task="segmentation", epochs=3,
        batch_size=8, lr=0.1, train_limit=104,
    )  # fmt: skip
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        record = run_trial(one, source=Source(streets))
    assert record.epochs[-1].train["loss"] < 0.75 * record.epochs[0].train["loss"]
    # the commonest class everywhere: 31 % of the pixels, an IoU of 0.03
    assert record.test["accuracy"] > 0.5
    assert record.test["miou"] > 0.12
    assert all(len(uri) < 25_000 for p in record.pictures for uri in (p.given, p.truth, p.guess))
