"""WMT14 English to German, as aligned text files; and a sample of it.

``wmt14/{train,valid,test}.{en,de}``, or ``newstest2013`` and ``newstest2014`` for the last two; plain or ``.gz``.
The sample is OpenNMT's: Moses-tokenised text with escapes such as ``&quot;``.
"""

from __future__ import annotations

import html
import re
import shutil
from dataclasses import dataclass
from pathlib import Path

from bevel_lab.data.source import Source
from bevel_lab.data.text import ParallelText
from bevel_lab.data.text.from_files import Corpus, below
from bevel_lab.datasets import DataSet
from bevel_lab.datasets._origins import origin
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


_TEXTS = ("training/europarl-v7", "commoncrawl", "training/news-commentary-v9")
_NEWS = {
    "newstest2013.en": "test/newstest2013-src.en.sgm",
    "newstest2013.de": "test/newstest2013-src.de.sgm",
    "newstest2014.en": "test-full/newstest2014-deen-src.en.sgm",
    "newstest2014.de": "test-full/newstest2014-deen-ref.de.sgm",
}


def joined(stage: Path) -> None:
    """Make ``wmt14`` of what was unpacked: three corpora one after the other, and the sentences of the news."""
    folder = stage / "wmt14"
    folder.mkdir()
    for language in ("en", "de"):
        with (folder / f"train.{language}").open("wb") as whole:
            for name in _TEXTS:
                with (stage / f"{name}.de-en.{language}").open("rb") as part:
                    shutil.copyfileobj(part, whole)
    for name, news in _NEWS.items():
        found = re.findall(r"<seg [^>]*>(.*?)</seg>", (stage / news).read_text(encoding="utf-8"), re.DOTALL)
        lines = [" ".join(html.unescape(text).split()) for text in found]
        (folder / name).write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    for rest in set(stage.iterdir()) - {folder}:
        shutil.rmtree(rest) if rest.is_dir() else rest.unlink()


ENTRIES = {
    "wmt14": DataSet(
        "WMT14, 4.5 million sentences, English to German, from files (newstest2013, newstest2014)",
        Wmt("wmt14", (("train",), ("newstest2013", "valid", "val"), ("newstest2014", "test")), 4_000_000).load,
        "translation",
        origin("wmt14", joined),
    ),
    "wmt14_sample": DataSet(
        "10,000 + 3,000 + 2,737 sentences of WMT14, English to German, tokenised, from files",
        Wmt(
            "wmt14_en_de_sample",
            (("wmt_sample.train.tok",), ("newstest2012.val3000.tok",), ("newstest2014.test2737.tok",)),
            note=TOKENISED,
        ).load,
        "translation",
        origin("wmt14_sample"),
    ),
}
