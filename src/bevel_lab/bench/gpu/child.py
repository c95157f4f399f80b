"""The process that touches the GPU: it runs sections in order and tells its parent where it is, one JSON line an event.

It ends after a section that raised, because an error of CUDA stays in the process and would spoil all that follows.
``python -m bevel_lab.bench.gpu.child FD ROWS SECTION…`` is started by :mod:`bevel_lab.bench.gpu.parent` alone.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import torch

from bevel.ops import using
from bevel_lab.bench.gpu.interpreter import prepared
from bevel_lab.bench.gpu.sections import BY_NAME
from bevel_lab.bench.gpu.timing import Bench

Tell = Callable[..., None]


def run(bench: Bench, names: Sequence[str], tell: Tell) -> None:
    """Run the named sections; the first that raises is the last."""
    for name in names:
        tell("begin", section=name)
        try:
            if not bench.dry:
                bench.look()
            with using("triton" if bench.dry else "auto"):
                said = BY_NAME[name].run(bench)
            if not bench.dry:
                torch.cuda.empty_cache()
        except Exception as error:
            first = (str(error).strip().splitlines() or [""])[0]
            tell("raised", section=name, said=f"{type(error).__name__}: {first}")
            return
        tell("end", section=name, said=said or "")


def main(arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("events", type=int)
    parser.add_argument("rows", type=Path)
    parser.add_argument("names", nargs="+", choices=BY_NAME)
    parser.add_argument("--dry-run", action="store_true")
    options = parser.parse_args(arguments)
    with os.fdopen(options.events, "w") as stream:

        def tell(event: str, **facts: str) -> None:
            stream.write(json.dumps({"event": event, **facts}) + "\n")
            stream.flush()

        bench = Bench(torch.device("cpu" if options.dry_run else "cuda"), options.dry_run, options.rows)
        tell("ready")
        with prepared() if options.dry_run else contextlib.nullcontext():
            run(bench, options.names, tell)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
