"""Draw a channel's filters as small pictures: what it is made with, before and after.

A filter of three inputs is shown in colour, as the first layer sees them. One of more inputs is a
mosaic: a tile an input, in the order in which the layer holds them, row by row; of many inputs the
strongest.
"""

from __future__ import annotations

import math

import numpy as np
import plotly.graph_objects as go
import torch
from plotly.subplots import make_subplots
from torch import Tensor

from app.figures import theme
from app.language import ENGLISH, Texts

#: Pixels of the figure's height, and of the gap between two mosaics as a share of its width.
HEIGHT, GAP = 265, 0.12
#: Tiles of more than one pixel at most: more of them are too small to be told apart.
MOST_TILES = 64


def strongest(filters: dict[str, Tensor]) -> Tensor:
    """The inputs that are drawn, rising: all, or the `MOST_TILES` of the largest weights."""
    first = next(iter(filters.values()))
    if first.ndim != 3 or len(first) <= MOST_TILES or first[0].numel() == 1:
        return torch.arange(len(first))
    power = sum(one.square().flatten(1).sum(1) for one in filters.values())
    return power.argsort(descending=True, stable=True)[:MOST_TILES].sort().values


def figure(filters: dict[str, Tensor], mode: str, say: Texts = ENGLISH) -> go.Figure:
    """Filters (inputs, height, width) side by side, by their titles, on one scale.

    Trace i is the i-th filter. `mode` is "light" or "dark".
    """
    coloured = all(len(one) == 3 and one.ndim == 3 for one in filters.values())
    most = max(float(one.abs().max()) for one in filters.values()) or 1.0
    inputs = strongest(filters)
    chart = make_subplots(
        1,
        len(filters),
        subplot_titles=[title.replace(", ", ",<br>") for title in filters],
        horizontal_spacing=GAP / len(filters),
    )
    for place, one in enumerate(filters.values(), 1):
        if coloured:
            picture = np.uint8(np.round(255 * (0.5 + 0.5 * one.numpy() / most)))
            trace = go.Image(z=picture.transpose(1, 2, 0), hoverinfo="skip")
        else:
            trace = go.Heatmap(
                z=mosaic(one[inputs]), zmin=-most, zmax=most, showscale=place == 1,
                customdata=numbers(one[inputs], inputs), hoverongaps=False,
                hovertemplate=say("filters.hover", input="%{customdata:d}") + "<extra></extra>",
                colorscale=[
                    [0, theme.BELOW[mode]], [0.5, theme.PAPER[mode]], [1, theme.ABOVE[mode]],
                ],
                colorbar=dict(
                    orientation="h", x=0.5, y=0, yref="paper", yanchor="top", ypad=6, thickness=8,
                    len=0.5, outlinewidth=0, tickvals=[-most, 0, most],
                    ticktext=[say.number(-most, ".2g"), "0", say.number(most, ".2g")],
                ),
            )  # fmt: skip
        chart.add_trace(trace, 1, place)
    theme.layout(
        chart, mode, HEIGHT, margin=dict(l=4, r=4, t=44, b=8 if coloured else 34, autoexpand=False)
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


def numbers(one: Tensor, inputs: Tensor) -> np.ndarray:
    """The number of the input that each pixel of a mosaic belongs to."""
    whose = torch.arange(len(one)).view(-1, *[1] * (one.ndim - 1)).expand(one.shape)
    return mosaic(inputs[whose].double())


def alt(filters: dict[str, Tensor], say: Texts = ENGLISH) -> str:
    """What the figure shows, in words: for people who hear the page."""
    told = [
        say(
            "filters.alt_one", title=title, inputs=len(one), low=float(one.min()),
            high=float(one.max()), norm=float(one.norm()),
        )
        for title, one in filters.items()
    ]  # fmt: skip
    return say("filters.alt", told="; ".join(told))


def caption(filters: dict[str, Tensor], say: Texts = ENGLISH) -> tuple[str, str]:
    """What the figure shows, and what not to read into it: a sentence each."""
    first = next(iter(filters.values()))
    if len(first) == 3 and first.ndim == 3:
        return say("filters.colour"), say("filters.colour_not")
    inputs = strongest(filters)
    if len(inputs) == len(first):
        return say("filters.tiles", inputs=len(first)), say("filters.tiles_not")
    shown, whole = (
        sum(float(one[which].square().sum()) for one in filters.values())
        for which in (inputs, slice(None))
    )
    return (
        say("filters.strongest", shown=len(inputs), inputs=len(first), share=shown / whole),
        say("filters.tiles_not"),
    )
