"""``bevel completion``: a script with which a shell completes the commands, their flags and the names they take."""

from __future__ import annotations

import importlib
import shlex
from argparse import Namespace
from collections.abc import Iterable

from bevel_lab.cli._parser import Parser

SHELLS = ("bash", "zsh")
ACTIVATIONS = ("--activations", "--reference", "--to")

_SCRIPT = """{start}_bevel() {{
  local word="${{COMP_WORDS[COMP_CWORD]}}" flag="" flags="" words="" i
  for ((i = COMP_CWORD - 1; i > 1; i--)); do
    case "${{COMP_WORDS[i]}}" in --*) flag="${{COMP_WORDS[i]}}"; break ;; esac
  done
  case "${{COMP_WORDS[1]}}" in
{commands}
  esac
  case "$flag" in
{values}
  esac
  case "$word" in -*) words=$flags ;; esac
  [ "$COMP_CWORD" -eq 1 ] && words={names}
  COMPREPLY=($(compgen -W "$words" -- "$word"))
}}
complete -o default -F _bevel bevel
"""

_ZSH = """whence compdef > /dev/null || { autoload -U compinit && compinit; }
autoload -U +X bashcompinit && bashcompinit
"""


def parser() -> Parser:
    made = Parser(
        "completion",
        "Print a script that completes commands, flags and the names of activations, models and data sets. It holds "
        "the names of today: write it again after an upgrade.",
        "bevel completion bash > ~/.local/share/bash-completion/completions/bevel\n"
        "bevel completion zsh > ~/.bevel-completion   # and in ~/.zshrc: source ~/.bevel-completion",
    )
    made.add_argument("shell", choices=SHELLS, metavar="|".join(SHELLS))
    return made


def main(arguments: Namespace) -> int:
    print(script(arguments.shell), end="")
    return 0


def script(shell: str) -> str:
    """Return the script; zsh reads bash's by its own ``bashcompinit``."""
    import bevel
    from bevel_lab.cli import COMMANDS
    from bevel_lab.cli.list_ import REGISTRIES
    from bevel_lab.datasets import DATASETS
    from bevel_lab.models import MODELS

    activations, kernels = list(bevel.ACTIVATIONS), list(bevel.KERNELS)
    takes = {"list": REGISTRIES, "show": activations, "check": [*activations, *kernels], "inspect": MODELS,
             "data": ["list", "fetch", *DATASETS], "completion": SHELLS}  # fmt: skip
    flags = {name: _flags(module) for name, (module, _) in COMMANDS.items()}
    values = {"|".join(ACTIVATIONS): activations, "--dataset": DATASETS, "--model": MODELS}
    return _SCRIPT.format(
        start=_ZSH if shell == "zsh" else "",
        commands="\n".join(
            f"    {name}) flags={_quoted(flags[name])} words={_quoted(takes.get(name, ()))} ;;" for name in COMMANDS
        ),
        values="\n".join(f"    {pattern}) words={_quoted(words)} ;;" for pattern, words in values.items()),
        names=_quoted([*COMMANDS, "--help", "--version"]),
    )


def _flags(module: str) -> list[str]:
    made: Parser = importlib.import_module(f"bevel_lab.cli.{module}").parser()
    return made.flags


def _quoted(words: Iterable[str]) -> str:
    return shlex.quote(" ".join(words))
