"""The critical-difference diagram: average ranks over cells, and which of them do not differ."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.ticker import MaxNLocator

from bevel_lab.report.figures.labels import margin_for
from bevel_lab.report.figures.plots import finish, name_rows
from bevel_lab.report.figures.svg import INK, MUTED, PAPER, Heading, Style, canvas
from bevel_lab.report.statistics.aggregate import Ranks


def diagram(ranks: Ranks, labels: Sequence[str], styles: Sequence[Style], heading: Heading) -> str:
    """Draw one row an arm, the best rank on top. A bar joins the arms of a group; arms that share no bar differ. The
    critical difference is drawn to scale above them."""
    order = [int(i) for i in np.argsort(ranks.mean, kind="stable")]
    place = {arm: row for row, arm in enumerate(order)}
    left, right, top = margin_for(labels, heading.letters), 16 + 10 * len(ranks.groups), heading.height
    width = heading.width
    with canvas(width, 70 + top + 26 * len(labels), left=left, right=right, top=top, bottom=38) as ax:
        arms = len(labels)
        for arm, row in place.items():
            ax.plot([1, ranks.mean[arm]], [row, row], color=styles[arm].color, lw=1, alpha=0.45)
            ax.plot([ranks.mean[arm]], [row], "o", color=styles[arm].color, mec=PAPER, mew=1, ms=8.5, clip_on=False)
        for i, group in enumerate(ranks.groups):
            rows = [place[arm] for arm in group]
            x = arms + (0.35 + i) * 10 * (arms - 1) / (width - left - right)
            ends = [min(rows) - 0.25, max(rows) + 0.25]
            ax.plot([x, x], ends, color=INK, lw=3, solid_capstyle="butt", clip_on=False)
        if ranks.possible:
            ends = [1, 1 + ranks.critical]
            ax.plot(ends, [-1, -1], color=MUTED, lw=1.4, marker="|", ms=7)
            text = f"critical difference {ranks.critical:.2f}"
            ax.annotate(text, (1, -1), (0, 5), color=MUTED, textcoords="offset pixels", annotation_clip=False)
        ax.set(xlim=(1, arms), ylim=(arms - 0.4, -1.9), xlabel="average rank (1: the best score)")
        ax.xaxis.set_major_locator(MaxNLocator(min(arms, 8), integer=True))
        name_rows(ax, [labels[arm] for arm in order], heading.letters)
        return finish(ax, heading)
