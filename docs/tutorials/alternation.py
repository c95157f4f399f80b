"""
FReLU as its paper trains it: alternation
=========================================

The paper of the fully parametric ReLU (Varshney and Singh 2021) lets weights and slopes take turns: one learns while
the other is frozen. :class:`bevel.Alternating` is an optimizer made of two.
"""

# %%
# A task with a corner
# --------------------
# The target is ``|x₁| − |x₂|``, which slopes of both signs make easy.
import matplotlib.pyplot as plt
import torch
from torch import nn

import bevel

torch.manual_seed(0)
x = torch.randn(512, 2)
y = x[:, :1].abs() - x[:, 1:].abs()


def network():
    torch.manual_seed(1)
    return nn.Sequential(nn.Linear(2, 16), bevel.FReLU(16), nn.Linear(16, 1))


def losses(model, optimizer, steps=300):
    found = []
    for _ in range(steps):
        optimizer.zero_grad()
        loss = (model(x) - y).square().mean()
        loss.backward()
        optimizer.step()
        found.append(float(loss.detach()))
    return found


# %%
# Together, and in turns
# ----------------------
# Four steps of the weights, then one of the slopes. The frozen set keeps its gradients, so data-parallel training
# notices nothing; its optimizer is not called, so neither momentum nor decay nor a step count moves.
together = network()
joint = losses(together, torch.optim.Adam(bevel.parameter_groups(together, lr=0.01)))

model = network()
weights, slopes = bevel.parameter_groups(model, lr=0.01)
optimizer = bevel.Alternating(
    torch.optim.Adam([weights]), torch.optim.Adam([slopes]), weights_steps=4, activation_steps=1
)
in_turns = losses(model, optimizer)
print(f"loss at the end: together {joint[-1]:.4f}, in turns {in_turns[-1]:.4f}")

figure, axes = plt.subplots(figsize=(7, 3), layout="constrained")
axes.semilogy(joint, label="together", color="#1f6fb2")
axes.semilogy(in_turns, label="four steps of weights, one of slopes", color="#b3540b")
axes.set(xlabel="step", ylabel="loss", title="training loss together and in turns")
axes.legend(frameon=False)
plt.show()

# %%
# One run proves nothing about which is better. ``bevel compare --activations frelu frelu@alternate=epoch`` asks with
# paired seeds, and :doc:`a page of evidence </evidence-alternation>` has an answer for a LeNet on Fashion-MNIST:
# alternating costs more than it brings, even where the weights get as many updates. What the slopes learned:
left, right = (getattr(model[1], name).detach() for name in ("negative", "positive"))
print(f"left of zero from {float(left.min()):.2f} to {float(left.max()):.2f}")
print(f"right of zero from {float(right.min()):.2f} to {float(right.max()):.2f}")
