"""``bevel inspect``: list every activation of a model, and what a swap would make of it."""

from __future__ import annotations

from argparse import Namespace

from bevel_lab.cli._parser import Parser


def parser() -> Parser:
    made = Parser(
        "inspect",
        "List every activation call of a model: where it is, what feeds it, its channels and their axis.",
        "bevel inspect timm:resnet50 --to sau\nbevel inspect net.py:make --shape 8x16",
    )
    made.add_argument(
        "model", metavar="MODEL", help="a name of bevel list models, torchvision:NAME, timm:NAME or FILE.py:name"
    )
    made.add_argument("--to", metavar="SPEC", help="the activation to swap in; shows what each site would become")
    made.add_argument(
        "--what",
        nargs="+",
        metavar="FUNCTION",
        help="which functions (default: all but those whose range matters, such as gates and softplus)",
    )
    made.add_argument(
        "--shape",
        metavar="NxCxHxW",
        help="shape of the input, e.g. 1x8x3x32x32 for clips (default: a small one of the lab's, else 1x3x224x224)",
    )
    made.add_argument("--from-scratch", action="store_true", help="do not keep the old function (preserve=False)")
    return made


def main(arguments: Namespace) -> int:
    idle = [flag for flag, given in (("--what", arguments.what), ("--from-scratch", arguments.from_scratch)) if given]
    if idle and not arguments.to:
        from bevel.errors import InvalidValue

        raise InvalidValue(
            f"{idle[0]} needs --to, the activation to swap in; got none. Add --to SPEC, or leave it out."
        )
    from bevel_lab.runtime.terminal import filled, room, table
    from bevel_lab.surgery.inspection import inspect

    sites = inspect(arguments.model, arguments.to, arguments.shape, not arguments.from_scratch, arguments.what)
    head, *rows = sites.rows()
    print("\n".join(table(head, rows, len(head) - 1, room())))
    print("\n".join(filled(text, room()) for text in (sites.total, *sites.notes)))
    return 0
