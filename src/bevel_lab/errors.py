"""What the lab raises on purpose beside the library's exceptions."""

from __future__ import annotations

from bevel.errors import BevelError


class LabError(BevelError, RuntimeError):
    """Something around the experiment is not as needed: a file, a folder, a lock, a worker."""
