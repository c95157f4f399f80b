"""An argument parser whose error messages are one line each."""

from __future__ import annotations

import argparse
import re
import textwrap
from collections.abc import Callable, Sequence
from typing import Any, NoReturn


class Parser(argparse.ArgumentParser):
    """Raises ``InvalidValue`` or ``UnknownName`` where ``ArgumentParser`` prints its usage and exits.

    Args:
        command: its name.
        description: what it does.
        examples: command lines.
        instead: for messages about an argument that is missing or unexpected: which command takes such a line.
    """

    def __init__(self, command: str, description: str, examples: str, instead: str = "") -> None:
        super().__init__(
            prog=f"bevel {command}",
            description=textwrap.fill(description, 80),
            epilog="examples:\n" + "\n".join(f"  {line}" for line in examples.strip().splitlines()),
            formatter_class=argparse.RawDescriptionHelpFormatter,
            allow_abbrev=False,
        )
        self.more = f"`{self.prog} --help` tells more."
        self.instead = instead or self.more

    def offers_json(self) -> None:
        """Add ``--json``."""
        self.add_argument("--json", action="store_true", help="print JSON, for programs")

    def offers_quiet(self) -> None:
        """Add ``--quiet``, which is for commands that do more than print; their own output then goes nowhere."""
        self.add_argument("--quiet", action="store_true", help="print nothing but warnings and errors")

    @property
    def flags(self) -> list[str]:
        return [flag for flag in self._option_string_actions if flag.startswith("--")]

    def read(self, args: Sequence[str]) -> argparse.Namespace:
        """Parse a command line; raise for arguments that the command does not have."""
        found, unknown = self.parse_known_args(args)
        if unknown:
            from bevel.errors import UnknownName, did_you_mean

            first = unknown[0].partition("=")[0]
            if first[:1] != "-":
                raise UnknownName(f"unexpected argument {first!r}; {self.instead}")
            raise UnknownName(f"unknown flag {first!r}; {did_you_mean(first, self.flags)} {self.more}")
        return found

    def error(self, message: str) -> NoReturn:
        from bevel.errors import InvalidValue

        message = re.sub(r"^argument (\S+?)(/\S+)?: ", r"\1 ", message)
        message = message.replace("expected one argument", "needs a value")
        message = message.replace("expected at least one argument", "needs at least one value")
        message = self._choice(message)
        missing = message.removeprefix("the following arguments are required:")
        if missing != message:
            raise InvalidValue(f"missing:{missing}; {self.instead}")
        raise InvalidValue(f"{message}; {self.more}")

    def _choice(self, message: str) -> str:
        """Say what a value must be one of, where argparse says ``SUBJECT invalid choice: 'x' (choose from …)``."""
        found = re.fullmatch(r"(\S+) invalid choice: (.+?) \(choose from (.+)\)", message, re.DOTALL)
        if not found:
            return message
        subject, value, known = found.groups()
        named = {str(action.metavar): action.dest for action in self._actions if not action.option_strings}
        return f"{named.get(subject, subject)} must be one of {known.replace(chr(39), '')}; got {value}"


def typed(kind: Callable[[str], Any], rule: str) -> Callable[[str], Any]:
    """Return a converter for ``add_argument(type=…)`` whose error message states the rule."""

    def convert(text: str) -> Any:
        try:
            return kind(text)
        except ValueError:
            raise argparse.ArgumentTypeError(f"must be {rule}; got {text!r}") from None

    return convert


whole = typed(int, "a whole number")
number = typed(float, "a number")
