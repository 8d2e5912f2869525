"""Accuracy or loss in the plane through the dense, the pruned and the fused network."""

from __future__ import annotations

import math
from collections.abc import Mapping

import plotly.graph_objects as go

from app.figures import theme
from app.figures.accuracy import COLOURS, NAMES
from app.language import ENGLISH, Texts
from core.landscape import LINES, SIDES, Frame, Height, Place, Step, barrier, grid

HEIGHT, LINES_HEIGHT = 460, 320
#: What is drawn: a key of `landscape.bar`.
QUANTITIES = ("accuracy", "loss")
#: The three networks, told apart by shape as well.
SYMBOLS = {"dense": "star", "pruned": "square", "fused": "circle"}
DASHES = {("dense", "pruned"): "dot", ("dense", "fused"): "solid", ("pruned", "fused"): "dash"}
#: Losses are drawn by their logarithm; smaller ones look like this.
LEAST_LOSS = 1e-3
TICKS = tuple(digit * 10.0**power for power in range(-3, 4) for digit in (1, 2, 5))


def side_of(points: Mapping[Place, Height]) -> int:
    """The number of points a side of the finest grid that was begun."""
    return next(
        (side for side in SIDES if all(_on(place, side) for place in points)), SIDES[-1]
    )  # fmt: skip


def _on(place: Place, side: int) -> bool:
    return all((one * (side - 1)).is_integer() for one in place)


def cells(points: Mapping[Place, Height]) -> list[list[Height | None]]:
    """A row for each t, rising: what was measured there, else at the nearest coarser point."""
    side = side_of(points)
    table: list[list[Height | None]] = []
    for row in range(side):
        table.append([])
        for column in range(side):
            found, count = None, side
            while found is None and count >= SIDES[0]:
                found = points.get(
                    tuple(
                        math.floor(place / (side - 1) * (count - 1) + 0.5) / (count - 1)
                        for place in (column, row)
                    )
                )
                count = (count - 1) // 2 + 1
            table[-1].append(found)
    return table


def figure(
    points: Mapping[Place, Height],
    frame: Frame,
    spots: Mapping[str, Place],
    mode: str,
    quantity: str = "accuracy",
    say: Texts = ENGLISH,
) -> go.Figure:
    """A map of the plane, with the three networks on it; coarse where little is known yet.

    `quantity` is one of `QUANTITIES`. Trace "plane" is the map, "lines" (once a grid is whole) are
    contours, "dense", "pruned" and "fused" the networks.
    """
    chart = go.Figure()
    table = cells(points)
    side = len(table)
    steps = [step / (side - 1) for step in range(side)]
    x, y = ([frame.at((step, step))[axis] for step in steps] for axis in (0, 1))
    z = [[None if one is None else _value(one, quantity) for one in row] for row in table]
    scale = [[i / 9, colour] for i, colour in enumerate(theme.sequence(mode))]
    if quantity == "loss":
        scale = [[1 - place, colour] for place, colour in reversed(scale)]  # low stands out
    known = [value for row in z for value in row if value is not None]
    bar = dict(
        orientation="h", x=0.5, y=1, yref="paper", yanchor="bottom", ypad=6, thickness=8, len=0.8,
        outlinewidth=0, title=dict(text=say(f"landscape.bar.{quantity}"), side="top"),
    )  # fmt: skip
    if quantity == "accuracy":
        bar |= dict(tickformat=".0%")
        limits = dict(zmin=0, zmax=1)
    else:
        limits = dict(zmin=min(known, default=0), zmax=max(known, default=1))
        ticks = [t for t in TICKS if limits["zmin"] <= math.log10(t) <= limits["zmax"]]
        bar |= dict(tickvals=[math.log10(t) for t in ticks],
                    ticktext=[say.number(t, "g") for t in ticks])  # fmt: skip
    chart.add_heatmap(
        name="plane", x=x, y=y, z=z, colorscale=scale, colorbar=bar, **limits, hoverinfo="text",
        text=[["" if one is None else _hover(one, say) for one in row] for row in table],
        xgap=0 if side > SIDES[1] else 1, ygap=0 if side > SIDES[1] else 1,
    )  # fmt: skip
    if side > SIDES[0] and all(place in points for place in grid(side)):
        chart.add_contour(
            name="lines", x=x, y=y, z=z, hoverinfo="skip", showscale=False, ncontours=7,
            contours_coloring="none", line=dict(color=theme.faded(theme.INK[mode], 0.55), width=1),
        )  # fmt: skip
    for name in NAMES:
        spot, colour = spots[name], COLOURS[name][mode]
        chart.add_scatter(
            name=name, x=[spot[0]], y=[spot[1]], mode="markers",
            marker=dict(
                symbol=SYMBOLS[name], size=17 if name == "dense" else 13, color=colour,
                line=dict(color=theme.PAPER[mode], width=2),
            ),
            hovertemplate=say("landscape.hover_spot", name=say(f"accuracy.name.{name}"), x=spot[0],
                              y=spot[1]) + "<extra></extra>",
        )  # fmt: skip
        below = spot[1] < frame.bottom + frame.side / 2
        chart.add_annotation(
            x=spot[0], y=spot[1], text=f"<b>{say(f'accuracy.name.{name}')}</b>", showarrow=False,
            yshift=-20 if below else 20, font=dict(color=colour, size=13),
            bgcolor=theme.faded(theme.PAPER[mode], 0.85), borderpad=1,
        )  # fmt: skip
    half = frame.side / (side - 1) / 2
    theme.layout(chart, mode, HEIGHT, dragmode=False, hovermode="closest")
    quiet = dict(fixedrange=True, showgrid=False, zeroline=False, constrain="domain", nticks=6)
    chart.update_xaxes(
        quiet, title_text=say("landscape.x"),
        range=[frame.left - half, frame.left + frame.side + half],
    )  # fmt: skip
    chart.update_yaxes(
        quiet, title_text=say("landscape.y"), scaleanchor="x",
        range=[frame.bottom - half, frame.bottom + frame.side + half],
    )  # fmt: skip
    return chart


def _value(one: Height, quantity: str) -> float:
    if quantity == "accuracy":
        return one.accuracy.mean
    return math.log10(max(one.loss, LEAST_LOSS))


def _hover(one: Height, say: Texts) -> str:
    right = one.accuracy
    return say(
        "landscape.hover", mean=right.mean, low=right.low, high=right.high, loss=one.loss,
        total=right.total,
    )  # fmt: skip


def lines(walked: Mapping[Step, Height], mode: str, say: Texts = ENGLISH) -> go.Figure:
    """The loss on the straight lines between the networks; a trace for each, called "FROM TO"."""
    chart = go.Figure()
    colours = dict(
        zip(LINES, (theme.PRUNED[mode], theme.FUSED[mode], theme.CHOSEN[mode]), strict=True)
    )
    for a, b in LINES:
        here = sorted((share, one) for (c, d, share), one in walked.items() if (c, d) == (a, b))
        name = _line(a, b, say)
        chart.add_scatter(
            name=name, meta=f"{a} {b}", x=[share for share, _ in here],
            y=[one.loss for _, one in here], mode="lines+markers",
            line=dict(color=colours[a, b], dash=DASHES[a, b], width=2.5),
            marker=dict(symbol=SYMBOLS[b], size=[9 if s == 1 else 5 for s, _ in here]),
            hovertemplate=[
                say("landscape.hover_line", name=name, share=share, mean=one.accuracy.mean,
                    loss=one.loss) + "<extra></extra>"
                for share, one in here
            ],
        )  # fmt: skip
    theme.layout(
        chart, mode, LINES_HEIGHT, dragmode=False, showlegend=True, margin_t=36,
        legend=dict(orientation="h", x=0, y=1, yanchor="bottom", bgcolor="rgba(0,0,0,0)"),
    )  # fmt: skip
    chart.update_xaxes(
        title_text=say("landscape.x_lines"), tickformat=".0%", fixedrange=True, range=[-0.03, 1.03]
    )
    chart.update_yaxes(title_text=say("landscape.bar.loss"), rangemode="tozero", fixedrange=True)
    return chart


def _line(a: str, b: str, say: Texts) -> str:
    return f"{say(f'accuracy.name.{a}')} → {say(f'accuracy.name.{b}')}"


# -- words ----------------------------------------------------------------------------------------


def alt(
    points: Mapping[Place, Height],
    spots: Mapping[str, Place],
    walked: Mapping[Step, Height],
    say: Texts = ENGLISH,
) -> str:
    """The finding in words: where the networks lie and what they are worth."""
    told = [say("landscape.alt", count=len(points))]
    for name in NAMES:
        ends = (
            (a, b, share) for a, b in LINES for share in (0.0, 1.0) if (a, b)[int(share)] == name
        )
        height = next((walked[end] for end in ends if end in walked), None)
        x, y = spots[name]
        title = say(f"accuracy.name.{name}")
        if height is None:
            told.append(say("landscape.told_spot", name=title, x=x, y=y))
        else:
            told.append(
                say("landscape.told", name=title, x=x, y=y, mean=height.accuracy.mean,
                    loss=height.loss)
            )  # fmt: skip
    return " ".join(told)


def alt_lines(walked: Mapping[Step, Height], say: Texts = ENGLISH) -> str:
    """The finding on the lines in words: by how much the loss rises between two networks."""
    told = [say("landscape.alt_lines")]
    for a, b in LINES:
        rise = barrier(walked, a, b)
        if rise is not None:
            told.append(say("landscape.told_line", name=_line(a, b, say), rise=rise))
    return " ".join(told)


def caption(total: int, say: Texts = ENGLISH) -> tuple[str, str]:
    """What the map shows, and what not to read into it; `total`: how many images."""
    return say("landscape.caption", total=total), say("landscape.caution")


def caption_lines(total: int, say: Texts = ENGLISH) -> tuple[str, str]:
    return say("landscape.caption_lines", total=total), say("landscape.caution_lines")
