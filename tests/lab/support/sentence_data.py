"""A parallel corpus of 125 sentences of a small grammar, English and German."""

from __future__ import annotations

import itertools
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


def write_corpus(folder: Path) -> Path:
    """Write all sentences in three parts; return the folder."""
    shuffled = [PAIRS[i] for i in torch.randperm(125, generator=torch.Generator().manual_seed(0)).tolist()]
    for name, first, end in (("train", 0, 100), ("valid", 100, 110), ("test", 110, 125)):
        write_part(folder, name, shuffled[first:end])
    return folder
