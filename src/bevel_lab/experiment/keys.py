"""The settings' names, types, defaults and words; without torch, so that a flag that is mistyped is answered at once.

Most settings say what is compared. Those in :data:`PLACES` say where and how it is run; they may differ between two
runs of one experiment, and a folder keeps them only where the experiment is a file that names them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from bevel_lab.experiment.arm import RECIPE

RECIPE_KEYS = ("model", "dataset", *RECIPE)
"""Fields of a trial that are settings. They have no default here, since a protocol may set them."""


@dataclass(frozen=True)
class Key:
    """A setting that is not a field of a trial.

    Attributes:
        kind: type of its value.
        default: its value where nothing is said.
        words: what it is.
        value: how a command line calls its value.
    """

    kind: type
    default: Any
    words: str = ""
    value: str = ""


KEYS = {
    "activations": Key(list, [], "SPEC or SPEC@field=value, by blanks or commas", "ARM"),
    "reference": Key(str, "relu", "what the others are compared with (default relu)", "ARM"),
    "seeds": Key(int, 10, "runs of each activation: seeds 0 … N-1 (default 10)", "N"),
    "margin": Key(
        float,
        0.0,
        "largest difference that does not matter, in points or the scores' unit: asks for equivalence (default 0: no)",
        "X",
    ),
    "protocol": Key(str, "", "paper, quick or fair: where the recipe starts from", "NAME"),
    "controls": Key(bool, None, "add the arms that a claim must be measured against (default: yes with a protocol)"),
    "more_controls": Key(bool, False, "and the relatives that a paper names: for frelu apl, pelu and rrelu"),
    "task": Key(str, "", "what the data set must be for (default: whatever it is for)", "NAME"),
    "tune": Key(dict, None),
    "device": Key(str, "cpu", "cpu, cuda or cuda:1 (default cpu)", "NAME"),
    "skip_invalid": Key(bool, False, "skip invalid samples; the record counts and names them"),
    "strict": Key(bool, False, "refuse data whose test part shares samples with the training part; default: a note"),
    "title": Key(str, "", "title of the report", "TEXT"),
    "out": Key(str, "", "folder of the results (default runs/ and a name)", "DIR"),
    "workers": Key(int, None, "processes (default: cores / threads; one on a GPU)", "N"),
    "minutes": Key(float, 0.0, "stop after so long, and say what was not reached (default 0: no limit)", "X"),
    "ray": Key(str, "", "run on a Ray cluster: its address, or auto", "ADDRESS"),
    "data_root": Key(str, "data", "folder of data sets that are files (default data)", "DIR"),
    "download": Key(bool, False, "fetch a data set that is not there"),
    "log": Key(list, [], "send losses and scores to tensorboard, wandb or mlflow while trials run", "LOGGER"),
}
DEFAULTS = {name: key.default for name, key in KEYS.items()}
PLACES = ("out", "workers", "minutes", "ray", "data_root", "download", "log")
