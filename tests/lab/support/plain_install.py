"""Print what ``main`` answers to command lines, given as JSON: a list of [exit code, standard error, standard output].

Started in a Python that sees the standard library, bevel, and the packages in its first argument.
"""

from __future__ import annotations

import contextlib
import io
import json
import sys
import traceback

from bevel_lab.cli import main


def answer(line: list[str]) -> tuple[object, str, str]:
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            code: object = main(line)
        except BaseException:
            code = traceback.format_exc()
    return code, err.getvalue(), out.getvalue()


if __name__ == "__main__":
    print(json.dumps([answer(line) for line in json.loads(sys.argv[1])]))
