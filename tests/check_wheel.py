"""A wheel in clean environments: ``python tests/check_wheel.py WHEEL PYTHON...`` (``make test-wheel``).

Each Python brings its torch. Its environment has torch, what torch requires, and what ``pip install WHEEL`` adds, and
nothing else: no NumPy, and no compiler on the path. There the wheel's operator must load, be the one that is used, and
compute what the composed formulas compute; the command must answer; and nothing may be built.
"""

import json
import os
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

TORCH_AND_WHAT_IT_REQUIRES = """
import json, re
from importlib.metadata import PackageNotFoundError, distribution
todo, found = ["torch"], {}
while todo:
    name = todo.pop()
    if name in found:
        continue
    try:
        found[name] = distribution(name)
    except PackageNotFoundError:
        continue  # for another system
    todo += [re.match(r"[\\w.-]+", text)[0] for text in found[name].requires or () if "extra ==" not in text]
print(json.dumps(sorted({
    str(one.locate_file(file.parts[0])) for one in found.values() for file in one.files if file.parts[0] != ".."
})))
"""

PROGRAM = """
import importlib.util, shutil, sys
import torch, bevel
from bevel.ops import using
assert bevel.__file__.startswith(sys.prefix), bevel.__file__
assert not any(map(shutil.which, ("c++", "g++", "clang++", "cc"))), "there is a compiler"
assert not any(map(importlib.util.find_spec, ("numpy", "matplotlib", "rich"))), "the environment is not clean"
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


def clean_environment(folder: Path, python: str) -> Path:
    """Make a virtual environment of ``python`` that has torch and what torch requires, as links; return its Python."""
    asked = subprocess.run([python, "-c", TORCH_AND_WHAT_IT_REQUIRES], capture_output=True, text=True, check=True)
    subprocess.run([python, "-m", "venv", "--without-pip", str(folder)], check=True)
    (site,) = folder.glob("lib/python*/site-packages")
    for path in map(Path, json.loads(asked.stdout)):
        if path.exists() and path.name != "__pycache__":
            (site / path.name).symlink_to(path)
    return folder / "bin" / "python"


def check(wheel: Path, python: str, folder: Path) -> None:
    """Install the wheel and use it."""
    made = clean_environment(folder / "environment", python)
    none = ("BEVEL_NATIVE", "BEVEL_OPERATOR", "PYTHONPATH", "CC", "CXX")
    environment = {k: v for k, v in os.environ.items() if k not in none}
    environment |= {"PATH": str(made.parent), "BEVEL_CACHE": str(folder / "no-cache"), "PYTHONDONTWRITEBYTECODE": "1"}
    # Never without --no-deps: pip could replace a requirement, and would write through the links.
    install = ["install", "--quiet", "--no-deps", "--no-index", "--disable-pip-version-check", str(wheel)]
    for command in (  # the first line of what each prints is shown
        [sys.executable, "-m", "pip", "--python", str(made), *install],
        [made, "-W", "ignore:Failed to initialize NumPy", "-c", PROGRAM],
        [made.parent / "bevel", "show", "sau:n=5"],
    ):
        done = subprocess.run(command, env=environment, cwd=folder, check=True, stdout=subprocess.PIPE, text=True)
        if done.stdout:
            print(done.stdout.partition("\n")[0])
    assert not (folder / "no-cache").exists(), "something was built"


def main(wheel: str, *pythons: str) -> None:
    names = zipfile.ZipFile(wheel).namelist()
    assert "bevel/ops/libbevel_operator.so" in names, "the wheel has no operator"
    for python in pythons:
        with tempfile.TemporaryDirectory() as folder:
            check(Path(wheel).resolve(), python, Path(folder))


if __name__ == "__main__":
    main(*sys.argv[1:])
