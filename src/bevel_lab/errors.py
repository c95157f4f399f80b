"""Errors that the lab raises on purpose, beside the library's."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from bevel.errors import BevelError


class LabError(BevelError, RuntimeError):
    """Something around the experiment is not as needed: a file, a folder, a lock, a worker, a library."""


class CannotWrite(LabError):
    """A file could not be written, as on a full disk. Of several processes only the one that writes it knows.

    Args:
        path: the file.
        error: the system's error.
    """

    def __init__(self, path: object, error: OSError | None = None) -> None:
        why = f" ({error.strerror})" if error else ""
        super().__init__(f"could not write all of {path}{why}; make room on the disk and start again.")


def first_line(error: BaseException) -> str:
    """Return the first line of an error's message, or its class where there is none.

    Example:
        >>> first_line(RuntimeError("no such operator\\nsee …")), first_line(MemoryError())
        ('no such operator', 'MemoryError')
    """
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__


def how_to_install(extra: str = "lab") -> str:
    """Return a command that installs an extra of bevel: no release is on an index, so it takes a clone or a wheel."""
    return f"pip install '.[{extra}]' in a clone of bevel, or 'FILE.whl[{extra}]' for a wheel"


@contextlib.contextmanager
def optional_library(what: str, extra: str = "tasks") -> Iterator[None]:
    """Turn a failed import in the ``with`` block into a ``LabError`` that names the extra to install.

    Args:
        what: what needs the library, e.g. ``"clips are decoded by PyAV"``.
        extra: the extra of the package ``bevel`` that has it.
    """
    try:
        yield
    except ImportError as error:
        raise LabError(f"{what} ({error}); {how_to_install(extra)}.") from error
