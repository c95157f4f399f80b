"""``bevel judge``: the verdicts of ``bevel report`` on any table of scores."""

from __future__ import annotations

import shlex
import sys
from argparse import Namespace
from pathlib import Path

from bevel_lab.cli._parser import Parser, number


def parser() -> Parser:
    made = Parser(
        "judge",
        "Judge a table of scores that any program wrote, one row a run (CSV, JSON lines, or a folder of these): the "
        "table of verdicts, the sentences, and with --out the report's plots. Columns that are not named are guessed, "
        "and the guess is said. Runs are paired by seed where seeds repeat.",
        "bevel judge results.csv\n"
        "bevel judge results.csv --score accuracy --arm model --seed seed --cell dataset --reference baseline\n"
        "bevel judge results.csv --margin 0.5 --out judged   # also: does the difference matter?",
    )
    add = made.add_argument
    add("source", type=Path, metavar="FILE|DIR", help="a CSV file, JSON lines, or a folder of these")
    add("--score", default="", metavar="COLUMN", help="the column of scores")
    add("--arm", default="", metavar="COLUMN", help="the column that names what is compared")
    add("--seed", default="", metavar="COLUMN", help="the column that pairs runs")
    add("--cell", nargs="+", default=[], metavar="COLUMN", help="columns whose combinations are judged by themselves, "
        "such as data sets")  # fmt: skip
    add("--reference", default="", metavar="ARM", help="the arm to compare with")
    add("--margin", type=number, default=0.0, metavar="X", help="largest difference that does not matter, in points or "
        "the scores' unit; named before the runs, or it proves nothing")  # fmt: skip
    way = made.add_mutually_exclusive_group()
    way.add_argument("--lower-is-better", dest="lower", action="store_true", default=None, help="such as for a loss")
    way.add_argument("--higher-is-better", dest="lower", action="store_false", help="such as for accuracy")
    pairs = made.add_mutually_exclusive_group()
    pairs.add_argument("--paired", dest="paired", action="store_true", default=None, help="runs of one seed are pairs")
    pairs.add_argument("--unpaired", dest="paired", action="store_false", help="no run belongs to another")
    add("--out", type=Path, metavar="DIR", help="write report.md with its plots, table.md, table.tex, verdicts.csv")
    add("--title", default="", help="title of the report (default: Scores compared)")
    made.offers_json()
    made.offers_quiet()
    return made


def main(arguments: Namespace) -> int:
    from bevel_lab.cli.report import print_judgement
    from bevel_lab.report import judge_table

    found = judge_table(
        arguments.source,
        score=arguments.score,
        arm=arguments.arm,
        seed=arguments.seed,
        cell=arguments.cell,
        reference=arguments.reference,
        lower_is_better=arguments.lower,
        margin=arguments.margin,
        paired=arguments.paired,
    )
    files = {}
    if arguments.out:
        command = shlex.join(["bevel", *sys.argv[1:]])
        files = {"report": found.write(arguments.out, arguments.title, command, found.said)}
    print_judgement(found, files, arguments.json)
    return 0
