"""Names behind the ends of lines, each clear of the one above: no legend to look up."""

from __future__ import annotations

from collections.abc import Iterable

import plotly.graph_objects as go


def name(
    chart: go.Figure,
    ends: Iterable[tuple[float, float, str, str]],
    gap: float = 9.0,
    top: float = 101.0,
    **place,
) -> None:
    """Write (y, x, text, colour) of each line's end beside it; the chart is changed.

    Parameters
    ----------
    gap : least distance of two names, in units of y: about the height of the letters.
    top : where the highest may stand.
    place : of the annotation, such as `xref`.
    """
    height = top + gap
    for y, x, text, colour in sorted(ends, reverse=True):
        height = min(y, height - gap)
        chart.add_annotation(
            x=x, y=height, text=f"<b>{text}</b>", showarrow=False, xanchor="left", xshift=8,
            font=dict(color=colour, size=14), **place,
        )  # fmt: skip
