"""``bevel calibrate``: measure how often the judge of ``bevel report`` is right."""

from __future__ import annotations

import shlex
from argparse import Namespace
from pathlib import Path

from bevel_lab.cli._parser import Parser, whole


def parser() -> Parser:
    made = Parser(
        "calibrate",
        "Judge simulated experiments whose truth is known, and say how often a verdict is false and how often a true "
        "difference is found (three minutes). With --records also an A/A test: real runs of one activation, split in "
        "two, must give no evidence. A promise falls short if the interval of its rate says so; fewer than 400 "
        "experiments cannot show that it holds. Exit code 1 if one falls short.",
        "bevel calibrate\nbevel calibrate --experiments 200\n"
        "bevel calibrate --records evidence/aa/*.jsonl --page docs/calibration.md",
    )
    add = made.add_argument
    add("--experiments", type=whole, default=2000, metavar="N", help="simulated experiments a row (default: 2000)")
    add("--records", type=Path, nargs="+", default=[], metavar="DIR|FILE", help="real runs, for the A/A test")
    add("--splits", type=whole, default=100_000, metavar="N", help="random splits of the A/A test (default: 100000)")
    add("--seed", type=whole, default=0, metavar="N", help="seed of all random numbers (default: 0)")
    add("--page", type=Path, metavar="MD", help="write the tables there as Markdown")
    made.offers_quiet()
    return made


def main(arguments: Namespace) -> int:
    from bevel.errors import InvalidValue
    from bevel_lab.cli.report import say
    from bevel_lab.execution.results import Results
    from bevel_lab.report.pages import calibration
    from bevel_lab.runtime.terminal import room

    for name, least in (("experiments", 1), ("splits", 1), ("seed", 0)):
        if getattr(arguments, name) < least:
            raise InvalidValue(f"{name} must be a whole number, at least {least}; got {getattr(arguments, name)}.")
    parts = [Results.read(path) for path in arguments.records]
    for part in parts:
        say(part.torn)
    records = [record for part in parts for record in part.records]
    found = []
    if arguments.records:  # before the minutes of simulation, so that wrong input shows at once
        found.append(calibration.split_real_runs(records, arguments.splits, arguments.seed))
    found.insert(0, calibration.simulate(arguments.experiments, arguments.seed, print if arguments.quiet else say))
    print(calibration.as_text(found, room()), end="")
    if arguments.page:
        text = calibration.as_markdown(found, command_line(arguments))
        arguments.page.parent.mkdir(parents=True, exist_ok=True)
        arguments.page.write_text(text, encoding="utf-8", errors="backslashreplace", newline="\n")
    return 1 if any(target.holds is False for results in found for target in results.targets) else 0


def command_line(arguments: Namespace) -> str:
    words = ["bevel", "calibrate", "--experiments", str(arguments.experiments), "--seed", str(arguments.seed)]
    if arguments.records:
        words += ["--records", *map(str, arguments.records), "--splits", str(arguments.splits)]
    return shlex.join([*words, "--page", str(arguments.page)])
