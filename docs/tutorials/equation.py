"""
A network that solves an equation
=================================

A physics-informed network is trained on a residual that holds its own second derivative. ReLU has none; a smooth
activation with a learned sharpness does.
"""

# %%
# The equation
# ------------
# ``u'' = −sin x`` on [0, π] with ``u(0) = u(π) = 0``, whose solution is ``sin x``. The factor ``x(π − x)`` puts the
# boundary in. ``dim=-1`` says that channels are the last axis.
import matplotlib.pyplot as plt
import torch
from torch import nn

import bevel

x = torch.linspace(0.0, torch.pi, 33)


def solve(activation, steps=200):
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(1, 32), activation, nn.Linear(32, 1))

    def u(t):
        return (t * (torch.pi - t) * net(t.reshape(1))).squeeze()

    second = torch.func.vmap(torch.func.grad(torch.func.grad(u)))
    optimizer = torch.optim.Adam(bevel.parameter_groups(net, lr=0.02))
    for _ in range(steps):
        optimizer.zero_grad()
        (second(x) + torch.sin(x)).square().mean().backward()
        optimizer.step()
    return torch.func.vmap(u)(x).detach(), activation


# %%
# With and without a curvature
# ----------------------------
smooth, activation = solve(bevel.SmoothFReLU(32, n=2.0, dim=-1))
kinked, _ = solve(nn.ReLU())
for name, found in (("smooth_frelu", smooth), ("relu", kinked)):
    print(f"{name}: largest error {float((found - torch.sin(x)).abs().max()):.4f}")
n = activation.log_n.detach().exp()
print(f"n started at 2 and is now {float(n.min()):.2f} to {float(n.max()):.2f}")

figure, axes = plt.subplots(figsize=(7, 3), layout="constrained")
axes.plot(x, torch.sin(x), color="#9aa1ab", lw=5, label="sin x")
axes.plot(x, smooth, color="#1f6fb2", label="smooth_frelu")
axes.plot(x, kinked, color="#b3540b", label="relu, whose second derivative is 0")
axes.set(title="the equation's solution, and what two networks found")
axes.legend(frameon=False)
plt.show()
