"""The native library's own test program: on the library in use, under sanitizers, and on 64-bit Arm under emulation.

It compares every kernel, kind, dtype, layout and thread count with the definition, on each instruction set. Its arrays
lie beside pages that may not be touched: that holds the library in use to their bounds, with no sanitizer in it.
"""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from bevel.ops import _cpu

NATIVE = Path(__file__).parent.parent / "native"
pytestmark = pytest.mark.native


def _isas() -> list[str]:
    """The instruction sets that this processor runs, the best first."""
    best, x86 = _cpu.describe()["isa"], ["avx512", "avx2", "sse2"]
    return x86[x86.index(best) :] if best in x86 else [best]


def _run(command: list[str], **environment: str) -> str:
    done = subprocess.run(command, env=os.environ | environment, capture_output=True, text=True)
    assert done.returncode == 0, str(environment) + done.stdout[-3000:] + done.stderr[-3000:]
    return done.stdout


def _built(into: Path, *options: str, **environment: str) -> str:
    _run(["cmake", "-S", str(NATIVE), "-B", str(into), "-DBEVEL_TEST=ON", *options], **environment)
    _run(["cmake", "--build", str(into), "--parallel", "2"])
    return str(into / "bevel_native_test")


@pytest.mark.skipif(_cpu.unavailable() is not None, reason=f"backend cpu: {_cpu.unavailable()}")
@pytest.mark.skipif(shutil.which("c++") is None, reason="needs a C++ compiler")
def test_every_instruction_set_of_the_library_in_use(tmp_path: Path) -> None:
    library = next(path for path in _cpu.candidates() if path.is_file() and not isinstance(_cpu.opened(path), str))
    program = str(tmp_path / "test")
    linked = [str(library), f"-Wl,-rpath,{library.parent}", *(["-ldl"] if sys.platform == "linux" else [])]
    source = str(NATIVE / "test" / "test.cpp")
    _run(["c++", "-std=c++17", "-O1", "-I", str(NATIVE / "include"), source, *linked, "-o", program])
    for isa in _isas():
        said = _run([program], BEVEL_ISA=isa)
        assert said.startswith(f"{isa}, ")
        assert ": 0 failures" in said


@pytest.mark.skipif(shutil.which("cmake") is None, reason="needs cmake")
@pytest.mark.skipif(shutil.which("c++") is None, reason="needs a C++ compiler")
def test_under_address_and_undefined_behaviour_sanitizers(tmp_path: Path) -> None:
    """The instruction set with the longest vectors, which has the longest ends to go beyond."""
    isa = _isas()[0]
    said = _run([_built(tmp_path, "-DBEVEL_SANITIZE=ON", f"-DBEVEL_ISAS={isa}")])
    assert said.startswith(f"{isa}, ")
    assert ": 0 failures" in said


@pytest.mark.skipif(shutil.which("cmake") is None, reason="needs cmake")
@pytest.mark.skipif(
    shutil.which("aarch64-linux-gnu-g++") is None or shutil.which("qemu-aarch64") is None,
    reason="needs g++-aarch64-linux-gnu and qemu-user",
)
def test_neon_under_emulation(tmp_path: Path) -> None:
    """Built as in an activated environment, whose Python has a torch, but one for this processor."""
    activated = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    program = _built(tmp_path, f"-DCMAKE_TOOLCHAIN_FILE={NATIVE / 'aarch64.cmake'}", PATH=activated)
    said = _run(["qemu-aarch64", "-L", "/usr/aarch64-linux-gnu", program, "15"])
    assert said.startswith("neon, ")
    assert ": 0 failures" in said
