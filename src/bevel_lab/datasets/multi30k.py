"""Multi30k (Elliott et al. 2016), task 1, English to German: descriptions of pictures, as its repository has them.

``multi30k/{train,val,test_2016_flickr}.{en,de}``, plain or ``.gz``.
"""

from __future__ import annotations

from dataclasses import dataclass

from bevel_lab.data.source import Source
from bevel_lab.data.text import ParallelText
from bevel_lab.data.text.from_files import Corpus, below
from bevel_lab.datasets import DataSet
from bevel_lab.datasets._files import check_counts
from bevel_lab.datasets._origins import origin


@dataclass(frozen=True)
class Multi30k:
    """Numbers of pairs in the training, validation and test part: what tells a part from the whole."""

    train: int
    valid: int
    test: int

    def load(self, source: Source) -> ParallelText:
        """Read it whole; raises ``LabError`` naming what is missing, damaged or not the whole."""
        folder = below(source.root, "multi30k", "train.en.gz")
        names = (("train",), ("val", "valid"), ("test_2016_flickr", "test"))
        data = Corpus(folder, ("en", "de"), names).load(source)
        parts = {"training": data.train, "validation": data.valid, "test": data.test}
        found = {f"{name} pairs": len(part) for name, part in parts.items()}
        wanted = [self.train, self.valid, self.test]
        if not data.skipped or sum(found.values()) + len(data.skipped) != sum(wanted):
            check_counts(folder, found, wanted, f"name the part folder_text:{folder}:en-de")
        return data


ENTRIES = {
    "multi30k": DataSet(
        "29,000 + 1,014 + 1,000 descriptions of pictures, English to German, from files (test 2016)",
        Multi30k(29_000, 1_014, 1_000).load,
        "translation",
        origin("multi30k"),
    )
}
