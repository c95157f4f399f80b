"""What a record says about where it comes from."""

import json
import os
import subprocess
import sys

import pytest

import bevel
from bevel.ops import _cpu


def _versions(**environment: str) -> dict[str, str]:
    code = "import json; from bevel_lab.runtime.provenance import versions; print(json.dumps(versions()))"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, env=os.environ | environment
    )
    found: dict[str, str] = json.loads(done.stdout)
    return found


@pytest.mark.process
def test_versions_name_the_backend_that_computed() -> None:
    """Native code and plain torch round differently: a record must tell them apart."""
    native = _cpu.unavailable() is None
    assert _versions()["backend"] == (f"cpu ({_cpu.describe()['isa']})" if native else "analytic")
    without = _versions(BEVEL_NATIVE="/dev/null/none")
    assert without["backend"] == "analytic"
    assert without["bevel"] == bevel.__version__
