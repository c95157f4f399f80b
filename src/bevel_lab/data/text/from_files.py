"""Reads aligned text files: one sentence a line, line n of one file is the translation of line n of the other."""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from bevel_lab.data.invalid import InvalidSamples
from bevel_lab.data.source import Source
from bevel_lab.data.text.parallel import Aligned, ParallelText
from bevel_lab.errors import LabError

LONGEST = 2000
"""Most characters of a line. Longer ones are paragraphs that lost their ends, and one would fill a batch's memory."""

PARTS = (("train",), ("valid", "val", "dev"), ("test",))
"""Names of the training, validation and test files, before the language."""


@dataclass(frozen=True)
class Corpus:
    """Where a corpus lies.

    Attributes:
        folder: of its files.
        languages: (source, target): what the files' names end with, before ``.gz`` where they are packed.
        parts: possible names of the training, validation and test files; the first that is there counts.
        note: as of :class:`ParallelText`.
    """

    folder: Path
    languages: tuple[str, str]
    parts: Sequence[Sequence[str]] = PARTS
    note: str = ""

    def load(self, source: Source) -> ParallelText:
        """Read it whole.

        Raises:
            LabError: naming the file that is missing or damaged, the two that differ in length, or, unless
                ``source.skip_invalid``, file and line of the first sentence that is not UTF-8, empty or over-long.
        """
        invalid = InvalidSamples(source.skip_invalid, self.folder)
        train, valid, test = (self._part(names, invalid) for names in self.parts)
        return ParallelText(train, valid, test, self.languages, self.note, invalid.finish())

    def _part(self, names: Sequence[str], invalid: InvalidSamples) -> Aligned:
        paths = [self._file(names, language) for language in self.languages]
        lines = [_lines(path) for path in paths]
        if len(lines[0]) != len(lines[1]):
            raise LabError(
                f"{paths[0]} has {len(lines[0])} lines and {paths[1].name} {len(lines[1])}; line n of one must be the "
                "translation of line n of the other: fetch both again."
            )
        pairs: list[tuple[str, str]] = []
        for number, both in enumerate(zip(*lines, strict=True), 1):
            texts = [_text(line) for line in both]
            fault = next(((p, text) for p, text in zip(paths, texts, strict=True) if text[1]), None)
            if fault:
                path, (_, problem, remedy) = fault
                invalid.add(f"{path}, line {number} {problem}", remedy)
            else:
                pairs.append((texts[0][0], texts[1][0]))
        if not pairs:
            raise LabError(f"{paths[0]} has no pair of sentences that can be used; fetch it again.")
        return Aligned([a for a, _ in pairs], [b for _, b in pairs])

    def _file(self, names: Sequence[str], language: str) -> Path:
        for name in names:
            for packed in ("", ".gz"):
                path = self.folder / f"{name}.{language}{packed}"
                if path.is_file():
                    return path
        wanted = " or ".join(f"{name}.{language}" for name in names)
        raise LabError(f"{self.folder} has no file {wanted} (it may end in .gz); put it there.")


def below(root: Path, name: str, first: str) -> Path:
    """The folder ``name`` of a corpus, in the data root or in its folder ``mt_en_de``.

    Raises:
        LabError: where there is none; ``first`` is a file that belongs there.
    """
    for folder in (root / name, root / "mt_en_de" / name):
        if folder.is_dir():
            return folder
    raise LabError(f"{root} has no folder {name}; put the corpus there ({first} …), or pass its parent as --data-root.")


def _lines(path: Path) -> list[bytes]:
    """The lines without their ends; a damaged file raises ``LabError``."""
    try:
        content = path.read_bytes()
        if path.suffix == ".gz":
            content = gzip.decompress(content)
    except (OSError, EOFError, zlib.error) as error:
        raise LabError(f"{path} cannot be read ({error}); fetch it again.") from error
    # not splitlines: it also cuts at characters that stand inside sentences, such as U+2028, and alignment is lost
    lines = content.removeprefix(b"\xef\xbb\xbf").split(b"\n")
    return lines if lines[-1] else lines[:-1]


def _text(line: bytes) -> tuple[str, str, str]:
    """(text, what is wrong with it or "", what would do)."""
    try:
        text = line.decode("utf-8").strip()
    except UnicodeDecodeError as error:
        wrong = f"is not UTF-8 (byte 0x{line[error.start]:02x} at position {error.start + 1})"
        return "", wrong, "convert the file to UTF-8"
    if "\0" in text:
        return "", "has a NUL character, which no text in UTF-8 has", "convert the file to UTF-8"
    if not text:
        return "", "is empty", "delete it in both files"
    if len(text) > LONGEST:
        return "", f"has {len(text)} characters, more than {LONGEST}", "cut it in both files"
    return text, "", ""
