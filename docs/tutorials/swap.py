"""
Swap, fine-tune, export, compare
================================

A network of torchvision learns to read digits. Then its ReLUs become learned functions, without a change of what it
computes; it is fine-tuned, folded so that little of it costs time, and exported; and the question is asked fairly
whether that was worth it. Everything here ships with torch, torchvision and scikit-learn.
"""

# %%
# A network that is trained already
# ---------------------------------
# 1797 scanned digits of 8×8 pixels, enlarged to 16×16; a residual network of torchvision with one block a stage.
import matplotlib.pyplot as plt
import torch
import torch.nn.functional as F
from sklearn.datasets import load_digits
from torchvision.models.resnet import BasicBlock, ResNet

import bevel

torch.manual_seed(0)
digits = load_digits()
images = torch.tensor(digits.images, dtype=torch.float32)[:, None].div(16).expand(-1, 3, -1, -1)
images, labels = F.interpolate(images, size=16), torch.tensor(digits.target)
order = torch.randperm(len(images))
train, test = order[:1200], order[1200:]


def learn(model, optimizer, epochs):
    model.train()
    for _ in range(epochs):
        for batch in train[torch.randperm(len(train))].split(50):
            optimizer.zero_grad()
            F.cross_entropy(model(images[batch]), labels[batch]).backward()
            optimizer.step()


@torch.no_grad()
def outputs(model):
    return model.eval()(images[test])


def accuracy(model):
    return float((outputs(model).argmax(1) == labels[test]).float().mean())


model = ResNet(BasicBlock, [1, 1, 1, 1], num_classes=10)
for lr in (0.05, 0.01):
    learn(model, torch.optim.SGD(model.parameters(), lr=lr, momentum=0.9), epochs=2)
print(f"accuracy with ReLU: {accuracy(model):.3f}")

# %%
# What there is to swap
# ---------------------
# :func:`bevel.find` runs a copy on an example and lists every call of an activation: also the second call of a module
# that serves twice, and ``F.relu(x)`` in a function.
example = images[:2]
print(bevel.find(model, example))

# %%
# The swap
# --------
# ``"frelu"`` is the fully parametric ReLU: one learned slope on each side of zero, for every channel. The swap starts
# it as the ReLU that was there, so the network computes what it did.
before = outputs(model)
result = bevel.swap(model, "frelu", example)
print(f"largest change of the output: {float((outputs(model) - before).abs().max()):.1e}")
print(f"accuracy now: {accuracy(model):.3f}; {len(result.sites)} calls swapped")

# %%
# Fine-tuning
# -----------
# The slopes are few and are no weights: decay would drag them to zero. :func:`bevel.parameter_groups` sets them apart,
# and here gives them larger steps.
groups = bevel.parameter_groups(model, lr=0.01, weight_decay=5e-4, activation_lr=0.1)
learn(model, torch.optim.SGD(groups, momentum=0.9), epochs=1)
print(f"accuracy after fine-tuning: {accuracy(model):.3f}")

# %%
# What the slopes became, by channel: each started at 1 on the right and 0 on the left.
figure, axes = plt.subplots(figsize=(7, 3), layout="constrained")
for i, module in enumerate(m for m in model.modules() if isinstance(m, bevel.FReLU)):
    for values, color in ((module.positive, "#1f6fb2"), (module.negative, "#b3540b")):
        spread = i + torch.linspace(-0.3, 0.3, len(values))
        axes.plot(spread, values.detach(), ".", color=color, ms=3)
axes.set(
    xlabel="call, from the input on",
    ylabel="slope",
    title="learned slopes: right of zero (blue), left of zero (orange)",
)
plt.show()

# %%
# To ship it
# ----------
# The positive slope is multiplied into the layer before it, once: what remains costs what PReLU costs. A call whose
# layer feeds anything else, such as one behind a residual sum, stays as it is, and its row says why.
folded = bevel.fold(model.eval(), example)
print(folded)

# %%
# The network that ships is an ordinary program of torch, with a free batch size:
batch = torch.export.Dim("batch", min=1)
program = torch.export.export(folded.model, (example,), dynamic_shapes=({0: batch},))
with torch.no_grad():
    difference = program.module()(images[test]) - outputs(model)
print(f"largest difference of the exported program: {float(difference.abs().max()):.1e}")

# %%
# ``torch.onnx.export(folded.model, (example,), dynamo=True)`` gives ONNX with standard operators only.
#
# Was it worth it?
# ----------------
# A network that learns on gains by that alone, with ReLU too, and another seed would give another number. The lab
# trains each activation from the same initial weights, order of samples and augmentation, once for each seed, and
# judges the paired differences:
#
# .. code-block:: sh
#
#    bevel compare --activations relu frelu --model resnet8 --dataset digits --epochs 3 --seeds 10 --out runs/worth
#
# It prints a verdict (*better*, *worse* or *no evidence*, with an interval and a corrected p-value) and writes
# ``runs/worth/report.html``. :doc:`compare` does the same from Python.
