"""
A smooth function with a bound, for an optimizer
================================================

Solvers that use second derivatives need smooth functions; costs in practice have corners. Here a cost with a dead zone
is smoothed by so little that the answer is within a tolerance that is known beforehand.
"""

# %%
# The cost
# --------
# A machine is set to ``x``. Each of forty orders wants its own setting, and within 0.2 of it nothing is lost; beyond,
# the loss grows linearly. One order's loss is a kinked function, so it is numbers:
import matplotlib.pyplot as plt
import torch
from scipy.optimize import minimize

import bevel

torch.manual_seed(0)
wanted = torch.randn(40, dtype=torch.float64)
loss = bevel.PiecewiseLinear(left=-1.0, offset=-0.2, knots=[-0.2, 0.2], jumps=[1.0, 1.0])

# %%
# The smoothing
# -------------
# The mean of forty losses is off by at most what one loss is off. A tolerance of 0.001 gives the sharpness, by the
# proven bound ``gap/n · Σ|jump|``; the biweight kernel changes nothing beyond 1/n of a corner.
tolerance = 1e-3
n = bevel.sharpness_for(loss, "biweight", tolerance)
smooth = bevel.mollify(loss, "biweight", n)
print(f"n = {n:.1f}; proven: off by at most {smooth.max_error:.4g}")

x = torch.linspace(-0.6, 0.6, 601, dtype=torch.float64)
figure, (left, right) = plt.subplots(1, 2, figsize=(8, 3), layout="constrained")
left.plot(x, loss(x), color="#9aa1ab", label="the cost")
left.plot(x, bevel.mollify(loss, "biweight", 5.0)(x), color="#1f6fb2", label="n = 5, to see it")
left.set(title="one order's loss")
left.legend(frameon=False)
right.plot(x, smooth(x) - loss(x), color="#1f6fb2")
right.axhline(smooth.max_error, color="#b3540b", ls=":")
right.set(title="error of the one that is used, and its bound")
plt.show()

# %%
# Solving
# -------
# Value, slope and curvature are exact, so Newton's method with a trust region can be used as it is.


def total(point):
    return float(smooth(torch.tensor(point) - wanted).mean())


def slope(point):
    return smooth.slope(torch.tensor(point) - wanted).mean().reshape(1).numpy()


def curvature(point):
    return smooth.curvature(torch.tensor(point) - wanted).mean().reshape(1, 1).numpy()


found = minimize(total, [2.0], jac=slope, hess=curvature, method="trust-exact")
print(f"x = {found.x[0]:.4f}, cost {found.fun:.6f}, {found.nit} iterations")

# %%
# What is known of the answer
# ---------------------------
# The smooth minimum is at most the tolerance above the true one, and the true cost at the answer at most twice it.
# A fine grid over the cost with its corners agrees:
grid = torch.linspace(-3, 3, 60001, dtype=torch.float64)
best = min(float(part.min()) for part in (loss(chunk[:, None] - wanted).mean(1) for chunk in grid.split(6000)))
at_answer = float(loss(torch.tensor(found.x) - wanted).mean())
print(f"true cost at the answer {at_answer:.6f}, smallest on the grid {best:.6f}")
assert at_answer <= best + 2 * tolerance
