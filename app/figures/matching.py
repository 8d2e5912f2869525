"""The transport plan between the channels of two networks: which channel comes to which place."""

from __future__ import annotations

import numpy as np
import plotly.graph_objects as go

from app.figures import theme
from app.figures.order import FAINT
from app.figures.plan import SCALES
from app.language import ENGLISH, Texts
from core.alignment import Difference
from core.transport import TransportPlan

HEIGHT = 420
#: Pixels of the plot, and the least size of a mark in it.
PLOT, LEAST = 340, 3.0


def shares(plan: TransportPlan) -> np.ndarray:
    """The share of each channel's mass that goes to each of the target's: (n, m)."""
    source = plan.source.numpy()[:, None]
    return plan.mass.numpy() / np.where(source > 0, source, 1)


def stays(plan: TransportPlan) -> int:
    """How many channels send most of their mass to the channel of their own number."""
    return int((shares(plan).argmax(1) == np.arange(len(plan.source))).sum())


def figure(
    plan: TransportPlan, names: tuple[str, str], mode: str, say: Texts = ENGLISH
) -> go.Figure:
    """A square for each pair that mass moves between; a line where numbers would be the same.

    Trace "plan" are the pairs, "same" the line. `names` : of the network that is brought over, and
    of the one whose places it takes.
    """
    share = shares(plan)
    count, target = share.shape
    pairs = np.argwhere(share >= FAINT)
    costs = plan.costs.numpy()
    chart = go.Figure()
    chart.add_scatter(
        name="same", x=[0, min(count, target) - 1], y=[0, min(count, target) - 1], mode="lines",
        hoverinfo="skip", line=dict(color=theme.FAINT[mode], width=1.5, dash="dot"),
    )  # fmt: skip
    chart.add_scatter(
        name="plan", mode="markers", x=pairs[:, 1].tolist(), y=pairs[:, 0].tolist(),
        marker=dict(
            symbol="square", size=max(LEAST, 0.8 * PLOT / max(count, target)), cmin=0, cmax=1,
            color=[float(share[i, j]) for i, j in pairs], colorscale=SCALES[mode],
        ),
        hovertemplate=[
            say("matching.hover", source=int(i), target=int(j), share=float(share[i, j]),
                cost=float(costs[i, j])) + "<extra></extra>"
            for i, j in pairs
        ],
    )  # fmt: skip
    theme.layout(chart, mode, HEIGHT, dragmode=False, hovermode="closest")
    half = 0.8
    chart.update_xaxes(
        range=[-half, target - 1 + half], fixedrange=True, zeroline=False, showgrid=False,
        title_text=say("matching.x", name=names[1]),
    )  # fmt: skip
    chart.update_yaxes(
        range=[count - 1 + half, -half], fixedrange=True, zeroline=False, showgrid=False,
        title_text=say("matching.y", name=names[0]),
    )  # fmt: skip
    return chart


def alt(plan: TransportPlan, difference: Difference, say: Texts = ENGLISH) -> str:
    """The finding in words: how many channels change places, and how much nearer that brings."""
    count, target = plan.mass.shape
    told = say("matching.alt", count=count, target=target, stays=stays(plan))
    known = dict(before=difference.before, after=difference.after)
    if difference.before is None:
        return f"{told} {say('matching.after', after=difference.after)}"
    return f"{told} {say('matching.nearer', **known)}"


def caption(plan: TransportPlan, say: Texts = ENGLISH) -> tuple[str, str]:
    """What the plan shows, and what not to read into it."""
    return say("matching.caption", cost=plan.cost), say("matching.caution")


def headline(plan: TransportPlan, difference: Difference, say: Texts = ENGLISH) -> str:
    """One sentence: how far the channels are apart before and after."""
    if difference.before is None:
        return say("matching.after", after=difference.after)
    return say("matching.nearer", before=difference.before, after=difference.after)
