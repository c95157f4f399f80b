"""A wheel under several releases of torch: ``python tests/check_wheel.py WHEEL PYTHON...`` (``make test-wheel``).

Each Python brings its torch. The wheel is unpacked beside nothing else of bevel, and its operator must load, be the one
that is used, and compute what the composed formulas compute.
"""

import os
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

PROGRAM = """
import sys
sys.meta_path[:] = [finder for finder in sys.meta_path if "editable" not in type(finder).__module__]
sys.path[:] = [sys.argv[1], *(p for p in sys.path if not p.endswith("src"))]
import torch, bevel
from bevel.ops import using
assert bevel.__file__.startswith(sys.argv[1]), bevel.__file__
assert bevel.backends()["operator"] is None, bevel.backends()
for spec in ("sau:n=5", "frelu:negative=0.3", "smooth_frelu:n=2", "squareplus"):
    module, found = bevel.create(spec), []
    for backend in ("auto", "reference"):
        x = torch.linspace(-3, 3, 1001, requires_grad=True)
        with using(backend):
            y = module(x)
        found.append((y, *torch.autograd.grad(y.sum(), [x, *module.parameters()])))
        if backend == "auto":
            assert type(y.grad_fn).__name__ == "OperatorBackendCallBackward", y.grad_fn
    for got, want in zip(*found):
        torch.testing.assert_close(got, want, rtol=1e-5, atol=1e-6)
print("torch", torch.__version__, "takes the wheel's operator")
"""


def main(wheel: str, *pythons: str) -> None:
    with tempfile.TemporaryDirectory() as folder:
        with zipfile.ZipFile(wheel) as content:
            content.extractall(folder)
        assert (Path(folder) / "bevel" / "ops" / "libbevel_operator.so").is_file(), "the wheel has no operator"
        none = ("BEVEL_NATIVE", "BEVEL_OPERATOR", "PYTHONPATH")
        environment = {k: v for k, v in os.environ.items() if k not in none} | {"BEVEL_CACHE": f"{folder}/no-cache"}
        for python in pythons:
            subprocess.run([python, "-c", PROGRAM, folder], env=environment, cwd=folder, check=True)
        assert not (Path(folder) / "no-cache").exists(), "something was built"


if __name__ == "__main__":
    main(*sys.argv[1:])
