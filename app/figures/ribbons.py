"""Draw a transport plan as ribbons: all channels at the left, those that stay at the right.

A ribbon is as wide as the mass that it carries. Sources and targets stand in the order of the
heatmap's rows and columns, so that by target few ribbons cross.
"""

from __future__ import annotations

import numpy as np
import plotly.graph_objects as go

from app.figures import theme
from app.figures.order import FAINT, arrangement, shares
from app.figures.plan import near_caption, words
from app.language import ENGLISH, Texts
from core.compress import Step
from core.groups import Group

#: Groups up to this wide are drawn whole although a channel is chosen.
READABLE = 64
#: Channels that get their number at either side, at most.
NUMBERED = 40
#: How many points make the bend of a ribbon's edge, for few and for many ribbons.
BEND, COARSE, MANY = 17, 9, 200
#: Ribbons at most: the widest.
MOST = 2_000
#: Where a ribbon begins and ends, how wide the bars are, and where along it there is a point that
#: answers: between 0 and 1 from left to right.
LEFT, RIGHT, BAR, ANSWERS = 0.04, 0.96, 0.03, (0.08, 0.35, 0.65, 0.92)
#: Of the height, what is left free between all bars of a side.
FREE = 0.12


def figure(
    step: Step, group: Group, mode: str, order: str = "structure", near: int | None = None,
    say: Texts = ENGLISH,
) -> go.Figure:  # fmt: skip
    """The plan as ribbons; `step` has a plan.

    Traces "own", "given" and "passed" are the ribbons of what channels keep, of what discarded ones
    give, and of what those that stay give to others. "stays", "discarded" and "targets" are the
    bars. Trace "ties" answers to the pointer, with [source channel, target channel]. `near`: a
    channel, of which only the neighbourhood is drawn.
    """
    ties, left, right = _ties(step, order, near)
    rows, columns = left.channel, right.channel
    kept = step.measures.kept.numpy()
    own = ties.source == ties.target
    lost = ~np.isin(ties.source, kept)
    coarse = COARSE if len(ties.mass) > MANY else BEND
    looks = {
        "own": (own, theme.DENSE[mode], 0.22, "solid"),
        "given": (lost, theme.FUSED[mode], 0.5, "solid"),
        "passed": (~own & ~lost, theme.FUSED[mode], 0.3, "dot"),
    }
    traces = []
    for name, (which, colour, opacity, dash) in looks.items():
        x, y = _outline(ties, which, coarse)
        edge = dict(width=0.5 if dash == "solid" else 1, dash=dash, color=_faded(colour, 0.6))
        traces.append(
            go.Scatter(
                name=name, x=x, y=y, mode="lines", fill="toself", hoverinfo="skip",
                fillcolor=_faded(colour, opacity), line=edge,
            )
        )  # fmt: skip
    stays = np.isin(rows, kept)
    ink = theme.INK[mode]
    traces += [
        _bars("stays", left, stays, LEFT - BAR, ink, ink),
        _bars("discarded", left, ~stays, LEFT - BAR, "rgba(0,0,0,0)", ink),
        _bars("targets", right, np.ones(len(columns), bool), RIGHT, ink, ink),
        _answers(step, ties, mode, say),
    ]
    tall = height(max(len(rows), len(columns)), near is not None)
    numbered = len(rows) <= NUMBERED
    side = dict(
        range=[1.01, -0.01], showgrid=False, zeroline=False, ticks="", tickfont=dict(size=11),
        automargin=True,
    )  # fmt: skip
    names = dict(count=len(rows), stay=len(columns))
    return theme.layout(
        go.Figure(traces), mode, tall, dragmode=False, hovermode="closest", hoverdistance=40,
        margin=dict(l=44, r=44, t=34, b=8, autoexpand=False),
        xaxis=dict(range=[0, 1], visible=False, fixedrange=True),
        yaxis=dict(side, **_numbers(left, stays, numbered)),
        yaxis2=dict(
            side, overlaying="y", side="right", matches="y",
            **_numbers(right, np.ones(len(columns), bool), len(columns) <= NUMBERED),
        ),
        annotations=[
            dict(
                x=place, y=1, yref="paper", yanchor="bottom", xanchor=side_, text=say(key, **names),
                showarrow=False, yshift=8, font=dict(size=13),
            )
            for place, side_, key in (
                (0, "left", "plan.ribbons_left"), (1, "right", "plan.ribbons_right"),
            )
        ],
    )  # fmt: skip


def marks(
    step: Step, channel: int, mode: str, order: str = "structure", near: int | None = None
) -> list[go.Scatter]:
    """A frame around a channel's bar, and around that of its place if it stays: trace "chosen"."""
    _, left, right = _ties(step, order, near)
    x, y = [], []
    for side, start in ((left, LEFT - BAR), (right, RIGHT)):
        for at in np.flatnonzero(side.channel == channel).tolist():
            a, b = start - 0.006, start + BAR + 0.006
            top, bottom = float(side.top[at]) - 0.002, float(side.bottom[at]) + 0.002
            x += [a, b, b, a, a, None]
            y += [top, top, bottom, bottom, top, None]
    return [
        go.Scatter(
            name="chosen", mode="lines", line=dict(color=theme.CHOSEN[mode], width=2), x=x, y=y,
            hoverinfo="skip", cliponaxis=False,
        )
    ]  # fmt: skip


def caption(
    step: Step, order: str = "structure", near: int | None = None, say: Texts = ENGLISH
) -> tuple[str, str]:
    """What the figure shows, and what not to read into it: a sentence each, or a few."""
    shown = say("plan.ribbons_caption", first=say(f"plan.order_{order}"))
    if near is not None:
        shown += " " + near_caption(step, near, say)
    else:
        ties, left, _ = _ties(step, order, near)
        dropped = 1 - float(ties.mass.sum() / max(left.mass.sum(), 1e-300))
        if dropped > FAINT:
            shown += " " + say("plan.ribbons_dropped", share=dropped)
    return shown, say("plan.doubt")


def height(count: int, near: bool = False) -> int:
    """The figure's height in pixels for so many channels at one side."""
    return int(np.clip(90 + 24 * count, 240, 800 if near else 640))


class _Side:
    """The bars of one side: channels in order, their masses, tops and bottoms between 0 and 1."""

    def __init__(self, channel: np.ndarray, mass: np.ndarray, scale: float) -> None:
        self.channel, self.mass = channel, mass
        high = mass * scale
        gap = (1 - high.sum()) / max(len(mass) - 1, 1)
        self.top = np.concatenate([[0], np.cumsum(high + gap)[:-1]])
        self.bottom = self.top + high


class _Ties:
    """Ribbons: channels at both ends, mass, share and cost, and where they begin and end (y)."""

    def __init__(self, source, target, mass, share, cost, left, right) -> None:
        self.source, self.target = source, target
        self.mass, self.share, self.cost = mass, share, cost
        self.left, self.right = left, right  # (ties, 2): top and bottom


def _ties(step: Step, order: str, near: int | None) -> tuple[_Ties, _Side, _Side]:
    share = shares(step)
    rows, columns = arrangement(step, order, near, share)
    kept = step.measures.kept.numpy()
    here = np.ix_(rows, columns)
    part, mass, costs = share[here], step.plan.mass.numpy()[here], step.plan.costs.numpy()[here]
    y, x = np.nonzero(part >= FAINT)
    widest = np.sort(np.argsort(-mass[y, x], kind="stable")[:MOST])  # still row by row
    y, x = y[widest], x[widest]
    # Of a neighbourhood, bars are as long as the mass that is drawn: the rest lies outside of it.
    scale = (1 - FREE) / max(mass.sum(), 1e-300)
    left, right = _Side(rows, mass.sum(1), scale), _Side(kept[columns], mass.sum(0), scale)
    drawn = np.zeros_like(mass)
    drawn[y, x] = mass[y, x]
    below, beside = drawn.cumsum(0), drawn.cumsum(1)
    wide = drawn[y, x] * scale
    starts = left.top[y] + (beside[y, x] - drawn[y, x]) * scale
    ends = right.top[x] + (below[y, x] - drawn[y, x]) * scale
    found = _Ties(
        rows[y], kept[columns][x], mass[y, x], part[y, x], costs[y, x],
        np.stack([starts, starts + wide], 1), np.stack([ends, ends + wide], 1),
    )  # fmt: skip
    return found, left, right


def _bend(t: np.ndarray) -> np.ndarray:
    """From 0 to 1, level at both ends."""
    return t * t * (3 - 2 * t)


def _outline(ties: _Ties, which: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:
    """The edges of some ribbons, each closed, with a gap after each."""
    t = np.linspace(0, 1, count)
    along = LEFT + (RIGHT - LEFT) * t
    left, right = ties.left[which], ties.right[which]
    edges = left[:, :, None] + (right - left)[:, :, None] * _bend(t)  # (ribbons, 2, count)
    gap = np.full((len(left), 1), np.nan)
    y = np.concatenate([edges[:, 0], edges[:, 1, ::-1], edges[:, 0, :1], gap], 1)
    x = np.concatenate([along, along[::-1], along[:1], [np.nan]])
    return np.tile(x, len(left)).astype(np.float32), y.ravel().astype(np.float32)


def _bars(name: str, side: _Side, which: np.ndarray, start: float, fill: str, ink: str):
    top, bottom = side.top[which], side.bottom[which]
    gap = np.full(len(top), np.nan)
    y = np.stack([top, top, bottom, bottom, top, gap], 1).ravel()
    x = np.tile([start, start + BAR, start + BAR, start, start, np.nan], len(top))
    return go.Scatter(
        name=name, x=x.astype(np.float32), y=y.astype(np.float32), mode="lines", fill="toself",
        fillcolor=fill, line=dict(color=ink, width=0.5), hoverinfo="skip",
        yaxis="y2" if name == "targets" else "y",
    )  # fmt: skip


def _answers(step: Step, ties: _Ties, mode: str, say: Texts) -> go.Scatter:
    """Points on the ribbons, unseen, that say what a ribbon is."""
    places = np.array(ANSWERS)
    along = LEFT + (RIGHT - LEFT) * places
    left, right = ties.left.mean(1), ties.right.mean(1)
    y = left + (right - left) * _bend(places)[:, None]  # place by place, as chart.js takes them
    sent = (ties.source, ties.target, ties.share, ties.cost)
    kinds = (np.int32, np.int32, np.float32, np.float32)
    return go.Scatter(
        name="ties", mode="markers", hoverinfo="text",
        x=np.repeat(along, len(left)).astype(np.float32), y=y.ravel().astype(np.float32),
        marker=dict(size=8, color=theme.INK[mode], opacity=0.0),
        meta=dict(
            ties=[a.astype(k) for a, k in zip(sent, kinds, strict=True)], words=words(step, say)
        ),
    )  # fmt: skip


def _numbers(side: _Side, stays: np.ndarray, numbered: bool) -> dict:
    """Numbers of channels beside the bars: all of them, bold if they stay, or about eight."""
    middle = (side.top + side.bottom) / 2
    every = 1 if numbered else max(1, len(middle) // 8)
    texts = [
        f"<b>{a}</b>" if b and numbered else str(a)
        for a, b in zip(side.channel[::every], stays[::every], strict=True)
    ]
    return dict(tickvals=middle[::every], ticktext=texts)


def _faded(colour: str, opacity: float) -> str:
    red, green, blue = (int(colour[i : i + 2], 16) for i in (1, 3, 5))
    return f"rgba({red}, {green}, {blue}, {opacity})"
