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
    made.add_argument("registry", nargs="?", metavar="REGISTRY", help=f"one of {', '.join(REGISTRIES)}; default: all")
    return made


def main(arguments: Namespace) -> int:
    from bevel.errors import UnknownName, did_you_mean

    if arguments.registry is not None and arguments.registry not in REGISTRIES:
        raise UnknownName(f"unknown registry {arguments.registry!r}; {did_you_mean(arguments.registry, REGISTRIES)}")
    wanted = [arguments.registry] if arguments.registry else list(REGISTRIES)
    for i, registry in enumerate(wanted):
        rows = _rows(registry)
        width = max(map(len, rows))
        print(("\n" if i else "") + registry)
        for name, line in rows.items():
            print(f"  {name:{width}}  {line}")
    return 0


def _first(documented: object) -> str:
    """Return the first clause of an object's docstring."""
    return (documented.__doc__ or "").split("\n")[0].split(";")[0].rstrip(".")


def _rows(registry: str) -> dict[str, str]:
    if registry in ("activations", "kernels"):
        import bevel

        if registry == "activations":
            return {name: entry.summary for name, entry in bevel.ACTIVATIONS.items()}
        return {name: kernel.formula for name, kernel in bevel.KERNELS.items()}
    from bevel_lab.datasets import DATASETS
    from bevel_lab.models import MODELS
    from bevel_lab.registry import ParametricEntry
    from bevel_lab.tasks import TASKS

    if registry == "tasks":
        return {name: f"{_first(task)}; measured by {task.metric}" for name, task in TASKS.items()}
    found = DATASETS if registry == "datasets" else MODELS
    names = {name: entry.usage if isinstance(entry, ParametricEntry) else name for name, entry in found.items()}
    width = max(map(len, TASKS))
    return {names[name]: f"{entry.task:{width}}  {entry.summary}" for name, entry in found.items()}
