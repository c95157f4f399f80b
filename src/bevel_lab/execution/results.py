"""The results of experiments: records, and on demand their verdicts and the report."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bevel.errors import InvalidValue
from bevel_lab.errors import LabError
from bevel_lab.experiment import folder as folders
from bevel_lab.experiment import ledger, predictions
from bevel_lab.experiment.events import Failure
from bevel_lab.experiment.experiment import Experiment
from bevel_lab.experiment.record import Record

if TYPE_CHECKING:
    from bevel_lab.report import Judgement


@dataclass(frozen=True)
class Results:
    """Records of trials. They are judged when :attr:`verdicts` or :meth:`report` is first asked for.

    Attributes:
        records: of the trials that are done, in the order of ``experiment.trials()``.
        reference: label of the arm that the others are compared with; "" where a file of records does not say.
        folder: where the records lie; None for files of records, and for several folders together.
        experiment: all that was asked for in the folder, or None.
        command: the shell commands that run the experiments again, or "".
        notes: sentences on the protocol, for the report.
        missing: number of trials without a record.
        torn: a sentence if a ledger ends in an unfinished line, which was not read, else "".
        title: of the report; "" gives its own.
        failures: the trials that failed in the run that gave these results.
        source: the file that the records were read from, or None.
        margin: largest difference that does not matter, which the experiments named; 0: none.
        classes: predicted classes of those records that name them and have their side file, by digest.

    Example:
        >>> results = Results.read("runs/example")
        >>> len(results.records), results.reference, results.report().name
        (4, 'relu', 'report.html')
    """

    records: list[Record]
    reference: str = ""
    folder: Path | None = None
    experiment: Experiment | None = None
    command: str = ""
    notes: Sequence[str] = ()
    missing: int = 0
    torn: str = ""
    title: str = ""
    failures: Sequence[Failure] = ()
    source: Path | None = None
    margin: float = 0.0
    classes: Mapping[str, Sequence[int]] = field(default_factory=dict)

    @classmethod
    def read(cls, source: str | Path) -> Results:
        """Read the results in a folder, while its experiment may be running, or in a file of records.

        Raises:
            LabError: where ``source`` is neither, or is damaged.
        """
        path = Path(source)
        experiment = None if path.is_file() else folders.read(path)
        if experiment is None and not path.is_file():
            raise LabError(f"{path} holds no experiment; give a folder that was --out of bevel, or a file of records.")
        lines = path / ledger.LEDGER if experiment else path
        found, rest = ledger.parse(lines)
        torn = f"the last line of {lines} is unfinished and was skipped." if rest else ""
        if experiment is None:
            return cls(list(found.values()), torn=torn, source=lines, classes=_classes(found.values(), path.parent))
        jobs = experiment.trials()
        records = [found[trial.id] for trial, _ in jobs if trial.id in found]
        command, notes = folders.command(path), experiment.notes()
        missing = len(jobs) - len(records)
        made = cls(records, experiment.reference, path, experiment, command, notes, missing, torn, source=lines)
        return dataclasses.replace(made, margin=experiment.margin, classes=_classes(records, path))

    @classmethod
    def join(cls, parts: Sequence[Results], reference: str = "", title: str = "", margin: float = 0.0) -> Results:
        """Put several results together, to be compared with ``reference``, by default with that of the parts.

        ``margin`` is what experiments named whose records are files; folders know it.

        A trial that stands in several parts with one result counts once.

        Raises:
            LabError: where the parts have different references and none is given, or different results of one trial.
        """
        known = sorted({part.reference for part in parts} - {""})
        if not reference and len(known) > 1:
            raise LabError(f"the folders have different references ({', '.join(known)}); choose one with --reference.")
        return cls(
            _merged(parts),
            reference or "".join(known),
            parts[0].folder if len(parts) == 1 else None,
            command="\n".join(part.command for part in parts if part.command),
            notes=list(dict.fromkeys(note for part in parts for note in part.notes)),
            title=title,
            margin=_margin(parts, margin),
            classes={digest: classes for part in parts for digest, classes in part.classes.items()},
        )

    @property
    def lacking(self) -> str:
        """A sentence that says how many trials have no record, or ""."""
        count = self.missing + len(self.records)
        return f"{self.missing} of {count} trials have no result yet." if self.missing else ""

    @property
    def table(self) -> list[dict[str, Any]]:
        """One row a trial, for ``pandas.DataFrame(results.table)``; see :meth:`Record.to_row`."""
        return [record.to_row() for record in self.records]

    @cached_property
    def judgement(self) -> Judgement:
        """The judgement of the records; raises ``LabError`` if they cannot be compared."""
        from bevel_lab import report

        return report.judge(self.records, self.reference or "relu", self.margin, self.classes)

    @property
    def verdicts(self) -> list[dict[str, Any]]:
        """One row for each activation and cell: its difference to the reference, the interval, p and the verdict."""
        return self.judgement.verdicts()

    def report(self, out: str | Path | None = None, notes: Sequence[str] = ()) -> Path:
        """Write the report, by default into the folder of the records; return the path of ``report.html``.

        Args:
            out: another folder.
            notes: further sentences on the protocol.
        """
        where = out or self.folder
        if where is None:
            raise InvalidValue("these records are of no single folder; say where the report goes: report(out=...).")
        return self.judgement.write(Path(where), self.title, self.command, [*self.notes, *notes])


def _classes(records: Iterable[Record], folder: Path) -> dict[str, Sequence[int]]:
    """Read the side files in ``folder`` that the records name; what is not there is left out."""
    found = {r.predictions: predictions.read(folder, r.predictions) for r in records if r.predictions}
    return {digest: classes for digest, classes in found.items() if classes is not None}


def _margin(parts: Sequence[Results], given: float) -> float:
    """Return the margin that all experiments named, or the given one for files of records, which name none."""
    named = {part.margin for part in parts if part.experiment is not None} | ({given} if given else set())
    if len(named) > 1:
        values = ", ".join(map(str, sorted(named)))
        raise LabError(f"the margins differ ({values}); a margin is named before the runs: report them apart.")
    return named.pop() if named else 0.0


def _merged(parts: Sequence[Results]) -> list[Record]:
    """Return every trial's record once; of a whole and a compact record of one result, the whole one."""
    from bevel_lab.report.pages.compact import alike

    kept: dict[str, tuple[Record, Results]] = {}
    for part in parts:
        for record in part.records:
            first, origin = kept.setdefault(record.trial.id, (record, part))
            if first is record:
                continue
            if not alike(first, record):
                places = " and ".join(str(p.source or p.folder or "records in memory") for p in (origin, part))
                raise LabError(
                    f"trial {record.trial.id} ({record.label}, seed {record.trial.seed}) has different results in "
                    f"{places}; give one of them."
                )
            if (len(record.epochs), len(record.sites)) > (len(first.epochs), len(first.sites)):
                kept[record.trial.id] = record, part
    return [record for record, _ in kept.values()]
