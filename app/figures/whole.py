"""Accuracy of whole networks against the share of their weights that is gone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import plotly.graph_objects as go

from app.figures import ends, theme
from app.figures.accuracy import COLOURS
from app.figures.curves import SYMBOLS
from app.language import ENGLISH, Texts
from core.evaluate import Accuracy
from core.published import Pair

HEIGHT = 380


@dataclass(frozen=True)
class Point:
    """One compression of the whole network.

    gone : share of the weights that is gone. macs : share of the multiply-accumulates left.
    asked : the share of channels, or of weights, that was to go.
    """

    asked: float
    gone: float
    parameters: int
    macs: float
    pruned: Accuracy
    fused: Accuracy


def figure(
    points: Sequence[Point], dense: Accuracy | None, paper: Mapping[float, Pair], mode: str,
    say: Texts = ENGLISH,
) -> go.Figure:  # fmt: skip
    """Lines "pruned" and "fused" with their intervals; the paper's points after fine-tuning."""
    chart, names = go.Figure(), []
    for name in ("pruned", "fused"):
        title, colour = say(f"accuracy.name.{name}"), COLOURS[name][mode]
        told = [getattr(point, name) for point in points]
        chart.add_scatter(
            name=name, mode="lines+markers", x=[100 * point.gone for point in points],
            y=[100 * one.mean for one in told],
            error_y=dict(
                type="data", symmetric=False, array=[100 * (a.high - a.mean) for a in told],
                arrayminus=[100 * (a.mean - a.low) for a in told], color=colour, thickness=1.5,
            ),
            line=dict(color=colour, width=2.5),
            marker=dict(symbol=SYMBOLS[name], size=8, color=colour, line_width=2),
            hovertemplate=[
                say("whole.hover", name=title, gone=point.gone, mean=one.mean, low=one.low,
                    high=one.high, total=one.total, parameters=point.parameters)
                + "<extra></extra>"
                for point, one in zip(points, told, strict=True)
            ],
        )  # fmt: skip
        names.append((100 * told[-1].mean, 100 * points[-1].gone, title, colour))
        if paper:
            chart.add_scatter(
                name=f"paper {name}", mode="markers", x=[100 * gone for gone in paper],
                y=[100 * getattr(pair, name) for pair in paper.values()],
                marker=dict(
                    symbol="x-thin-open" if name == "pruned" else "cross-thin-open", size=9,
                    color=colour, line_width=2,
                ),
                hovertemplate=[
                    say("whole.hover_paper", name=title, gone=gone, share=getattr(pair, name))
                    + "<extra></extra>"
                    for gone, pair in paper.items()
                ],
            )  # fmt: skip
    ends.name(chart, names)
    if dense:
        chart.add_scatter(
            name="dense", x=[0, 104], y=[100 * dense.mean] * 2, mode="lines", hoverinfo="skip",
            line=dict(color=theme.DENSE[mode], width=1.5, dash="dot"),
        )  # fmt: skip
        chart.add_annotation(
            x=0, y=100 * dense.mean, text=say("accuracy.name.dense"), showarrow=False,
            xanchor="left", yanchor="bottom", font_color=theme.DENSE[mode],
        )  # fmt: skip
    theme.layout(chart, mode, HEIGHT, dragmode=False, hovermode="closest")
    words = ["0", "25", "50", "75", say.number(1, ".0%")]
    percent = dict(tickvals=[0, 25, 50, 75, 100], fixedrange=True, zeroline=False, ticktext=words)
    chart.update_xaxes(percent, range=[0, 132], title_text=say("whole.x"), showgrid=False)
    chart.update_yaxes(percent, range=[0, 104], title_text=say("curves.y"))
    return chart


def alt(points: Sequence[Point], say: Texts = ENGLISH) -> str:
    """The finding in words: what both keep at the mildest and at the hardest compression."""
    told = [
        say("whole.told", gone=point.gone, pruned=point.pruned.mean, fused=point.fused.mean)
        for point in (points[0], points[-1])
    ]
    return " ".join([say("whole.alt", count=len(points)), *told])


def caption(points: Sequence[Point], paper: bool, say: Texts = ENGLISH) -> tuple[str, str]:
    """What the figure shows, and what not to read into it."""
    images = min(point.fused.total for point in points)
    shown = say("whole.caption", images=images)
    return (f"{shown} {say('whole.caption_paper')}" if paper else shown), say("whole.caution")
