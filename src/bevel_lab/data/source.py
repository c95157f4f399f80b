"""Where data sets that are files lie."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Source:
    """Where data sets that are files lie, whether missing ones may be downloaded, and whether bad samples are left out.

    Left-out samples are counted and named in the record; without ``skip_invalid`` the first one is an error.
    """

    root: Path = Path("data")
    download: bool = False
    skip_invalid: bool = False
