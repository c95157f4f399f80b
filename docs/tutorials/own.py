"""
Your own kernel, activation and task
====================================

A kernel is a density; a kinked function is numbers; an activation is a module with a catalog entry. Each is checked by
the laws that bevel's own are held to.
"""

# %%
# A kernel from its density
# -------------------------
# :func:`bevel.tabulated` integrates a density to full precision. This one is smoother at its edges than triweight.
import subprocess
import sys
import tempfile

import matplotlib.pyplot as plt
import torch

import bevel
from bevel.testing import check_activation, check_kernel

quadweight = bevel.tabulated(lambda u: 315 / 256 * (1 - u * u) ** 4, 1.0, name="quadweight")
print(f"gap {quadweight.gap:.5f}; laws: {len(check_kernel(quadweight))} hold")

# %%
# With it any kinked function is smoothed, and the bound is known:
tent = bevel.PiecewiseLinear(knots=[-1.0, 0.0, 1.0], jumps=[1.0, -2.0, 1.0])
smooth = bevel.mollify(tent, quadweight, n=3.0)
x = torch.linspace(-2, 2, 401, dtype=torch.float64)
print(f"off by at most {smooth.max_error:.4f} (proven), {float((smooth(x) - tent(x)).abs().max()):.4f} (measured)")

figure, axes = plt.subplots(figsize=(7, 3), layout="constrained")
axes.plot(x, tent(x), color="#9aa1ab", label="a tent")
axes.plot(x, smooth(x), color="#1f6fb2", label="smoothed by quadweight, n = 3")
axes.set(title="a function and a kernel of one's own")
axes.legend(frameon=False)
plt.show()


# %%
# An activation
# -------------
# One formula of torch operations; backward keeps the input and nothing else of its size, for any formula.
class Snake(bevel.nn.FormulaActivation):
    """``x + sin²(ax)/a`` with a learned."""

    def __init__(self, num_parameters=1, a=1.0, *, dim=1, device=None, dtype=None):
        super().__init__(num_parameters, {"a": a}, dim=dim, device=device, dtype=dtype)

    @staticmethod
    def formula(x, a):
        return x + torch.sin(a * x) ** 2 / a


print(f"laws: {len(check_activation(Snake()))} hold")

# %%
# Registered, it has a name wherever bevel takes one, also in a swap:
entry = bevel.nn.Entry(factory=Snake, formula="x + sin²(ax)/a", summary="Snake, a learned")
if "snake" not in bevel.ACTIVATIONS:
    bevel.ACTIVATIONS.register("snake", entry)
model = torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.ReLU(), torch.nn.Linear(8, 2))
bevel.swap(model, "snake:a=0.5", torch.randn(3, 4), preserve=False)
print(model[1])

# %%
# A task
# ------
# A task of one's own is a class of the lab: what is learned, how it is scored, and what a report shows. This file is
# one, with its data set and model, and registers them:
#
# .. literalinclude:: ../../examples/custom_task.py
#
# Run as a program, it is the ``bevel`` command with them. One seed of twelve epochs shows that it learns, and says that
# it is too few for more:
program = "../../examples/custom_task.py"  # seen from docs/tutorials
line = "compare --dataset diabetes --model narrow --activations relu sau:n=2 --seeds 1 --epochs 12 --workers 1"
with tempfile.TemporaryDirectory() as folder:
    words = [sys.executable, program, *line.split(), "--out", folder]
    done = subprocess.run(words, capture_output=True, text=True, check=True)
print(done.stdout.partition("report: ")[0])

# %%
# As files in bevel's folders, kernels, activations, models, data sets and tasks are found by every command, and by the
# laws; ``CONTRIBUTING.md`` in the repository shows one of each.
