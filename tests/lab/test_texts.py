"""SentencePairs texts: what is read, what is refused, and the subwords that are learnt from them."""

from __future__ import annotations

import gzip
from pathlib import Path

import pytest
from sentence_data import PAIRS, write_part

from bevel_lab.data.invalid import DataNote
from bevel_lab.data.source import Source
from bevel_lab.data.text import ParallelText
from bevel_lab.data.text.from_files import MAX_CHARACTERS, Corpus
from bevel_lab.data.text.tokens import BEGIN, END, PAD, Tokenizer, encode_corpus
from bevel_lab.datasets import DATASETS
from bevel_lab.datasets.multi30k import Multi30k
from bevel_lab.datasets.wmt14 import Wmt
from bevel_lab.errors import LabError


def _read(folder: Path, **source: bool) -> ParallelText:
    return Corpus(folder, ("en", "de")).load(Source(**source))


# ----------------------------------------------------------------------------------------------------------- the files


def test_aligned_files_are_read_as_they_are(tmp_path: Path) -> None:
    pairs = [("One\u2028line \x85 only", "Eine Zeile"), (" two ", "zwei\r"), ("drei", "drei")]
    for name in ("train", "dev"):
        write_part(tmp_path, name, pairs)
    (tmp_path / "test.en").write_bytes("\ufeffone\r\ntwo".encode())
    (tmp_path / "test.de.gz").write_bytes(gzip.compress(b"eins\nzwei\n"))
    data = _read(tmp_path)
    assert list(data.train.source) == ["One\u2028line \x85 only", "two", "drei"], "U+2028 and U+0085 end no line"
    assert list(data.valid.target) == ["Eine Zeile", "zwei", "drei"]
    assert (list(data.test.source), list(data.test.target)) == (["one", "two"], ["eins", "zwei"])
    counts = {key: data.facts[key] for key in ("train", "validation", "test", "languages")}
    assert counts == {"train": 3, "validation": 3, "test": 2, "languages": "en to de"}
    assert "skipped" not in data.facts
    (tmp_path / "test.en").write_bytes(b"one\nto")
    assert _read(tmp_path).facts["digest"] != data.facts["digest"]


def test_which_of_several_validation_files_is_read_is_said(tmp_path: Path) -> None:
    for number, name in enumerate(("train", "dev", "valid", "test")):
        write_part(tmp_path, name, PAIRS[3 * number : 3 * number + 3])
    with pytest.warns(DataNote, match=r"has valid and dev; valid is read, and dev is not"):
        assert list(_read(tmp_path).valid.source) == [english for english, _ in PAIRS[6:9]]
    (tmp_path / "valid.de").unlink()
    with pytest.warns(DataNote), pytest.raises(LabError, match=r"has no file valid.de \(it may end in"):
        _read(tmp_path)  # not the source of one and the target of the other


BAD = [
    (b"caf\xe9", r"train.en, line 2 is not UTF-8 \(byte 0xe9 at position 4\); convert the file to UTF-8"),
    (b"a\0b\0", r"train.en, line 2 has a NUL character, which no text in UTF-8 has; convert the file to UTF-8"),
    (b"  ", r"train.en, line 2 is empty; delete it in both files"),
    (b"x" * (MAX_CHARACTERS + 1), r"train.en, line 2 has 2001 characters, more than 2000; cut it in both files"),
]


@pytest.mark.parametrize(("line", "words"), BAD)
def test_a_bad_line_is_named_or_left_out_and_counted(tmp_path: Path, line: bytes, words: str) -> None:
    for name in ("train", "valid", "test"):
        write_part(tmp_path, name, PAIRS[:3])
    (tmp_path / "train.en").write_bytes(b"one\n" + line + b"\nthree\n")
    with pytest.raises(LabError, match=f"{words}, or skip it with --skip-invalid"):
        _read(tmp_path)
    with pytest.warns(UserWarning, match=r"skipped as invalid, 1: train.en, line 2"):
        data = _read(tmp_path, skip_invalid=True)
    assert list(data.train.source) == ["one", "three"]
    assert list(data.train.target) == [PAIRS[0][1], PAIRS[2][1]]
    assert str(data.facts["skipped"]).startswith("1: train.en, line 2 ")


def test_many_bad_lines_are_counted_and_the_first_named(tmp_path: Path) -> None:
    for name in ("train", "valid", "test"):
        write_part(tmp_path, name, [*PAIRS[:3], ("a", "")])
    write_part(tmp_path, "test", [("", "b")] * 9 + [("c", "d")])
    with pytest.warns(UserWarning, match="skipped as invalid, 11: "):
        found = str(_read(tmp_path, skip_invalid=True).facts["skipped"])
    assert found.startswith("11: train.de, line 4 is empty; valid.de, line 4 is empty; test.en, line 1 is empty")
    assert found.endswith("test.en, line 3 is empty; and 6 more")


def test_texts_that_do_not_align_are_an_error_all_the_same(tmp_path: Path) -> None:
    for name in ("train", "valid", "test"):
        write_part(tmp_path, name, PAIRS[:3])
    (tmp_path / "valid.de").write_text("eins\n")
    with pytest.raises(LabError, match=r"valid.en has 3 lines and valid.de 1; line n of one must be the translation"):
        _read(tmp_path, skip_invalid=True)
    (tmp_path / "valid.de").unlink()
    with pytest.raises(LabError, match=r"has no file valid.de \(it may end in .gz\)"):
        _read(tmp_path)
    (tmp_path / "valid.de.gz").write_bytes(gzip.compress(b"eins\n" * 1000)[:-9])
    with pytest.raises(LabError, match=r"valid.de.gz cannot be read \(.*\); fetch it again"):
        _read(tmp_path)
    write_part(tmp_path, "test", [(" ", " ")])
    (tmp_path / "valid.de").write_text("eins\nzwei\ndrei\n")
    with pytest.raises(LabError, match=r"test.en has no pair of sentences that can be used"):
        _read(tmp_path, skip_invalid=True)
    for path in tmp_path.glob("valid.*"):
        path.unlink()
    with pytest.raises(LabError, match=r"has no file valid.en or val.en or dev.en \(it may end in .gz\)"):
        _read(tmp_path)


def test_a_folder_of_texts_says_which_languages(corpus: Path, tmp_path: Path) -> None:
    def load(name: str) -> ParallelText:
        data: ParallelText = DATASETS.item(name).load(Source())
        return data

    assert load(f"folder_text:{corpus}").languages == ("de", "en")
    assert load(f"folder_text:{corpus}:en-de").train.source[0].startswith("The ")
    with pytest.raises(LabError, match=r"there is no folder .*nowhere"):
        load(f"folder_text:{tmp_path / 'nowhere'}:en-de")
    for language in ("en", "de", "fr"):
        (tmp_path / f"train.{language}").write_text("a\n")
    with pytest.raises(LabError, match=r"has training files in 3 languages \(de, en, fr\); .*PATH:SOURCE-TARGET"):
        load(f"folder_text:{tmp_path}")


def test_a_part_of_multi30k_or_wmt_is_not_called_the_whole(tmp_path: Path) -> None:
    for name in ("multi30k", "wmt14"):
        with pytest.raises(LabError, match=f"has no folder {name}; put the corpus there"):
            DATASETS.item(name).load(Source(tmp_path))
        (tmp_path / name).mkdir()
    for name in ("train", "val", "test_2016_flickr"):
        write_part(tmp_path / "multi30k", name, PAIRS[:4])
    with pytest.raises(
        LabError,
        match=r"has 4 training pairs, 4 validation pairs, 4 test pairs, where the whole has 29,000, .* folder_text:",
    ):
        DATASETS.item("multi30k").load(Source(tmp_path))
    assert len(Multi30k(4, 4, 4).load(Source(tmp_path)).test) == 4
    write_part(tmp_path / "multi30k", "val", [*PAIRS[:3], ("", "leer")])
    with pytest.warns(UserWarning, match=r"1: val.en, line 4"):
        assert len(Multi30k(4, 4, 4).load(Source(tmp_path, skip_invalid=True)).valid) == 3
    with (
        pytest.warns(UserWarning, match="val.en"),
        pytest.raises(LabError, match=r"has 4 training pairs, 3 validation pairs, 4 test pairs, where the whole has 5"),
    ):
        Multi30k(5, 4, 4).load(Source(tmp_path, skip_invalid=True))
    for name in ("train", "newstest2013", "newstest2014"):
        write_part(tmp_path / "wmt14", name, PAIRS[:4])
    with pytest.raises(LabError, match="has 4 training pairs where WMT14 has more than 4000000"):
        DATASETS.item("wmt14").load(Source(tmp_path))
    parts = (("train",), ("newstest2013",), ("newstest2014",))
    assert Wmt("wmt14", parts, 4).load(Source(tmp_path)).languages == ("en", "de")


def test_the_real_corpora_are_read_whole(real_texts: Path) -> None:
    multi30k, sample = (DATASETS.item(name).load(Source(real_texts)) for name in ("multi30k", "wmt14_sample"))
    assert multi30k.train.source[0] == "Two young, White males are outside near many bushes."
    assert multi30k.train.target[0] == "Zwei junge weiße Männer sind im Freien in der Nähe vieler Büsche."
    assert [len(part) for part in (sample.train, sample.valid, sample.test)] == [10_000, 3_000, 2_737]
    assert "not comparable" in sample.facts["note"]
    one = encode_corpus(sample, 300)
    assert len(one.tokenizer) == 1000
    assert one.tokenizer.decode(one.train.target[7].tolist()) in sample.train.target


# ------------------------------------------------------------------------------------------------------------ subwords


def test_every_text_comes_back_from_its_subwords() -> None:
    subwords = Tokenizer([text for pair in PAIRS for text in pair], 400)
    assert 259 < len(subwords) <= 400
    odd = ["Der rote Hund läuft.", "naïve 東京 🙂", "</s> <pad> is text here", "&quot;x  y"]
    encoded = subwords.encode(odd)
    assert [subwords.decode(encoded[i].tolist()) for i in range(len(odd))] == odd
    assert all(int(encoded[i].min()) > END for i in range(len(odd))), "no text makes a mark"
    assert encoded.lengths.tolist() == [len(encoded[i]) for i in range(len(odd))]
    assert len(encoded[0]) < len(odd[0]) / 2, "frequent words are few pieces"


def test_subwords_are_the_same_every_time_and_follow_from_the_texts() -> None:
    texts = [text for pair in PAIRS for text in pair]
    digests = {Tokenizer(texts, 400).digest for _ in range(5)}
    assert len(digests) == 1
    assert Tokenizer(texts[:80], 400).digest not in digests


def test_batches_are_filled_up_and_marked() -> None:
    encoded = Tokenizer(["a b", "c"], 300).encode(["ab", "c", "abc"])
    rows = encoded.padded([1, 2], begin=True)
    assert rows.tolist() == [
        [BEGIN, *encoded[1].tolist(), END, *[PAD] * (len(encoded[2]) - len(encoded[1]))],
        [BEGIN, *encoded[2].tolist(), END],
    ]
    assert encoded.padded([1], begin=False).tolist() == [[*encoded[1].tolist(), END]]


def test_subwords_are_learnt_from_what_is_trained_on(corpus: Path) -> None:
    data = _read(corpus)
    all_, few = encode_corpus(data, 0), encode_corpus(data, 20)
    assert (len(all_.train), len(few.train)) == (100, 20)
    assert all_.tokenizer.digest != few.tokenizer.digest
    wanted = list(zip(data.train.source, data.train.target, strict=True))
    for i in range(20):
        pair = tuple(few.tokenizer.decode(side[i].tolist()) for side in (few.train.source, few.train.target))
        assert pair in wanted
