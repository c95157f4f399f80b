"""What came of an experiment."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bevel_lab.errors import LabError
from bevel_lab.experiment import folder as folders
from bevel_lab.experiment import ledger
from bevel_lab.experiment.events import Failure
from bevel_lab.experiment.experiment import Experiment
from bevel_lab.experiment.record import Record

if TYPE_CHECKING:
    from bevel_lab.report import Judgement


@dataclass(frozen=True)
class Results:
    """The results in the folder of an experiment. They are judged when :attr:`verdicts` or :meth:`report` is asked for.

    Attributes:
        folder: where the records lie.
        experiment: all that was asked for in this folder.
        records: of the trials that are done, in the order of ``experiment.trials()``.
        missing: number of trials without a record.
        torn: a sentence if the ledger ends in an unfinished line, which was not read, else "".
        title: of the report; "" gives its own.
        failures: the trials that failed in the run that gave these results.
    """

    folder: Path
    experiment: Experiment
    records: list[Record]
    missing: int
    torn: str = ""
    title: str = ""
    failures: Sequence[Failure] = ()

    @classmethod
    def read(cls, folder: str | Path, title: str = "", failures: Sequence[Failure] = ()) -> Results:
        """The results that are there; an experiment that is running is not disturbed.

        Raises:
            LabError: where the folder holds no experiment, or a damaged one.
        """
        folder = Path(folder)
        experiment = folders.read(folder)
        if experiment is None:
            raise LabError(f"{folder} holds no experiment; give a folder that was --out of bevel.")
        path = folder / ledger.LEDGER
        records, rest = ledger.parse(path)
        torn = f"the last line of {path} is unfinished and was left out." if rest else ""
        jobs = experiment.trials()
        found = [records[trial.id] for trial, _ in jobs if trial.id in records]
        return cls(folder, experiment, found, len(jobs) - len(found), torn, title, failures)

    @property
    def lacking(self) -> str:
        """A sentence on how many trials have no record, or ""."""
        return (
            f"{self.missing} of {self.missing + len(self.records)} trials have no result yet." if self.missing else ""
        )

    @property
    def table(self) -> list[dict[str, Any]]:
        """One row a trial, for ``pandas.DataFrame(results.table)``; see :meth:`Record.to_row`."""
        return [record.to_row() for record in self.records]

    @cached_property
    def judgement(self) -> Judgement:
        """The records, judged; raises ``LabError`` where they cannot be compared."""
        from bevel_lab import report

        return report.judge(self.records, self.experiment.reference)

    @property
    def verdicts(self) -> list[dict[str, Any]]:
        """One row for every activation and cell: its difference to the reference, the interval, p, and the verdict."""
        return self.judgement.verdicts()

    def report(self, out: str | Path | None = None) -> Path:
        """Write the report, by default into the folder of the records; returns the path of ``report.html``."""
        from bevel_lab.report import TITLE

        command, notes = folders.command(self.folder), self.experiment.notes()
        return self.judgement.write(Path(out or self.folder), self.title or TITLE, command, notes)
