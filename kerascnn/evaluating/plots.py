"""Accuracy against bytes; it needs matplotlib, from the extra `plots`."""

from __future__ import annotations

from typing import Any

from kerascnn.analysis.pages.vega import COLORS, QUIET
from kerascnn.analysis.plots import figure
from kerascnn.evaluating.results import Evaluation


def plot(evaluation: Evaluation) -> Any:
    """Draw top-1 with its 95 % interval over the bytes of each model, and what was published as a line.

    Returns:
        The figure, for `kerascnn.analysis.plots.save`.
    """
    from matplotlib.ticker import LogLocator, NullFormatter

    drawn = figure(8, 5 + 0.25 * len(evaluation.reached))
    axes = drawn.subplots()
    sizes = [one.bytes for one in evaluation.reached]
    for i, one in enumerate(evaluation.reached):
        middle, low, high = (100 * value for value in (one.top1.share, one.top1.low, one.top1.high))
        axes.errorbar(
            one.bytes / 1e6,
            middle,
            yerr=[[middle - low], [high - middle]],
            fmt="os^Dv"[i // len(COLORS) % 5],
            color=COLORS[i % len(COLORS)],
            capsize=3,
            label=f"{one.name}: {middle:.1f} %, {one.bytes / 1e6:,.3g} MB",
        )
    for top1, source in {(one.published.top1, one.published.source) for one in evaluation.reached if one.published}:
        axes.axhline(100 * top1, color=QUIET, linestyle="--", label=f"published: {100 * top1:.1f} % ({source})")
    axes.set_xscale("log")
    near = min(sizes) < max(sizes) < 8 * min(sizes)
    axes.xaxis.set_major_locator(LogLocator(subs=range(1, 10) if near else (1, 2, 5)))
    axes.xaxis.set_major_formatter("{x:g}")
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.set_xlabel("MB")
    axes.set_ylabel("top-1, %, with 95 % interval")
    axes.set_title(f"{evaluation.reached[0].photos:,} photos of {evaluation.data}")
    axes.grid(alpha=0.3)
    axes.margins(0.08, 0.15)
    drawn.legend(fontsize="small", loc="outside lower center")
    return drawn
