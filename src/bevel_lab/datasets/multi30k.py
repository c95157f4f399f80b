"""Multi30k (Elliott et al. 2016), task 1, English to German: descriptions of pictures, as its repository has them.

``multi30k/{train,val,test_2016_flickr}.{en,de}``, plain or ``.gz``.
"""

from __future__ import annotations

from dataclasses import dataclass

from bevel_lab.data.fetch import Origin, Remote
from bevel_lab.data.source import Source
from bevel_lab.data.text import ParallelText
from bevel_lab.data.text.from_files import Corpus, below
from bevel_lab.datasets import DataSet
from bevel_lab.errors import LabError


@dataclass(frozen=True)
class Multi30k:
    """Numbers of pairs in the training, validation and test part: what tells a part from the whole."""

    train: int
    valid: int
    test: int

    def load(self, source: Source) -> ParallelText:
        """Read it whole; raises ``LabError`` naming what is missing, damaged or not the whole."""
        folder = below(source.root, "multi30k", "train.en.gz")
        parts = (("train",), ("val", "valid"), ("test_2016_flickr", "test"))
        data = Corpus(folder, ("en", "de"), parts).load(source)
        found = Multi30k(len(data.train), len(data.valid), len(data.test))
        missing = self.train + self.valid + self.test - sum(vars(found).values()) - len(data.skipped)
        if missing or (found != self and not data.skipped):
            raise LabError(
                f"{folder} has {found.train} + {found.valid} + {found.test} pairs, not {self.train} + {self.valid} + "
                f"{self.test}; complete it, or name the part folder_text:{folder}:en-de."
            )
        return data


_RAW = "https://raw.githubusercontent.com/multi30k/dataset/a3d2e0d26b56f3846f66a952536ffed4e401d05a/data/task1/raw"
_FILES = {
    "train.en": "8226b4b333656238e113284cf738778e1287b52e",
    "train.de": "3869154c6298e22b3dc9ed3b17fd45bf00276b94",
    "val.en": "8eb30ab9e5edd301e4c94330713c88513dd43dbc",
    "val.de": "0907cab7a248be8e15ac418d517343899351db18",
    "test_2016_flickr.en": "c3c1142a4d12fa9d7736c81dca0dcea51975477e",
    "test_2016_flickr.de": "96b762cc43d913a5d23e5ec65acbc58a50d0a9b8",
}
"""The packed files and their ids in the project's repository."""
ORIGIN = Origin(
    tuple(Remote(f"{_RAW}/{name}.gz", f"git:{blob}", "multi30k") for name, blob in _FILES.items()),
    tuple(f"multi30k/{name}" for name in _FILES),
    "1.3 MB; no license is stated, its authors ask to be cited",
)

ENTRIES = {
    "multi30k": DataSet(
        "29,000 + 1,014 + 1,000 descriptions of pictures, English to German, from files (test 2016)",
        Multi30k(29_000, 1_014, 1_000).load,
        "translation",
        ORIGIN,
    )
}
