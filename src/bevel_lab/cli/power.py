"""``bevel power``: how many seeds a question takes, and what a pilot's seeds can find."""

from __future__ import annotations

from argparse import Namespace
from pathlib import Path
from typing import TYPE_CHECKING

from bevel_lab.cli._parser import Parser, number, whole

if TYPE_CHECKING:
    from bevel_lab.report import Plan


def parser() -> Parser:
    made = Parser(
        "power",
        "Say how many seeds find a difference four times in five, after Holm over the arms; or, from a table of a "
        "pilot's scores as `bevel judge` reads it, which difference its seeds, or --seeds of them, can find.",
        "bevel power --sd 0.3 --difference 0.2 --arms 5\n"
        "bevel power --sd 0.3 --seeds 10 --arms 5 --power 0.9\n"
        "bevel power pilot.csv\nbevel power pilot.csv --difference 0.2",
    )
    add = made.add_argument
    add("pilot", type=Path, nargs="?", metavar="FILE|DIR", help="scores of a pilot; its sd and arms are used")
    add("--sd", type=number, metavar="X", help="standard deviation of the paired difference (unpaired: of a run)")
    add("--difference", type=number, metavar="X", help="the true difference that is to be found")
    add("--seeds", type=whole, metavar="N", help="number of seeds")
    add("--arms", type=whole, metavar="N", help="arms beside the reference (default: 1, or the pilot's)")
    add("--power", type=number, default=0.8, metavar="P", help="probability of finding it (default: 0.8)")
    add("--unpaired", action="store_true", help="no run belongs to another")
    add("--reference", default="", metavar="ARM", help="of the pilot")
    return made


def main(arguments: Namespace) -> int:
    from bevel.errors import InvalidValue
    from bevel_lab.report import judge_table, power

    asked = {"difference": arguments.difference, "seeds": arguments.seeds, "power": arguments.power}
    if arguments.pilot is None:
        if arguments.sd is None:
            raise InvalidValue("give --sd, that of the paired difference, or a pilot's scores.")
        arms = 1 if arguments.arms is None else arguments.arms
        _say(_sentence(power(sd=arguments.sd, arms=arms, paired=not arguments.unpaired, **asked)))
        return 0
    if arguments.sd is not None:
        raise InvalidValue("--sd comes from the pilot; give one of them.")
    judged = judge_table(arguments.pilot, reference=arguments.reference, paired=False if arguments.unpaired else None)
    for sentence in judged.said:
        _say(sentence)
    print()
    for cell in judged.cells:
        for arm, c in cell.others:
            where, scale = f"{arm.name} in {cell.title}", cell.metric.scale
            if not c.sd > 0:
                _say(f"{where}: {c.pairs} runs have no spread to plan with.")
                continue
            arms = len(cell.others) if arguments.arms is None else arguments.arms
            named = arguments.difference is not None or arguments.seeds is not None
            wanted = asked if named else asked | {"seeds": c.pairs}
            _say(f"{where}: {_sentence(power(sd=c.sd * scale, arms=arms, paired=c.paired, **wanted))}")
    return 0


def _say(text: str) -> None:
    from bevel_lab.runtime.terminal import filled, room

    print(filled(text, room()))


def _sentence(found: Plan) -> str:
    seeds = f"{found.seeds:,} {'seeds' if found.paired else 'runs of each arm'}"
    what = "paired difference" if found.paired else "run"
    finds = f"find a true difference of {found.difference:.3g}" if found.difference < float("inf") else "find nothing"
    shown = f", and show equivalence within {found.margin:.3g}" if found.margin < float("inf") else ""
    family = f"{found.arms} arm{'s' if found.arms > 1 else ''}"
    return f"{seeds} {finds}{shown} with probability {found.power:g} ({family}, sd of a {what} {found.sd:.3g})."
