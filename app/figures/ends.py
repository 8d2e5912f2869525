"""Names behind the ends of lines, each clear of the one above: no legend to look up."""

from __future__ import annotations

from collections.abc import Iterable

import plotly.graph_objects as go


def name(
    chart: go.Figure,
    ends: Iterable[tuple[float, float, str, str]],
    gap: float = 9.0,
    top: float = 101.0,
    bottom: float = 4.0,
    **place,
) -> None:
    """Write (y, x, text, colour) of each line's end beside it; the chart is changed.

    Parameters
    ----------
    gap : least distance of two names, in units of y: about the height of the letters.
    top, bottom : where the highest and the lowest may stand.
    place : of the annotation, such as `xref`.
    """
    told = sorted(ends, reverse=True)
    heights: list[float] = []
    for y, *_ in told:
        heights.append(min(y, (heights[-1] if heights else top + gap) - gap))
    # What would stand below the axis pushes up what is above it.
    least = bottom
    for place_of in reversed(range(len(heights))):
        heights[place_of] = max(heights[place_of], least)
        least = heights[place_of] + gap
    for height, (_, x, text, colour) in zip(heights, told, strict=True):
        chart.add_annotation(
            x=x, y=height, text=f"<b>{text}</b>", showarrow=False, xanchor="left", xshift=8,
            font=dict(color=colour, size=14), **place,
        )  # fmt: skip
