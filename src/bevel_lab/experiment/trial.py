"""A trial: the training of one activation in one model on one data set with one seed."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Any

from bevel.errors import InvalidValue

OPTIMIZERS = ("sgd", "adam", "adamw")
SCHEDULES = ("cosine", "inverse_sqrt", "constant")
PRECISIONS = ("float32", "bfloat16")

OLD_NAMES = {"optimiser": "optimizer", "skip_bad": "skip_invalid"}
"""Names that fields and keys once had → their names now. Files may hold the old ones, and ids are hashes of them."""

Rule = tuple[Callable[[Any], bool], str]
"""Whether a value is allowed, and that in words."""


def _field(default: Any, words: str = "", rule: Rule = (lambda value: True, ""), *, neutral: bool = False) -> Any:
    """Make a field of :class:`Trial`.

    Args:
        default: its default.
        words: what it is, for users; "" for a field that only the lab sets.
        rule: which values are allowed.
        neutral: whether the id leaves the field out while it has its default.
    """
    return dataclasses.field(default=default, metadata={"words": words, "rule": rule, "neutral": neutral})


_neutral = partial(_field, neutral=True)


def _at_least(least: float, why: str = "") -> Rule:
    return lambda value: value >= least, f"at least {least}{why}"


def _one_of(names: Sequence[str]) -> Rule:
    return lambda value: value in names, f"one of {', '.join(names)}"


def _matching(pattern: str, words: str) -> Rule:
    return lambda value: bool(re.fullmatch(pattern, value)), words


_BELOW_1: Rule = (lambda value: 0 <= value < 1, "from 0 up to but not including 1")
_FRACTION: Rule = (lambda value: 0 <= value <= 1, "a fraction from 0 to 1")
_INNER_FRACTION: Rule = (lambda value: 0 < value < 1, "a fraction between 0 and 1")
_ALL_OR_2: Rule = (lambda value: value == 0 or value >= 2, "that is 0 (all) or at least 2")
_ALTERNATE = _matching(r"|(step|epoch)(:[1-9]\d*:[1-9]\d*)?", "empty, 'step', 'epoch', or such as 'epoch:2:1'")
_SHIP = _matching(
    r"|harden|(?!harden)[a-z]\w*(:0?\.\d*[1-9]\d*)?",
    "empty, 'harden', an activation such as 'relu', or such as 'relu:0.25'",
)
_SHARPNESS = _matching(r"|[^:]+:[^:]+(:(geometric|linear|cosine))?", "empty, or such as '1:1000' and '1:1000:linear'")


def renamed(fields: Mapping[str, Any]) -> dict[str, Any]:
    """Return ``fields`` under their present names."""
    return {OLD_NAMES.get(name, name): value for name, value in fields.items()}


@dataclass(frozen=True, kw_only=True)
class Trial:
    """A training run with every default filled in, so that equal trials give equal results.

    Everything that can change the result is a field. Where data lies, how many workers run and how often a checkpoint
    is written are no fields. ``threads`` is one, because the order of summation depends on it.

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
        weights: path of a local file of pretrained weights; activations are then put in so that the network's function
            is kept where they can. ``""``: initial weights are drawn.
        ship: what takes the activations' place before the model is tested: ``"harden"``, their kinked functions
            (``bevel.harden``), or an activation without parameters, such as ``"relu"``; with ``":0.25"`` the last
            quarter of the epochs is trained with it, at a learning rate that starts from a tenth of ``lr``; ``""``:
            nothing.
        measures: whether the trained model is also measured for calibration, robustness, dead units and accuracy with
            eight bits, and its predicted classes are kept (see docs/statistics.md).

    The fields from ``optimizer`` on are hashed only where they differ from their defaults, so that a field added
    later changes no id.

    Raises:
        bevel.errors.InvalidValue: where a number is outside its range or of the wrong type.
    """

    activation: str
    model: str = _field("cnn", "networks, see `bevel list models`")
    dataset: str = _field("digits", "data sets, see `bevel list datasets`")
    task: str = _field("classification")
    seed: int = _field(0, "", _at_least(0))
    epochs: int = _field(12, "passes over the training part", _at_least(1))
    batch_size: int = _field(32, "training samples a step, at most", _at_least(2, " (batch norm needs two samples)"))
    lr: float = _field(0.05, "peak learning rate", (lambda value: value > 0, "above 0"))
    momentum: float = _field(0.9, "of SGD", _BELOW_1)
    weight_decay: float = _field(5e-4, "of weights; biases, norms and activation parameters have none", _at_least(0))
    warmup: float = _field(0.1, "fraction of all steps with rising learning rate; the schedule follows", _FRACTION)
    activation_lr: float = _field(1.0, "learning rate of activation parameters as a multiple of --lr", _at_least(0))
    augment: bool = _field(True, "shift training images at random (and mirror them where that makes sense)")
    validation: float = _field(0.2, "fraction of the training part that is held out", _INNER_FRACTION)
    train_limit: int = _field(0, "use only that many training samples; 0: all", _ALL_OR_2)
    threads: int = _field(1, "torch threads a trial", _at_least(1))
    optimizer: str = _neutral("sgd", "sgd, adam or adamw", _one_of(OPTIMIZERS))
    schedule: str = _neutral("cosine", "of the learning rate: cosine, inverse_sqrt or constant", _one_of(SCHEDULES))
    label_smoothing: float = _neutral(0.0, "share of the target spread over the classes", _BELOW_1)
    mixup: float = _neutral(0.0, "concentration of mixup's Beta law; 0: none", _at_least(0, " (0: none)"))
    cutmix: float = _neutral(0.0, "concentration of CutMix's Beta law; 0: none", _at_least(0, " (0: none)"))
    randaugment: int = _neutral(0, "random operations on each training image; 0: none", _at_least(0, " (0: none)"))
    alternate: str = _neutral("", "weights and activations take turns: step, epoch or such as epoch:2:1", _ALTERNATE)
    sharpness: str = _neutral("", "n moves over training: such as 1:1000 or 1:1000:linear", _SHARPNESS)
    precision: str = _neutral("float32", "float32 or bfloat16 (autocast)", _one_of(PRECISIONS))
    channels_last: bool = _neutral(False, "memory format of images and weights")
    compile: bool = _neutral(False, "send the model through torch.compile")
    processes: int = _neutral(1, "", _at_least(1))
    tuning: bool = _neutral(False)
    weights: str = _neutral("", "a local file of pretrained weights to start from")
    ship: str = _neutral("", "what is tested in the activations' place: harden, or such as relu or relu:0.25", _SHIP)
    measures: bool = _neutral(
        False, "also measure calibration, robustness, dead units and eight bits, and keep guesses"
    )

    def __post_init__(self) -> None:
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            if field.type == "float" and type(value) is int:
                # 1 and 1.0 are the same trial and must have the same id
                value = float(value)
                object.__setattr__(self, field.name, value)
            holds, rule = field.metadata.get("rule", (lambda value: True, ""))
            good = type(value).__name__ == field.type and not (isinstance(value, float) and not math.isfinite(value))
            if not good or not holds(value):
                kind = {"int": "a whole number", "float": "a finite number", "bool": "true or false", "str": "text"}
                whole = rule and (
                    field.type == "str" or rule.startswith("a ")
                )  # a rule that says the kind of value, too
                words = rule if whole else f"{kind[str(field.type)]} {rule}".strip()
                raise InvalidValue(f"{field.name} must be {words}; got {value!r}.")

    def to_dict(self) -> dict[str, Any]:
        return {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}

    @classmethod
    def from_dict(cls, fields: Mapping[str, Any]) -> Trial:
        """Make the trial from what :meth:`to_dict` returned, in this version or an older one."""
        return cls(**renamed(fields))

    @cached_property
    def id(self) -> str:
        """Sixteen hex digits of the SHA-256 of the resolved content."""
        fields = dataclasses.fields(self)
        silent = {f.name for f in fields if f.metadata.get("neutral") and getattr(self, f.name) == f.default}
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
