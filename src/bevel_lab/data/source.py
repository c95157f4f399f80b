"""Where data sets that are files lie."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Source:
    """Where data sets that are files lie, and what to do about missing files and invalid samples.

    Attributes:
        root: folder of the data sets.
        download: whether a missing data set is downloaded.
        skip_invalid: whether invalid samples are skipped, counted and named in the record; otherwise the first is an
            error.
        strict: whether data whose test part shares samples with the training part is an error; otherwise a note says
            so.
    """

    root: Path = Path("data")
    download: bool = False
    skip_invalid: bool = False
    strict: bool = False
