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

from bevel_lab.data.fetch import Origin, Remote
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


_TRAIN = {
    "wmt13/training-parallel-europarl-v7.tgz": "0224c7c710c8a063dfd893b0cc0830202d61f4c75c17eb8e31836103d27d96e7",
    "wmt13/training-parallel-commoncrawl.tgz": "c7a74e2ea01ac6c920123108627e35278d4ccb5701e15428ffa34de86fa3a9e5",
    "wmt14/training-parallel-nc-v9.tgz": "cb8953f292298e6877ae433c98912b927cb0766b303f4540512ddd286c748485",
}
"""SHA-256 of the archives with the training part, as tensorflow-datasets publishes them."""
_TESTS = {
    "wmt13/test.tgz": "48eca5d02f637af44e85186847141f67",
    "wmt14/test-full.tgz": "a8cd784e006feb32ac6f3d9ec7eb389a",
}
"""MD5 of the archives with newstest2013 and newstest2014, as sacrebleu publishes them."""
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


ORIGIN = Origin(
    (
        *(Remote(f"https://www.statmt.org/{name}", f"sha256:{sha}") for name, sha in _TRAIN.items()),
        *(Remote(f"https://www.statmt.org/{name}", f"md5:{md5}") for name, md5 in _TESTS.items()),
    ),
    tuple(f"wmt14/{name}" for name in ("train.en", "train.de", *_NEWS)),
    "1.7 GB; for research, see the shared task's page",
    joined,
)
_OPENNMT = "https://raw.githubusercontent.com/OpenNMT/OpenNMT-py/3518fbab3092b21f12d78f9054097dffabb4025e/data"
_SAMPLE = {
    "wmt_sample.train.tok.en": ("src-train.txt", "13719e0549f2fbb3c990fc502357acf40e057875"),
    "wmt_sample.train.tok.de": ("tgt-train.txt", "08331caa65258cd171c9a888a8f05566cd041414"),
    "newstest2012.val3000.tok.en": ("src-val.txt", "5fb7b8382bd26f95ec65d42dfb5424201d839d30"),
    "newstest2012.val3000.tok.de": ("tgt-val.txt", "b4e3ada55a10ffcec68e3eaae6986292efc87945"),
    "newstest2014.test2737.tok.en": ("src-test.txt", "15eeb7c20e6d1d90d342bf043169088f809ec1d3"),
    "newstest2014.test2737.tok.de": ("tgt-test.txt", "333ad62bfbde4a425aaaa57c3dc9a1a6c4b286d9"),
}
"""What the files are called here, and in OpenNMT's repository, with their ids there."""
SAMPLE = Origin(
    tuple(
        Remote(f"{_OPENNMT}/{there}", f"git:{blob}", "wmt14_en_de_sample", name=here)
        for here, (there, blob) in _SAMPLE.items()
    ),
    tuple(f"wmt14_en_de_sample/{name}" for name in _SAMPLE),
    "4.3 MB; MIT",
)

ENTRIES = {
    "wmt14": DataSet(
        "WMT14, 4.5 million sentences, English to German, from files (newstest2013, newstest2014)",
        Wmt("wmt14", (("train",), ("newstest2013", "valid", "val"), ("newstest2014", "test")), 4_000_000).load,
        "translation",
        ORIGIN,
    ),
    "wmt14_sample": DataSet(
        "10,000 + 3,000 + 2,737 sentences of WMT14, English to German, tokenised, from files",
        Wmt(
            "wmt14_en_de_sample",
            (("wmt_sample.train.tok",), ("newstest2012.val3000.tok",), ("newstest2014.test2737.tok",)),
            note=TOKENISED,
        ).load,
        "translation",
        SAMPLE,
    ),
}
