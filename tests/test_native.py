"""The native library's own test program: under sanitizers here, and on 64-bit Arm under emulation.

It compares every kernel, kind, dtype, layout and thread count with the definition, on each instruction set.
"""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from bevel.ops import _cpu

NATIVE = Path(__file__).parent.parent / "native"
pytestmark = [pytest.mark.native, pytest.mark.skipif(shutil.which("cmake") is None, reason="needs cmake")]


def _build(into: Path, *options: str) -> Path:
    for command in (
        ["cmake", "-S", str(NATIVE), "-B", str(into), "-DBEVEL_TEST=ON", *options],
        ["cmake", "--build", str(into), "--parallel", "2"],
    ):
        done = subprocess.run(command, capture_output=True, text=True)
        assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    return into / "bevel_native_test"


@pytest.mark.skipif(shutil.which("c++") is None, reason="needs a C++ compiler")
def test_under_address_and_undefined_behaviour_sanitizers(tmp_path: Path) -> None:
    """One build serves a run for each instruction set that this processor runs."""
    isas = _isas()
    program = _build(tmp_path, "-DBEVEL_SANITIZE=ON", f"-DBEVEL_ISAS={';'.join(isas)}")
    for isa in isas:
        done = subprocess.run([program], env=os.environ | {"BEVEL_ISA": isa}, capture_output=True, text=True)
        assert done.returncode == 0, isa + done.stdout[-3000:] + done.stderr[-3000:]
        assert done.stdout.startswith(f"{isa}, ")
        assert ": 0 failures" in done.stdout


def _isas() -> list[str]:
    """The instruction sets that this processor runs, the best first."""
    best, x86 = _cpu.describe()["isa"], ["avx512", "avx2", "sse2"]
    return x86[x86.index(best) :] if best in x86 else [best]


@pytest.mark.skipif(
    shutil.which("aarch64-linux-gnu-g++") is None or shutil.which("qemu-aarch64") is None,
    reason="needs g++-aarch64-linux-gnu and qemu-user",
)
def test_neon_under_emulation(tmp_path: Path) -> None:
    program = _build(tmp_path, f"-DCMAKE_TOOLCHAIN_FILE={NATIVE / 'aarch64.cmake'}")
    emulator = ["qemu-aarch64", "-L", "/usr/aarch64-linux-gnu"]
    done = subprocess.run([*emulator, str(program), "15"], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    assert done.stdout.startswith("neon, ")
    assert ": 0 failures" in done.stdout
