"""``bevel list``: list what the registries hold."""

from __future__ import annotations

from argparse import Namespace

from bevel_lab.cli._parser import Parser

REGISTRIES = ("activations", "kernels", "tasks", "datasets", "models")


def parser() -> Parser:
    made = Parser(
        "list",
        "List what there is. Everything listed can be named in the other commands.",
        "bevel list\nbevel list activations\nbevel list models",
    )
    made.offers_json()
    made.add_argument("registry", nargs="?", metavar="REGISTRY", help=f"one of {', '.join(REGISTRIES)}; default: all")
    return made


def main(arguments: Namespace) -> int:
    from bevel.errors import UnknownName, did_you_mean
    from bevel_lab.runtime.terminal import as_json, entry, room

    if arguments.registry is not None and arguments.registry not in REGISTRIES:
        raise UnknownName(f"unknown registry {arguments.registry!r}; {did_you_mean(arguments.registry, REGISTRIES)}")
    wanted = [arguments.registry] if arguments.registry else list(REGISTRIES)
    found = {registry: _rows(registry) for registry in wanted}
    if arguments.json:
        print(as_json(found))
        return 0
    for i, (registry, rows) in enumerate(found.items()):
        task = max(len(row.get("task", "")) for row in rows.values())
        hang = 4 + max(map(len, rows)) + (task + 2 if task else 0)
        print(("\n" if i else "") + registry)
        for name, row in rows.items():
            named = f"  {name}"
            if task:
                named = f"{named:{hang - task - 2}}{row['task']}"
            print(entry(named, row["about"], room(), hang))
    return 0


def _first(documented: object) -> str:
    """Return the first clause of an object's docstring."""
    return (documented.__doc__ or "").split("\n")[0].split(";")[0].rstrip(".")


def _rows(registry: str) -> dict[str, dict[str, str]]:
    """Name → what is said of it, and for data sets and models the task that they are for."""
    if registry in ("activations", "kernels"):
        import bevel

        if registry == "activations":
            return {name: {"about": entry.summary} for name, entry in bevel.ACTIVATIONS.items()}
        return {name: {"about": kernel.formula} for name, kernel in bevel.KERNELS.items()}
    from bevel_lab.datasets import DATASETS
    from bevel_lab.models import MODELS
    from bevel_lab.registry import ParametricEntry
    from bevel_lab.tasks import TASKS

    if registry == "tasks":
        return {name: {"about": f"{_first(task)}; measured by {task.metric}"} for name, task in TASKS.items()}
    found = DATASETS if registry == "datasets" else MODELS
    names = {name: entry.usage if isinstance(entry, ParametricEntry) else name for name, entry in found.items()}
    return {names[name]: {"task": entry.task, "about": entry.summary} for name, entry in found.items()}
