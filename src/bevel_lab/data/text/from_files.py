"""Reads parallel text files: one sentence a line; line n of one file translates line n of the other."""

from __future__ import annotations

import gzip
import warnings
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from bevel_lab.data.invalid import DataNote, InvalidSamples
from bevel_lab.data.source import Source
from bevel_lab.data.text.parallel import ParallelText, SentencePairs
from bevel_lab.errors import LabError

MAX_CHARACTERS = 2000
"""A longer line is a paragraph that lost its line breaks, and would fill a batch's memory."""

PARTS = (("train",), ("valid", "val", "dev"), ("test",))
"""Names of the training, validation and test files, before the language."""


@dataclass(frozen=True)
class Corpus:
    """The files of a parallel corpus.

    Attributes:
        folder: folder of the files.
        languages: (source, target): the suffixes of the files' names, before ``.gz`` if they are compressed.
        parts: possible names of the training, validation and test files; the first that exists is read.
        note: as of :class:`ParallelText`.
    """

    folder: Path
    languages: tuple[str, str]
    parts: Sequence[Sequence[str]] = PARTS
    note: str = ""

    def load(self, source: Source) -> ParallelText:
        """Read the whole corpus.

        Raises:
            LabError: for a missing or damaged file, two files of different length, or, unless ``source.skip_invalid``,
                the first sentence that is not UTF-8, empty or too long.
        """
        invalid = InvalidSamples(source.skip_invalid, self.folder)
        train, valid, test = (self._part(names, invalid) for names in self.parts)
        return ParallelText(train, valid, test, self.languages, self.note, invalid.finish())

    def _part(self, names: Sequence[str], invalid: InvalidSamples) -> SentencePairs:
        paths = self._files(names)
        lines = [_lines(path) for path in paths]
        if len(lines[0]) != len(lines[1]):
            raise LabError(
                f"{paths[0]} has {len(lines[0])} lines and {paths[1].name} {len(lines[1])}; line n of one must be the "
                "translation of line n of the other: fetch both again."
            )
        pairs: list[list[str]] = []
        for number, both in enumerate(zip(*lines, strict=True), 1):
            texts = [_text(line) for line in both]
            for path, (_, problem, remedy) in zip(paths, texts, strict=True):
                if problem:
                    invalid.add(f"{path}, line {number} {problem}", remedy)
                    break
            else:
                pairs.append([text for text, _, _ in texts])
        if not pairs:
            raise LabError(f"{paths[0]} has no pair of sentences that can be used; fetch it again.")
        return SentencePairs(*map(list, zip(*pairs, strict=True)))

    def _files(self, names: Sequence[str]) -> list[Path]:
        """The files of both languages under the first of ``names`` that is there; warns of others that are, too."""
        there = {name: [self._file(name, language) for language in self.languages] for name in names}
        found = [name for name, paths in there.items() if any(paths)]
        if len(found) > 1:
            note = f"{self.folder} has {' and '.join(found)}; {found[0]} is read, and {' and '.join(found[1:])} is not"
            warnings.warn(note, DataNote, stacklevel=2)
        first = found[:1] or names
        paths = []
        for language, path in zip(self.languages, there[first[0]], strict=True):
            if path is None:
                wanted = " or ".join(f"{name}.{language}" for name in first)
                raise LabError(f"{self.folder} has no file {wanted} (it may end in .gz); put it there.")
            paths.append(path)
        return paths

    def _file(self, name: str, language: str) -> Path | None:
        paths = (self.folder / f"{name}.{language}{suffix}" for suffix in ("", ".gz"))
        return next((path for path in paths if path.is_file()), None)


def below(root: Path, name: str, first: str) -> Path:
    """The folder ``name`` of a corpus, in ``root`` or in its folder ``mt_en_de``.

    Args:
        root: the data root.
        name: the folder.
        first: a file that belongs there, for the message.

    Raises:
        LabError: if there is no such folder.
    """
    for folder in (root / name, root / "mt_en_de" / name):
        if folder.is_dir():
            return folder
    raise LabError(f"{root} has no folder {name}; put the corpus there ({first} …), or pass its parent as --data-root.")


def _lines(path: Path) -> list[bytes]:
    """The lines without their line breaks; raises ``LabError`` for a damaged file."""
    try:
        content = path.read_bytes()
        if path.suffix == ".gz":
            content = gzip.decompress(content)
    except (OSError, EOFError, zlib.error) as error:
        raise LabError(f"{path} cannot be read ({error}); fetch it again.") from error
    # splitlines would also split at characters inside sentences, such as U+2028, and the alignment would be lost
    lines = content.removeprefix(b"\xef\xbb\xbf").split(b"\n")
    return lines if lines[-1] else lines[:-1]


def _text(line: bytes) -> tuple[str, str, str]:
    """(text, problem or "", remedy)."""
    try:
        text = line.decode("utf-8").strip()
    except UnicodeDecodeError as error:
        wrong = f"is not UTF-8 (byte 0x{line[error.start]:02x} at position {error.start + 1})"
        return "", wrong, "convert the file to UTF-8"
    if "\0" in text:
        return "", "has a NUL character, which no text in UTF-8 has", "convert the file to UTF-8"
    if not text:
        return "", "is empty", "delete it in both files"
    if len(text) > MAX_CHARACTERS:
        return "", f"has {len(text)} characters, more than {MAX_CHARACTERS}", "cut it in both files"
    return text, "", ""
