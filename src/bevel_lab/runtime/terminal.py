"""Text for a terminal, no wider than it is: tables and sentences, without a broken word; and JSON in their place."""

from __future__ import annotations

import json
import math
import shutil
import textwrap
from collections.abc import Mapping, Sequence
from typing import Any

GAP = 2
NARROWEST = 40


def room() -> int:
    """Columns of the terminal; 80 where the output goes elsewhere."""
    return max(NARROWEST, shutil.get_terminal_size((80, 24)).columns)


def filled(text: str, columns: int, first: str = "", rest: str = "") -> str:
    """Break a text between words; ``first`` stands before its first line, ``rest`` before the others."""
    return textwrap.fill(
        text, columns, initial_indent=first, subsequent_indent=rest, break_long_words=False, break_on_hyphens=False
    )


def entry(name: str, text: str, columns: int, hang: int) -> str:
    """Write a name and what is said of it; all lines but the first begin at column ``hang``."""
    if not text:  # textwrap would leave out the name, too
        return name
    if len(name) + GAP > hang:
        return f"{name}\n{filled(text, columns, ' ' * hang, ' ' * hang)}"
    return filled(text, columns, name.ljust(hang), " " * hang)


def table(head: Sequence[str], rows: Sequence[Sequence[str]], words: int, columns: int) -> list[str]:
    """Align a table whose first ``words`` columns hold words and whose others hold numbers.

    Columns without a text are left out. A table that is too wide becomes several, one below the other, each of which
    begins with the first column; one of words alone, or with a column that no table can hold, becomes a list, one
    entry a row.
    """
    kept = [i for i in range(len(head)) if not rows or any(row[i] for row in rows)]
    head, rows = [head[i] for i in kept], [[row[i] for i in kept] for row in rows]
    words = sum(i < words for i in kept)
    widths = [max(map(len, column)) for column in zip(head, *rows, strict=True)]
    if sum(widths) + GAP * (len(widths) - 1) <= columns:
        return _aligned(head, rows, words, range(len(widths)))
    if words == len(head) or any(widths[0] + GAP + width > columns for width in widths[1:]):
        return _entries(head, rows, columns)
    parts: list[list[int]] = []
    for i, width in enumerate(widths[1:], start=1):
        if not parts or sum(widths[j] + GAP for j in parts[-1]) + width > columns:
            parts.append([0])
        parts[-1].append(i)
    lines: list[str] = []
    for part in parts:
        lines += [*([""] if lines else []), *_aligned(head, rows, words, part)]
    return lines


def _aligned(head: Sequence[str], rows: Sequence[Sequence[str]], words: int, shown: Sequence[int]) -> list[str]:
    widths = {i: max(len(line[i]) for line in (head, *rows)) for i in shown}
    lines = (head, ["─" * widths.get(i, 0) for i in range(len(head))], *rows)
    gap = " " * GAP
    return [gap.join(f"{line[i]:{'<' if i < words else '>'}{widths[i]}}" for i in shown).rstrip() for line in lines]


def _entries(head: Sequence[str], rows: Sequence[Sequence[str]], columns: int) -> list[str]:
    hang = GAP + max(map(len, head[1:]), default=0) + GAP
    lines: list[str] = []
    for name, *texts in rows:
        lines += [*([""] if lines else []), name]
        lines += [entry(f"  {what}", text, columns, hang) for what, text in zip(head[1:], texts, strict=True) if text]
    return lines


def as_json(found: Any) -> str:
    """Write mappings, sequences and numbers as JSON; what is not finite is null, and anything else its text."""
    return json.dumps(_plain(found), ensure_ascii=False, indent=2, allow_nan=False)


def _plain(found: Any) -> Any:
    if isinstance(found, Mapping):
        return {str(key): _plain(value) for key, value in found.items()}
    if isinstance(found, list | tuple):
        return [_plain(value) for value in found]
    if found is None or type(found) in (bool, int, str):
        return found
    if isinstance(found, float):
        return float(found) if math.isfinite(found) else None
    return str(found)
