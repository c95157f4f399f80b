"""What the lab raises on purpose beside the library's exceptions."""

from __future__ import annotations

from bevel.errors import BevelError


class LabError(BevelError, RuntimeError):
    """Something around the experiment is not as needed: a file, a folder, a lock, a worker."""


class CannotWrite(LabError):
    """A file could not be written, as on a full disk; of the processes of a team only the one that writes it knows."""

    def __init__(self, path: object, error: OSError | None = None) -> None:
        why = f" ({error.strerror})" if error else ""
        super().__init__(f"could not write all of {path}{why}; make room on the disk and start again.")
