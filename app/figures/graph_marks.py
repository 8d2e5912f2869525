"""What the compression takes from each layer, and where the chosen channel is: over the graph.

A layer of the chosen group is drawn as its weight matrix. One that produces the channels loses
rows, so the lower part of its box is hatched; one that consumes them loses columns, so the right
part is. The chosen channel is a line through the box, at its place among the rows or columns:
those that stay first.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping

import plotly.graph_objects as go

from app.figures import graph_words, theme
from app.figures.graph import SMALL, TALL, TEXT, Drawing, identity
from app.language import ENGLISH, Texts
from core.extent import Extent, extents
from core.groups import CONSUMES, FOLLOWS, PRODUCES


def marks(
    drawn: Drawing,
    kept: Collection[int],
    channel: int | None,
    mode: str,
    say: Texts = ENGLISH,
) -> list[go.Scatter]:
    """Traces over `app.figures.graph.figure`: for the channels of the chosen group that stay.

    Trace "taken" is the hatched part of the boxes, "left" their letters and what the pointer is
    told, with the customdata of the trace "layers"; "channel" are the lines and "named" the labels
    of the chosen channel.
    """
    if drawn.chosen is None:
        return []
    found = extents(drawn.graph, {drawn.chosen: kept})
    left = {name: size for name, size in found.items() if size != drawn.sizes[name]}
    traces = [*_taken(drawn, left, mode)]
    if channel is not None:
        traces += _lines(drawn, sorted(kept), channel, left, mode)
    traces += _left(drawn, left, mode, say)
    if channel is not None:
        traces.append(_named(drawn, channel, mode, say))
    return traces


def shares(drawn: Drawing, name: str, left: Mapping[str, Extent]) -> tuple[float, float]:
    """The share of rows and of columns that a box keeps; of a stack's, that of its parameters."""
    node = drawn.simple.nodes[name]
    if node["kind"] == "fold":
        before = sum(drawn.sizes[layer].parameters for layer in node["layers"])
        after = sum(left.get(n, drawn.sizes[n]).parameters for n in node["layers"])
        return 1.0, after / before
    whole = drawn.sizes[node["title"]]
    less = left.get(node["title"], whole)
    return less.rows / whole.rows, less.columns / whole.columns


def _taken(drawn: Drawing, left: Mapping[str, Extent], mode: str) -> list[go.Scatter]:
    x: list[float | None] = []
    y: list[float | None] = []
    for name in filter(drawn.boxed, drawn.simple):
        rows, columns = shares(drawn, name, left)
        if rows == columns == 1:
            continue
        start, end, low, high = drawn.box(name)
        bottom, right = high - (high - low) * rows, start + (end - start) * columns
        corners = [(start, low), (end, low), (end, high), (right, high), (right, bottom)]
        corners = [*corners, (start, bottom), corners[0]]
        if columns == 1:  # a strip at the bottom, without a seam around what stays
            corners = [(start, low), (end, low), (end, bottom), (start, bottom), (start, low)]
        elif rows == 1:
            corners = [(right, low), (end, low), (end, high), (right, high), (right, low)]
        x += [corner[0] for corner in corners] + [None]
        y += [corner[1] for corner in corners] + [None]
    if not x:
        return []
    hatch = dict(
        shape="/", fgcolor=theme.PRUNED[mode], bgcolor=theme.PAPER[mode], size=5, solidity=0.3,
        fillmode="overlay",
    )  # fmt: skip
    return [
        go.Scatter(
            x=x, y=y, name="taken", mode="lines", fill="toself", fillpattern=hatch,
            fillcolor=theme.PAPER[mode], hoverinfo="skip",
            line=dict(color=theme.PRUNED[mode], width=1.5),
        )
    ]  # fmt: skip


def _left(drawn: Drawing, left: Mapping[str, Extent], mode: str, say: Texts) -> list[go.Scatter]:
    names = [n for n in drawn.simple if drawn.boxed(n) and shares(drawn, n, left) != (1, 1)]
    if not names:
        return []
    nodes = [drawn.simple.nodes[name] for name in names]
    return [
        go.Scatter(
            x=[drawn.layout.at[name][0] for name in names],
            y=[drawn.layout.at[name][1] for name in names],
            name="left", mode="markers+text", hoverinfo="text",
            text=[graph_words.inscription(node) for node in nodes],
            textfont=dict(
                color=theme.INK[mode], shadow=_halo(mode),
                size=[SMALL if node["kind"] == "fold" else TEXT + 1 for node in nodes],
            ),
            customdata=[identity(node) for node in nodes],
            hovertext=[graph_words.hover(drawn, name, left, say) for name in names],
            marker=dict(size=2 * TALL + 4, color="rgba(0,0,0,0)", opacity=1),
            selected=dict(marker_opacity=1, textfont_color=theme.INK[mode]),
            unselected_marker_opacity=1,
        )
    ]  # fmt: skip


def _halo(mode: str) -> str:
    """Paper around letters, so that they can be read on anything."""
    return ", ".join(f"{x}px {y}px 1px {theme.PAPER[mode]}" for x in (-1, 0, 1) for y in (-1, 0, 1))


def _lines(
    drawn: Drawing, kept: list[int], channel: int, left: Mapping[str, Extent], mode: str
) -> list[go.Scatter]:
    """The row or the column of the chosen channel in each box, on paper so that it stands out."""
    x: list[float | None] = []
    y: list[float | None] = []
    for name in filter(drawn.boxed, drawn.simple):
        node, (start, end, low, high) = drawn.simple.nodes[name], drawn.box(name)
        if node["kind"] == "fold":
            continue
        if (place := _place(drawn, node["title"], (PRODUCES, FOLLOWS), kept, channel)) is not None:
            x += [start, end, None]
            y += [high - place * (high - low)] * 2 + [None]
        if (place := _place(drawn, node["title"], (CONSUMES,), kept, channel)) is not None:
            x += [start + place * (end - start)] * 2 + [None]
            y += [low, high, None]
    wide = ((7, theme.PAPER[mode], "beneath the channel"), (3.5, theme.CHOSEN[mode], "channel"))
    return [
        go.Scatter(
            x=x, y=y, name=who, mode="lines", hoverinfo="skip", line=dict(color=line, width=width)
        )
        for width, line, who in wide
    ]  # fmt: skip


def _place(
    drawn: Drawing, layer: str, roles: tuple[str, ...], kept: list[int], channel: int
) -> float | None:
    """Where among a layer's rows or columns a channel is, from 0 to 1, those that stay first.

    None if the layer has none for it.
    """
    weight, whole = drawn.graph.layers[layer].weight, drawn.sizes[layer]
    ours = [c for c in drawn.group.couplings if c.tensor == weight and c.role in roles]
    held = [place for c in ours for place in range(c.first, c.first + c.count)]
    if channel not in held:
        return None
    total = whole.columns if roles == (CONSUMES,) else whole.rows
    repeat = next(c.repeat for c in ours if c.first <= channel < c.first + c.count)
    staying = set(kept)
    stay = [place for place in held if place in staying]
    gone = [place for place in held if place not in staying]
    if channel in staying:
        return min(1.0, (stay.index(channel) + 0.5) * repeat / total)
    return max(0.0, 1 - (len(gone) - gone.index(channel) - 0.5) * repeat / total)


def _named(drawn: Drawing, channel: int, mode: str, say: Texts) -> go.Scatter:
    """The channel's number above the layers that produce it, where no other letters stand."""
    layout = drawn.layout
    noted = {layout.backbone[place] for place in layout.changes()}
    makers = [name for name in drawn.simple if drawn.makes(name)]

    def crowded(name: str) -> bool:
        x, _ = layout.at[name]
        near = (n for n in drawn.simple if layout.row[n] == layout.row[name] and n != name)
        return name not in layout.lane and any(
            abs(layout.at[n][0] - x) < 2 and (n in noted or n in layout.lane) for n in near
        )

    names = [name for name in makers if not crowded(name)] or makers[:1]
    return go.Scatter(
        x=[layout.at[name][0] for name in names],
        # Above the size of the pictures, where that stands.
        y=[layout.at[name][1] + TALL + (24 if name in noted else 9) for name in names],
        name="named", mode="text", hoverinfo="skip", cliponaxis=False,
        text=[say("graph.channel", channel=channel)] * len(names),
        textfont=dict(color=theme.CHOSEN[mode], size=TEXT, shadow=_halo(mode), weight=600),
    )  # fmt: skip
