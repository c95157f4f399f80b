"""Augmentation and feeding of batches: right, paired across arms, and the same however it is cut or interrupted."""

from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
from small_trials import trial

from bevel_lab.data.images import LabeledFiles, LabeledImageFiles, LabeledImages, LabeledTensors
from bevel_lab.data.images.augment import augment, draw
from bevel_lab.data.images.from_files import ImageReader
from bevel_lab.data.images.mixing import Mixer
from bevel_lab.data.source import Source
from bevel_lab.datasets import load
from bevel_lab.errors import LabError
from bevel_lab.tasks.classification import Classification
from bevel_lab.training.run import run_trial


def _generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def _shifted(image: torch.Tensor, down: int, right: int) -> torch.Tensor:
    """The slow twin: pixel by pixel, zeros from outside."""
    _, height, width = image.shape
    out = torch.zeros_like(image)
    for i in range(max(0, -down), min(height, height - down)):
        for j in range(max(0, -right), min(width, width - right)):
            out[:, i, j] = image[:, i + down, j + right]
    return out


@pytest.mark.parametrize("flips", [False, True])
def test_augmentation_shifts_and_flips_each_image_by_itself(flips: bool) -> None:
    images = torch.randint(1, 255, (1, 2, 16, 17), dtype=torch.uint8, generator=_generator()).expand(300, -1, -1, -1)
    got = augment(images, flips, draw(300, _generator(3)))
    moves = {(down, right): _shifted(images[0], down, right) for down in range(-2, 3) for right in range(-2, 3)}
    seen = set()
    for after in got:
        found = [
            (down, right, mirrored)
            for mirrored in (False, True)
            for (down, right), moved in moves.items()
            if torch.equal(moved, after.flip(-1) if mirrored else after)
        ]
        assert len(found) == 1
        seen.add(found[0])
    assert {(down, right) for down, right, _ in seen} == set(moves)
    assert {m for _, _, m in seen} == ({False, True} if flips else {False})
    assert torch.equal(got, augment(images, flips, draw(300, _generator(3))))


def test_images_are_normalised_by_the_training_part() -> None:
    images = torch.randint(0, 255, (50, 3, 4, 5), dtype=torch.uint8, generator=_generator())
    labels = torch.zeros(50, dtype=torch.int64)
    test = LabeledTensors(torch.zeros(2, 3, 4, 5, dtype=torch.uint8), torch.zeros(2, dtype=torch.int64))
    data = LabeledImages(LabeledTensors(images, labels), test, classes=1, flips=False)
    scaled = images.double() / 255
    np.testing.assert_allclose(data.mean, scaled.mean((0, 2, 3)), rtol=1e-12)
    np.testing.assert_allclose(data.std, scaled.std((0, 2, 3), correction=0), rtol=1e-12)
    task = Classification(trial(model="mlp", augment=False, validation=0.02), data, torch.device("cpu"))
    flat = task.normalize(images)
    np.testing.assert_allclose(flat.mean((0, 2, 3)), np.zeros(3), atol=1e-5)
    np.testing.assert_allclose(flat.std((0, 2, 3), correction=0), np.ones(3), rtol=1e-5)


def _pictures(count: int, channels: int, side: int = 32, seed: int = 0) -> torch.Tensor:
    """Smooth blobs: pictures on which every operation does something."""
    from torchvision.transforms.v2 import functional as F

    noise = torch.rand(count, channels, 5, 5, generator=_generator(seed))
    return (F.resize(noise, [side, side], antialias=True) * 200 + 20).to(torch.uint8)


@pytest.mark.parametrize("channels", [1, 3])
def test_randaugments_operations_are_torchvisions(channels: int) -> None:
    from torchvision.transforms import v2

    from bevel_lab.data.images.randaugment import OPERATIONS

    images = _pictures(4, channels)
    theirs = v2.RandAugment()
    for operation, (name, (strengths, signed)) in zip(OPERATIONS, theirs._AUGMENTATION_SPACE.items(), strict=True):
        bins = strengths(31, 32, 32)
        for sign in (1.0, -1.0):
            strength = 0.0 if bins is None else float(bins[9]) * (sign if signed else 1)
            wanted = theirs._apply_image_or_video_transform(
                images, name, strength, interpolation=theirs.interpolation, fill=theirs._fill
            )
            apart = (operation(images, sign).int() - wanted.int()).abs()
            assert int(apart.max()) <= 1, name  # their strengths are float32: a color may round the other way
            assert float(apart.double().mean()) < 0.01, name


def test_randaugment_gives_every_image_operations_of_its_own() -> None:
    from bevel_lab.data.images.randaugment import rand_augment

    images = _pictures(1, 3).expand(200, -1, -1, -1)
    draws = torch.rand(2, 2, 200, generator=_generator())
    together = rand_augment(images, draws)
    alone = torch.cat([rand_augment(images[i : i + 1], draws[..., i : i + 1]) for i in range(200)])
    assert torch.equal(together, alone)
    assert len(together.unique(dim=0)) > 50
    assert torch.equal(images[0], _pictures(1, 3)[0])


@pytest.mark.parametrize(("mixup", "cutmix"), [(0.4, 0.0), (0.0, 1.0)])
def test_mixed_images_have_mixed_targets(mixup: float, cutmix: float) -> None:
    images = torch.arange(6.0).view(6, 1, 1, 1).expand(-1, 2, 8, 8).contiguous()
    labels = torch.arange(6)
    shares = set()
    for seed in range(30):
        state = torch.random.get_rng_state()
        mixed, targets = Mixer(mixup, cutmix, 6)(images, labels, seed)
        assert torch.equal(torch.random.get_rng_state(), state)
        np.testing.assert_allclose(targets.sum(1), np.ones(5), rtol=1e-6)
        # image i is i everywhere, so the mean of a mixed image is its expected label
        np.testing.assert_allclose(mixed.mean((1, 2, 3)), targets @ torch.arange(6.0), atol=1e-5)
        shares.add(round(float(targets[0, 1]), 4))
    assert len(shares) > 10


def test_a_batch_is_one_way_or_the_other_where_both_are_asked_for() -> None:
    images = torch.arange(2.0).view(2, 1, 1, 1).expand(-1, 1, 8, 8).contiguous()
    mixer = Mixer(1.0, 1.0, 2)
    kinds = {len(mixer(images, torch.arange(2), seed)[0].unique()) for seed in range(20)}
    assert kinds == {1, 2}  # mixup: one grey; cutmix: a box of the other


OPTIONS = {"mixup": 0.3, "cutmix": 1.0, "randaugment": 2, "label_smoothing": 0.1}


def _batches(task: Classification, seed: int = 0, epoch: int = 0, rank: int = 0, of: int = 1) -> list[torch.Tensor]:
    order = torch.randperm(task.samples, generator=_generator()).tensor_split(4)  # of every seed and epoch

    def share(count: int) -> tuple[int, int]:
        return rank * count // of, (rank + 1) * count // of

    return [part for batch in task.batches(order, seed, epoch, share) for part in batch]


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> LabeledImageFiles:
    """Real digits, enlarged to pictures of different sizes, as JPEG files."""
    from PIL import Image

    folder = tmp_path_factory.mktemp("pictures")
    digits = load("digits", Source()).train
    parts = []
    for name, first, end in (("train", 0, 30), ("test", 30, 36)):
        names = []
        for i in range(first, end):
            picture = Image.fromarray(digits.images[i, 0].numpy()).resize((230 + 3 * i, 260 - 2 * i))
            names.append(f"{name}{i}.jpg")
            picture.save(folder / names[-1])
        parts.append(LabeledFiles(folder, names, digits.labels[first:end]))
    return LabeledImageFiles(*parts, classes=10)


def _task(data: object, **options: object) -> Classification:
    return Classification(trial(**({"train_limit": 40, "model": "cnn"} | options)), data, torch.device("cpu"))


@pytest.mark.parametrize(
    ("kind", "options"),
    [
        ("held", {}),
        ("held", OPTIONS),
        ("held", {"augment": False, "randaugment": 2}),
        ("held", {"augment": False, "mixup": 0.3}),
        ("streamed", {}),
        ("streamed", OPTIONS),
    ],
)
def test_batches_follow_from_seed_and_epoch_and_can_be_cut(kind: str, options: dict, files: LabeledImageFiles) -> None:
    data = load("digits", Source()) if kind == "held" else files
    task = _task(data, **options)
    whole = _batches(task, 3, 1)
    again = _batches(_task(data, **options), 3, 1)
    assert all(torch.equal(a, b) for a, b in zip(whole, again, strict=True))
    for other in (_batches(task, 4, 1), _batches(task, 3, 2)):
        assert not any(torch.equal(a, b) for a, b in zip(whole[::2], other[::2], strict=True))
    left, right = (_batches(task, 3, 1, rank, 2) for rank in range(2))
    assert all(torch.equal(w, torch.cat(halves)) for w, *halves in zip(whole, left, right, strict=True))
    assert whole[0].dtype == torch.float32
    assert whole[1].dtype == (torch.float32 if "mixup" in options else torch.int64)


def test_streamed_batches_do_not_depend_on_the_number_of_readers(files: LabeledImageFiles) -> None:
    task = _task(files)
    was, state = torch.get_num_threads(), torch.random.get_rng_state()
    try:
        torch.set_num_threads(2)
        two = _batches(task)
        torch.set_num_threads(1)
        one = _batches(task)
    finally:
        torch.set_num_threads(was)
    assert all(torch.equal(a, b) for a, b in zip(two, one, strict=True))
    assert torch.equal(torch.random.get_rng_state(), state)


def test_readers_travel_to_processes_that_are_spawned() -> None:
    for reader in (ImageReader(augment=True, flips=True), ImageReader(augment=False)):
        assert pickle.loads(pickle.dumps(reader)) == reader


def test_streamed_images_are_cropped_as_torchvision_crops_them(files: LabeledImageFiles) -> None:
    from PIL import Image
    from torchvision.transforms.v2 import functional as F

    task = _task(files)
    (first, _), *_ = task.feed.test()
    with Image.open(files.test.root / files.test.names[0]) as image:
        wanted = F.pil_to_tensor(F.center_crop(F.resize(image.convert("RGB"), [256]), [224, 224]))
    assert torch.equal(first[0], wanted)
    plain = torch.cat(_batches(_task(files, augment=False))[::2])
    cropped = torch.cat(_batches(task)[::2])
    assert plain.shape == cropped.shape == (24, 3, 224, 224)
    assert all(not torch.equal(a, b) for a, b in zip(plain, cropped, strict=True))


def test_a_file_that_goes_bad_stops_the_stream_and_is_named(files: LabeledImageFiles, tmp_path: Path) -> None:
    for name in files.train.names:
        (tmp_path / name).write_bytes((files.train.root / name).read_bytes())
    broken = tmp_path / files.train.names[7]
    broken.write_bytes(broken.read_bytes()[:900])
    train = LabeledFiles(tmp_path, files.train.names, files.train.labels)
    data = LabeledImageFiles(train, files.test, classes=10)
    task = _task(data, validation=0.1, train_limit=0)
    assert 7 in task.feed.index
    with pytest.raises(LabError, match=rf"{broken.name} is no whole image \(.*\); fetch it again") as caught:
        _batches(task)
    assert "\n" not in str(caught.value)
    broken.write_bytes(b"")
    with pytest.raises(LabError, match=f"{broken.name} is empty"):
        LabeledImageFiles(train, files.test, classes=10)
    broken.unlink()
    with pytest.raises(LabError, match=f"{broken.name} cannot be read"):
        LabeledImageFiles(train, files.test, classes=10)


def test_options_change_the_result_and_a_resumed_run_does_not(tmp_path: Path) -> None:
    plain, mixed = trial("prelu"), trial("prelu", **OPTIONS)
    whole = run_trial(mixed)
    assert whole.epochs != run_trial(plain).epochs
    state = tmp_path / "state.pt"

    class Stop(Exception):
        pass

    def stop(done: int, _: object) -> None:
        if done == 2:
            raise Stop

    with pytest.raises(Stop):
        run_trial(mixed, state=state, state_every=0, on_epoch=stop)
    assert run_trial(mixed, state=state).result == whole.result


def test_label_smoothing_and_mixing_reach_the_loss() -> None:
    data = load("digits", Source())
    model = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(64, 10))
    smooth = _task(data, label_smoothing=0.2)
    images, labels = next(smooth.batches([torch.arange(12)], 0, 0))
    spread = 0.8 * torch.nn.functional.one_hot(labels, 10) + 0.02
    wanted = -(spread * model(images).log_softmax(1)).sum(1).mean()
    torch.testing.assert_close(smooth.loss(model, (images, labels))[0], wanted)
    halves = torch.nn.functional.one_hot(labels, 10) * 0.75 + 0.025
    _, metrics = smooth.loss(model, (images, halves))
    guess = model(images).argmax(1)
    torch.testing.assert_close(metrics["accuracy"], halves.gather(1, guess[:, None]).mean())


def test_the_record_says_what_the_data_was() -> None:
    record = run_trial(trial(epochs=1))
    assert record.data == load("digits", Source()).facts
    assert (record.data["train"], record.data["test"]) == (1437, 360)
    data = load("digits", Source())
    other = data.train.images.clone()
    other[5, 0, 3, 3] ^= 1
    assert (
        LabeledImages(LabeledTensors(other, data.train.labels), data.test, 10, False).facts["digest"]
        != data.facts["digest"]
    )


def test_channels_last_is_the_layout_of_the_batch() -> None:
    data = LabeledImages(
        LabeledTensors(_pictures(20, 3), torch.arange(20) % 4),
        LabeledTensors(_pictures(8, 3), torch.arange(8) % 4),
        4,
        True,
    )
    images, _ = next(_task(data, channels_last=True, train_limit=0).batches([torch.arange(6)], 0, 0))
    assert images.is_contiguous(memory_format=torch.channels_last)
    plain, _ = next(_task(data, train_limit=0).batches([torch.arange(6)], 0, 0))
    assert torch.equal(images, plain)
    assert plain.is_contiguous()
