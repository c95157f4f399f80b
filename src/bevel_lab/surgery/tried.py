"""``docs/tried.md``: the cases of ``tried_cases`` with what happens today, and by hand what cannot be run here.

``python -m bevel_lab.surgery.tried`` writes the page, in seconds; the models are on the page of ``compatibility``.
"""

from __future__ import annotations

import argparse
import sys
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import torch

from bevel_lab.surgery.architectures import ARCHITECTURES
from bevel_lab.surgery.tried_cases import CASES


@dataclass(frozen=True)
class Outcome:
    """What a case does today.

    Attributes:
        kind, title: what is tried; Markdown.
        right: whether it is as it should be.
        text: what happens, on one line.
    """

    kind: str
    title: str
    right: bool
    text: str


def outcome(kind: str, case: Callable[[], str]) -> Outcome:
    """Run a case."""
    title = (case.__doc__ or "").splitlines()[0]
    torch.manual_seed(0)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # torch's own remarks; what bevel says is in the text
            return Outcome(kind, title, True, case())
    except Exception as error:  # whatever it raises is the outcome
        lines = str(error).strip().splitlines()
        return Outcome(kind, title, False, f"{type(error).__name__}{': ' + lines[0] if lines else ''}")


def outcomes() -> list[Outcome]:
    """Run all cases."""
    return [outcome(kind, case) for kind, cases in CASES.items() for case in cases]


def page(found: Sequence[Outcome], notes: str) -> str:
    """Write the outcomes and the notes as Markdown."""
    return "\n".join(_lines(found, notes))


def _lines(found: Sequence[Outcome], notes: str) -> Iterator[str]:
    libraries = sorted({name.partition(":")[0] for name in ARCHITECTURES})
    right = sum(one.right for one in found)
    yield "# What was tried\n"
    today = datetime.now(UTC).date().isoformat()
    yield f"Written on {today} by `python -m bevel_lab.surgery.tried`; torch {torch.__version__}, on a CPU.\n"
    yield (
        f"Kinds of faults that other libraries' users reported or that bevel had, each run today: {right} of "
        f"{len(found)} are as they should be. A refusal is right where nothing else would be: it says in one sentence "
        f"what to do.\n"
    )
    yield "| what | tried | as it should be | today |\n| :-- | :-- | :-- | :-- |"
    for one in found:
        text = one.text.replace("|", "\\|")
        yield f"| {one.kind} | {one.title} | {'yes' if one.right else '**no**'} | {text} |"
    yield (
        f"\n## Models\n\n{len(ARCHITECTURES)} architectures of {', '.join(libraries)} are found, swapped, trained and "
        "restored by `python -m bevel_lab.surgery.compatibility`; see [compatibility](compatibility.md).\n"
    )
    yield notes


def main(argv: Sequence[str] | None = None) -> int:
    """Write the page; 1 if anything is not as it should be."""
    parser = argparse.ArgumentParser(prog="python -m bevel_lab.surgery.tried", description=main.__doc__)
    parser.add_argument("--out", type=Path, default=Path("docs/tried.md"))
    parser.add_argument("--notes", type=Path, default=Path("docs/tried-notes.md"), help="what is added by hand")
    arguments = parser.parse_args(argv)
    found = outcomes()
    arguments.out.write_text(page(found, arguments.notes.read_text(encoding="utf-8")), encoding="utf-8", newline="\n")
    wrong = [one for one in found if not one.right]
    for one in wrong:
        print(f"{one.title}: {one.text}", file=sys.stderr)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
