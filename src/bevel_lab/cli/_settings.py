"""What an experiment is made of, from flags and from a TOML file: one set of names for both."""

from __future__ import annotations

import argparse
import dataclasses
import tomllib
from argparse import Namespace
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bevel_lab.cli._parser import Parser, number, whole
from bevel_lab.experiment.trial import Trial

if TYPE_CHECKING:
    from bevel_lab.experiment.experiment import Experiment

RECIPE = {
    "model": "networks, see `bevel list models`",
    "dataset": "data sets, see `bevel list datasets`",
    "epochs": "passes over the training part",
    "batch_size": "training samples a step, at most",
    "lr": "peak learning rate",
    "momentum": "of SGD",
    "weight_decay": "of weights; biases, norms and activation parameters have none",
    "warmup": "fraction of all steps with rising learning rate; the schedule follows",
    "activation_lr": "learning rate of activation parameters as a multiple of --lr",
    "augment": "shift training images at random (and mirror them where that makes sense)",
    "validation": "fraction of the training part that is held out",
    "train_limit": "use only that many training samples; 0: all",
    "threads": "torch threads a trial",
    "optimiser": "sgd, adam or adamw",
    "schedule": "of the learning rate: cosine, inverse_sqrt or constant",
    "label_smoothing": "share of the target spread over the classes",
    "mixup": "concentration of mixup's Beta law; 0: none",
    "cutmix": "concentration of CutMix's Beta law; 0: none",
    "randaugment": "random operations on each training image; 0: none",
    "alternate": "weights and activations take turns: step, epoch or such as epoch:2:1",
    "sharpness": "n moves over training: such as 1:1000 or 1:1000:linear",
    "precision": "float32 or bfloat16 (autocast)",
    "channels_last": "memory format of images and weights",
    "compile": "send the model through torch.compile",
    "weights": "a local file of pretrained weights to start from",
}
"""Field of a trial → help."""

OTHERS: dict[str, Any] = {
    "activations": None,
    "reference": "relu",
    "seeds": 10,
    "protocol": "",
    "task": "",
    "controls": None,
    "out": None,
    "workers": None,
    "device": "cpu",
    "ray": "",
    "data_root": "data",
    "download": False,
    "skip_invalid": False,
    "title": None,
    "tune": None,
}
"""What else a TOML file may set → default; ``tune`` is a table and has no flag."""

_KINDS: dict[str, tuple[type, str]] = {
    "activations": (list, "a list of texts"),
    "seeds": (int, "a whole number"),
    "workers": (int, "a whole number"),
    "download": (bool, "true or false"),
    "skip_invalid": (bool, "true or false"),
    "controls": (bool, "true or false"),
    "tune": (dict, "a table"),
}


def add(made: Parser) -> None:
    """Add every flag to a parser."""
    made.add_argument("--activations", nargs="+", metavar="ARM", help="SPEC or SPEC@field=value, by blanks or commas")
    made.add_argument("--reference", metavar="ARM", help="what the others are compared with (default relu)")
    made.add_argument("--seeds", type=whole, metavar="N", help="runs of each activation: seeds 0 … N-1 (default 10)")
    made.add_argument("--protocol", metavar="NAME", help="paper, quick or fair: where the recipe starts from")
    made.add_argument(
        "--controls", action=argparse.BooleanOptionalAction, default=None,
        help="add the arms that a claim must be measured against (default: yes with a protocol)",
    )  # fmt: skip
    made.add_argument("--task", metavar="NAME", help="what the data set must be for (default: whatever it is for)")
    recipe = made.add_argument_group("recipe")
    for field in dataclasses.fields(Trial):
        if field.name in RECIPE:
            _add(recipe, field.name, str(field.type), field.default)
    place = made.add_argument_group("where")
    place.add_argument("--out", metavar="DIR", help="folder of the results (default runs/ and a name)")
    place.add_argument("--workers", type=whole, metavar="N", help="processes (default: cores / threads; one on a GPU)")
    place.add_argument("--device", metavar="NAME", help="cpu, cuda or cuda:1 (default cpu)")
    place.add_argument("--ray", metavar="ADDRESS", help="run on a Ray cluster: its address, or auto")
    place.add_argument("--data-root", metavar="DIR", help="folder of data sets that are files (default data)")
    place.add_argument("--download", action="store_const", const=True, help="fetch a data set that is not there")
    place.add_argument(
        "--skip-invalid",
        action="store_const",
        const=True,
        help="skip invalid samples; the record counts and names them",
    )
    place.add_argument("--title", help="title of the report")


def _add(group: argparse._ArgumentGroup, name: str, kind: str, default: Any) -> None:
    flag = "--" + name.replace("_", "-")
    if kind == "bool":
        text = f"{RECIPE[name]} (default {'yes' if default else 'no'})"
        group.add_argument(flag, action=argparse.BooleanOptionalAction, default=None, help=text)
        return
    help_ = f"{RECIPE[name]} (default {default if default != '' else 'none'})"
    if name in ("model", "dataset"):
        group.add_argument(flag, nargs="+", metavar="NAME", help=help_)
    elif kind == "str":
        group.add_argument(flag, metavar="NAME", help=help_)
    elif kind == "int":
        group.add_argument(flag, type=whole, metavar="N", help=help_)
    else:
        group.add_argument(flag, type=number, metavar="X", help=help_)


def options(arguments: Namespace) -> dict[str, Any]:
    """Defaults, then the file, then the flags. Recipe fields that nobody gave are absent: the trial has defaults."""
    given = {k: v for k, v in vars(arguments).items() if v is not None and (k in OTHERS or k in RECIPE)}
    return OTHERS | (_read(arguments.file) if arguments.file else {}) | given


def resolve(options: dict[str, Any], processes: int) -> Experiment:
    """The experiment that the options ask for.

    Raises:
        BevelError: for whatever is wrong with them.
    """
    from bevel.errors import InvalidValue
    from bevel_lab.datasets import own
    from bevel_lab.experiment import protocols
    from bevel_lab.experiment.experiment import Experiment
    from bevel_lab.experiment.tuning import Tuning

    if not options["activations"]:
        raise InvalidValue("name what to compare: --activations SPEC ..., for example --activations relu gelu sau.")
    base = protocols.protocol(options["protocol"]) if options["protocol"] else None
    recipe = (base.recipe if base else {}) | {name: options[name] for name in RECIPE if name in options}
    arms = specs(options["activations"])
    if options["controls"] if options["controls"] is not None else base is not None:
        arms = protocols.with_controls(arms, recipe)
    tuning = base.tune if base else None
    if options["tune"]:
        tuning = Tuning.read((dataclasses.asdict(tuning) if tuning else {}) | options["tune"])
    asked = Experiment.resolve(
        arms, options["reference"], options["seeds"], recipe | {"processes": processes},
        device=options["device"], protocol=options["protocol"], tuning=tuning,
    )  # fmt: skip
    for trial, _ in asked.bases():
        if options["task"] not in ("", trial.task):
            raise InvalidValue(
                f"task is {options['task']!r} and data set {trial.dataset!r} is for {trial.task}; choose another "
                f"data set, or leave the task out{own(trial.dataset, options['task'])}."
            )
    return asked


def specs(texts: Sequence[str]) -> list[str]:
    """Split at commas between arms: ``relu,sau:n=5,alpha=0.2`` names two, for arguments have a ``=``."""
    found: list[str] = []
    for text in texts:
        depth = 0
        start = True
        for piece in text.split(","):
            head = piece.partition(":")[0].partition("@")[0]
            if not start and (depth > 0 or "=" in head):
                found[-1] += "," + piece
            elif piece.strip():
                found.append(piece.strip())
            depth += piece.count("(") - piece.count(")")
            start = start and not piece.strip()
    return found


def _read(path: Path) -> dict[str, Any]:
    from bevel.errors import InvalidValue, UnknownName, did_you_mean
    from bevel_lab.errors import LabError

    try:
        data = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise LabError(f"there is no file {path}; settings without a file are flags.") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise InvalidValue(f"{path} is not TOML: {error}") from error
    for key, value in data.items():
        if key not in OTHERS and key not in RECIPE:
            raise UnknownName(f"{path}: unknown key {key!r}; {did_you_mean(key, [*OTHERS, *RECIPE])}")
        if key in RECIPE:
            continue  # the trial knows its own rules
        kind, words = _KINDS.get(key, (str, "text"))
        texts = not isinstance(value, list) or all(isinstance(item, str) for item in value)
        if type(value) is not kind or not texts:
            raise InvalidValue(f"{path}: {key} is {words}; got {value!r}.")
    return data
