"""The reference, written before the site is read: public names, command line, spec strings, TOML keys, the record."""

from __future__ import annotations

import dataclasses
import importlib
import inspect
import os
import re
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any

from cards import save
from sphinx.application import Sphinx

import bevel
from bevel.catalog import Catalog
from bevel.spec import accepted_arguments
from bevel_lab import cli
from bevel_lab.experiment import keys, record
from bevel_lab.experiment.trial import Trial

HOMES = {
    "bevel": "what `import bevel` gives",
    "bevel.nn": "the modules",
    "bevel.functional": "the functions behind the papers' modules",
    "bevel.kinked": "kinked functions as values",
    "bevel.surgery": "finding and swapping activations",
    "bevel.training": "alternation, groups and schedules",
    "bevel.deploy": "folding and hardening",
    "bevel.integrations": "spec strings in the configurations of transformers and timm",
    "bevel.testing": "the laws",
    "bevel.errors": "the exceptions",
    "bevel_lab": "the lab from Python",
    "bevel_lab.report": "judging records, and anyone's scores",
}
KINDS = {
    "bool": "true or false",
    "int": "a whole number",
    "float": "a number",
    "str": "text",
    "list": "a list of texts",
}


def write(docs: Path) -> None:
    """Write ``reference/``."""
    folder = docs / "reference"
    folder.mkdir(exist_ok=True)
    home = shortest_names()
    pages: dict[str, Callable[[], str]] = {
        **{name: partial(_module, name, home) for name in HOMES},
        "command-line": _command_line,
        "spec-strings": _spec_strings,
        "toml-keys": _toml_keys,
        "record": _record,
    }
    for name, page in pages.items():
        save(folder / f"{name}.md", page())
    for file in folder.glob("*.md"):
        if file.stem not in (*pages, "index"):
            file.unlink()
    save(folder / "index.md", _index(list(pages)))


def public() -> Iterator[tuple[str, str, Any]]:
    """Every public name: its module, its name, and the object; a package's subpackages are pages of their own."""
    for home in HOMES:
        module = importlib.import_module(home)
        for name in module.__all__:
            value = getattr(module, name)
            if not isinstance(value, ModuleType):
                yield home, name, value


def shortest_names() -> dict[int, str]:
    """Object → the shortest of its public names, under which it is described."""
    found: dict[int, str] = {}
    for home, name, value in public():
        found.setdefault(id(value), f"{home}.{name}")
    return found


def _module(home: str, shortest: dict[int, str]) -> str:
    module = importlib.import_module(home)
    text = [f"# `{home}`", "", inspect.cleandoc(module.__doc__ or "").replace("``", "`"), ""]
    elsewhere = []
    for _, name, value in (row for row in public() if row[0] == home):
        full = f"{home}.{name}"
        if shortest[id(value)] != full:
            elsewhere.append(f"- `{full}` is {{py:obj}}`{shortest[id(value)]}`")
            continue
        if isinstance(value, Catalog):
            text += _catalog(full, value)
            continue
        if inspect.isclass(value):
            directive, options = "autoclass", [":members:"]
        elif inspect.isroutine(value):
            directive, options = "autofunction", []
        else:
            directive, options = "autodata", [":no-value:"]
        text += ["```{eval-rst}", f".. {directive}:: {full}", *(f"   {line}" for line in options), "```", ""]
    if elsewhere:
        text += ["## Names that are described elsewhere", "", *elsewhere, ""]
    return "\n".join(text)


def _catalog(full: str, catalog: Catalog[Any]) -> list[str]:
    kind, page = ("kernel", "kernel-") if full.endswith("KERNELS") else ("activation", "")
    names = ", ".join(f"[{name}](../gallery/{page}{name}.md)" for name in catalog)
    about = f"Name → {kind}, read-only, filled from its folder when it is first used; ``register`` adds one of yours."
    return ["```{eval-rst}", f".. py:data:: {full}", "", f"   {about}", "```", "", names, ""]


def _command_line() -> str:
    width, os.environ["COLUMNS"] = os.environ.get("COLUMNS"), "96"
    text = ["# Command line", "", "What `bevel COMMAND --help` prints.", ""]
    for name, (module, line) in cli.COMMANDS.items():
        parser = importlib.import_module(f"bevel_lab.cli.{module}").parser()
        text += [f"## bevel {name}", "", f"{line[:1].upper()}{line[1:]}.", ""]
        text += ["```text", parser.format_help().rstrip(), "```", ""]
    os.environ.pop("COLUMNS") if width is None else os.environ.update(COLUMNS=width)
    return "\n".join(text)


def _default(parameter: inspect.Parameter) -> str:
    if parameter.default is inspect.Parameter.empty:
        return ""
    written = str(parameter.default).lower() if isinstance(parameter.default, bool) else f"{parameter.default}"
    return f"={written}" if parameter.default not in (None, ()) else ""


def _spec_strings() -> str:
    text = ["# Spec strings", "", "`name` or `name:key=value,key=value`; `bevel.create` makes the module and"]
    text += [
        "`bevel.canonical` writes every argument out. In the lab a recipe may follow: `frelu@alternate=epoch`.",
        "",
    ]
    text += ["## Activations", "", "| name | arguments and their defaults |", "|---|---|"]
    for name, entry in bevel.ACTIVATIONS.items():
        takes = accepted_arguments(entry.factory)
        listed = ", ".join(f"`{key}{_default(parameter)}`" for key, parameter in takes.items())
        text.append(f"| [{name}](../gallery/{name}.md) | {listed or 'none'} |")
    text += ["", "`num_parameters` and `dim` are set where an activation is placed, and seldom given.", ""]
    text += ["## Kinked functions", "", "The `f` of `mollified`, with numbers in brackets: `f=leaky_relu(0.1)`.", ""]
    text += ["| name | arguments |", "|---|---|"]
    for name, function in bevel.kinked.FUNCTIONS.items():
        listed = ", ".join(f"`{k}{_default(p)}`" for k, p in inspect.signature(function).parameters.items())
        text.append(f"| {{py:func}}`{name} <bevel.kinked.{name}>` | {listed or 'none'} |")
    text += ["", "## Kernels", "", ", ".join(f"[{name}](../gallery/kernel-{name}.md)" for name in bevel.KERNELS), ""]
    return "\n".join(text)


def _toml_keys() -> str:
    text = ["# TOML keys", "", "The keys of an experiment's file (`bevel run FILE`) and, with dashes, the flags of"]
    text += ["`bevel compare`. Unknown keys are refused with the nearest known one.", ""]
    text += ["## What is compared, and where it runs", "", "| key | value | what it is |", "|---|---|---|"]
    for name, key in keys.KEYS.items():
        kind = KINDS.get(key.kind.__name__, "a table")
        words = key.words or "what is tuned: see [tuning](../lab.md#tuning)"
        text.append(f"| `{name}` | {kind} | {words}{' *(not kept)*' if name in keys.PLACES else ''} |")
    text += ["", "*Not kept*: says where and how it runs, may differ between two runs of one experiment.", ""]
    text += ["## The recipe", "", "An arm may set these for itself: `frelu@alternate=epoch`.", ""]
    text += ["| key | value | default | what it is |", "|---|---|---|---|"]
    for field in dataclasses.fields(Trial):
        if field.name in keys.RECIPE_KEYS:
            default = f"`{field.default}`".lower() if field.default != "" else "none"
            kind, many = KINDS[str(field.type)], field.name in ("model", "dataset")
            text.append(
                f"| `{field.name}` | {kind}{', or a list' if many else ''} | {default} | {field.metadata['words']} |"
            )
    return "\n".join([*text, ""])


def _record() -> str:
    text = ["# The record's format", "", "A folder's `ledger.jsonl` has one JSON object a line, one for each trial:"]
    text += [
        f"format {record.FORMAT}, the trial's `id` (sixteen hex digits of the SHA-256 of its fields), and the fields"
    ]
    text += ["below. A number that is not finite is `null`. Later versions read what older ones wrote.", ""]
    for kind in (record.Record, Trial, record.Epoch, record.Site, record.Picture):
        first, *_ = (kind.__doc__ or "").splitlines()
        words = _attributes(kind)
        text += [f"## {kind.__name__}", "", first.replace("``", "`"), ""]
        text += ["| field | type | what it is |", "|---|---|---|"]
        for field in dataclasses.fields(kind):
            said = words.get(field.name, "").replace("``", "`").replace("|", "\\|")
            text.append(f"| `{field.name}` | `{field.type}` | {said} |".replace(" | str]", " \\| str]"))
        text += [""]
    return "\n".join(text)


def _attributes(kind: type) -> dict[str, str]:
    """Read what the docstring says of each attribute; several may share one sentence."""
    _, _, section = inspect.cleandoc(kind.__doc__ or "").partition("Attributes:\n")
    found: dict[str, str] = {}
    for names, said in re.findall(r"^    ([a-z_]+(?:, [a-z_]+)*): (.+(?:\n     .+)*)", section, flags=re.MULTILINE):
        for name in names.split(", "):
            found[name] = " ".join(said.split())
    return found


def _index(pages: list[str]) -> str:
    text = ["# Reference", "", "Written from the code when the site is built.", ""]
    text += [f"- [`{page}`]({page}.md): {HOMES[page]}" for page in pages if page in HOMES]
    text += ["- [Command line](command-line.md), [spec strings](spec-strings.md), [TOML keys](toml-keys.md),"]
    text += ["  [the record's format](record.md)", "", "```{toctree}", ":hidden:", "", *pages, "```", ""]
    return "\n".join(text)


def setup(app: Sphinx) -> dict[str, bool]:
    app.connect("builder-inited", lambda app: write(Path(app.srcdir)))
    return {"parallel_read_safe": True, "parallel_write_safe": True}
