"""The functions that the Triton text of a kernel may call, and the text of a kernel's three forms.

A kernel declares ``triton``: assignments, in Triton's language, of ``density``, ``survival`` and ``excess`` (of
``moment`` where there is a shorter form than ``excess + v·survival``, of ``second``, which bends take, and of
``turn``, the density's derivative, which second derivatives take) from ``v >= 0`` and ``rest``, what rounding took
from ``v``. They may use ``tl`` and the functions below; polynomials of ``_polynomials.py`` are called by name.

Three accuracies: ``double`` and ``single`` keep ``rest``, since one ulp of v is v² ulp of exp(-v²/2), 1e-5 of it at
v = 13; ``half`` (float32 arithmetic, an output of at most 11 bits) drops it, and with it a sixth of the instructions;
its polynomials are shorter, good to 1e-5.
"""

from __future__ import annotations

import ast
import functools
import math
import re
import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from bevel._tabulated import TabulatedKernel
from bevel.errors import InvalidValue
from bevel.kernel import SHARP, Kernel
from bevel.kernels._polynomials import BUMP
from bevel.kernels._second import SECOND
from bevel.ops.triton import _polynomials

ACCURACY = {torch.float64: "double", torch.float32: "single", torch.bfloat16: "half", torch.float16: "half"}

_COMMON = '''
@triton.jit
def product_error(a, b):
    """a·b minus its rounded value."""
    product = a * b
    return tl.fma(a, b, -product)


@triton.jit
def edge(v, rest):
    """1 - v of a compact kernel, never below 0; rest makes it exact near the edge."""
    z = (1 - v) - rest
    return tl.where(z < 0, 0.0, z)
'''

# of the Gaussian; in half precision what is lost is not asked for, and the factors of the exponent are one
_SQUARE = '''
@triton.jit
def exp_minus_half_square(v, rest):
    """exp(-(v + rest)²/2) for |rest| << 1."""
    half = 0.5 * v
    return exp_minus(half * v, product_error(half, v) + v * rest)
'''
_HALF_SQUARE = """
@triton.jit
def exp_minus_half_square(v, rest):
    return tl.exp2(-(v * 0.7213475204444817) * v)
"""

# exp2 is one instruction of the chip, good to 2^-22. The two halves of h·log2(e) keep a large h from adding an error.
_SINGLE = '''
@triton.jit
def exp_minus(h, rest):
    """exp(-(h + rest)) for h >= 0 and |rest| << 1."""
    t = h * 1.4426950408889634
    lost = tl.fma(h, 1.4426950216293335, -t) + h * 1.9259629911e-8 + rest * 1.4426950408889634
    return tl.exp2(-t) * (1 - lost * 0.6931471805599453)


@triton.jit
def reciprocal(x):
    return 1 / x


@triton.jit
def exp_of(s):
    """exp(s) to one ulp, for the few coefficients that are stored as logarithms."""
    k = tl.floor(0.5 - s * 1.4426950408889634)
    r = -s - k * 0.693145751953125 - k * 1.428606820309417e-06
    return tl.exp2(-k) * exp(r)


@triton.jit
def centred(s):
    return s
'''

_HALF = _SINGLE.replace(
    "    lost = tl.fma(h, 1.4426950216293335, -t) + h * 1.9259629911e-8 + rest * 1.4426950408889634\n"
    "    return tl.exp2(-t) * (1 - lost * 0.6931471805599453)\n",
    "    return tl.exp2(-t)\n",
).replace(
    "    return 1 / x\n",
    "    root = tl.rsqrt(x)  # for x > 0: two instructions, a division takes nine\n    return root * root\n",
)

_DOUBLE = '''
@triton.jit
def exp_minus(h, rest):
    """exp(-(h + rest)) for h >= 0 and |rest| << 1."""
    return tl.exp(-h) * (1 - rest)


@triton.jit
def reciprocal(x):
    return 1 / x


@triton.jit
def exp_of(s):
    return tl.exp(s)


@triton.jit
def centred(s):
    return 2 * s - 1
'''

_HELPERS = {"single": _SINGLE + _SQUARE, "half": _HALF + _HALF_SQUARE, "double": _DOUBLE + _SQUARE}
_MILLS = {"single": "4.0", "half": "2.25", "double": "5.0"}  # the a of native/tools/fit_triton.py

_POLYNOMIALS = {
    "single": _polynomials.SINGLE,
    "half": _polynomials.SINGLE | _polynomials.HALF,  # of SINGLE the exp of a coefficient alone
    "double": _polynomials.DOUBLE
    | BUMP
    | {
        "gauss_second": SECOND["gaussian"],
        "logistic_second": SECOND["logistic"],
        "bump_second": SECOND["bump"],
    },
}

# The table holds the excess, of which survival and density are derivatives, so that one set of gathers serves all
# three; behind it, the second tail integral, which only functions with bends read.
_TABULATED = """
    scaled = tl.where(v < 1, v, 0.0) * PANELS
    panel = tl.minimum(scaled.to(tl.int32), PANELS - 1)
    t = 2 * (scaled - panel) - 1
    row = table + panel * {columns}
    survival = 0 * t
    density = 0 * t
    turn = 0 * t
    excess = tl.load(row + {last})
    {steps}
    bent = table + PANELS * {columns} + panel * {more}
    second = tl.load(bent + {columns})
    {bends}
    inside = v < 1
    excess = tl.where(inside, excess, v - v)
    survival = tl.where(inside, survival * (-2.0 * PANELS), v - v)
    density = tl.where(inside, density * (8.0 * PANELS * PANELS), v - v)
    second = tl.where(inside, second, v - v)
    turn = tl.where(inside, turn * (48.0 * PANELS * PANELS * PANELS), v - v)
"""
_STEP = """
    turn = turn * t + density
    density = density * t + survival
    survival = survival * t + excess
    excess = excess * t + tl.load(row + {k})
"""
_BEND = """
    second = second * t + tl.load(bent + {k})
"""


@dataclass(frozen=True, eq=False)
class KernelTerms:
    """A kernel as Triton text.

    Attributes:
        body: the assignments, indented by four.
        reach: from this v on all forms vanish in the precision at hand; ``inf`` if they never do.
        panels: cells of the table, 0 where the text needs none.
    """

    body: str
    reach: float
    panels: int = 0


def why_not(kernel: Kernel, excess: bool = True, second: bool = False) -> str | None:
    """Return the reason why a kernel cannot run here, else None.

    Args:
        excess: whether the function needs the kernel's excess, as all but gates and pure steps do.
        second: whether it needs the kernel's second tail integral, as those with bends do.
    """
    text = _own_text(kernel)
    if text and excess and kernel.has_moment and "excess" not in text:
        return f"the Triton text of kernel {kernel.name!r} has no excess: it serves gates and steps"
    if text and second and "second" not in text:
        return f"the Triton text of kernel {kernel.name!r} has no second, which bends take"
    if text or kernel is SHARP:
        return None
    if not kernel.compact:
        return f"kernel {kernel.name!r} has no Triton forms (attribute `triton`), and no compact support for a table"
    try:
        table(kernel)
    except InvalidValue as error:
        return f"kernel {kernel.name!r} has no Triton forms (attribute `triton`), and no table: {error}"
    return None


def _own_text(kernel: Kernel) -> str:
    """Return the text of the kernel's own class; inherited text would belong to other forms."""
    return str(vars(type(kernel)).get("triton", ""))


def kernel_terms(kernel: Kernel, accuracy: str) -> KernelTerms:
    """Return the kernel's Triton text, or text that reads from :func:`table`."""
    text = _own_text(kernel)
    # 1 - 2^-24 and its rest may be inside: the edge is a v to which nothing below 1 is rounded.
    reach = 1.000001 if kernel.compact else _vanishes(kernel, accuracy)
    if not text:
        panels, columns = _tables(kernel)[0].shape
        steps = "".join(_STEP.format(k=k) for k in range(columns - 2, -1, -1)).strip()
        bends = "".join(_BEND.format(k=k) for k in range(columns - 1, -1, -1)).strip()
        body = _TABULATED.format(columns=columns, last=columns - 1, more=columns + 1, steps=steps, bends=bends)
        body = body.replace("PANELS", str(panels))
        return KernelTerms(body.strip("\n"), reach, panels)
    body = textwrap.indent(textwrap.dedent(text).strip("\n"), "    ")
    return KernelTerms(body.replace("MILLS", _MILLS[accuracy]), reach)


def module_text(kernel: Kernel, accuracy: str, functions: Mapping[str, Sequence[str]]) -> str:
    """Return the text of the helpers and of functions of (v, rest), each of which computes its wanted forms alone."""
    found = kernel_terms(kernel, accuracy)
    text = textwrap.dedent(found.body)
    assigned = set(re.findall(r"^(\w+) = ", text, re.MULTILINE))
    if "moment" not in assigned and "excess" in assigned:
        text += "\nmoment = excess + v * survival"
    arguments = "v, rest, table" if found.panels else "v, rest"
    bodies = []
    for name, wanted in functions.items():
        lines = [*_live(text, wanted), f"return {', '.join(wanted)}"]
        bodies.append("\n".join(["@triton.jit", f"def {name}({arguments}):", *(f"    {line}" for line in lines)]))
    names = set(re.findall(r"\w+", "\n".join(bodies)))
    source = _POLYNOMIALS[accuracy]
    polynomials = [_horner(name, source[name]) for name in sorted({"exp", *names} & set(source))]
    return "\n\n".join([*polynomials, _COMMON.strip(), _HELPERS[accuracy].strip(), *bodies])


def _live(text: str, wanted: Sequence[str]) -> list[str]:
    """Return the assignments that lead to the wanted names. The compiler finds them too; the interpreter runs all."""
    needed = set(wanted)
    kept: list[str] = []
    for node in reversed(ast.parse(text).body):
        names = {n.id for n in ast.walk(node) if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store)}
        if isinstance(node, ast.Assign) and not names & needed:
            continue
        needed |= {n.id for n in ast.walk(node) if isinstance(n, ast.Name)}
        kept.append(ast.unparse(node))
    return [line for statement in reversed(kept) for line in statement.splitlines()]


def _horner(name: str, coefficients: tuple[float, ...]) -> str:
    lines = ["@triton.jit", f"def {name}(t):", f"    total = {coefficients[-1]!r} * t + {coefficients[-2]!r}"]
    lines += [f"    total = total * t + {c!r}" for c in coefficients[-3::-1]]
    return "\n".join([*lines, "    return total"])


@functools.lru_cache(maxsize=256)
def _tables(kernel: Kernel) -> tuple[Tensor, Tensor]:
    own = kernel if isinstance(kernel, TabulatedKernel) else TabulatedKernel(kernel.density, name=kernel.name)
    return own.table[2], own.second_table


@functools.lru_cache(maxsize=256)
def table(kernel: Kernel) -> Tensor:
    """Return a compact kernel's excess, then its second tail integral, as polynomials in t ∈ [-1, 1]: float64, 1-D."""
    return torch.cat([part.flatten() for part in _tables(kernel)])


@functools.lru_cache(maxsize=256)
def _vanishes(kernel: Kernel, accuracy: str) -> float:
    """Return the v from which on every form is below the smallest normal number, found by bisection."""
    tiny = torch.finfo(torch.float64 if accuracy == "double" else torch.float32).tiny
    low, high = 0.0, 1e4

    def alive(v: float) -> bool:
        at = torch.tensor([v], dtype=torch.float64)
        found = [kernel.density(at), kernel.survival(at)] + ([kernel.moment(at)] if kernel.has_moment else [])
        found += [kernel.second(at)] if kernel.variance not in (None, math.inf) else []
        return any(float(form) > tiny for form in found)

    if alive(high):
        return float("inf")
    while high - low > 1e-3:
        middle = (low + high) / 2
        low, high = (middle, high) if alive(middle) else (low, middle)
    return high
