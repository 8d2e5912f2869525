"""Draw a channel's filters as small pictures: what it is made with, before and after.

A filter of three inputs is shown in colour, as the first layer sees them. One of more inputs is a
mosaic: a tile an input, in the order in which the layer holds them, row by row.
"""

from __future__ import annotations

import math

import numpy as np
import plotly.graph_objects as go
from plotly.subplots import make_subplots
from torch import Tensor

from app.figures import theme

#: Pixels of the figure's height, and of the gap between two mosaics as a share of its width.
HEIGHT, GAP = 250, 0.12


def figure(filters: dict[str, Tensor], mode: str) -> go.Figure:
    """Filters (inputs, height, width) side by side, by their titles, on one scale.

    Trace i is the i-th filter. `mode` is "light" or "dark".
    """
    coloured = all(len(one) == 3 and one.ndim == 3 for one in filters.values())
    most = max(float(one.abs().max()) for one in filters.values()) or 1.0
    chart = make_subplots(
        1, len(filters), subplot_titles=list(filters), horizontal_spacing=GAP / len(filters)
    )
    for place, one in enumerate(filters.values(), 1):
        if coloured:
            picture = np.uint8(np.round(255 * (0.5 + 0.5 * one.numpy() / most)))
            trace = go.Image(z=picture.transpose(1, 2, 0), hoverinfo="skip")
        else:
            trace = go.Heatmap(
                z=mosaic(one), zmin=-most, zmax=most, hoverinfo="skip", showscale=place == 1,
                colorscale=[
                    [0, theme.BELOW[mode]], [0.5, theme.PAPER[mode]], [1, theme.ABOVE[mode]],
                ],
                colorbar=dict(
                    orientation="h", x=0.5, y=0, yref="paper", yanchor="top", ypad=6, thickness=8,
                    len=0.5, outlinewidth=0, tickvals=[-most, 0, most],
                    ticktext=[f"−{most:.2g}", "0", f"{most:.2g}"],
                ),
            )  # fmt: skip
        chart.add_trace(trace, 1, place)
    theme.layout(
        chart, mode, HEIGHT, margin=dict(l=4, r=4, t=26, b=8 if coloured else 34, autoexpand=False)
    )
    chart.update_annotations(font_size=13)
    bare = dict(showticklabels=False, showgrid=False, zeroline=False, ticks="")
    chart.update_xaxes(bare, constrain="domain")
    for place in range(1, len(filters) + 1):
        across = "x" if place == 1 else f"x{place}"
        chart.update_yaxes(
            bare, autorange="reversed", scaleanchor=across, constrain="domain", row=1, col=place
        )
    return chart


def mosaic(one: Tensor) -> np.ndarray:
    """A filter's inputs as tiles with gaps of NaN: (inputs, height, width) → one picture.

    A linear layer's row (inputs,) has tiles of one pixel and no gaps.
    """
    tiles = one.numpy() if one.ndim == 3 else one.reshape(-1, 1, 1).numpy()
    count, height, width = tiles.shape
    gap = int(height * width > 1)
    across = math.ceil(math.sqrt(count))
    down = math.ceil(count / across)
    picture = np.full((down * (height + gap) - gap, across * (width + gap) - gap), np.nan)
    for place, tile in enumerate(tiles):
        y, x = (height + gap) * (place // across), (width + gap) * (place % across)
        picture[y : y + height, x : x + width] = tile
    return picture


def alt(filters: dict[str, Tensor]) -> str:
    """What the figure shows, in words: for people who hear the page."""
    told = [
        f"{title}: {len(one):,} inputs, weights from {float(one.min()):.2g} to "
        f"{float(one.max()):.2g}, norm {float(one.norm()):.3g}"
        for title, one in filters.items()
    ]
    return "Filters as pictures. " + "; ".join(told) + "."


def caption(filters: dict[str, Tensor]) -> tuple[str, str]:
    """What the figure shows, and what not to read into it: a sentence each."""
    first = next(iter(filters.values()))
    if len(first) == 3:
        return (
            "The weights for red, green and blue as a colour picture; grey is zero.",
            "Colours are weights, not what the channel sees: only the strongest weight is full.",
        )
    return (
        f"A tile for each of the {len(first):,} inputs, batch norm folded in; below zero and above "
        "it in two colours, on one scale for all.",
        "Tiles side by side have nothing to do with each other: inputs come in the network's "
        "order.",
    )
