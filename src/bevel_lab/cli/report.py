"""``bevel report``: judge the records of folders and files; some trials may still be missing."""

from __future__ import annotations

import shlex
import sys
from argparse import Namespace
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from bevel_lab.cli._parser import Parser, number

if TYPE_CHECKING:
    from bevel_lab.execution.results import Results
    from bevel_lab.report import Judgement


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
    add("--reference", metavar="LABEL", help="the arm to compare with (default: the folder's, relu for files)")
    add("--margin", type=number, default=0.0, metavar="X", help="for files: the margin that their experiment named")
    add("--title", help="title of the report")
    made.offers_json()
    made.offers_quiet()
    return made


def main(arguments: Namespace) -> int:
    from bevel.errors import InvalidValue
    from bevel_lab.execution.results import Results
    from bevel_lab.report.pages import compact

    if arguments.pair and not arguments.page:
        raise InvalidValue("--pair is answered on a page; name it with --page MD, or leave --pair out.")
    parts = [Results.read(path) for path in arguments.sources]
    for part in parts:
        say(part.torn)
        say(part.lacking)
    found = Results.join(parts, arguments.reference or "", arguments.title or "", arguments.margin)
    out = arguments.out or (None if arguments.compact or arguments.page else found.folder)
    if not (out or arguments.compact or arguments.page):
        raise InvalidValue("several folders, or files, need --out DIR, --page MD or --compact FILE to say what to do.")
    text = arguments.notes.read_text(encoding="utf-8") if arguments.notes else ""
    if arguments.compact:
        compact.write(found.records, arguments.compact, found.classes)
    if arguments.page:
        _write_page(found, text, arguments)
    notes = [line.strip() for line in text.splitlines() if line.strip()]
    files = {"records": arguments.compact, "page": arguments.page, "report": found.report(out, notes) if out else None}
    print_judgement(found.judgement, {what: path for what, path in files.items() if path}, arguments.json, bool(out))
    return 0


def print_report(results: Results) -> None:
    """Write the report into the results' folder; print the verdicts and the path of the page.

    Raises:
        LabError: if the records cannot be compared.
    """
    print_judgement(results.judgement, {"report": results.report()})


def print_judgement(judgement: Judgement, files: Mapping[str, Path], json: bool = False, table: bool = True) -> None:
    """Print the verdicts, as tables or as JSON, and the files that were written."""
    from bevel_lab.runtime.terminal import as_json, filled, room

    if json:
        rows = judgement.verdicts()
        print(as_json({"said": judgement.said, "answers": judgement.answers(), "verdicts": rows, "files": files}))
        return
    parts = ["\n".join(filled(sentence, room()) for sentence in judgement.said)] if judgement.said else []
    parts += [judgement.table(room()).rstrip()] if table else []
    parts += ["\n".join(f"{what}: {path}" for what, path in files.items())] if files else []
    print("\n\n".join(parts))


def say(text: str) -> None:
    """Print a sentence on standard error, if there is one."""
    if text:
        print(text, file=sys.stderr, flush=True)


def _write_page(results: Results, text: str, arguments: Namespace) -> None:
    words = ["bevel", "report", *map(str, arguments.sources), "--page", str(arguments.page)]
    words += [word for pair in arguments.pair for word in ("--pair", *pair)]
    for flag in ("notes", "reference", "margin", "title"):
        value = getattr(arguments, flag)
        words += [f"--{flag}", str(value)] if value else []
    results.judgement.write_markdown(
        arguments.page,
        title=results.title,
        command=shlex.join(words),
        notes="\n\n".join([*results.notes, text]),
        asked=[(first, second) for first, second in arguments.pair],
    )
