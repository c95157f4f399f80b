"""Draws docs/img/bevel.png, the picture of the README: python docs/pictures.py"""

from pathlib import Path

import torch
from matplotlib.figure import Figure

import bevel
from bevel import kinked

INK, MUTED, BLUES = "#40454c", "#9aa1ab", ("#9ecae1", "#4292c6", "#08519c")
HUES = ("#097ca9", "#ef9e05", "#b14c6c")


def main() -> None:
    figure = Figure(figsize=(10, 3.3), layout="constrained")
    left, middle, right = figure.subplots(1, 3)
    x = torch.linspace(-1.6, 1.6, 801, dtype=torch.float64)
    leaky = kinked.leaky_relu(0.15)

    left.plot(x, leaky(x), color=INK, lw=1.6, label="Leaky ReLU")
    for n, color in zip((1.0, 2.0, 5.0), BLUES, strict=True):
        left.plot(x, bevel.functional.sau(x, 0.15, n, "exact"), color=color, lw=1.6, label=f"SAU, n = {n:g}")
    left.set_title("one kink, any sharpness", loc="left", fontsize=10.5)
    left.legend(frameon=False, fontsize=8.5)

    clip = kinked.hardtanh(-0.8, 0.8)
    middle.plot(x, clip(x), color=INK, lw=1.6, label="clip")
    for kernel, color in zip(("box", "gaussian", "student"), HUES, strict=True):
        n = bevel.sharpness_for(clip, kernel, 0.4)
        middle.plot(x, bevel.mollify(clip, kernel, n)(x), color=color, lw=1.6, label=f"{kernel}, n = {n:.2f}")
    middle.set_title("any function, any kernel (error at most 0.4)", loc="left", fontsize=10.5)
    middle.legend(frameon=False, fontsize=8.5)

    n = torch.logspace(0, 3, 60, dtype=torch.float64)
    for kernel, color in zip(("box", "gaussian", "student"), HUES, strict=True):
        bound = [bevel.mollify(leaky, kernel, float(v)).max_error for v in n]
        worst = [float((bevel.mollify(leaky, kernel, float(v))(x) - leaky(x)).abs().max()) for v in n]
        right.loglog(n, bound, color=color, lw=1.6, label=f"{kernel}")
        right.loglog(n[::6], worst[::6], "o", color=color, ms=3.5)
    right.set_title("proven error (dots: measured)", loc="left", fontsize=10.5)
    right.set_xlabel("n", fontsize=9)
    right.legend(frameon=False, fontsize=8.5)

    for axes in (left, middle, right):
        axes.spines[["top", "right"]].set_visible(False)
        axes.tick_params(labelsize=8.5, colors=MUTED)
        axes.grid(color="#eceef1", lw=0.8)
        axes.set_axisbelow(True)
    path = Path(__file__).parent / "img" / "bevel.png"
    figure.savefig(path, dpi=140, metadata={"Software": None})
    print(path)


if __name__ == "__main__":
    main()
