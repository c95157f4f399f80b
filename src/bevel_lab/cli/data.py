"""``bevel data``: fetch data sets, and say where they come from."""

from __future__ import annotations

from argparse import Namespace
from pathlib import Path
from typing import TYPE_CHECKING

from bevel_lab.cli._parser import Parser

if TYPE_CHECKING:
    from bevel_lab.data.fetch import Origin


def parser() -> Parser:
    made = Parser(
        "data",
        "List the data sets with where they come from and whether a fetch has put them there, or fetch some. Files are "
        "verified by published checksums; a download that was stopped goes on where it was.",
        "bevel data list --root DATA\n"
        "bevel data fetch mnist multi30k --root DATA\n"
        "bevel data fetch cifar10 --root DATA --mirror file:///media/copies",
    )
    made.offers_quiet()
    made.add_argument("action", choices=("list", "fetch"), metavar="list|fetch")
    made.add_argument("names", nargs="*", metavar="NAME", help="data sets, see `bevel list datasets`")
    made.add_argument("--root", type=Path, default=Path("data"), metavar="DIR", help="the data root (default data)")
    made.add_argument("--mirror", default="", metavar="URL", help="a folder of copies, laid out as a data root")
    made.add_argument("--again", action="store_true", help="fetch what is there already, too")
    return made


def main(arguments: Namespace) -> int:
    from bevel.errors import InvalidValue
    from bevel_lab.data.fetch import Origin, fetch
    from bevel_lab.datasets import DATASETS, DataSet
    from bevel_lab.runtime.terminal import entry, room

    entries = {name: DATASETS[name.partition(":")[0]] for name in arguments.names or DATASETS}
    origins = {name: found.origin if isinstance(found, DataSet) else found.usage for name, found in entries.items()}
    if arguments.action == "list":
        width = max(map(len, origins))
        for name, origin in origins.items():
            print(entry(name, _where(origin, arguments.root), room(), width + 2))
        return 0
    if not arguments.names:
        raise InvalidValue(
            "name what to fetch, such as `bevel data fetch mnist`; `bevel data list` says what there is."
        )
    wanted = {name: origin for name, origin in origins.items() if isinstance(origin, Origin)}
    for name in origins.keys() - wanted.keys():
        raise InvalidValue(f"{name} cannot be fetched ({_where(origins[name], arguments.root)}).")
    for name, origin in wanted.items():
        new = fetch(origin, arguments.root, mirror=arguments.mirror, again=arguments.again)
        print(f"{name} {'was fetched into' if new else 'is already in'} {arguments.root}.")
    return 0


def _where(origin: Origin | str, root: Path) -> str:
    """In a line, whether the data set is there, and how to get it."""
    if isinstance(origin, str):
        own = f"by hand: {origin}" if " " in origin else f"your own: {origin}"
        return own if origin else "nothing to fetch: it comes with a package or is made"
    return f"{'here' if origin.is_in(root) else 'to fetch'}: {origin.about}"
