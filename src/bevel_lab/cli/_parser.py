"""An argument parser whose every complaint is one line that says what is wrong and what would do."""

from __future__ import annotations

import argparse
import re
import textwrap
from collections.abc import Callable, Sequence
from typing import Any, NoReturn


class Parser(argparse.ArgumentParser):
    """Raises ``InvalidValue`` or ``UnknownName`` instead of printing its usage and leaving."""

    def __init__(self, command: str, description: str, examples: str) -> None:
        super().__init__(
            prog=f"bevel {command}",
            description=textwrap.fill(description, 80),
            epilog="examples:\n" + "\n".join(f"  {line}" for line in examples.strip().splitlines()),
            formatter_class=argparse.RawDescriptionHelpFormatter,
            allow_abbrev=False,
        )

    def read(self, args: Sequence[str]) -> argparse.Namespace:
        """Parse a command line; raises at anything that is left over."""
        found, unknown = self.parse_known_args(args)
        if unknown:
            from bevel.errors import UnknownName, did_you_mean

            flags = [flag for flag in self._option_string_actions if flag.startswith("--")]
            first = unknown[0].partition("=")[0]
            what = (
                f"unknown flag {first!r}; {did_you_mean(first, flags)}"
                if first[:1] == "-"
                else f"{first!r} is too much;"
            )
            raise UnknownName(f"{what} `{self.prog} --help` tells more.")
        return found

    def error(self, message: str) -> NoReturn:
        from bevel.errors import InvalidValue

        message = re.sub(r"^argument (\S+?)(/\S+)?: ", r"\1 ", message)
        message = message.replace("expected one argument", "needs a value")
        message = message.replace("expected at least one argument", "needs at least one value")
        message = message.replace("the following arguments are required:", "missing:")
        raise InvalidValue(f"{message}; `{self.prog} --help` tells more.")


def typed(kind: Callable[[str], Any], rule: str) -> Callable[[str], Any]:
    """A converter for ``add_argument(type=…)`` whose message states the rule."""

    def convert(text: str) -> Any:
        try:
            return kind(text)
        except ValueError:
            raise argparse.ArgumentTypeError(f"takes {rule}; got {text!r}") from None

    return convert


whole = typed(int, "a whole number")
number = typed(float, "a number")
