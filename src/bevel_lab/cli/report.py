"""``bevel report``: judge what a folder holds, whenever one likes; trials that are still missing are no obstacle."""

from __future__ import annotations

import sys
from argparse import Namespace
from pathlib import Path
from typing import TYPE_CHECKING

from bevel_lab.cli._parser import Parser

if TYPE_CHECKING:
    from bevel_lab.experiment import Experiment
    from bevel_lab.record import Record


def parser() -> Parser:
    made = Parser(
        "report",
        "Write report.html, table.md, table.tex and results.csv into a folder that `bevel compare` filled.",
        "bevel report runs/demo\nbevel report runs/demo --title 'Digits, ten seeds'",
    )
    made.add_argument("folder", type=Path, metavar="DIR", help="the --out of `bevel compare`")
    made.add_argument("--title", help="title of the page")
    return made


def run(arguments: Namespace) -> int:
    from bevel_lab import experiment, ledger
    from bevel_lab.errors import LabError

    folder: Path = arguments.folder
    found = experiment.read(folder)
    if found is None:
        raise LabError(f"{folder} holds no experiment; give the folder that was --out of `bevel compare`.")
    records, torn = ledger.parse(folder / ledger.LEDGER)
    if torn:
        print(f"the last line of {folder / ledger.LEDGER} is unfinished and was left out.", file=sys.stderr)
    write(found, records, folder, arguments.title)
    return 0


def write(found: Experiment, records: dict[str, Record], folder: Path, title: str | None) -> None:
    """Write the report on ``found``'s records into ``folder``; print the verdicts and where the page is.

    Raises:
        LabError: where the records cannot be compared.
    """
    from bevel_lab import report
    from bevel_lab.errors import LabError

    wanted = [trial.id for trial, _ in found.trials()]
    present = [records[key] for key in wanted if key in records]
    if len(present) < len(wanted):
        print(f"{len(wanted) - len(present)} of {len(wanted)} trials have no result yet.", file=sys.stderr)
    try:
        table = report.verdict_table(present, found.reference)
        page = report.write(present, folder, found.reference, title or report.TITLE, found.command(folder))
    except report.ReportError as error:
        raise LabError(str(error)) from error
    print(table.rstrip())
    print(f"\nreport: {page}")
