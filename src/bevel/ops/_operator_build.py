"""Where the operators' shared object comes from: the wheel, or a build of its source at first use.

A wheel that was built where torch is present has it. An isolated build sees no torch; then its source lies in the
wheel, and the first process that needs it builds it from the installed torch's own headers into a cache, once.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import platform
import shlex
import shutil
import subprocess
import time
from pathlib import Path

import torch

OBJECT = "libbevel_operator.so"
SOURCES = (
    "operator.cpp",
    "layout.h",
    "pair.h",
    "second.h",
    "sides.h",
    "tensors.h",
    "bevel_native.h",
)  # in "operator" beside the native library
TARGET = "0x020b000000000000"  # torch 2.11, the oldest that the object is to serve; also in native/CMakeLists.txt
FLAGS = ("-O2", "-std=c++17", "-shared", "-fPIC", "-fvisibility=hidden", f"-DTORCH_TARGET_VERSION={TARGET}")


class NoOperator(Exception):
    """Says why there is no shared object."""


def find(folder: Path) -> Path:
    """Return the shared object: the one BEVEL_OPERATOR names, the wheel's, or the cache's, which is built if missing.

    Args:
        folder: where the native library in use lies.

    Raises:
        NoOperator: with the reason why there is none.
    """
    named = os.environ.get("BEVEL_OPERATOR")
    if named is not None:
        if not Path(named).is_file():
            raise NoOperator(f"BEVEL_OPERATOR must name a file; got {named!r}")
        return Path(named)
    installed = folder / OBJECT
    if installed.is_file():
        return installed
    sources = [folder / "operator" / name for name in SOURCES]
    if not all(source.is_file() for source in sources):
        raise NoOperator("the operator's source was not installed with the native library; reinstall bevel")
    try:
        return _cached(sources)
    except (OSError, RuntimeError, ValueError) as error:  # RuntimeError: no home; ValueError: CXX has an open quote
        raise NoOperator(f"the operator cannot be built: {error}") from error


def _cache() -> Path:
    """Return the folder for what is built: ``$BEVEL_CACHE``, or ``bevel`` in the user's cache."""
    if named := os.environ.get("BEVEL_CACHE"):
        return Path(named)
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "bevel"


def _cached(sources: list[Path]) -> Path:
    """Return the object for these sources and this torch; the first process builds it, the others wait for it."""
    content = b"".join(source.read_bytes() for source in sources)
    made_for = (torch.__version__, platform.machine(), *platform.libc_ver(), *FLAGS)
    key = hashlib.sha256(content + " ".join(made_for).encode()).hexdigest()[:16]
    built = _cache() / f"operator-{key}.so"
    _check_owner(built.parent, built)
    if built.is_file():
        return built
    compiler = shlex.split(os.environ.get("CXX", "")) or [_found_compiler()]
    built.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    _check_owner(built.parent)
    failed = built.with_suffix(".txt")
    with built.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not built.is_file() and not _is_recent(failed):
            _compile(compiler, sources[0], built, failed)
    if built.is_file():
        return built
    last = failed.read_text(encoding="utf-8").strip().splitlines()[-1:]
    raise NoOperator(
        f"the operator did not compile, see {failed}, and delete it to try again before a day is over: {' '.join(last)}"
    )


def _check_owner(*paths: Path) -> None:
    """Refuse what another user may have written: loading an object runs its code."""
    for path in paths:
        if not path.exists():
            continue
        status = path.stat()
        if status.st_uid != os.getuid() or status.st_mode & 0o022:
            raise NoOperator(
                f"the cache must belong to this user and be writable by no other; got {path}. Set BEVEL_CACHE."
            )


def _found_compiler() -> str:
    found = shutil.which("c++") or shutil.which("g++") or shutil.which("clang++")
    if found is None:
        raise NoOperator("building the operator needs a C++17 compiler; there is none on the PATH")
    return found


def _is_recent(failed: Path) -> bool:
    """Whether a build failed within a day. Not every process tries again; but a full disk does not last for ever."""
    return failed.is_file() and time.time() - failed.stat().st_mtime < 24 * 3600


def _compile(compiler: list[str], source: Path, built: Path, failed: Path) -> None:
    """Compile into ``built``; if that fails, write what the compiler said into ``failed``."""
    home = Path(torch.__file__).parent
    part = built.with_suffix(".part")
    command = [
        *(*compiler, *FLAGS, f"-I{source.parent}", "-isystem", str(home / "include"), str(source), "-o", str(part)),
        *(f"-L{home / 'lib'}", "-ltorch_cpu"),
    ]
    done = subprocess.run(command, capture_output=True, text=True, umask=0o077)
    if done.returncode < 0:  # that says nothing of the source
        raise NoOperator(f"the operator did not compile: signal {-done.returncode} ended the compiler")
    if done.returncode == 0:
        part.replace(built)
    else:
        failed.write_text(f"{' '.join(command)}\n{done.stdout}{done.stderr}\n", encoding="utf-8")
