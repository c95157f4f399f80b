"""``bevel compare``: the lab's main job."""

from __future__ import annotations

import argparse
import dataclasses
import os
import sys
import tomllib
from argparse import Namespace
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bevel_lab.cli._parser import Parser, number, whole
from bevel_lab.trial import Trial

if TYPE_CHECKING:
    from bevel_lab.experiment import Experiment
    from bevel_lab.grid import Failure

RECIPE = {
    "model": "network, see `bevel list models`",
    "dataset": "data set, see `bevel list datasets`",
    "epochs": "passes over the training part",
    "batch_size": "training samples a step, at most",
    "lr": "peak learning rate of SGD",
    "momentum": "of SGD",
    "weight_decay": "of weights; biases, norms and activation parameters have none",
    "warmup": "fraction of all steps with rising learning rate; a cosine follows",
    "activation_lr": "learning rate of activation parameters as a multiple of --lr",
    "augment": "shift training images at random (and mirror them where that makes sense)",
    "validation": "fraction of the training part that is held out",
    "train_limit": "use only that many training samples; 0: all",
    "threads": "torch threads a trial",
}
"""Field of a trial → help; every field but activation, seed and task."""

OTHERS: dict[str, Any] = {
    "activations": None,
    "reference": "relu",
    "seeds": 10,
    "out": None,
    "workers": None,
    "device": "cpu",
    "data_root": "data",
    "download": False,
    "title": None,
}
"""What else a TOML file may set → default."""


def parser() -> Parser:
    made = Parser(
        "compare",
        "Train every activation with the same recipe and paired seeds, and judge the differences to the reference. "
        "Stop it whenever you like: the same command goes on where it was. Run it again with more seeds or "
        "activations to add to what is there.",
        "bevel compare --activations relu gelu sau:n=5 --seeds 10 --out runs/first\n"
        "bevel compare --activations relu,prelu,sau --dataset fashion_mnist --data-root data --model lenet\n"
        "bevel compare experiment.toml --epochs 20      (keys of the file are the flags, with _ for -)",
    )
    made.add_argument("file", nargs="?", type=Path, metavar="FILE.toml", help="settings; flags win over the file")
    made.add_argument("--activations", nargs="+", metavar="SPEC", help="spec strings, separated by blanks or commas")
    made.add_argument("--reference", metavar="SPEC", help="what the others are compared with (default relu)")
    made.add_argument("--seeds", type=whole, metavar="N", help="runs of each activation: seeds 0 … N-1 (default 10)")
    recipe = made.add_argument_group("recipe")
    for field in dataclasses.fields(Trial):
        if field.name in RECIPE:
            _add(recipe, field.name, str(field.type), field.default)
    place = made.add_argument_group("where")
    place.add_argument("--out", metavar="DIR", help="folder of the results (default runs/DATASET-MODEL)")
    place.add_argument("--workers", type=whole, metavar="N", help="processes (default: cores / threads; one on a GPU)")
    place.add_argument("--device", metavar="NAME", help="cpu, cuda or cuda:1 (default cpu)")
    place.add_argument("--data-root", metavar="DIR", help="folder of data sets that are files (default data)")
    place.add_argument("--download", action="store_const", const=True, help="fetch a data set that is not there")
    place.add_argument("--title", help="title of the report")
    return made


def _add(group: argparse._ArgumentGroup, name: str, kind: str, default: Any) -> None:
    flag = "--" + name.replace("_", "-")
    if kind == "bool":
        text = f"{RECIPE[name]} (default {'yes' if default else 'no'})"
        group.add_argument(flag, action=argparse.BooleanOptionalAction, default=None, help=text)
    else:
        help_ = f"{RECIPE[name]} (default {default})"
        if kind == "str":
            group.add_argument(flag, metavar="NAME", help=help_)
        elif kind == "int":
            group.add_argument(flag, type=whole, metavar="N", help=help_)
        else:
            group.add_argument(flag, type=number, metavar="X", help=help_)


def run(arguments: Namespace) -> int:
    options = _options(arguments)
    from bevel.errors import InvalidValue
    from bevel_lab import grid
    from bevel_lab.datasets import Source
    from bevel_lab.experiment import Experiment
    from bevel_lab.ledger import Ledger
    from bevel_lab.train import rehearse

    if not options["activations"]:
        raise InvalidValue("name what to compare: --activations SPEC ..., for example --activations relu gelu sau.")
    recipe = {name: options[name] for name in RECIPE if name in options}
    asked = Experiment.resolve(
        specs(options["activations"]), options["reference"], options["seeds"], recipe, options["device"]
    )
    workers = _workers(options["workers"], asked)
    source = Source(Path(options["data_root"]), options["download"])
    for trial, _ in asked.trials()[: len(asked.arms)]:  # one seed of every arm: wrong input shows before it costs time
        rehearse(trial, source=source, device=asked.device)
    out = Path(options["out"] or f"runs/{asked.recipe['dataset']}-{asked.recipe['model']}")
    with Ledger(out) as ledger:
        whole_experiment = asked.settle(out)
        if ledger.repaired:
            print(ledger.repaired, file=sys.stderr)
        setup = grid.Setup(dataclasses.replace(source, download=False), asked.device, out / "checkpoints")
        failures = _train(asked.part(whole_experiment), ledger, setup, workers)
    if failures is None:
        return 130
    code = _account(failures, out) if failures else 0
    if ledger.records:
        from bevel_lab.cli.report import write

        write(whole_experiment, ledger.records, out, options["title"])
    return code


def _train(asked: Experiment, ledger: Any, setup: Any, workers: int) -> list[Failure] | None:
    """Run what is missing; None if interrupted."""
    from bevel_lab import grid
    from bevel_lab.progress import watching

    jobs = asked.trials()
    missing = [job for job in jobs if job[0].id not in ledger.records]
    done = len(jobs) - len(missing)
    if done:
        print(f"{done} of {len(jobs)} trials are done already.", file=sys.stderr)
    try:
        with watching(missing, done) as watcher:
            return grid.run(missing, ledger, setup, workers, watcher)
    except KeyboardInterrupt:
        done = sum(trial.id in ledger.records for trial, _ in jobs)
        print(f"interrupted: {done} of {len(jobs)} trials are done; the same command goes on.", file=sys.stderr)
        return None


def _account(failures: list[Failure], out: Path) -> int:
    """Keep the failures' details, and say where."""
    path = out / "failures.txt"
    blocks = [f"{f.label}, seed {f.trial.seed} (trial {f.trial.id})\n{f.reason}\n{f.details}" for f in failures]
    path.write_text("\n".join(blocks), encoding="utf-8")
    print(
        f"{len(failures)} trials failed, see {path}; the same command tries them again.",
        file=sys.stderr,
    )
    return 1


def specs(texts: Sequence[str]) -> list[str]:
    """Split at commas between spec strings: ``relu,sau:n=5,alpha=0.2`` names two, for arguments have a ``=``."""
    found: list[str] = []
    for text in texts:
        depth = 0
        start = True
        for piece in text.split(","):
            head = piece.partition(":")[0]
            if not start and (depth > 0 or "=" in head):
                found[-1] += "," + piece
            elif piece.strip():
                found.append(piece.strip())
            depth += piece.count("(") - piece.count(")")
            start = start and not piece.strip()
    return found


def _options(arguments: Namespace) -> dict[str, Any]:
    """Defaults, then the file, then the flags. Recipe fields that nobody gave are absent: the trial has defaults."""
    given = {k: v for k, v in vars(arguments).items() if k != "file" and v is not None}
    return OTHERS | (_read(arguments.file) if arguments.file else {}) | given


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
        rule = _KINDS.get(key, "" if key in RECIPE else "text")  # the trial knows its own rules
        if rule and not _is(value, rule):
            raise InvalidValue(f"{path}: {key} is {rule}; got {value!r}.")
    return data


_KINDS = {
    "activations": "a list of texts",
    "seeds": "a whole number",
    "workers": "a whole number",
    "download": "true or false",
}


def _is(value: Any, rule: str) -> bool:
    if rule == "a list of texts":
        return isinstance(value, list) and all(isinstance(v, str) for v in value)
    return type(value) is {"a whole number": int, "true or false": bool, "text": str}[rule]


def _workers(asked: int | None, experiment: Experiment) -> int:
    from bevel.errors import InvalidValue

    if asked is not None:
        if asked < 1:
            raise InvalidValue(f"workers is a whole number, at least 1; got {asked}.")
        return asked
    if experiment.device != "cpu":
        return 1
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, cores // int(experiment.recipe["threads"]))
