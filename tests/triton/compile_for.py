"""Build programs for a GPU that need not be there, and print what its assembler says of each, as JSON.

Run as a program of its own: here Triton is a compiler, in the tests an interpreter.
"""

import dataclasses
import functools
import json
import re
import sys
from collections.abc import Hashable
from typing import Any

import torch
import triton
from stand_in import PROCESSORS, asked, launch, planned, usage
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource, make_backend
from triton.runtime.jit import create_function_from_signature

from bevel import KERNELS, kinked, tabulated
from bevel.family import Family, parameter
from bevel.functional import frelu_family, sau_family
from bevel.kernel import SHARP, Kernel
from bevel.ops.triton import layout
from bevel.ops.triton.kernel_terms import ACCURACY
from bevel.ops.triton.launch import chosen, compiled
from bevel.ops.triton.program import UNSPECIALIZED, Job, Program, job
from bevel.ops.triton.second_program import SecondProgram
from bevel.ops.triton.totals import add_up_text, adding
from bevel.terms import Terms

FLOATS = r"^\s+/\*[0-9a-f]{4,}\*/\s+(?:@!?U?P\d+ )?(?:FFMA|FMUL|FADD|MUFU|FSEL|FSETP)\b"  # instructions on floats
NAMES = {torch.float32: "fp32", torch.bfloat16: "bf16", torch.float64: "fp64"}


def _signature(program: Program, tiling: layout.Tiling, dtype: torch.dtype) -> tuple[dict[str, str], Any, Any]:
    """Types, constants and divisibilities, as a launch with aligned tensors would give them."""
    numbers = dict(zip(layout.ARGUMENTS[tiling.kind], tiling.numbers, strict=True))
    types, constants, attributes = {}, {}, {}
    wide = [["tt.divisibility", 16]]
    for i, name in enumerate(program.arguments()):
        if name in ("x_", "y_", "g_", "a_", "h_", "dx_", "partial", "table"):
            own = dtype if name.endswith("_") else torch.float64 if dtype == torch.float64 else torch.float32
            types[name] = f"*{NAMES[own]}"
            attributes[(i,)] = wide
        elif name not in numbers:
            types[name] = "fp32" if name.startswith("k") else "*fp32"
        elif name in UNSPECIALIZED:
            types[name] = "i32" if numbers[name] < 2**31 else "i64"
        elif numbers[name] == 1:
            types[name], constants[(i,)] = "constexpr", 1
        else:
            types[name] = "i32" if numbers[name] < 2**31 else "i64"
            if numbers[name] % 16 == 0:
                attributes[(i,)] = wide
    return types, constants, attributes


def _report(
    function: Any, types: dict[str, str], constants: Any, attributes: Any, warps: int, **more: int
) -> dict[str, Any]:
    source = ASTSource(function, types, constants, attributes)
    options = {"num_warps": warps, "num_stages": 1, "enable_fp_fusion": True, **more}
    built = triton.compile(source, target=GPUTarget("cuda", 90, 32), options=options).asm
    (registers, stack), sass = usage(built["cubin"]), asked(built["cubin"], "-sass")
    accesses = re.findall(r"\b((?:LDG|STG)[A-Z0-9.]*)", sass)
    narrow = re.findall(r"arith\.muli .*: (?:i32|tensor<\w+xi32>)", built["ttir"])
    return {
        "registers": registers, "stack": stack, "accesses": accesses, "narrow": len(narrow),
        "under_way": _under_way(sass), "floats": len(re.findall(FLOATS, sass, re.MULTILINE)),
    }  # fmt: skip


def _under_way(sass: str) -> int:
    """Wide loads that the machine code starts before it uses what the first of them brings, and so waits for it."""
    brought: set[str] = set()
    count = 0
    for line in re.findall(r"^\s+/\*[0-9a-f]{4,}\*/\s+(.*?);", sass, re.MULTILINE):
        load = re.search(r"LDG\.E\.128 R(\d+)", line)
        if load:
            count += 1
            brought = brought or {f"R{int(load[1]) + k}" for k in range(4)}
        elif brought & set(re.findall(r"\bR\d+\b", line)):
            break
    return count


def program(
    family: Family, shape: tuple[int, int, int], dtype: torch.dtype, count: int, back: bool, kind: str = "x"
) -> dict[str, Any]:
    """Build a pass, and size its grid by the registers that it takes, as a plan does.

    Args:
        kind: what backward is given, ``x`` or ``y``; or ``second``.
    """
    tuning = layout.Tuning()
    bent = kind == "x" and bool(family.terms.curve)
    tile, most = tuning.lanes(ACCURACY[dtype], "bent" if bent else kind), tuning.per_processor
    tiling = layout.tiling(*shape, PROCESSORS * most, tile)
    needs = (True,) * (1 + count) if back else ()
    of = tiling, ACCURACY[dtype], (shape[1] > 1,) * count
    if kind == "second":
        all_ = (True,) * (2 + count)
        made: Program = SecondProgram(family, job(*of, all_, "x", all_))
    else:
        made = Program(family, job(*of, needs, kind))
    given = compiled(made.text()), *_signature(made, tiling, dtype), tuning.warps
    report = _report(*given)
    others = (_report(*given, maxnreg=cap) for cap in layout.caps(report["registers"]))
    report = chosen(report, others, lambda one: int(one["stack"]))  # what the driver calls spilled is all of the stack
    held = layout.resident(report["registers"], tuning.warps)
    cut = layout.tiling(*shape, PROCESSORS * min(most, held), tile)
    lanes = 2 * tile / (32 * tuning.warps)  # elements of a thread, of both tiles of a trip
    waves = cut.programs / (PROCESSORS * held)
    return report | {"waves": waves, "kind": cut.kind, "floats": report["floats"] / lanes}


def binaries(family: Family, shape: tuple[int, ...], count: int, batches: range) -> int:
    """Number of binaries that passes of so many batch sizes build, by Triton's own keys: a text and its specialization.

    Args:
        shape: of one sample, as (channels, inner).
    """
    compiler = make_backend(GPUTarget("cuda", 90, 32))
    tuning, found, x, p = layout.Tuning(), set(), torch.empty(16, dtype=torch.bfloat16), torch.empty(16)
    channels, inner = shape
    for batch in batches:
        last = inner < 0
        view = (batch * -inner, channels, 1) if last else (batch, channels, inner)
        tiling = layout.tiling(*view, PROCESSORS * tuning.per_processor, tuning.tile)
        for needs in ((), (True,) * (1 + count)):
            text, arguments = _written(family, job(tiling, "half", (channels > 1,) * count, needs))
            given = [x if name.endswith("_") and name[0] in "xygd" else p for name in arguments]
            numbers = len(tiling.numbers)
            found.add(_key(text, [*given[:-numbers], *tiling.numbers], tuning.warps, compiler))
        found.add(_adding(tiling, max(channels, 1), count, p, compiler))
    return len(found)


def _adding(tiling: layout.Tiling, channels: int, count: int, p: torch.Tensor, compiler: Any) -> Hashable:
    cut = adding(tiling.partials, channels)
    given = [*[p] * (count + 1), tiling.partials, channels, cut.rows, cut.columns]
    return _key(add_up_text(count), given, cut.warps, compiler)


def _key(text: str, given: list[Any], warps: int, compiler: Any) -> Hashable:
    _bound, specialization, _options = _binder(text, compiler)(*given, num_warps=warps, debug=False)
    return text, str(specialization), warps


@functools.cache
def _binder(text: str, compiler: Any) -> Any:
    function = compiled(text)
    return create_function_from_signature(function.signature, function.params, compiler)


@functools.cache
def _written(family: Family, made: Job) -> tuple[str, list[str]]:
    program = Program(family, made)
    return program.text(), program.arguments()


def _bent(terms: Terms[Any], kernel: Kernel) -> Family:
    """A function with bends: all of them times a parameter, and n another."""
    scaled = dataclasses.replace(terms, curve=tuple(bend * parameter(0) for bend in terms.curve))
    return Family(scaled, kernel, parameter(1), log_n=True)


def counted() -> dict[str, int]:
    """Binaries that 120 batch sizes build of SAU and of FReLU per channel, by layout."""
    sau = sau_family(parameter(0), 20000.0, "published")
    frelu = frelu_family(parameter(0), parameter(1), SHARP, 1.0)
    batches = range(1, 121)
    return {
        "sau, flat": binaries(sau, (1, 3136), 1, batches),
        "frelu(C), nchw 56": binaries(frelu, (64, 3136), 2, batches),
        "frelu(C), nchw 7": binaries(frelu, (512, 49), 2, batches),
        "frelu(C), channels_last": binaries(frelu, (64, -196), 2, batches),
    }


def host() -> None:
    """Print what Python does about a GPU's programs, of which few are built."""
    json.dump({"binaries": counted(), "launch": launch()}, sys.stdout)


def main() -> None:
    flat, nchw, last, large = (1, 1, 1 << 26), (128, 64, 3136), (128 * 3136, 64, 1), (1, 1, 3 << 30)
    seven = (256, 512, 49)
    long_rows, many_channels = (1, 2, (1 << 31) + 16), (1, (1 << 31) + 16, 1)  # each axis alone exceeds an int32
    sau, near = (sau_family(parameter(0), n, "published") for n in (20000.0, 1.0))
    smooth = frelu_family(parameter(0), parameter(1), KERNELS["gaussian"], parameter(2), log_n=True)
    gate = dataclasses.replace(smooth, terms=dataclasses.replace(smooth.terms, multiplies_cdf=True))
    frelu = frelu_family(parameter(0), parameter(1), SHARP, 1.0)
    bump, logistic = (frelu_family(1.0, parameter(0), KERNELS[k], parameter(1)) for k in ("bump", "logistic"))
    table = frelu_family(1.0, parameter(0), tabulated(lambda u: 1 - u * u, 1.0), 3.0)
    hardswish = _bent(kinked.hardswish().terms, KERNELS["gaussian"])
    square, logistic_square, bump_square = (
        _bent(kinked.relu_squared().terms, k) for k in (SHARP, KERNELS["logistic"], KERNELS["bump"])
    )
    single, half, double = torch.float32, torch.bfloat16, torch.float64
    rows: dict[str, dict[str, Any]] = {
        "sau flat bf16 forward": program(sau, flat, half, 1, False),
        "sau flat fp32 forward": program(sau, flat, single, 1, False),
        "sau flat bf16 backward": program(sau, flat, half, 1, True),
        "sau large fp32 backward": program(sau, large, single, 1, True),
        "frelu nchw fp32 backward": program(frelu, nchw, single, 2, True),
        "frelu nchw 7 bf16 backward": program(frelu, seven, half, 2, True),
        "frelu last bf16 backward": program(frelu, last, half, 2, True),
        "frelu long rows bf16 backward": program(frelu, long_rows, half, 2, True),
        "frelu many channels bf16 backward": program(frelu, many_channels, half, 2, True),
        "smooth_frelu nchw bf16 backward": program(smooth, nchw, half, 3, True),
        "sau n=1 flat bf16 forward": program(near, flat, half, 1, False),
        "sau n=1 flat bf16 backward": program(near, flat, half, 1, True),
        "smooth_frelu nchw bf16 forward": program(smooth, nchw, half, 3, False),
        "smooth_frelu nchw fp64 backward": program(smooth, nchw, double, 3, True),
        "bump nchw fp64 backward": program(bump, nchw, double, 2, True),
        "logistic nchw fp64 backward": program(logistic, nchw, double, 2, True),
        "frelu nchw bf16 from output": program(frelu, nchw, half, 2, True, "y"),
        "sau flat bf16 from output": program(sau, flat, half, 1, True, "y"),
        "smooth_frelu nchw bf16 from output": program(smooth, nchw, half, 3, True, "y"),
        "smooth_frelu nchw fp64 from output": program(smooth, nchw, double, 3, True, "y"),
        "sau flat bf16 second": program(sau, flat, half, 1, True, "second"),
        "gate nchw fp32 second": program(gate, nchw, single, 3, True, "second"),
        "relu_squared sharp flat bf16 forward": program(square, flat, half, 2, False),
        "relu_squared sharp flat bf16 backward": program(square, flat, half, 2, True),
        "relu_squared logistic nchw fp32 backward": program(logistic_square, nchw, single, 2, True),
        "relu_squared bump nchw fp64 backward": program(bump_square, nchw, double, 2, True),
        "hardswish flat bf16 forward": program(hardswish, flat, half, 2, False),
        "hardswish nchw bf16 backward": program(hardswish, nchw, half, 2, True),
        "hardswish flat fp32 second": program(hardswish, flat, single, 2, True, "second"),
        "bump nchw bf16 forward": program(bump, nchw, half, 2, False),
        "table nchw bf16 forward": program(table, nchw, half, 1, False),
    }
    types = {"out0": "*fp32", "out1": "*fp32", "partial": "*fp32", "rows": "i32", "channels": "i32"}
    blocks = {(5,): 1024, (6,): 8}
    types |= {"ROWS": "constexpr", "COLUMNS": "constexpr"}
    rows["add_up"] = _report(compiled(add_up_text(2)), types, blocks, {}, 16)
    json.dump({"programs": rows, "plans": planned()}, sys.stdout)


if __name__ == "__main__":
    {"host": host, "build": main}[sys.argv[1] if sys.argv[1:] else "build"]()
