"""Write benchmark rows as a page that sets each target beside what was measured."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from bevel_lab.bench import picture, targets
from bevel_lab.bench.rows import Row, find, table
from bevel_lab.bench.targets import MB4, MB33, Target

PICTURE = "one call, and the memory and the time of whole networks, as multiples of torch's ReLU"
NOTHING = (
    "**No GPU figure has been measured.** No GPU could be had while this was built; the column stays empty until then."
)
UNTRIED = [
    "- Not tried for want of a GPU: any launch on one, CUDA graphs, streams, a second GPU, tensors beyond 2^31",
    "  elements, and how many sections fit into the deadline. The tests for these are in `tests/triton` and run",
    "  with `--device cuda`.",
]
ELSEWHERE = (
    "What no row times (streams, a second GPU, tensors beyond 2^31 elements) is tested in `tests/triton` with "
    "`--device cuda`; the lines at the top say what of it ran."
)
SIZELESS = ("inference", "loop", "memory", "import", "training", "network", "fused", "sweep")
_SIZES = {MB4: "4 MB", MB33: "33 MB"}


def write_cpu(rows: Sequence[Row], page: Path, notes: str = "") -> None:
    """Write a CPU's page and, beside it, ``img/performance.png``; ``notes`` go under the targets as they are."""
    drawn = picture.draw(rows, page.parent / "img" / "performance.png")
    page.write_text("\n".join(_lines(rows, notes, drawn)) + "\n", encoding="utf-8", errors="backslashreplace")


def _lines(rows: Sequence[Row], notes: str, drawn: bool) -> Iterator[str]:
    yield "# Performance on a CPU"
    yield ""
    yield "Written by `bevel bench --page` from `performance.csv`; ratios are of medians of one interleaved run."
    yield ""
    yield from sorted({f"- {r.device}; {r.versions}; commit {r.commit}" for r in rows})
    yield ""
    if drawn:
        yield f"![{PICTURE}](img/performance.png)"
        yield ""
    yield "## Targets"
    yield ""
    yield "Forward and backward with all parameter gradients, and float32, unless it says otherwise."
    yield ""
    yield from target_table(targets.CPU, rows)
    if notes:
        yield ""
        yield notes.strip()
    for title, wanted in _SECTIONS:
        own = [r for r in rows if wanted(r)]
        if own:
            yield ""
            yield f"## {title}"
            yield ""
            yield from _table(own)
    yield ""
    yield "## Whole networks"
    yield ""
    yield from _networks(find(rows, section="network"))
    yield from _inference(find(rows, section="inference"))


def _networks(rows: Sequence[Row]) -> Iterator[str]:
    """Yield one table a network and number of threads: bytes kept for backward beside the time of a training step."""
    for layout, threads in dict.fromkeys((r.layout, r.threads) for r in rows):
        own = find(rows, layout=layout, threads=threads)
        rounds = max(r.repeats for r in own)
        yield f"**{layout}, {own[0].size}, {threads} thread{'s' * (threads > 1)}, {own[0].dtype}**, {rounds} rounds"
        yield ""
        yield "| | kept for backward MB | × relu | × gelu | training step ms (quartiles) | × relu | × gelu |"
        yield "|---|---:|---:|---:|---:|---:|---:|"
        for case in dict.fromkeys(r.case for r in own):
            cells = [case]
            for what, scale, digits in (("bytes", 1e-6, 2), ("step", 1e3, 1)):
                found = find(own, case=case, what=what)
                cells += _measured(found[0], scale, digits) if found else ["", "", ""]
            yield f"| {' | '.join(cells)} |"
        yield ""


def _measured(row: Row, scale: float, digits: int) -> list[str]:
    median, low, high = (f"{v * scale:.{digits}f}" for v in (row.median, row.low, row.high))
    spread = f" ({low}–{high})" if row.repeats > 1 else ""
    return [median + spread, *(f"{v:.3f}" if row.what == "bytes" else f"{v:.2f}" for v in (row.to_relu, row.to_gelu))]


def _inference(rows: Sequence[Row]) -> Iterator[str]:
    """Yield the section on inference, one line a case, with a column for each runtime; nothing without rows."""
    if not rows:
        return
    runtimes = list(dict.fromkeys(r.layout for r in rows))
    yield ""
    yield "## Inference with ResNet-18, one 32×32 image, one thread"
    yield ""
    yield "The network above with ten classes and the stem for small images: a 3 × 3 convolution, no pooling after it."
    yield f"Processor time, × ReLU in the same runtime (ms), medians of {rows[0].repeats} interleaved rounds."
    yield ""
    yield f"| case | {' | '.join(runtimes)} |"
    yield f"|---|{'---:|' * len(runtimes)}"
    for case in dict.fromkeys(r.case for r in rows):
        by = {r.layout: r for r in find(rows, case=case)}
        cells = [f"{by[name].to_relu:.2f} ({by[name].median * 1e3:.2f})" if name in by else "" for name in runtimes]
        yield f"| {case} | {' | '.join(cells)} |"


def gpu(rows: Sequence[Row], notes: str = "", said: Sequence[str] = ()) -> str:
    """Return a GPU's page; without rows it says that nothing was measured.

    Args:
        notes: Markdown, put under the targets as it is.
        said: lines on the checks and on sections that failed.
    """
    lines = ["# Speed on a GPU", ""]
    lines += sorted({f"Measured on {r.device}; {r.versions}; commit {r.commit}." for r in rows}) or [NOTHING]
    lines += ["", *(f"- {line}" for line in said)] if said else []
    lines += ["", *_gpu_targets(rows)]
    lines += ["", notes.strip()] if notes else []
    made = ["", ELSEWHERE, "", "## Rows", "", "```", table(rows), "```"] if rows else UNTRIED
    return "\n".join([*lines, *made, ""])


def summary(rows: Sequence[Row], said: Sequence[str]) -> str:
    """Return what a terminal's last lines must hold of a run on a GPU: the targets and what was said."""
    return "\n".join([f"{len(rows)} rows", *_gpu_targets(rows), "", *(f"bench-gpu: {line}" for line in said)])


def _gpu_targets(rows: Sequence[Row]) -> Iterator[str]:
    """Yield the targets of the card that was measured; without rows of every card; and on another card the first's.

    There nothing is judged, as in a rehearsal, whose times mean nothing.
    """
    found = {card for card in targets.GPU for row in rows if card in row.device}
    judged = bool(found) or not rows
    for card in [card for card in targets.GPU if card in found or not found][: None if judged else 1]:
        yield f"## Targets on an {card}{'' if judged else ', which this is not'}"
        yield ""
        yield from target_table(targets.GPU[card], rows, judged)
        yield ""


def _where(row: Row) -> list[str]:
    known = row.size or _SIZES.get(row.elements, f"{row.elements:,} elements")
    size = [] if row.section in SIZELESS else [known]
    threads = row.threads if row.section not in ("memory", "import") else 0
    return [*size, *([f"{threads} thread{'s' if threads > 1 else ''}"] if threads else [])]


def target_table(wanted: Sequence[Target], rows: Sequence[Row], judged: bool = True) -> Iterator[str]:
    """Yield the table of targets, each with every ratio that was measured, and whether it holds if that is judged."""
    yield "| case | against | at most | measured | |"
    yield "|---|---|---:|---|---|"
    for target in wanted:
        found = target.measured(rows)
        dtype = f" {target.dtype}" if target.dtype not in ("float32", "") else ""
        layout = f" {target.layout}" if target.layout not in ("nchw", "kernels", "") else ""
        case = f"{target.case}{dtype}{layout}" + (f": {target.about}" if target.about else "")
        other = f"{target.other} {target.other_dtype}".strip()
        text = "; ".join(f"{ratio:.2f}{_asked(target, row)}" for row, ratio in found)
        holds = all(ratio <= target.limit for _, ratio in found)
        verdict = "holds" if holds else "**falls short**"
        verdict = "not measured" if not found else verdict if judged else "not judged"
        yield f"| {case} | {other} | {target.limit:.2f} | {text} | {verdict} |"


def _asked(target: Target, row: Row) -> str:
    """Say which size, layout and dtype the row has, where the target asks for any."""
    either = ((target.layout, row.layout), (target.dtype, row.dtype))
    open_ = [value for wanted, value in either if value and not wanted]
    where = ", ".join([*([] if target.size else _where(row)), *open_])
    return f" ({where})" if where else ""


_SECTIONS: tuple[tuple[str, Callable[[Row], bool]], ...] = (
    ("Time, float32, contiguous", lambda r: r.section == "speed" and (r.dtype, r.layout) == ("float32", "nchw")),
    ("Other layouts", lambda r: r.section == "speed" and r.layout in ("channels_last", "btc")),
    ("Other dtypes", lambda r: r.section == "speed" and r.dtype != "float32"),
    ("Every kernel, one kink", lambda r: r.layout == "kernels"),
    ("Every activation of the catalog", lambda r: r.section == "catalog"),
    ("A training step of the lab beside a plain loop's", lambda r: r.section == "loop"),
)


def _table(rows: Sequence[Row]) -> Iterator[str]:
    """Yield one table a group and one line a case: its times in milliseconds, with quartiles of the total."""
    groups = dict.fromkeys((r.elements, r.dtype, r.layout, r.threads) for r in rows)
    for elements, dtype, layout, threads in groups:
        own = find(rows, elements=elements, dtype=dtype, layout=layout, threads=threads)
        yield f"**{', '.join([*_where(own[0]), dtype, layout])}**, {own[0].repeats} rounds"
        yield ""
        yield "| case | forward ms | backward ms | both ms (quartiles) | × copy | × relu | × gelu |"
        yield "|---|---:|---:|---:|---:|---:|---:|"
        for case in dict.fromkeys(r.case for r in own):
            by = {r.what: r for r in find(own, case=case)}
            both = by.get("both") or by["step"]
            forward, backward = (f"{by[w].median * 1e3:.3f}" if w in by else "" for w in ("forward", "backward"))
            quartiles = f"{both.median * 1e3:.3f} ({both.low * 1e3:.3f}–{both.high * 1e3:.3f})"
            ratios = " | ".join(f"{v:.2f}" if v else "" for v in (both.to_copy, both.to_relu, both.to_gelu))
            yield f"| {case} | {forward} | {backward} | {quartiles} | {ratios} |"
        yield ""
