"""WMT14 English to German, as aligned text files; and a sample of it.

``wmt14/{train,valid,test}.{en,de}``, or ``newstest2013`` and ``newstest2014`` for the last two; plain or ``.gz``.
The sample is OpenNMT's: Moses-tokenised text with escapes such as ``&quot;``.
"""

from __future__ import annotations

from dataclasses import dataclass

from bevel_lab.data.source import Source
from bevel_lab.data.text import ParallelText
from bevel_lab.data.text.from_files import Corpus, below
from bevel_lab.datasets import DataSet
from bevel_lab.errors import LabError

TOKENISED = "tokenised text: its BLEU is not comparable with published ones"


@dataclass(frozen=True)
class Wmt:
    """A folder of WMT's texts.

    Attributes:
        folder: its name.
        parts: as of ``Corpus``.
        least: training pairs below which it is not the whole; every preparation of it drops others.
        note: as of ``ParallelText``.
    """

    folder: str
    parts: tuple[tuple[str, ...], ...]
    least: int = 1
    note: str = ""

    def load(self, source: Source) -> ParallelText:
        """Read it whole; raises ``LabError`` naming what is missing, damaged or not the whole."""
        folder = below(source.root, self.folder, f"{self.parts[0][0]}.en")
        data = Corpus(folder, ("en", "de"), self.parts, self.note).load(source)
        if len(data.train) < self.least:
            raise LabError(
                f"{folder} has {len(data.train)} training pairs where WMT14 has more than {self.least}; complete it, "
                f"or name the part folder_text:{folder}:en-de."
            )
        return data


ENTRIES = {
    "wmt14": DataSet(
        "WMT14, 4.5 million sentences, English to German, from files (newstest2013, newstest2014)",
        Wmt("wmt14", (("train",), ("newstest2013", "valid", "val"), ("newstest2014", "test")), 4_000_000).load,
        task="translation",
    ),
    "wmt14_sample": DataSet(
        "10,000 + 3,000 + 2,737 sentences of WMT14, English to German, tokenised, from files",
        Wmt(
            "wmt14_en_de_sample",
            (("wmt_sample.train.tok",), ("newstest2012.val3000.tok",), ("newstest2014.test2737.tok",)),
            note=TOKENISED,
        ).load,
        task="translation",
    ),
}
