"""Parallel corpora, English and German: 125 sentences of a small grammar, and the messages of Sphinx."""

from __future__ import annotations

import itertools
from importlib.util import find_spec
from pathlib import Path

import torch

COLORS = {"red": "rote", "black": "schwarze", "small": "kleine", "old": "alte", "wet": "nasse"}
ANIMALS = {"dog": "Hund", "bird": "Vogel", "fox": "Fuchs", "bear": "Bär", "hedgehog": "Igel"}
DEEDS = {"runs": "läuft", "sleeps": "schläft", "eats": "frisst", "drinks": "trinkt", "jumps": "springt"}
PAIRS = [
    (f"The {color} {animal} {deed}.", f"Der {COLORS[color]} {ANIMALS[animal]} {DEEDS[deed]}.")
    for color, animal, deed in itertools.product(COLORS, ANIMALS, DEEDS)
]
PAIRS[::3] = [(f"{english} It is glad of it.", f"{german} Darüber ist er froh.") for english, german in PAIRS[::3]]


def write_part(folder: Path, name: str, pairs: list[tuple[str, str]]) -> None:
    """Write one part: NAME.en and NAME.de."""
    for language, lines in zip(("en", "de"), zip(*pairs, strict=True), strict=True):
        (folder / f"{name}.{language}").write_text("".join(f"{line}\n" for line in lines), "utf-8", newline="\n")


def write_corpus(folder: Path, pairs: list[tuple[str, str]] = PAIRS) -> Path:
    """Write all sentences in three parts, 10 for validation and 15 to test; return the folder."""
    order = torch.randperm(len(pairs), generator=torch.Generator().manual_seed(0)).tolist()
    shuffled = [pairs[i] for i in order]
    for name, first, end in (("train", 0, -25), ("valid", -25, -15), ("test", -15, None)):
        write_part(folder, name, shuffled[first:end])
    return folder


def sphinx_messages() -> list[tuple[str, str]]:
    """Some 160 short texts that people have translated: the messages of Sphinx, which its package brings along."""
    from babel.messages.pofile import read_po

    spec = find_spec("sphinx")
    assert spec is not None
    assert spec.submodule_search_locations is not None
    with (Path(spec.submodule_search_locations[0]) / "locale" / "de" / "LC_MESSAGES" / "sphinx.po").open("rb") as file:
        found = [(message.id, message.string) for message in read_po(file) if not message.fuzzy]
    lines = [pair for pair in found if all(isinstance(text, str) and text and "\n" not in text for text in pair)]
    return [(english, german) for english, german in lines if english != german]
