"""Accuracy of the dense, the pruned and the fused network, with intervals, as bars."""

from __future__ import annotations

import plotly.graph_objects as go

from app.figures import theme
from core.evaluate import Accuracy

NAMES = ("dense", "pruned", "fused")
COLOURS = {"dense": theme.DENSE, "pruned": theme.PRUNED, "fused": theme.FUSED}
#: Told apart without colour, too: the pruned bar is hatched.
PATTERNS = {"dense": "", "pruned": "/", "fused": ""}


def figure(accuracies: dict[str, Accuracy | None], mode: str) -> go.Figure:
    """Horizontal bars, one a network, with 95 % intervals; no bar where nothing is known yet."""
    chart = go.Figure()
    for name in NAMES:
        known = accuracies.get(name)
        colour = COLOURS[name][mode]
        if known is None:
            chart.add_bar(y=[name], x=[0], orientation="h", text=["…"], textposition="outside")
            continue
        mean = 100 * known.mean
        chart.add_bar(
            y=[name],
            x=[mean],
            orientation="h",
            marker=dict(color=colour, pattern=dict(shape=PATTERNS[name], solidity=0.25)),
            error_x=dict(
                type="data",
                symmetric=False,
                array=[100 * known.high - mean],
                arrayminus=[mean - 100 * known.low],
                color=theme.INK[mode],
                thickness=2,
                width=6,
            ),
            hovertemplate=(
                f"{name}: {mean:.1f} %, 95 % interval {100 * known.low:.1f} to "
                f"{100 * known.high:.1f} %, {known.total:,} images<extra></extra>"
            ),
        )
        # Beside the bar's end, past the interval, so that neither hides the other.
        chart.add_annotation(
            y=name, x=100 * known.high, text=f"<b>{mean:.1f} %</b>", showarrow=False,
            xanchor="left", xshift=10, font=dict(size=17, color=theme.INK[mode]),
        )  # fmt: skip
    theme.layout(chart, mode, height=190, barmode="overlay", bargap=0.35)
    chart.update_yaxes(
        categoryorder="array", categoryarray=NAMES[::-1], tickfont=dict(size=16), fixedrange=True
    )
    chart.update_xaxes(
        range=[0, 140],
        tickvals=[0, 25, 50, 75, 100], ticktext=["0", "25", "50", "75", "100 %"], fixedrange=True,
        gridcolor=theme.FAINT[mode], zeroline=False,
    )  # fmt: skip
    return chart


def alt(accuracies: dict[str, Accuracy | None], title: str) -> str:
    """The finding in words."""
    known = {name: value for name, value in accuracies.items() if value}
    if not known:
        return "Accuracies are not measured yet."
    said = ", ".join(f"{name} {100 * value.mean:.1f} %" for name, value in known.items())
    return f"Top-1 accuracy on {title}: {said}. " + finding(accuracies)


def finding(accuracies: dict[str, Accuracy | None]) -> str:
    """One sentence: how far fusion and pruning are apart, and whether the images can tell."""
    pruned, fused = accuracies.get("pruned"), accuracies.get("fused")
    if not pruned or not fused:
        return ""
    gap = 100 * (fused.mean - pruned.mean)
    apart = fused.low > pruned.high or pruned.low > fused.high
    if not apart:
        return (
            f"Fusion and pruning differ by {abs(gap):.1f} points; their intervals overlap, so "
            f"{pruned.total:,} images can't tell which is better."
        )
    if gap > 0:
        return f"Fusion keeps {gap:.1f} points that plain pruning loses."
    return f"Fusion is {-gap:.1f} points below plain pruning here."
