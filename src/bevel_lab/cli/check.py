"""``bevel check``: run the laws on an activation or a kernel."""

from __future__ import annotations

from argparse import Namespace

from bevel_lab.cli._parser import Parser


def parser() -> Parser:
    made = Parser(
        "check",
        "Run the laws on an activation (a spec string) or on a kernel (its name): bound, limits, gradients, dtypes, "
        "copies, memory for the one; unit mass, evenness and closed forms against quadrature for the other. "
        "Exit code 1 if a law is broken.",
        "bevel check sau:n=5\nbevel check mollified:f=relu6,kernel=epanechnikov,n=2\nbevel check biweight",
    )
    made.offers_quiet()
    made.add_argument("spec", metavar="SPEC", help="spec string of an activation, or name of a kernel")
    return made


def main(arguments: Namespace) -> int:
    import bevel
    from bevel import testing
    from bevel.errors import did_you_mean
    from bevel_lab.runtime.terminal import entry, filled, room

    spec = arguments.spec
    name = spec.strip().partition(":")[0]
    if name not in bevel.ACTIVATIONS and spec not in bevel.KERNELS:
        near = did_you_mean(name, [*bevel.ACTIVATIONS, *bevel.KERNELS])
        raise bevel.UnknownName(f"unknown activation or kernel {name!r}; {near}")
    kernel = name not in bevel.ACTIVATIONS
    try:
        laws = testing.check_kernel(bevel.KERNELS[spec]) if kernel else testing.check_activation(bevel.create(spec))
    except (AssertionError, RuntimeError) as error:  # torch raises the latter for a derivative that does not exist
        print(filled(" ".join([f"{spec}:", *str(error).split()]), room()))
        return 1
    for law in laws:
        print(entry("  holds", law, room(), 9))
    for law, why in {} if kernel else testing.not_applicable(bevel.create(spec)).items():
        print(entry("  n/a", f"{law}: {why}", room(), 9))
    print(f"{spec}: {len(laws)} laws hold.")
    return 0
