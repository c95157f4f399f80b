"""What is to be run: one activation in one model on one data set with one seed."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

OPTIMIZERS = ("sgd", "adam", "adamw")
SCHEDULES = ("cosine", "inverse_sqrt", "constant")
PRECISIONS = ("float32", "bfloat16")
ALTERNATE = re.compile(r"|(step|epoch)(:[1-9]\d*:[1-9]\d*)?")
SHARPNESS = re.compile(r"|[^:]+:[^:]+(:(geometric|linear|cosine))?")

OLD_NAMES = {"optimiser": "optimizer", "skip_bad": "skip_invalid"}
"""Names that fields and keys once had. Files may still hold them, and ids are hashes of them."""

_RULES: dict[str, tuple[Callable[[Any], bool], str]] = {
    "seed": (lambda v: v >= 0, "at least 0"),
    "epochs": (lambda v: v >= 1, "at least 1"),
    "batch_size": (lambda v: v >= 2, "at least 2 (batch norm needs two samples)"),
    "lr": (lambda v: v > 0, "above 0"),
    "momentum": (lambda v: 0 <= v < 1, "from 0 up to but not including 1"),
    "weight_decay": (lambda v: v >= 0, "at least 0"),
    "warmup": (lambda v: 0 <= v <= 1, "a fraction from 0 to 1"),
    "activation_lr": (lambda v: v >= 0, "at least 0"),
    "validation": (lambda v: 0 < v < 1, "a fraction between 0 and 1"),
    "train_limit": (lambda v: v == 0 or v >= 2, "0 (all) or at least 2"),
    "threads": (lambda v: v >= 1, "at least 1"),
    "optimizer": (lambda v: v in OPTIMIZERS, f"one of {', '.join(OPTIMIZERS)}"),
    "schedule": (lambda v: v in SCHEDULES, f"one of {', '.join(SCHEDULES)}"),
    "precision": (lambda v: v in PRECISIONS, f"one of {', '.join(PRECISIONS)}"),
    "label_smoothing": (lambda v: 0 <= v < 1, "from 0 up to but not including 1"),
    "mixup": (lambda v: v >= 0, "at least 0 (0: none)"),
    "cutmix": (lambda v: v >= 0, "at least 0 (0: none)"),
    "randaugment": (lambda v: v >= 0, "at least 0 (0: none)"),
    "alternate": (lambda v: bool(ALTERNATE.fullmatch(v)), "empty, 'step', 'epoch', or such as 'epoch:2:1'"),
    "sharpness": (lambda v: bool(SHARPNESS.fullmatch(v)), "empty, or such as '1:1000' and '1:1000:linear'"),
    "processes": (lambda v: v >= 1, "at least 1"),
}


def renamed(fields: Mapping[str, Any]) -> dict[str, Any]:
    """``fields`` under the names that they have now."""
    return {OLD_NAMES.get(name, name): value for name, value in fields.items()}


def _neutral(default: Any) -> Any:
    """A field that says nothing, and is not hashed, while it has its default."""
    return dataclasses.field(default=default, metadata={"neutral": True})


@dataclass(frozen=True, kw_only=True)
class Trial:
    """A training run, resolved: every default is filled in, so that equal content means equal results.

    Everything that can change the result is a field; where data lies, how many workers run and how often a
    checkpoint is written are not. ``threads`` is one because summation order depends on it.

    Attributes:
        activation: canonical spec string with every argument written out (see ``bevel.canonical``), e.g.
            ``"leaky_relu:dim=1,negative_slope=0.15"``.
        model, dataset, task: names on the lab's registries.
        seed: the pair's number; all arms of one seed share split, initial weights, order and augmentation.
        epochs, batch_size: training length; counts. An epoch is cut into equal batches of at most that size.
        lr, momentum, weight_decay, warmup: SGD with a cosine schedule; ``warmup`` is the fraction of steps with
            linearly rising lr. Biases, norms and activation parameters never decay.
        activation_lr: learning rate of activation parameters as a multiple of ``lr``.
        augment: whether training images are randomly shifted (and flipped where the data set says so).
        validation: the fraction of the training part held out for validation.
        train_limit: use only that many training samples (0: all).
        threads: torch threads.
        optimizer, schedule: ``sgd`` (with ``momentum``), ``adam`` or ``adamw``; what follows the warm-up.
        label_smoothing: share of the target that is spread evenly over the classes.
        mixup, cutmix: the concentration of the Beta law that mixes pairs of training images; 0: not done.
        randaugment: number of random operations on each training image (torchvision's RandAugment); 0: none.
        alternate: how weights and activation parameters take turns (``bevel.Alternating``): ``"step"`` or
            ``"epoch"``, with ``":W:A"`` for W turns of the weights and A of the activations; ``""``: they do not.
        sharpness: how n moves over training (``bevel.SharpnessSchedule``): ``"START:END"``, with ``":linear"`` or
            ``":cosine"`` instead of geometric; ``""``: it does not.
        precision: ``bfloat16`` runs forward passes under autocast.
        channels_last, compile: memory format of images and weights; whether the model goes through torch.compile.
        processes: processes that share every batch (data parallel).
        tuning: whether this run only helps to choose a recipe: it is judged on the validation part, and the test
            part is not read.
        weights: path of a local file of pretrained weights; activations are then put in so
            that the network's function is kept where they can. ``""``: initial weights are drawn.

    The fields from ``optimizer`` on are hashed only where they differ from their defaults, so that a field added
    later changes no id.

    Raises:
        bevel.errors.InvalidValue: where a number is outside its range or of the wrong type.
    """

    activation: str
    model: str = "cnn"
    dataset: str = "digits"
    task: str = "classification"
    seed: int = 0
    epochs: int = 12
    batch_size: int = 32
    lr: float = 0.05
    momentum: float = 0.9
    weight_decay: float = 5e-4
    warmup: float = 0.1
    activation_lr: float = 1.0
    augment: bool = True
    validation: float = 0.2
    train_limit: int = 0
    threads: int = 1
    optimizer: str = _neutral("sgd")
    schedule: str = _neutral("cosine")
    label_smoothing: float = _neutral(0.0)
    mixup: float = _neutral(0.0)
    cutmix: float = _neutral(0.0)
    randaugment: int = _neutral(0)
    alternate: str = _neutral("")
    sharpness: str = _neutral("")
    precision: str = _neutral("float32")
    channels_last: bool = _neutral(False)
    compile: bool = _neutral(False)
    processes: int = _neutral(1)
    tuning: bool = _neutral(False)
    weights: str = _neutral("")

    def __post_init__(self) -> None:
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            if field.type == "float" and type(value) is int:
                # 1 and 1.0 are one trial, so they must be one text and one id
                value = float(value)
                object.__setattr__(self, field.name, value)
            holds, rule = _RULES.get(field.name, (lambda _: True, ""))
            good = type(value).__name__ == field.type and not (isinstance(value, float) and not math.isfinite(value))
            if not good or not holds(value):
                from bevel.errors import InvalidValue  # loads torch, which those who only read records do without

                kind = {"int": "a whole number", "float": "a finite number", "bool": "true or false", "str": "text"}
                rule = kind[str(field.type)] + (f" {rule}" if rule else "")
                raise InvalidValue(f"{field.name} is {rule}; got {value!r}.")

    def to_dict(self) -> dict[str, Any]:
        return dataclasses.asdict(self)

    @classmethod
    def from_dict(cls, fields: Mapping[str, Any]) -> Trial:
        """The trial that :meth:`to_dict` wrote, also where a field had its old name."""
        return cls(**renamed(fields))

    @property
    def id(self) -> str:
        """Sixteen hex digits of the SHA-256 of the resolved content."""
        silent = {f.name for f in dataclasses.fields(self) if f.metadata and getattr(self, f.name) == f.default}
        hashed_as = {new: old for old, new in OLD_NAMES.items()}
        content = {hashed_as.get(name, name): v for name, v in self.to_dict().items() if name not in silent}
        text = json.dumps(content, sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    @property
    def cell(self) -> tuple[str, str]:
        """(data set, model): the arms of a cell are compared with one another."""
        return self.dataset, self.model


Job = tuple[Trial, str]
"""A trial, and the label under which its activation was asked for."""
