"""``bevel status``: say how far experiments are, without changing them."""

from __future__ import annotations

from argparse import Namespace
from pathlib import Path
from statistics import mean
from typing import Any

from bevel_lab.cli._parser import Parser


def parser() -> Parser:
    made = Parser(
        "status",
        "Say how far the experiments of some folders are: trials done, begun and missing, and about how long the rest "
        "takes. Reads only, and may be asked while one is running.",
        "bevel status runs/demo\nbevel status runs/*",
    )
    made.offers_json()
    made.add_argument("folders", nargs="+", type=Path, metavar="DIR", help="the --out of `bevel run` or `compare`")
    return made


def main(arguments: Namespace) -> int:
    from bevel_lab.runtime.terminal import as_json

    if arguments.json:
        print(as_json([_state(folder) for folder in arguments.folders]))
        return 0
    for i, folder in enumerate(arguments.folders):
        print(("\n" if i else "") + _summary(_state(folder)))
    return 0


def _state(folder: Path) -> dict[str, Any]:
    """How many trials of every arm in every cell are done, begun and wanted, and how long the rest takes."""
    from bevel_lab.cli.report import say
    from bevel_lab.errors import LabError
    from bevel_lab.execution.results import Results
    from bevel_lab.experiment import ledger

    results = Results.read(folder)
    say(results.torn)
    found, records = results.experiment, {record.trial.id: record for record in results.records}
    if found is None:
        raise LabError(f"{folder} is no folder that was --out of bevel; a file of records is no experiment.")
    begun = {path.stem for path in (folder / "checkpoints").glob("*.pt")}
    rows: list[dict[str, Any]] = []
    missing, seconds = 0, 0.0
    jobs = found.trials()
    for cell in found.cells:
        for arm in found.arms:
            ids = [trial.id for trial, label in jobs if label == arm.label and trial.cell == cell]
            done = [records[key] for key in ids if key in records]
            half = sum(key in begun and key not in records for key in ids)
            rows.append({"dataset": cell[0], "model": cell[1], "arm": arm.label, "done": len(done), "begun": half,
                         "of": len(ids), "to_be_tuned": bool(found.tuning and not ids)})  # fmt: skip
            missing += found.seeds - len(done)
            seconds += (found.seeds - len(done)) * (mean(r.seconds for r in done) if done else 0.0)
    failures = folder / "failures.txt"
    return {"folder": str(folder), "missing": missing, "seconds_left": seconds, "process": ledger.holder(folder),
            "failures": str(failures) if failures.exists() and missing else "", "arms": rows}  # fmt: skip


def _summary(state: dict[str, Any]) -> str:
    from bevel_lab.experiment.events import duration
    from bevel_lab.runtime.terminal import entry, filled, room

    left = f", about {duration(state['seconds_left'])} of one process" if state["seconds_left"] else ""
    said = f"{state['missing']} trial{'s' * (state['missing'] > 1)} missing{left}" if state["missing"] else "complete"
    if state["failures"]:
        said += f"; the last failures are in {state['failures']}"
    running = f"; process {state['process']} is at work" if state["process"] else ""
    lines, cell = [filled(f"{state['folder']}: {said}{running}", room(), rest="  ")], ""
    hang = min(room() // 2, 6 + max((len(row["arm"]) for row in state["arms"]), default=0))
    for row in state["arms"]:
        title = f"  {row['model']} on {row['dataset']}"
        lines += [title] if title != cell else []
        cell = title
        note = "to be tuned" if row["to_be_tuned"] else f"{row['done']} of {row['of']}"
        lines.append(
            entry(f"    {row['arm']}", note + (f", {row['begun']} begun" if row["begun"] else ""), room(), hang)
        )
    return "\n".join(lines)
