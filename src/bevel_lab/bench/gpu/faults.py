"""What can go wrong in a section, for a rehearsal: it must cost what that section has not yet made, and no row more."""

from __future__ import annotations

import os
import signal
import time

from bevel_lab.bench.gpu.timing import Bench
from bevel_lab.bench.timing import Sample


def raises(bench: Bench) -> None:
    """Raise, after a row, as a sticky error of CUDA does."""
    bench.add("fault", "forward", {"raises": Sample([1.0])})
    raise RuntimeError("a section of the rehearsal raises\nand more lines")


def hangs(bench: Bench) -> None:
    """Never return, after a row."""
    bench.add("fault", "forward", {"hangs": Sample([1.0])})
    while True:
        time.sleep(60)


def dies(bench: Bench) -> None:
    """End the process, after a row, as a fault in a driver does."""
    bench.add("fault", "forward", {"dies": Sample([1.0])})
    os.kill(os.getpid(), signal.SIGKILL)
