"""``bevel status``: say how far experiments are, without changing them."""

from __future__ import annotations

from argparse import Namespace
from pathlib import Path
from statistics import mean

from bevel_lab.cli._parser import Parser


def parser() -> Parser:
    made = Parser(
        "status",
        "Say how far the experiments of some folders are: trials done, begun and missing, and about how long the rest "
        "takes. Reads only, and may be asked while one is running.",
        "bevel status runs/demo\nbevel status runs/*",
    )
    made.add_argument("folders", nargs="+", type=Path, metavar="DIR", help="the --out of `bevel run` or `compare`")
    return made


def main(arguments: Namespace) -> int:
    for i, folder in enumerate(arguments.folders):
        print(("\n" if i else "") + _summarize(folder))
    return 0


def _summarize(folder: Path) -> str:
    from bevel_lab.cli.report import say
    from bevel_lab.errors import LabError
    from bevel_lab.execution.results import Results
    from bevel_lab.experiment import ledger
    from bevel_lab.experiment.events import duration

    results = Results.read(folder)
    say(results.torn)
    found, records = results.experiment, {record.trial.id: record for record in results.records}
    if found is None:
        raise LabError(f"{folder} is no folder that was --out of bevel; a file of records is no experiment.")
    begun = {path.stem for path in (folder / "checkpoints").glob("*.pt")}
    lines, missing, seconds = [], 0, 0.0
    jobs = found.trials()
    for cell in found.cells:
        lines.append(f"  {cell[1]} on {cell[0]}")
        for arm in found.arms:
            ids = [trial.id for trial, label in jobs if label == arm.label and trial.cell == cell]
            done = [records[key] for key in ids if key in records]
            half = sum(key in begun and key not in records for key in ids)
            note = "to be tuned" if found.tuning and not ids else f"{len(done)} of {len(ids)}"
            lines.append(f"    {arm.label:32}{note}" + (f", {half} begun" if half else ""))
            missing += found.seeds - len(done)
            seconds += (found.seeds - len(done)) * (mean(r.seconds for r in done) if done else 0.0)
    left = f", about {duration(seconds)} of one process" if seconds else ""
    state = f"{missing} trials missing{left}" if missing else "complete"
    if (folder / "failures.txt").exists() and missing:
        state += f"; the last failures are in {folder / 'failures.txt'}"
    holder = ledger.holder(folder)
    running = f"; process {holder} is at work" if holder else ""
    return "\n".join([f"{folder}: {state}{running}", *lines])
