"""Detection: the metric, the draws, every model's activations, and trainings that end as they should."""

from __future__ import annotations

import base64
import contextlib
import io
import itertools
import re
import sys
import warnings
from pathlib import Path
from typing import Any

import box_data
import pytest
import torch
from PIL import Image
from small_trials import trial
from test_boxes import samples  # noqa: F401
from torch import Tensor, nn

import bevel
from bevel.errors import InvalidValue
from bevel_lab.data.images.boxes import BoxedImages
from bevel_lab.data.source import Source
from bevel_lab.datasets import DATASETS
from bevel_lab.errors import LabError
from bevel_lab.experiment.trial import Trial
from bevel_lab.models import MODELS, _pretrained
from bevel_lab.models._detector import example
from bevel_lab.runtime.distributed import ProcessGroup
from bevel_lab.tasks import TASKS
from bevel_lab.tasks._detection_data import DetectionSample, augmenter
from bevel_lab.tasks._metrics import mean_average_precision
from bevel_lab.tasks.detection import Detection
from bevel_lab.training.activations import ActivationFactory
from bevel_lab.training.preflight import rehearse
from bevel_lab.training.run import run_trial
from bevel_lab.training.trainer import Trainer

CPU = torch.device("cpu")


class _Stop(Exception):
    """Stands for a crash."""


@pytest.fixture(scope="session")
def digits(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The name of a data set of digits, in VOC's layout."""
    return f"folder_voc:{box_data.write_voc(tmp_path_factory.mktemp('digits') / 'own', {'trainval': 20, 'test': 5})}"


def _trial(digits: str, spec: str = "relu", **settings: Any) -> Trial:
    recipe = {"task": "detection", "model": "ssd_small", "dataset": digits, "batch_size": 8, "lr": 0.02, "epochs": 2}
    return trial(spec, **({"train_limit": 0} | recipe | settings))


def _task(digits: str, **settings: Any) -> Detection:
    data: BoxedImages = DATASETS.item(digits).load(Source())
    return Detection(_trial(digits, **settings), data, CPU)


def _item(truth: list[list[float]], labels: list[int], ignored: list[bool] | None = None) -> DetectionSample:
    kinds = torch.tensor(ignored or [False] * len(labels), dtype=torch.bool)
    image = torch.zeros(3, 4, 4, dtype=torch.uint8)
    return DetectionSample(image, torch.tensor(truth).reshape(-1, 4), torch.tensor(labels, dtype=torch.int64), kinds)


def _found(found: list[list[float]], labels: list[int], scores: list[float]) -> dict[str, torch.Tensor]:
    return {"boxes": torch.tensor(found), "labels": torch.tensor(labels), "scores": torch.tensor(scores)}


# --------------------------------------------------------------------------------------------------------- the metric


def test_the_metric_on_the_librarys_own_example() -> None:
    guess = _found([[258.0, 41.0, 606.0, 285.0]], [1], [0.536])
    found = mean_average_precision([(guess, _item([[214.0, 41.0, 562.0, 285.0]], [1]))])
    # torchmetrics prints 0.6 and 1 for it: the IoU is 0.78, so six of ten thresholds are met
    assert found == {"map_50": 1.0, "map": pytest.approx(0.6)}


def test_the_metric_is_pycocotools() -> None:
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    draw, pairs, truths, guesses = torch.Generator().manual_seed(1), [], [], []
    for image in range(1, 6):
        corner, side = 80 * torch.rand(4, 2, generator=draw), 10 + 30 * torch.rand(4, 2, generator=draw)
        truth = torch.cat([corner, corner + side], 1)
        guess = truth + 2 * torch.randn(4, 4, generator=draw)
        scores = torch.rand(4, generator=draw)
        labels = [1, 2, 1, 2]
        pairs.append((_found(guess.tolist(), [1, 2, 2, 2], scores.tolist()), _item(truth.tolist(), labels)))
        for k in range(4):
            x, y, r, b = truth[k].tolist()
            one = {"bbox": [x, y, r - x, b - y], "area": (r - x) * (b - y), "iscrowd": 0, "image_id": image}
            truths.append(one | {"id": len(truths) + 1, "category_id": labels[k]})
            x, y, r, b = guess[k].tolist()
            two = {"bbox": [x, y, r - x, b - y], "score": float(scores[k]), "category_id": [1, 2, 2, 2][k]}
            guesses.append(two | {"image_id": image})
    with contextlib.redirect_stdout(io.StringIO()):
        reference = COCO()
        reference.dataset = {
            "images": [{"id": i} for i in range(1, 6)],
            "annotations": truths,
            "categories": [{"id": 1}, {"id": 2}],
        }
        reference.createIndex()
        theirs = COCOeval(reference, reference.loadRes(guesses), "bbox")
        theirs.evaluate(), theirs.accumulate(), theirs.summarize()
    found = mean_average_precision(pairs)
    assert 0.2 < found["map"] < found["map_50"] < 1
    assert [found["map"], found["map_50"]] == pytest.approx(theirs.stats[:2].tolist(), abs=1e-6)


def test_what_is_found_on_an_ignored_object_is_no_error() -> None:
    truth = [[0.0, 0, 10, 10], [50.0, 50, 60, 60]]
    guess = _found(truth, [1, 1], [0.5, 0.9])
    counted = mean_average_precision([(guess, _item(truth, [1, 1], [False, True]))])
    missed = mean_average_precision([(guess, _item(truth[:1], [1]))])
    assert counted["map_50"] == 1
    assert missed["map_50"] == pytest.approx(0.5)
    nothing = _found([], [], []) | {"boxes": torch.zeros(0, 4), "labels": torch.zeros(0, dtype=torch.int64)}
    assert mean_average_precision([(nothing, _item(truth, [1, 1]))]) == {"map_50": 0.0, "map": 0.0}


def test_a_missing_library_is_named_before_anything_is_trained(digits: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pycocotools", None)
    with pytest.raises(
        LabError,
        match=r"detection is measured by torchmetrics and pycocotools .*; pip install '\.\[tasks\]' in a clone",
    ):
        _task(digits)


# ---------------------------------------------------------------------------------------------------------- the draws


@pytest.mark.parametrize("kind", ["flip", "crop", "ssd"])
def test_boxes_move_with_what_they_are_around(kind: str) -> None:
    image = torch.zeros(3, 60, 80, dtype=torch.uint8)
    image[:, 20:40, 10:30] = 255
    kinds = torch.tensor([False])
    given = DetectionSample(image, torch.tensor([[10.0, 20.0, 30.0, 40.0]]), torch.tensor([1]), kinds)
    augment, state = augmenter(kind, 96), torch.get_rng_state()
    made = [augment(given, seed) for seed in range(20)]
    assert torch.equal(torch.get_rng_state(), state)
    for item in made:
        left, top, right, bottom = item.boxes.round().int().tolist()[0]
        light = item.image.float().mean(0)
        inside = light[top + 1 : bottom - 1, left + 1 : right - 1] > 0.9 * light.max()
        assert inside.float().mean() > 0.8, "the box is where the light is"
        if kind != "ssd":  # the ground that zooming out adds is grey
            assert (light > 0.9 * light.max()).sum() <= 1.5 * inside.numel(), "and only there"
    again = augment(given, 3)
    assert torch.equal(again.image, made[3].image)
    assert torch.equal(again.boxes, made[3].boxes)
    assert len({tuple(item.boxes.flatten().tolist()) for item in made}) >= 2
    empty = augment(DetectionSample(image, given.boxes[:0], given.labels[:0], kinds[:0]), 1)
    assert len(empty.boxes) == 0


def test_a_batch_is_the_same_in_shares_and_in_every_order(digits: str) -> None:
    task = _task(digits)
    order = [torch.tensor([3, 1, 7, 5]), torch.tensor([2, 0])]
    whole = list(task.batches(order, 4, 2))
    shares = [lambda count: (0, count // 2), lambda count: (count // 2, count)]
    halves = [list(task.batches(order, 4, 2, share)) for share in shares]
    for (images, targets), *parts in zip(whole, *halves, strict=True):
        together = [image for part in parts for image in part[0]]
        assert all(torch.equal(a, b) for a, b in zip(images, together, strict=True))
        others = [target for part in parts for target in part[1]]
        assert all(torch.equal(a["boxes"], b["boxes"]) for a, b in zip(targets, others, strict=True))
    (one, *_), _ = next(task.batches([torch.tensor([3, 6])], 4, 2))
    assert torch.equal(one, whole[0][0][0])
    sides = {tuple(t["boxes"].flatten().tolist()) for e in range(8) for t in next(task.batches([order[1]], 4, e))[1]}
    assert len(sides) == 4, "each of two samples, mirrored or not"


def test_what_is_ignored_is_not_learnt(digits: str) -> None:
    task = _task(digits, augment=False)
    names = [sample.path.name for sample in task.training.samples]
    _, targets = next(task.batches([torch.arange(len(names))], 0, 0))
    assert [len(target["labels"]) for target in targets] == [1 if name == "trainval_0.jpg" else 2 for name in names]


def test_the_split_is_one_for_all_seeds(digits: str) -> None:
    tasks = [_task(digits, seed=seed) for seed in (0, 5)]
    names = [[s.path.name for s in (*task.training.samples, *task.validation.samples)] for task in tasks]
    assert names[0] == names[1]
    assert len(set(names[0])) == 20
    assert (tasks[0].samples, len(tasks[0].validation.samples)) == (16, 4)
    assert _task(digits, train_limit=5).samples == 5


# --------------------------------------------------------------------------------------------------------- the models


@pytest.mark.parametrize(
    ("name", "count"),
    [
        ("ssd_small", 9),
        ("ssdlite320_mobilenet_v3", 63),
        pytest.param("fasterrcnn_resnet50_fpn", 52, marks=pytest.mark.network),
        pytest.param("ssd300_vgg16", 23, marks=pytest.mark.network),
    ],
)
def test_a_swap_covers_every_unit(name: str, count: int) -> None:
    factory = ActivationFactory("frelu")
    network = MODELS.item(name).build(factory, 3)
    if name.startswith("faster"):
        network.transform.max_size = 64
    assert len(factory.sites(network)) == count
    assert not [m for m in network.modules() if isinstance(m, nn.ReLU | nn.ReLU6 | nn.Hardswish)]
    images, targets = example(network)
    losses = network.train()(images, targets)
    sum(losses.values()).backward()
    unused = [site for site, call in factory.sites(network).items() if next(call.module.parameters()).grad is None]
    assert not unused
    found = network.eval()(images)
    assert [set(one) for one in found] == [{"boxes", "labels", "scores"}] * len(images)


def _folded(network: nn.Module, images: list[Tensor], *parts: str) -> int:
    """Fold, in place, the parts of a detector one by one; how many activations went into a layer."""
    given: dict[nn.Module, tuple[Any, ...]] = {}
    modules = [network.get_submodule(part) for part in parts]
    handles = [m.register_forward_pre_hook(lambda module, inputs: given.update({module: inputs})) for m in modules]
    network(images)
    for handle in handles:
        handle.remove()
    return sum(bool(row.into) for module in modules for row in bevel.fold(module, *given[module], inplace=True).rows)


@pytest.mark.parametrize(
    ("name", "parts", "units", "foldable"),
    [
        ("ssdlite320_mobilenet_v3", ("backbone", "head"), 63, 63),
        # of the 52: 16 follow a sum, and RPN's runs at five scales
        pytest.param("fasterrcnn_resnet50_fpn", ("",), 52, 35, marks=pytest.mark.network),
        pytest.param("ssd300_vgg16", ("backbone", "head"), 23, 23, marks=pytest.mark.network),
    ],
)
def test_folded_and_hardened_a_detector_finds_the_same(
    name: str, parts: tuple[str, ...], units: int, foldable: int
) -> None:
    torch.manual_seed(0)
    network = MODELS.item(name).build(ActivationFactory("smooth_frelu:n=100000"), 3)
    _, targets = example(network)
    images = [torch.rand(3, 96, 96) for _ in targets]
    if name.startswith("faster"):
        network.transform.max_size = 128
        network.roi_heads.detections_per_img = 10  # further down, scores are so close that rounding reorders them
    for m in network.modules():
        if isinstance(m, nn.BatchNorm2d):
            m.momentum = None  # statistics of one batch, so that values keep their size
    with torch.no_grad():
        network.train()(images, targets)
        for parameter in (p for name, p in network.named_parameters() if name.endswith("positive")):
            parameter.uniform_(0.8, 1.2)
        before = _seen(network.eval(), images)
        hard = bevel.harden(network, 1e-4)
        count = _folded(hard.model, images, *parts)
        after = _seen(hard.model, images)
    assert sum(bool(row.new) for row in hard.rows) == units
    assert count == foldable
    for a, b in zip(before, after, strict=True):
        assert (a - b).abs().max() <= 1e-3 * a.double().std()


def _seen(network: nn.Module, images: list[Tensor]) -> list[Tensor]:
    """Boxes, labels and scores; of an SSD the head's result, from which near ties make other detections."""
    from torchvision.models.detection.ssd import SSD

    given: list[dict[str, Tensor]] = []
    if isinstance(network, SSD):
        handle = network.head.register_forward_hook(lambda module, arguments, result: given.append(result))
        network(images)
        handle.remove()
    else:
        given = network(images)
    return [value for found in given for value in found.values()]


def test_coordinates_are_in_float32_under_autocast() -> None:
    network = MODELS.item("ssd_small").build(ActivationFactory("relu"), 3)
    images, targets = example(network)
    with torch.autocast("cpu", torch.bfloat16):
        losses = network(images, targets)
        found = network.eval()(images)
    assert {value.dtype for value in (*losses.values(), found[0]["boxes"], found[0]["scores"])} == {torch.float32}


def test_weights_of_the_backbone_alone_will_do(tmp_path: Path) -> None:
    network = MODELS.item("ssd_small").build(ActivationFactory("relu"), 3)
    torch.save(network.backbone.state_dict(), tmp_path / "backbone.pth")
    other = MODELS.item("ssd_small").build(ActivationFactory("relu"), 3)
    said, _ = _pretrained.load(other, tmp_path / "backbone.pth")
    assert "initial values stay for head." in said
    own, given = other.backbone.state_dict(), network.backbone.state_dict()
    assert all(torch.equal(own[name], given[name]) for name in given)


# ------------------------------------------------------------------------------------------------------- the trainings


def test_an_interrupted_training_ends_as_an_undisturbed_one(digits: str, tmp_path: Path) -> None:
    one, state = _trial(digits, "smooth_frelu", epochs=3), tmp_path / "state.pt"

    def crash(done: int, epoch: object) -> None:
        if done == 2:
            raise _Stop

    with pytest.raises(_Stop):
        run_trial(one, state=state, state_every=0, on_epoch=crash)
    reached: list[int] = []
    resumed = run_trial(one, state=state, state_every=0, on_epoch=lambda done, epoch: reached.append(done))
    assert reached == [3], "it went on, it did not start again"
    assert resumed.result == run_trial(one).result


@pytest.mark.parametrize(
    "settings",
    [
        {"precision": "bfloat16", "channels_last": True},
        {"alternate": "epoch", "optimizer": "adamw", "lr": 1e-3, "schedule": "constant"},
        {"sharpness": "1:20", "optimizer": "adam", "lr": 1e-3},
        {"tuning": True, "augment": False},
    ],
)
def test_every_way_to_train_serves_detection(digits: str, settings: dict[str, Any]) -> None:
    record = run_trial(_trial(digits, "smooth_frelu", **settings))
    losses = [epoch.train["loss"] for epoch in record.epochs]
    assert losses[1] < losses[0]
    assert record.metric == "map_50"
    assert set(record.test) == {"map_50", "map"}
    assert len(record.sites) == 9


def test_a_diverged_training_ends(digits: str) -> None:
    record = run_trial(_trial(digits, lr=1e30))
    assert not record.epochs[-1].train["loss"] < 1e9
    assert record.test["map_50"] == 0


def test_pictures_are_small_and_of_the_same_samples(digits: str) -> None:
    pictures = [run_trial(_trial(digits, spec, epochs=1)).pictures for spec in ("relu", "frelu")]
    assert [p.truth for p in pictures[0]] == [p.truth for p in pictures[1]]
    assert len(pictures[0]) == 3
    for picture in itertools.chain(*pictures):
        assert re.fullmatch(r"test_\d\.jpg", picture.title), "an arm's guess is no part of the sample's name"
        for uri in (picture.truth, picture.guess):
            head, _, content = uri.partition(",")
            assert head == "data:image/png;base64"
            assert len(uri) < 25_000
            with Image.open(io.BytesIO(base64.b64decode(content))) as image:
                assert image.width == 176
                assert image.height - 141 in (12, 24), "a line or two for the classes that occur"
    with Image.open(io.BytesIO(base64.b64decode(pictures[0][0].truth.partition(",")[2]))) as image:
        colors = {color for _, color in image.convert("RGB").getcolors()}
    assert colors & {(230, 25, 75), (0, 130, 255), (60, 180, 75)}, "the boxes have their classes' colors"


def test_what_does_not_fit_is_refused(digits: str) -> None:
    with pytest.raises(InvalidValue, match=r"mixup must be 0 for detection, got 0.2"):
        _task(digits, mixup=0.2)
    with pytest.raises(InvalidValue, match=r"model 'cnn' is for classification; choose one for detection"):
        _task(digits, model="cnn")
    with pytest.raises(InvalidValue, match=r"detection takes BoxedImages; data set 'digits' gives LabeledImages"):
        TASKS["detection"](_trial(digits, dataset="digits"), DATASETS.item("digits").load(Source()), CPU)
    with pytest.raises(InvalidValue, match=r"training needs at least 2 samples; 19 of 20 are held out"):
        _task(digits, validation=0.95)
    rehearse(_trial(digits))


def _trained(one: Trial, source: Source) -> Trainer:
    trainer = Trainer(one, source, CPU, ProcessGroup())
    while len(trainer.epochs) < one.epochs:
        trainer.advance()
    return trainer


@pytest.mark.network
def test_real_cells_are_found_and_folding_changes_nothing(samples: Path) -> None:  # noqa: F811
    settings = {"epochs": 3, "lr": 0.03, "batch_size": 4, "train_limit": 96}
    one = trial("frelu", task="detection", model="ssd_small", dataset="bccd", **settings)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # of the two boxes without an area
        trainer = _trained(one, Source(samples, skip_invalid=True))
    assert trainer.epochs[-1].train["loss"] < 0.7 * trainer.epochs[0].train["loss"]
    before = trainer.evaluate(trainer.task.test)
    assert before["map_50"] > 0.1, "boxes by chance have less than 0.01"
    assert _folded(trainer.model, [torch.rand(3, 160, 160)], "backbone") == 9 == len(trainer.sites)
    assert trainer.evaluate(trainer.task.test) == pytest.approx(before, abs=1e-3)


@pytest.mark.network
def test_hardening_changes_nothing(digits: str) -> None:
    trainer = _trained(_trial(digits, "sau", epochs=16, batch_size=4, augment=False), Source())
    task = trainer.task
    assert isinstance(task, Detection)

    def training_precision(model: nn.Module) -> dict[str, float]:
        return mean_average_precision(task.detected(model, task.training))

    before = trainer.evaluate(training_precision)
    assert before["map_50"] > 0.1
    hardened = bevel.harden(trainer.model, 1e-4, inplace=True)
    assert [bool(row.new) for row in hardened.rows] == [True] * len(trainer.sites)
    assert trainer.evaluate(training_precision) == pytest.approx(before, abs=1e-3)
