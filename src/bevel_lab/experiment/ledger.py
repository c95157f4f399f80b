"""The ledger of an experiment: one line for each finished trial. One process at a time appends to it.

``ledger.jsonl`` is the experiment's memory. A line is written with one call and flushed to the disk before anybody is
told that the trial is done, so that a crash can at worst leave an unfinished last line. Such a line is moved to
``ledger.torn`` when the ledger is opened next, and its trial runs again. A complete line that cannot be read was not
left by a crash and is never passed over: it is an error that names its number.
"""

from __future__ import annotations

import contextlib
import fcntl
import gc
import os
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from bevel_lab.errors import CannotWrite, LabError
from bevel_lab.experiment.record import Record
from bevel_lab.runtime.atomic_file import sync_folder

LEDGER, TORN, LOCK = "ledger.jsonl", "ledger.torn", "ledger.lock"


class Ledger:
    """The open ledger of a folder; a context manager that holds the folder's lock.

    Attributes:
        records: what is in it, by trial id, in the order of the lines.
        repaired: a sentence about a torn last line that was set aside, or "".

    Raises:
        LabError: if another process has it open, or a line cannot be read.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.path = folder / LEDGER
        try:
            folder.mkdir(parents=True, exist_ok=True)
            self._lock = _lock(folder)
        except OSError as error:
            raise LabError(f"cannot write to {folder} ({error.strerror}); choose another --out.") from error
        try:
            self.records, torn = parse(self.path)
            self.repaired = self._set_aside(torn) if torn else ""
            self._file = self.path.open("ab", buffering=0)
            sync_folder(folder)
        except BaseException:
            self._lock.close()
            raise

    def _set_aside(self, torn: bytes) -> str:
        with (self.folder / TORN).open("ab") as aside:
            aside.write(torn + b"\n")
            aside.flush()
            os.fsync(aside.fileno())
        with self.path.open("rb+") as file:
            file.truncate(self.path.stat().st_size - len(torn))
            os.fsync(file.fileno())
        return f"{self.path} ended in an unfinished line; it was moved to {TORN} and its trial runs again."

    def append(self, record: Record) -> None:
        """Append ``record`` and return when it is on the disk.

        Raises:
            LabError: if it is there already, or the disk does not take it.
        """
        if record.trial.id in self.records:
            raise LabError(f"{self.path} already has trial {record.trial.id}; a trial is recorded once.")
        line = record.to_json().encode() + b"\n"
        try:
            written = self._file.write(line)
            os.fsync(self._file.fileno())
        except OSError as error:  # a full disk may refuse the line
            raise CannotWrite(self.path, error) from error
        if written != len(line):  # or take a part of it
            raise CannotWrite(self.path)
        self.records[record.trial.id] = record

    def __enter__(self) -> Ledger:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()
        self._lock.close()


def parse(path: Path) -> tuple[dict[str, Record], bytes]:
    """Read the records by trial id, and the torn last line (``b""`` if there is none); a missing file is empty.

    Raises:
        LabError: at a complete line that is not a record, or repeats one; names its number.
    """
    with _no_garbage_collection():  # many records, without a cycle among them, would be walked again and again
        return _parse(path)


@contextlib.contextmanager
def _no_garbage_collection() -> Iterator[None]:
    was = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was:
            gc.enable()


def _parse(path: Path) -> tuple[dict[str, Record], bytes]:
    data = path.read_bytes() if path.exists() else b""
    *lines, torn = data.split(b"\n")
    records: dict[str, Record] = {}
    for number, line in enumerate(lines, start=1):
        try:
            record = Record.from_json(line.decode())
        except ValueError as error:
            if number == 1 and path.name != LEDGER and not line.startswith(b"{"):
                raise LabError(
                    f"{path} is no file of records; give a folder that was --out of bevel, or a file that "
                    "`bevel report --compact` wrote."
                ) from error
            raise LabError(
                f"{path}, line {number}, is damaged ({error}); move that line to another file and run again: "
                "its trial is repeated."
            ) from error
        if record.trial.id in records:
            first = list(records).index(record.trial.id) + 1
            raise LabError(f"{path}, line {number}, repeats line {first}'s trial; remove one of them.")
        records[record.trial.id] = record
    return records, torn


def holder(folder: Path) -> str:
    """Return the id of the process that has the folder's ledger open, or ""."""
    try:
        with (folder / LOCK).open(encoding="utf-8") as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)  # closing the file releases it
    except BlockingIOError:
        return (folder / LOCK).read_text(encoding="utf-8").strip() or "unknown"
    except OSError:
        return ""
    return ""


def _lock(folder: Path) -> IO[str]:
    """Lock the folder; the system releases the lock when the file is closed or the process ends."""
    file = (folder / LOCK).open("a+", encoding="utf-8")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        file.seek(0)
        holder = file.read().strip() or "unknown"
        file.close()
        raise LabError(
            f"another bevel (process {holder}) is writing to {folder}; wait for it, or choose another --out."
        ) from error
    file.truncate(0)
    file.write(f"{os.getpid()}\n")
    file.flush()
    return file
