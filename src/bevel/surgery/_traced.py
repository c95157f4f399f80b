"""What runs while ``torch.compile`` traces a swapped model. Only then is it imported: it brings the compiler along."""

from __future__ import annotations

import torch

from bevel._torch_private import traced_stack
from bevel.surgery._calls import tell
from bevel.surgery._place import BEGIN, Lines, kind_of, line


@torch.compiler.assume_constant_result  # type: ignore[untyped-decorator]
def lines_here() -> Lines:
    """The line numbers of the call that ``torch.compile`` traces now, from within this package."""
    lines: list[str] = []
    inside = False  # past the frames of our own that the call has reached already
    for summary in reversed(traced_stack()):
        kind = kind_of(summary.filename, summary.name)
        if kind == 0:
            inside = True
            lines.append(line(summary.name, summary.lineno))
        elif kind == BEGIN and inside:
            break
    return tuple(lines)


@torch.compiler.assume_constant_result  # type: ignore[untyped-decorator]
def tell_here(name: str, lines: Lines) -> None:
    """Warn of a call that the example did not run."""
    tell(name, lines)
