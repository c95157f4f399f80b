"""The native library's own test program: under sanitizers here, and on 64-bit Arm under emulation.

It compares every kernel, kind, dtype, layout and thread count with the definition, on each instruction set.
"""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

NATIVE = Path(__file__).parent.parent / "native"
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        "BEVEL_NATIVE_TEST" not in os.environ, reason="compiles for many minutes: `make test-native` runs it"
    ),
    pytest.mark.skipif(shutil.which("cmake") is None, reason="needs cmake"),
]


def _build(into: Path, *options: str) -> Path:
    for command in (
        ["cmake", "-S", str(NATIVE), "-B", str(into), "-DBEVEL_TEST=ON", *options],
        ["cmake", "--build", str(into), "--parallel", "2"],
    ):
        done = subprocess.run(command, capture_output=True, text=True)
        assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    return into / "bevel_native_test"


@pytest.fixture(scope="module")
def sanitized(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return _build(tmp_path_factory.mktemp("sanitized"), "-DBEVEL_SANITIZE=ON", "-DCMAKE_BUILD_TYPE=Release")


@pytest.mark.skipif(shutil.which("c++") is None, reason="needs a C++ compiler")
@pytest.mark.parametrize("isa", ["avx512", "avx2", "sse2"])
def test_under_address_and_undefined_behaviour_sanitizers(sanitized: Path, isa: str) -> None:
    done = subprocess.run([sanitized], env=os.environ | {"BEVEL_ISA": isa}, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    assert "FAIL" not in done.stdout


@pytest.mark.skipif(
    shutil.which("aarch64-linux-gnu-g++") is None or shutil.which("qemu-aarch64") is None,
    reason="needs g++-aarch64-linux-gnu and qemu-user",
)
def test_neon_under_emulation(tmp_path: Path) -> None:
    program = _build(
        tmp_path,
        "-DCMAKE_SYSTEM_NAME=Linux",
        "-DCMAKE_SYSTEM_PROCESSOR=aarch64",
        "-DCMAKE_CXX_COMPILER=aarch64-linux-gnu-g++",
        "-DCMAKE_BUILD_TYPE=Release",
    )
    done = subprocess.run(
        ["qemu-aarch64", "-L", "/usr/aarch64-linux-gnu", str(program)], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    assert "neon" in done.stdout
