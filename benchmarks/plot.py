"""The lines of a run as a picture: times faster than Tiled, and the share of the limit.

``python -m benchmarks.plot FILE`` draws a saved run again.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks.report import Figure, Limit, Target, summary

if TYPE_CHECKING:
    from collections.abc import Sequence

MET, MISSED, FREE = "#2a7f62", "#c0392b", "#8a9bb0"
"""Colours of a bar whose target is met, missed, or not there."""
LINE_INCHES = 0.32


def draw(figures: Sequence[Figure], path: Path, title: str = "") -> Path:
    """Draw figures that have a peer or a limit as bars with their targets, and return the file.

    Parameters
    ----------
    title
        Stands above the bars.
    path
        A PNG file, replaced where it exists.
    """
    import matplotlib as mpl  # half a second, for this alone

    mpl.use("Agg")
    from matplotlib import pyplot

    shown = [figure for figure in figures if figure.ratio or figure.share]
    height = max(2.5, LINE_INCHES * len(shown) + 1.4)
    drawing, (left, right) = pyplot.subplots(
        1, 2, figsize=(13, height), sharey=True, layout="constrained", width_ratios=(3, 2)
    )
    for place, figure in enumerate(shown):
        if figure.ratio:
            _bar(
                left,
                place,
                figure.ratio,
                _times(figure.target),
                f"{figure.ratio:,.3g} ×" if figure.ratio < 1000 else f"{figure.ratio:,.0f} ×",
            )
        if figure.limit and figure.share:
            text = f"{figure.share:.2f} of {figure.limit.what}"
            _bar(right, place, figure.share, figure.limit.share, text)
    names = [f"{figure.name}   {figure.ours:.3g} {figure.unit}" for figure in shown]
    left.set_yticks(range(len(shown)), names)
    left.set_ylim(len(shown) - 0.3, -0.7)
    left.set_xscale("log")
    left.set_xlim(0.8, 5 * max([2.0, *(figure.ratio or 0 for figure in shown)]))
    left.axvline(1, color="black", linewidth=0.8)
    left.set_xlabel("times faster than Tiled (line: target)")
    right.set_xscale("log")
    shares = [1.0, *(figure.share for figure in shown if figure.share)]
    right.set_xlim(0.7 * min(shares), 30 * max(shares))
    right.axvline(1, color="black", linewidth=0.8)
    right.set_xlabel("share of the limit (line: target)")
    for axes in (left, right):
        axes.spines[["top", "right"]].set_visible(False)
        axes.tick_params(axis="y", length=0)
    drawing.suptitle(title, fontsize=10)
    drawing.savefig(path, dpi=110)
    pyplot.close(drawing)
    return path


def _times(target: Target | None) -> float | None:
    return target.value if target is not None and target.kind == "times the peer" else None


def _bar(axes: Any, place: int, value: float, wanted: float | None, text: str) -> None:
    colour = FREE if wanted is None else MET if value >= wanted else MISSED
    axes.barh(place, value, color=colour, height=0.7)
    if wanted is not None:
        axes.plot([wanted, wanted], [place - 0.45, place + 0.45], color="black", linewidth=2)
    at = max(value, wanted or 0)
    axes.annotate(text, (at, place), (5, 0), textcoords="offset points", va="center", fontsize=8)


def figure_of(saved: dict[str, Any]) -> Figure:
    """Return a figure as `benchmarks.report.save` wrote it."""
    known = {name: saved[name] for name in Figure.__dataclass_fields__}
    for name, kind in (("target", Target), ("limit", Limit)):
        known[name] = kind(**known[name]) if known[name] else None
    return Figure(**known)


if __name__ == "__main__":
    file = Path(sys.argv[1])
    document = json.loads(file.read_text(encoding="utf-8"))
    lines = [figure_of(saved) for saved in document["figures"]]
    drawn = [figure for figure in lines if figure.group == "fast"] or lines
    sys.stdout.write(f"{draw(drawn, file.with_suffix('.png'), summary(document))}\n")
