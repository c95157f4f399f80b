"""``bevel list``: the shelves."""

from __future__ import annotations

from argparse import Namespace

from bevel_lab.cli._parser import Parser

SHELVES = ("activations", "kernels", "tasks", "datasets", "models")


def parser() -> Parser:
    made = Parser(
        "list",
        "List what there is. Everything listed can be named in the other commands.",
        "bevel list\nbevel list activations\nbevel list models",
    )
    made.add_argument("shelf", nargs="?", metavar="SHELF", help=f"one of {', '.join(SHELVES)}; all if left out")
    return made


def run(arguments: Namespace) -> int:
    from bevel.errors import UnknownName, did_you_mean

    if arguments.shelf is not None and arguments.shelf not in SHELVES:
        raise UnknownName(f"unknown shelf {arguments.shelf!r}; {did_you_mean(arguments.shelf, SHELVES)}")
    wanted = [arguments.shelf] if arguments.shelf else list(SHELVES)
    for i, shelf in enumerate(wanted):
        rows = _rows(shelf)
        width = max(map(len, rows))
        print(("\n" if i else "") + shelf)
        for name, line in rows.items():
            print(f"  {name:{width}}  {line}")
    return 0


def _first(documented: object) -> str:
    """The first clause of what it says of itself."""
    return (documented.__doc__ or "").split("\n")[0].split(";")[0].rstrip(".")


def _rows(shelf: str) -> dict[str, str]:
    if shelf in ("activations", "kernels"):
        import bevel

        if shelf == "activations":
            return {name: entry.summary for name, entry in bevel.ACTIVATIONS.items()}
        return {name: kernel.formula for name, kernel in bevel.KERNELS.items()}
    from bevel_lab.datasets import DATASETS
    from bevel_lab.models import MODELS
    from bevel_lab.registry import Open
    from bevel_lab.tasks import TASKS

    if shelf == "tasks":
        return {name: f"{_first(task)}; measured by {task.metric}" for name, task in TASKS.items()}
    found = DATASETS if shelf == "datasets" else MODELS
    names = {name: entry.usage if isinstance(entry, Open) else name for name, entry in found.items()}
    width = max(map(len, TASKS))
    return {names[name]: f"{entry.task:{width}}  {entry.summary}" for name, entry in found.items()}
