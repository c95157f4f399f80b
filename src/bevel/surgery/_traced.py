"""What runs while ``torch.compile`` traces a swapped model. Only then is it imported: it brings the compiler along."""

from __future__ import annotations

import torch

from bevel._torch_private import traced_stack
from bevel.surgery._calls import tell
from bevel.surgery._place import BEGIN, Lines, kind_of, line


@torch.compiler.assume_constant_result  # type: ignore[untyped-decorator]
def here() -> tuple[Lines, bool]:
    """The line numbers of the call that is traced now, from within this package, and whether a forward is traced.

    Where tracing has given up on a forward, what that calls is compiled on its own: the lines end early then.
    """
    lines: list[str] = []
    for summary in reversed(traced_stack()):
        kind = kind_of(summary.filename, summary.name)
        if kind == 0:
            lines.append(line(summary.name, summary.lineno))
        elif kind == BEGIN and lines:  # before that they are frames of our own that the call has reached already
            return tuple(lines), True
    return tuple(lines), False


@torch.compiler.assume_constant_result  # type: ignore[untyped-decorator]
def tell_here(name: str, lines: Lines) -> None:
    """Warn of a call that the example did not run."""
    tell(name, lines)
