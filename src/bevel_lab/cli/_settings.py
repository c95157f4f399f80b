"""The flags that say what an experiment is, one for every key of its TOML file."""

from __future__ import annotations

import argparse
import dataclasses
from argparse import Namespace
from typing import Any

from bevel_lab.cli._parser import Parser, number, whole
from bevel_lab.experiment import settings
from bevel_lab.experiment.trial import OLD_NAMES, Trial

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
    "optimizer": "sgd, adam or adamw",
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


def add_flags(made: Parser) -> None:
    """Add a flag for every setting to a parser."""
    made.add_argument("--activations", nargs="+", metavar="ARM", help="SPEC or SPEC@field=value, by blanks or commas")
    made.add_argument("--reference", metavar="ARM", help="what the others are compared with (default relu)")
    made.add_argument("--seeds", type=whole, metavar="N", help="runs of each activation: seeds 0 … N-1 (default 10)")
    made.add_argument("--protocol", metavar="NAME", help="paper, quick or fair: where the recipe starts from")
    made.add_argument(
        "--controls", action=argparse.BooleanOptionalAction,
        help="add the arms that a claim must be measured against (default: yes with a protocol)",
    )  # fmt: skip
    made.add_argument("--task", metavar="NAME", help="what the data set must be for (default: whatever it is for)")
    made.add_argument("--dry-run", action="store_true", help="print the grid, and what it would cost, from a few steps")
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
        "--skip-invalid", "--skip-bad", action="store_const", const=True,
        help="skip invalid samples; the record counts and names them",
    )  # fmt: skip
    place.add_argument("--title", help="title of the report")


def _add(group: argparse._ArgumentGroup, name: str, kind: str, default: Any) -> None:
    flags = ["--" + name.replace("_", "-"), *("--" + old for old, new in OLD_NAMES.items() if new == name)]
    if kind == "bool":
        text = f"{RECIPE[name]} (default {'yes' if default else 'no'})"
        group.add_argument(*flags, action=argparse.BooleanOptionalAction, help=text)
        return
    help_ = f"{RECIPE[name]} (default {default if default != '' else 'none'})"
    if name in ("model", "dataset"):
        group.add_argument(*flags, nargs="+", metavar="NAME", help=help_)
    elif kind == "str":
        group.add_argument(*flags, metavar="NAME", help=help_)
    elif kind == "int":
        group.add_argument(*flags, type=whole, metavar="N", help=help_)
    else:
        group.add_argument(*flags, type=number, metavar="X", help=help_)


def given(arguments: Namespace) -> dict[str, Any]:
    """The settings that flags were given for."""
    known = (*settings.DEFAULTS, *settings.RECIPE_KEYS)
    return {key: value for key, value in vars(arguments).items() if key in known and value is not None}
