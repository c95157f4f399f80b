"""Print the bits of what some programs of the Triton backend compute, by Triton's interpreter as it comes or prepared.

Run as a program of its own, with ``TRITON_INTERPRET=1``: what is prepared stays with the functions it has rewritten.
"""

import contextlib
import hashlib
import sys

import torch
from torch import Tensor

import bevel
from bevel.ops import using
from bevel_lab.bench.gpu.interpreter import prepared

SPECS = {
    "frelu": torch.bfloat16,
    "sau:n=5": torch.float32,
    "sau:n=2,form=centred,learn_n=True": torch.float16,
    "mollified:f=relu6,kernel=logistic,n=2,learn=knots+n": torch.float32,
    "mollified:f=hardswish,kernel=bump,n=3": torch.float64,
    "gate:kernel=logistic": torch.float32,
}


def results(spec: str, dtype: torch.dtype) -> list[Tensor]:
    """Return value, gradients and second derivatives, of elements in the middle of a tile and at infinity."""
    module = bevel.create(spec, 3)
    x = torch.linspace(-4, 4, 24).reshape(2, 3, 4).to(dtype)
    x[0, 0, 0], x[1, 2, 3] = -torch.inf, torch.inf
    x.requires_grad_()
    learnt = [x, *module.parameters()]
    y = module(x)
    first = torch.autograd.grad(y.float().sum(), learnt, create_graph=True)
    second = torch.autograd.grad(first[0].float().sum(), learnt, allow_unused=True)
    return [t for t in (y, *first, *second) if t is not None]


def main(how: str) -> None:
    with prepared() if how == "prepared" else contextlib.nullcontext(), using("triton"):
        for spec, dtype in SPECS.items():
            for i, t in enumerate(results(spec, dtype)):
                bits = t.detach().contiguous().view(torch.uint8).numpy().tobytes()
                print(spec, i, hashlib.sha256(bits).hexdigest())


if __name__ == "__main__":
    main(sys.argv[1])
