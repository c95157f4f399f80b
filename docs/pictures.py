"""Draws the README's pictures, docs/img/bevel.png and, with Chromium, docs/img/report.png: python docs/pictures.py"""

import hashlib
import shutil
import subprocess
import tempfile
from pathlib import Path

import torch
from matplotlib.figure import Figure
from PIL import Image, PngImagePlugin

import bevel
from bevel import kinked
from bevel_lab import Results
from bevel_lab.report.figures.svg import LIGHT, MUTED

IMAGES = Path(__file__).parent / "img"
RECORDS = Path(__file__).parents[1] / "evidence" / "lenet-fashion.jsonl"
MARGIN = 0.5  # points of accuracy, which the experiment named
STAMP = "report"
"""Under this key the picture of the report holds the digest of what it shows."""

INK, BLUES = LIGHT[0], ("#7db3d8", "#4292c6", "#08519c")
HUES = (LIGHT[1], LIGHT[5], LIGHT[7])


def library() -> Figure:
    """SAU at three sharpnesses, a clip under three kernels, and the proven error."""
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
    return figure


def report(folder: Path) -> tuple[Path, str]:
    """Write the report of the committed records of LeNet; return its path, and the digest of its first screen."""
    page = Results.join([Results.read(RECORDS)], title="LeNet on Fashion-MNIST", margin=MARGIN).report(folder)
    top = page.read_text(encoding="utf-8").partition("</figure>")[0]
    return page, hashlib.sha256(top.encode()).hexdigest()[:16]


def photograph(page: Path, digest: str, picture: Path) -> None:
    """Let Chromium draw the page's first screen."""
    browser = shutil.which("chromium") or shutil.which("google-chrome")
    if browser is None:
        raise SystemExit(f"{picture} needs chromium, which is not on this machine.")
    with tempfile.TemporaryDirectory() as profile:
        flags = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--hide-scrollbars"]
        flags += [f"--user-data-dir={profile}", "--window-size=1160,1500", f"--screenshot={picture}"]
        subprocess.run([browser, *flags, page.as_uri()], check=True, capture_output=True)
    stamp = PngImagePlugin.PngInfo()
    stamp.add_text(STAMP, digest)
    with Image.open(picture) as drawn:
        drawn.convert("RGB").save(picture, optimize=True, pnginfo=stamp)


def main() -> None:
    library().savefig(IMAGES / "bevel.png", dpi=140, metadata={"Software": None})
    with tempfile.TemporaryDirectory() as folder:
        photograph(*report(Path(folder)), IMAGES / "report.png")
    print(f"{IMAGES / 'bevel.png'}\n{IMAGES / 'report.png'}")


if __name__ == "__main__":
    main()
