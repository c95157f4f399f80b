"""The ``bevel`` command.

Each command is a module with ``parser()`` and ``main(arguments) -> exit code``; what it needs is imported when it runs,
so that ``bevel --help`` answers at once. Exit codes: 0 done; 1 done, and something was found wrong (a law that is
broken, a trial that failed); 2 the input cannot be used, said in one line on standard error; 130 interrupted.
"""

from __future__ import annotations

import contextlib
import errno
import importlib
import io
import os
import sys
import warnings
from collections.abc import Sequence

COMMANDS = {
    "list": ("list_", "what there is: activations, kernels, data sets, models"),
    "data": ("data", "fetch data sets, and say which there are and where they come from"),
    "show": ("show", "one activation: formula, bound, derivative, a plot"),
    "check": ("check", "run the laws on an activation or a kernel"),
    "compare": ("compare", "train activations against one another and judge the difference"),
    "run": ("run", "the same for a file: activations × models × data sets × seeds"),
    "status": ("status", "how far experiments are"),
    "inspect": ("inspect", "every activation of a model, and what a swap would make of it"),
    "bench": ("bench", "time the activations on this machine"),
    "report": ("report", "write the report of a folder that compare filled"),
    "judge": ("judge", "the same verdicts for any table of scores"),
    "power": ("power", "how many seeds a question takes"),
    "calibrate": ("calibrate", "how often the verdicts of a report are right"),
    "completion": ("completion", "a script with which bash or zsh completes these commands"),
}
"""Command → (module in this package, one line)."""

_HELP = """usage: bevel COMMAND ...
       bevel --version

Smooth and learnable activation functions, and a lab that compares them.

commands:
{commands}

options:
  --help     show this; `bevel COMMAND --help` tells more
  --version  show the versions of bevel, Python and torch

examples:
  bevel list activations
  bevel show sau:n=5
  bevel compare --activations relu sau smooth_frelu --seeds 10 --out runs/first"""


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command line; returns the exit code."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    _open_closed_streams()
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")  # a terminal that lacks σ or ⠿ shows a question mark instead
    warnings.filterwarnings("ignore", "Failed to initialize NumPy")  # torch's, where NumPy is not installed
    try:
        code = _dispatch(arguments)
        sys.stdout.flush()
    except KeyboardInterrupt as error:
        print(str(error) or "interrupted.", file=sys.stderr)
        return 130
    except BrokenPipeError:
        _drop_output()  # the reader, such as head, has closed the pipe
        return 0
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        full = error.errno in (errno.ENOSPC, errno.EDQUOT)
        if full:
            _drop_output()
        return _refuse(f"{where}{error.strerror or error}" + ("; make room and start again." if full else ""))
    except ModuleNotFoundError as error:
        from bevel_lab.errors import how_to_install

        if (error.name or "bevel").partition(".")[0] in ("bevel", "bevel_lab"):
            raise
        return _refuse(f"`bevel {arguments[0]}` needs {error.name}, which is not installed; {how_to_install()}.")
    except Exception as error:
        from bevel.errors import BevelError

        if not isinstance(error, BevelError):
            raise
        return _refuse(str(error))
    return code


def _drop_output() -> None:
    """Send what is still to be printed nowhere: Python would try it again at exit, complain, and exit with 120."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _open_closed_streams() -> None:
    """Open the null device where a standard stream is closed, or the next file opened would get what is printed."""
    for number, (name, mode) in enumerate((("stdin", "r"), ("stdout", "w"), ("stderr", "w"))):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # the lowest number that is free: this one
            os.set_inheritable(number, True)
        if getattr(sys, name) is None:
            setattr(sys, name, os.fdopen(number, mode, encoding="utf-8", closefd=False))


def _dispatch(arguments: list[str]) -> int:
    if not arguments or arguments[0] in ("-h", "--help", "help"):
        rows = "\n".join(f"  {name:11}{line}" for name, (_, line) in COMMANDS.items())
        print(_HELP.format(commands=rows))
        return 0
    name, *rest = arguments
    if name == "--version":
        from bevel_lab.runtime.provenance import versions

        print(", ".join(f"{package} {version}" for package, version in versions().items()))
        return 0
    if name not in COMMANDS:
        from bevel.errors import UnknownName, did_you_mean

        raise UnknownName(f"unknown command {name!r}; {did_you_mean(name, COMMANDS)} `bevel --help` lists them.")
    command = importlib.import_module(f"bevel_lab.cli.{COMMANDS[name][0]}")
    read = command.parser().read(rest)
    with contextlib.ExitStack() as stack:
        if getattr(read, "quiet", False):
            stack.enter_context(contextlib.redirect_stdout(stack.enter_context(open(os.devnull, "w"))))
        code: int = command.main(read)
    return code


def _refuse(message: str) -> int:
    print("bevel: " + " ".join(message.split()), file=sys.stderr)
    return 2
