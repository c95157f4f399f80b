"""Gallery and cards: a page for every activation and kernel of the catalogs, written before the site is read."""

from __future__ import annotations

import html
import inspect
import re
from collections.abc import Callable, Iterable
from pathlib import Path

import curves
import facts
from bibtex import bibtex
from sphinx.application import Sphinx

import bevel
from bevel.errors import BevelError
from bevel_lab import explorer

GROUPS = {
    "engine": (
        "Computed by the engine",
        "Kinked functions and their smoothings, bevel's and others', each with a proven bound.",
    ),
    "formula": ("Learnable baselines", "Published functions with learned parameters; one saved tensor each."),
    "torch": ("torch's own", "Rows of the same catalog, so that one name serves everywhere."),
}
KERNELS = ("Kernels", "Approximate identities: ReLU (for Cauchy: the unit step) smoothed by each.")


Draw = Callable[[list[curves.Curve], str, str], str]
"""Draws one picture of curves for a page, and returns its file's name."""


def write(docs: Path, draw: Draw | None = None) -> None:
    """Write ``gallery/``: an index with a thumbnail each, and a card for each item."""
    folder = docs / "gallery"
    (folder / "img").mkdir(parents=True, exist_ok=True)
    draw = draw or (lambda drawn, page, what: curves.draw(drawn, folder / "img", page, what))
    made = {}
    for name in bevel.ACTIVATIONS:
        drawn = curves.of_activation(name)
        made[name] = (_group(name), bevel.ACTIVATIONS[name].summary, drawn)
        save(folder / f"{name}.md", _activation(name, drawn, draw))
    for name in bevel.KERNELS:
        drawn = curves.of_kernel(name)
        made[f"kernel-{name}"] = ("kernel", bevel.KERNELS[name].formula, drawn)
        save(folder / f"kernel-{name}.md", _kernel(name, drawn, draw))
    save(folder / "index.md", _index(made, draw))
    for page in folder.glob("*.md"):
        if page.stem not in (*made, "index"):
            page.unlink()  # of an item that is no more


def save(path: Path, text: str) -> None:
    """Write a page unless it stands there already: Sphinx reads again what is newer than its last build."""
    if not path.is_file() or path.read_text(encoding="utf-8") != text:
        path.write_text(text, encoding="utf-8")


def _group(name: str) -> str:
    if not bevel.ACTIVATIONS[name].owned:
        return "torch"
    return "engine" if isinstance(bevel.create(name), bevel.nn.Activation) else "formula"


def _index(made: dict[str, tuple[str, str, list[curves.Curve]]], draw: Draw) -> str:
    text = ["# Gallery", "", "Every activation and kernel of the catalogs, one card each."]
    for group, (title, about) in {**GROUPS, "kernel": KERNELS}.items():
        text += ["", f"## {title}", "", about, "", "::::{grid} 2 3 4 4", ":gutter: 2", ""]
        for page, (_, summary, drawn) in ((p, m) for p, m in made.items() if m[0] == group):
            name = page.removeprefix("kernel-")
            file = draw(drawn, page, "")
            text += [f":::{{grid-item-card}} {name}", f":link: {page}", ":link-type: doc", f":img-top: img/{file}"]
            text += [f":img-alt: the curve of {name}", ":class-card: sd-text-center", "", _escaped(summary), ":::", ""]
        text += ["::::", "", "```{toctree}", ":hidden:", ""]
        text += [p for p, m in made.items() if m[0] == group]
        text += ["```"]
    return "\n".join(text) + "\n"


def _escaped(text: str) -> str:
    """Text in Markdown that shows ``*`` and ``|`` as they are."""
    return re.sub(r"([*|_<>\[\]])", r"\\\1", text)


def _figures(title: str, drawn: list[curves.Curve], page: str, draw: Draw) -> list[str]:
    text = ["::::{grid} 1 3 3 3", ":gutter: 1", ""]
    for what in ("value", "slope", "curvature"):
        alt = curves.described(title, drawn, what)
        text += [":::{grid-item}", f"![{_escaped(alt)}](img/{draw(drawn, page, what)})", ":::", ""]
    return [*text, "::::", ""]


def _table(rows: list[tuple[str, str]]) -> list[str]:
    return ["| | |", "|---|---|", *(f"| {name} | {text} |" for name, text in rows), ""]


def _advice(item: bevel.nn.Entry | bevel.Kernel) -> list[str]:
    return [f"**When to use it.** {item.use}", "", f"**When not.** {item.avoid}", ""] if item.use else []


def _activation(name: str, drawn: list[curves.Curve], draw: Draw) -> str:
    entry, module = bevel.ACTIVATIONS[name], bevel.create(name)
    title = getattr(entry.factory, "__name__", name)
    left, right = facts.ends(bevel.create(name))
    learned = ", ".join(f"`{p}` from {value}" for p, value in facts.parameters(module))
    rows = [
        ("name", f"`{name}` · in full `{bevel.canonical(name)}`"),
        ("limits", f"far left {left}, far right {right}"),
        ("bound", _escaped(facts.bound(module))),
        ("learned", f"{learned} (each one value, or one a channel)" if learned else "nothing"),
        ("hardens to", facts.hardened(name)),
        ("keeps for backward", facts.kept(bevel.create(name))),
        ("rule of saving", facts.rule(module)),
        ("second derivative", facts.second(name)),
        ("ONNX", facts.onnx(name)),
        ("torch.compile", facts.compiled(name)),
        ("cost", facts.cost(name)),
    ]
    text = [f"# {title}", "", _escaped(entry.summary[:1].upper() + entry.summary[1:]) + ".", ""]
    text += ["$$", entry.latex, "$$", ""] if entry.latex else [f"`{entry.formula}`", ""]
    text += _figures(title, drawn, name, draw)
    if drawn[0].label.startswith("s ="):
        text += ["*Drawn is f(s·x)/s: it has no sharpness n, and s is the scale of its input.*", ""]
    text += [
        *_table(rows),
        *_advice(entry),
        *_explorer(name),
        *_code(name),
        *_sources(entry.citations, _no_paper(entry)),
        *_reference(entry),
    ]
    return "\n".join(text)


def _explorer(name: str) -> list[str]:
    """A link to the explorer at an activation, at a sharpness that shows something; none where it cannot draw it."""
    try:
        start = explorer.start_of(name)
    except BevelError:
        return []
    start = re.sub(r"n=\d{3,}$", "n=5", start)
    return [
        "```{raw} html",
        f'<p><a href="../explorer/index.html#{html.escape(start)}">See it in the explorer</a></p>',
        "```",
        "",
    ]


def _code(name: str) -> list[str]:
    takes = inspect.signature(bevel.ACTIVATIONS[name].factory).parameters
    own = ", num_parameters=64" if "num_parameters" in takes else ""
    lines = ["## Code", "", "```python", "import torch, bevel", ""]
    lines += [f'act = bevel.create("{name}"{own})', "y = act(torch.randn(8, 64, 16, 16))", ""]
    if facts.keeps_relu(name):
        lines += [f'result = bevel.swap(model, "{name}", example)  # in a model of yours', "```", ""]
    else:
        lines += ["# in a model of yours, to train: it cannot start as the model's ReLUs"]
        lines += [f'result = bevel.swap(model, "{name}", example, preserve=False)', "```", ""]
    arms = f"relu {name}" if name != "relu" else "relu gelu"
    return [*lines, "```sh", f"bevel show {name}", f"bevel compare --activations {arms} --seeds 10", "```", ""]


def _sources(citations: Iterable[str], none: str) -> list[str]:
    """The section of what to cite; ``none`` is said where there is nothing."""
    citations = tuple(dict.fromkeys(citations))
    if not citations:
        return ["## Source", "", none, ""]
    entries = "\n\n".join(map(bibtex, citations))
    return ["## Source", "", *(f"- {_escaped(c)}" for c in citations), "", "```bibtex", entries, "```", ""]


def _no_paper(entry: bevel.nn.Entry) -> str:
    if not entry.owned:
        return "No paper is named for it: it is torch's."
    said = inspect.cleandoc(entry.factory.__doc__ or "").partition("\nSource: ")[2].partition("\n\n")[0]
    return said[:1].upper() + " ".join(said[1:].split())


def _reference(entry: bevel.nn.Entry) -> list[str]:
    if not entry.owned:
        home = entry.factory.__module__.rpartition(".")[2]
        return [f"It is `torch.nn.{entry.factory.__name__}` (torch's module `{home}`).", ""]
    name = entry.factory.__name__
    home = "bevel" if name in bevel.__all__ else "bevel.nn"
    return [f"Every argument: {{py:class}}`{home}.{name}`.", ""]


def _relatives(kernel: bevel.Kernel) -> str:
    """Name what ReLU smoothed by the kernel is called, with the cards of those that the catalog has."""
    cards = ", ".join(f"[{row}]({row}.md)" for row in kernel.relu_rows)
    return f"{kernel.relu_name or 'no name of its own'}{f': {cards}' if cards else ''}"


def _kernel(name: str, drawn: list[curves.Curve], draw: Draw) -> str:
    kernel = bevel.KERNELS[name]
    smoothed = "ReLU" if kernel.has_moment else "the unit step"
    rows = [
        ("name", f"`{name}`"),
        ("support", "[−1, 1]: outside the width nothing is changed" if kernel.compact else "the whole line"),
        ("gap", f"{kernel.gap:.6g}" if kernel.has_moment else "none: it has no first moment, and smooths steps only"),
        ("ReLU smoothed by it", _relatives(kernel) if kernel.has_moment else "infinite"),
    ]
    f = "relu" if kernel.has_moment else "step"
    if kernel.has_moment:
        n = bevel.sharpness_for("relu", name, 0.01)
        rows += [
            (
                "bound",
                f"at most {kernel.gap:.4g}/n from the kinked function, for each unit of change of slope (proven)",
            ),
            ("n for an error of 0.01", f"{n:.4g}"),
            ("keeps for backward", facts.kept(bevel.create(f"mollified:kernel={name}"))),
        ]
    rows += [
        ("hardens to", facts.hardened(f"mollified:f={f},kernel={name},n=1").replace("its initial values", "n = 1"))
    ]
    rows += [("cost", facts.cost(f"mollified({name})"))]
    code = ["## Code", "", "```python", "import torch, bevel", "", f'f = bevel.mollify("{f}", "{name}", n=5.0)']
    code += ["x = torch.linspace(-2, 2, 101)", "f(x), f.slope(x), f.curvature(x), f.max_error"]
    code += ["", f'act = bevel.create("mollified:f={f},kernel={name},n=5")', "```", ""]
    text = [
        f"# {name.capitalize()} kernel",
        "",
        f"The density on its standard variable $u$; {smoothed} smoothed by it:",
        "",
    ]
    text += ["$$", kernel.latex, "$$", ""] if kernel.latex else [f"`{kernel.formula}`", ""]
    text += _figures(f"{smoothed} smoothed by the {name} kernel", drawn, f"kernel-{name}", draw)
    sources = (citation for row in kernel.relu_rows for citation in bevel.ACTIVATIONS[row].citations)
    text += [*_table(rows), *_advice(kernel), *code]
    text += _sources(sources, f"No paper is named for {smoothed} smoothed by it.")
    text += ["Its three forms on the half line and the engine's sum: [the engine](../engine.md).", ""]
    return "\n".join(text)


def setup(app: Sphinx) -> dict[str, bool]:
    app.connect("builder-inited", lambda app: write(Path(app.srcdir)))
    return {"parallel_read_safe": True, "parallel_write_safe": True}
