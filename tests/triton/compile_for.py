"""Build programs for a GPU that need not be there, and print what its assembler says of each, as JSON.

Run as a program of its own: here Triton is a compiler, in the tests an interpreter.
"""

import json
import re
import subprocess
import sys
import tempfile
import timeit
from collections.abc import Hashable
from pathlib import Path
from typing import Any

import torch
import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource, CompiledKernel, make_backend
from triton.runtime import driver
from triton.runtime.jit import create_function_from_signature

from bevel import KERNELS, tabulated
from bevel.family import Family, parameter
from bevel.functional import frelu_family, sau_family
from bevel.kernel import SHARP
from bevel.ops.triton import layout
from bevel.ops.triton.kernel_terms import ACCURACY
from bevel.ops.triton.launch import compiled, direct
from bevel.ops.triton.program import UNSPECIALIZED, Program, job
from bevel.ops.triton.totals import add_up_text, adding

PROCESSORS = 132
NAMES = {torch.float32: "fp32", torch.bfloat16: "bf16", torch.float64: "fp64"}
TOOL = Path(triton.__file__).parent / "backends" / "nvidia" / "bin" / "cuobjdump"


def _signature(program: Program, tiling: layout.Tiling, dtype: torch.dtype) -> tuple[dict[str, str], Any, Any]:
    """Types, constants and divisibilities, as a launch with aligned tensors would give them."""
    numbers = dict(zip(layout.ARGUMENTS[tiling.kind], tiling.numbers, strict=True))
    types, constants, attributes = {}, {}, {}
    wide = [["tt.divisibility", 16]]
    for i, name in enumerate(program.arguments()):
        if name in ("x_", "y_", "g_", "dx_", "partial", "table"):
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


def _report(function: Any, types: dict[str, str], constants: Any, attributes: Any, warps: int) -> dict[str, Any]:
    source = ASTSource(function, types, constants, attributes)
    options = {"num_warps": warps, "num_stages": 1, "enable_fp_fusion": True}
    built = triton.compile(source, target=GPUTarget("cuda", 90, 32), options=options).asm
    binary = built["cubin"]
    with tempfile.NamedTemporaryFile(suffix=".cubin") as file:
        file.write(binary)
        file.flush()
        usage, sass = (
            subprocess.run([str(TOOL), flag, file.name], capture_output=True, text=True, check=True).stdout
            for flag in ("-res-usage", "-sass")
        )
    found = re.search(r"REG:(\d+) STACK:(\d+)", usage)
    assert found, usage
    accesses = re.findall(r"\b((?:LDG|STG)[A-Z0-9.]*)", sass)
    narrow = re.findall(r"arith\.muli .*: (?:i32|tensor<\w+xi32>)", built["ttir"])
    return {
        "registers": int(found[1]), "stack": int(found[2]), "accesses": accesses, "narrow": len(narrow),
        "under_way": _under_way(sass),
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


def program(family: Family, shape: tuple[int, int, int], dtype: torch.dtype, count: int, back: bool) -> dict[str, Any]:
    """Build a pass, and size its grid by the registers that it takes, as a plan does."""
    tuning = layout.Tuning()
    tile, most = tuning.lanes(ACCURACY[dtype]), tuning.per_processor
    tiling = layout.tiling(*shape, PROCESSORS * most, tile)
    needs = (True,) * (1 + count) if back else ()
    made = Program(family, job(tiling, ACCURACY[dtype], (shape[1] > 1,) * count, needs))
    report = _report(compiled(made.text()), *_signature(made, tiling, dtype), tuning.warps)
    held = layout.resident(report["registers"], tuning.warps)
    cut = layout.tiling(*shape, PROCESSORS * min(most, held), tile)
    # with a grid of `most` a processor, as it was until programs were counted by their registers
    before = tiling.programs / (PROCESSORS * held)
    return report | {"waves": cut.programs / (PROCESSORS * held), "waves_before": before, "kind": cut.kind}


def binaries(family: Family, shape: tuple[int, ...], count: int, batches: range) -> int:
    """Number of binaries that passes of so many batch sizes build, by Triton's own keys: a text and its specialization.

    Args:
        shape: of one sample, as (channels, inner).
    """
    backend = make_backend(GPUTarget("cuda", 90, 32))
    tuning, found, x, p = layout.Tuning(), set(), torch.empty(16, dtype=torch.bfloat16), torch.empty(16)
    channels, inner = shape
    for batch in batches:
        last = inner < 0
        view = (batch * -inner, channels, 1) if last else (batch, channels, inner)
        tiling = layout.tiling(*view, PROCESSORS * tuning.per_processor, tuning.tile)
        for needs in ((), (True,) * (1 + count)):
            made = Program(family, job(tiling, "half", (channels > 1,) * count, needs))
            given = [x if name.endswith("_") and name[0] in "xygd" else p for name in made.arguments()]
            numbers = len(tiling.numbers)
            found.add(_key(made.text(), [*given[:-numbers], *tiling.numbers], tuning.warps, backend))
        found.add(_adding(tiling, max(channels, 1), count, p, backend))
    return len(found)


def _adding(tiling: layout.Tiling, channels: int, count: int, p: torch.Tensor, backend: Any) -> Hashable:
    cut = adding(tiling.partials, channels)
    given = [*[p] * (count + 1), tiling.partials, channels, cut.rows, cut.columns]
    return _key(add_up_text(count), given, cut.warps, backend)


def _key(text: str, given: list[Any], warps: int, backend: Any) -> Hashable:
    function = compiled(text)
    bind = create_function_from_signature(function.signature, function.params, backend)
    _bound, specialization, _options = bind(*given, num_warps=warps, debug=False)
    return text, str(specialization), warps


def count() -> None:
    """Print the binaries that 120 batch sizes build of SAU and of FReLU per channel, by layout."""
    sau = sau_family(parameter(0), 20000.0, "published")
    frelu = frelu_family(parameter(0), parameter(1), SHARP, 1.0)
    batches = range(1, 121)
    rows = {
        "sau, flat": binaries(sau, (1, 3136), 1, batches),
        "frelu(C), nchw 56": binaries(frelu, (64, 3136), 2, batches),
        "frelu(C), nchw 7": binaries(frelu, (512, 49), 2, batches),
        "frelu(C), channels_last": binaries(frelu, (64, -196), 2, batches),
    }
    json.dump(rows, sys.stdout)


class _Driver:
    """Stands in for CUDA's, which needs a GPU: device 0 and stream 7."""

    def get_current_device(self) -> int:
        return 0

    def get_current_stream(self, device: int) -> int:
        return 7


def launch() -> None:
    """Print what a launch of a built kernel passes on, and its Python time by Triton's own call and by bevel's."""
    told: list[list[Any]] = []
    driver.set_active(_Driver())
    kernel = object.__new__(CompiledKernel)
    kernel.module, kernel.src, kernel.name, kernel.function, kernel.packed_metadata = None, None, "run", 1, (4,)
    kernel._init_handles = lambda: None
    kernel._run = lambda *arguments: told.append([*arguments])
    described, quick = kernel[(10, 1, 1)], direct(kernel, (10, 1, 1))
    described("x", "y")
    quick("x", "y")
    hooks: list[Any] = []
    triton.knobs.runtime.launch_enter_hook.add(hooks.append)
    quick("x", "y")
    told[-1][7](told[-1][6])  # as the driver calls the hook
    triton.knobs.runtime.launch_enter_hook.remove(hooks.append)
    launches = [[v if isinstance(v, (int, str, tuple, type(None))) else "described" for v in one] for one in told]
    kernel._run = lambda *arguments: None
    times = {}
    for name, call in (("described", kernel[(10, 1, 1)]), ("direct", direct(kernel, (10, 1, 1)))):
        times[name] = min(timeit.repeat(lambda call=call: call("x", "y"), number=2000, repeat=7)) / 2000  # type: ignore[misc]
    json.dump({"launches": launches, "hook": len(hooks), **times}, sys.stdout)


def main() -> None:
    flat, nchw, last, large = (1, 1, 1 << 26), (128, 64, 3136), (128 * 3136, 64, 1), (1, 1, 3 << 30)
    seven = (256, 512, 49)
    long_rows, many_channels = (1, 2, (1 << 31) + 16), (1, (1 << 31) + 16, 1)  # each axis alone exceeds an int32
    sau = sau_family(parameter(0), 20000.0, "published")
    smooth = frelu_family(parameter(0), parameter(1), KERNELS["gaussian"], parameter(2), log_n=True)
    frelu = frelu_family(parameter(0), parameter(1), SHARP, 1.0)
    bump, logistic = (frelu_family(1.0, parameter(0), KERNELS[k], parameter(1)) for k in ("bump", "logistic"))
    table = frelu_family(1.0, parameter(0), tabulated(lambda u: 1 - u * u, 1.0), 3.0)
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
        "smooth_frelu nchw fp64 backward": program(smooth, nchw, double, 3, True),
        "bump nchw fp64 backward": program(bump, nchw, double, 2, True),
        "logistic nchw fp64 backward": program(logistic, nchw, double, 2, True),
        "bump nchw bf16 forward": program(bump, nchw, half, 2, False),
        "table nchw bf16 forward": program(table, nchw, half, 1, False),
    }
    types = {"out0": "*fp32", "out1": "*fp32", "partial": "*fp32", "rows": "i32", "channels": "i32"}
    blocks = {(5,): 1024, (6,): 8}
    types |= {"ROWS": "constexpr", "COLUMNS": "constexpr"}
    rows["add_up"] = _report(compiled(add_up_text(2)), types, blocks, {}, 16)
    json.dump(rows, sys.stdout)


if __name__ == "__main__":
    {"count": count, "launch": launch, "build": main}[sys.argv[1] if sys.argv[1:] else "build"]()
