"""``bevel report``: judge the records of folders and files; some trials may still be missing."""

from __future__ import annotations

import shlex
import sys
from argparse import Namespace
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from bevel_lab.cli._parser import Parser

if TYPE_CHECKING:
    from bevel_lab.execution.results import Results
    from bevel_lab.experiment.record import Record
    from bevel_lab.report import Judgement

REFERENCE = "relu"
"""The reference for record files, which do not name one."""


@dataclass(frozen=True)
class Source:
    """The content of a folder or a file. ``reference`` and ``command`` are "" if it names none; ``notes`` say how the
    arms got their recipes."""

    records: list[Record]
    reference: str = ""
    command: str = ""
    notes: Sequence[str] = ()


def parser() -> Parser:
    made = Parser(
        "report",
        "Judge the records of folders that bevel filled, or of compact record files: write report.html, table.md, "
        "table.tex, results.csv and verdicts.csv, a Markdown page with pictures, or the records as a compact file.",
        "bevel report runs/demo\nbevel report runs/mnist runs/cifar --out runs/both --title 'Two data sets'\n"
        "bevel report runs/mnist --compact mnist.jsonl\n"
        "bevel report evidence/*.jsonl --page docs/evidence.md --pair sau prelu:init=0.15",
    )
    add = made.add_argument
    add("sources", type=Path, nargs="+", metavar="DIR|FILE", help="a folder that bevel filled, or a .jsonl file")
    add("--out", type=Path, metavar="DIR", help="where the report goes; a single folder's own is there by default")
    add("--compact", type=Path, metavar="FILE", help="write the records there, small enough to commit")
    add("--page", type=Path, metavar="MD", help="write the report there as Markdown, its pictures in img/ beside it")
    add("--pair", nargs=2, action="append", default=[], metavar=("A", "B"), help="answer on the page whether A differs "
        "from B; may be repeated")  # fmt: skip
    add("--notes", type=Path, metavar="FILE", help="text on the protocol, a paragraph a line, for the head of a report")
    add("--reference", metavar="LABEL", help=f"the arm to compare with (default: the folder's, {REFERENCE} for files)")
    add("--title", help="title of the report")
    return made


def main(arguments: Namespace) -> int:
    from bevel.errors import InvalidValue
    from bevel_lab import report
    from bevel_lab.report.pages import compact

    sources = [source(path) for path in arguments.sources]
    records = [record for one in sources for record in one.records]
    single = arguments.sources[0] if len(sources) == 1 and arguments.sources[0].is_dir() else None
    out = arguments.out or (None if arguments.compact or arguments.page else single)
    if not (out or arguments.compact or arguments.page):
        raise InvalidValue("several folders, or files, need --out DIR, --page MD or --compact FILE to say what to do.")
    if arguments.compact:
        compact.write(records, arguments.compact)
        print(f"records: {arguments.compact}")
    if not (out or arguments.page):
        return 0
    judged = report.judge(records, _reference(sources, arguments.reference))
    if arguments.page:
        _page(sources, judged, arguments)
        print(f"page: {arguments.page}")
    if out:
        command = "\n".join(one.command for one in sources if one.command)
        notes = [*_told(sources), *(line.strip() for line in _text(arguments).splitlines() if line.strip())]
        _say_verdicts(judged, judged.write(out, arguments.title or report.TITLE, command, notes))
    return 0


def print_results(results: Results) -> None:
    """Write the report of an experiment's folder; print the verdicts and the path of the page.

    Raises:
        LabError: if the records cannot be compared.
    """
    _say(results.lacking)
    _say_verdicts(results.judgement, results.report())


def _say_verdicts(judged: Judgement, page: Path) -> None:
    print(judged.table().rstrip())
    print(f"\nreport: {page}")


def _page(sources: Sequence[Source], judged: Judgement, arguments: Namespace) -> None:
    from bevel_lab.report import TITLE

    words = ["bevel", "report", *map(str, arguments.sources), "--page", str(arguments.page)]
    words += [word for pair in arguments.pair for word in ("--pair", *pair)]
    for flag in ("notes", "reference", "title"):
        value = getattr(arguments, flag)
        words += [f"--{flag}", str(value)] if value else []
    judged.write_markdown(
        arguments.page,
        title=arguments.title or TITLE,
        command=shlex.join(words),
        notes="\n\n".join([*_told(sources), _text(arguments)]),
        asked=[(first, second) for first, second in arguments.pair],
    )


def source(path: Path) -> Source:
    """Read a folder that bevel filled, or a file of records; raises ``LabError`` if it is neither."""
    from bevel_lab.execution.results import Results
    from bevel_lab.experiment import folder, ledger

    if path.is_file():
        records, torn = ledger.parse(path)
        _say(f"the last line of {path} is unfinished and was skipped." if torn else "")
        return Source(list(records.values()))
    found = Results.read(path)
    _say(found.torn)
    _say(found.lacking)
    return Source(found.records, found.experiment.reference, folder.command(path), found.experiment.notes())


def _say(text: str) -> None:
    if text:
        print(text, file=sys.stderr)


def _reference(sources: Sequence[Source], asked: str | None) -> str:
    from bevel_lab.errors import LabError

    known = sorted({one.reference for one in sources if one.reference})
    if not asked and len(known) > 1:
        raise LabError(f"the folders have different references ({', '.join(known)}); choose one with --reference.")
    return asked or (known[0] if known else REFERENCE)


def _told(sources: Sequence[Source]) -> list[str]:
    return list(dict.fromkeys(note for one in sources for note in one.notes))


def _text(arguments: Namespace) -> str:
    return arguments.notes.read_text(encoding="utf-8") if arguments.notes else ""
