"""Accuracy against the share of the data that each network is trained on: what still works."""

from __future__ import annotations

from collections.abc import Sequence
from math import log2

import plotly.graph_objects as go

from app.figures import ends, theme
from app.figures.accuracy import COLOURS
from app.language import ENGLISH, Texts
from core.evaluate import Accuracy
from core.split_shares import ShareCurve, SharePoint

HEIGHT = 380
#: Lines by name: colour, symbol, dash. Each differs from the others by more than colour.
LINES = {
    "tuned": ("fused", "circle", "solid"),
    "fused": ("fused", "diamond-open", "dash"),
    "alone": ("dense", "square", "solid"),
    "average": ("dense", "x-thin-open", "dot"),
    "ensemble": ("dense", "square-open", "dashdot"),
}


def of_seed(curve: ShareCurve, seed: int) -> list[SharePoint]:
    """The points of a run, the largest share first."""
    return sorted((one for one in curve.points if one.seed == seed), key=lambda one: one.count)


def whole(curve: ShareCurve, seed: int) -> Accuracy | None:
    """What is trained on all of the data, if that is done."""
    return next((one.accuracy for one in curve.whole if one.seed == seed), None)


def figure(curve: ShareCurve, seed: int, mode: str, say: Texts = ENGLISH) -> go.Figure:
    """Lines over falling shares, with 95 % intervals; single parts as dots; all data across.

    Traces are called as `LINES`, "parts" and "whole".
    """
    chart, some, names = go.Figure(), of_seed(curve, seed), []
    # 1/k stands at log₂ k: shares fall to the right, each half as large a step on. (Plotly places
    # what is written beside lines by logarithms on logarithmic axes; this axis has none.)
    places = [log2(one.count) for one in some]
    for name, (kind, symbol, dash) in LINES.items():
        colour = COLOURS[kind][mode]
        told = [getattr(one, name) for one in some]
        chart.add_scatter(
            name=name, mode="lines+markers", x=places, y=[100 * one.mean for one in told],
            error_y=dict(
                type="data", symmetric=False, thickness=1.5, width=4, color=colour,
                array=[100 * (one.high - one.mean) for one in told],
                arrayminus=[100 * (one.mean - one.low) for one in told],
            ),
            line=dict(color=colour, width=2.5 if kind == "fused" else 1.5, dash=dash),
            marker=dict(symbol=symbol, size=9, color=colour, line_width=2),
            hovertemplate=[
                say("shares.hover", name=say(f"shares.line.{name}"), count=point.count,
                    images=point.images, mean=one.mean, low=one.low, high=one.high,
                    total=one.total) + "<extra></extra>"
                for point, one in zip(some, told, strict=True)
            ],
        )  # fmt: skip
        names.append((100 * told[-1].mean, places[-1], say(f"shares.line.{name}"), colour))
    spots = [(point, place, one) for point in some for place, one in enumerate(point.parts)]
    chart.add_scatter(
        name="parts", mode="markers", x=[log2(point.count) for point, _, _ in spots],
        y=[100 * one.mean for _, _, one in spots],
        marker=dict(symbol="line-ew-open", size=11, color=COLOURS["dense"][mode], line_width=1.5),
        hovertemplate=[
            say("shares.hover", name=say("splits.network.part", number=place + 1),
                count=point.count, images=point.images, mean=one.mean, low=one.low, high=one.high,
                total=one.total) + "<extra></extra>"
            for point, place, one in spots
        ],
    )  # fmt: skip
    first, last = places[0] - 0.3, places[-1]
    end = last + 1.05 * max(1.5, last - first)  # room for the lines' names
    if all_data := whole(curve, seed):
        chart.add_scatter(
            name="whole", x=[first, end], y=[100 * all_data.mean] * 2, mode="lines",
            hoverinfo="skip", line=dict(color=theme.INK[mode], width=1.5, dash="longdash"),
        )  # fmt: skip
        chart.add_annotation(
            x=end, y=100 * all_data.mean, text=say("splits.method.whole"), showarrow=False,
            xanchor="right", yanchor="bottom", font_color=theme.INK[mode],
        )  # fmt: skip
    theme.layout(chart, mode, HEIGHT, dragmode=False, hovermode="closest")
    ends.name(chart, names, gap=6.5, top=95)
    chart.update_xaxes(
        range=[first, end], fixedrange=True, zeroline=False, showgrid=False, tickvals=places,
        ticktext=[f"1/{one.count}" for one in some], title_text=say("shares.x"),
    )  # fmt: skip
    words = ["0", "25", "50", "75", say.number(1, ".0%")]
    chart.update_yaxes(
        range=[0, 108], tickvals=[0, 25, 50, 75, 100], ticktext=words, fixedrange=True,
        zeroline=False, title_text=say("curves.y"),
    )  # fmt: skip
    return chart


def smallest(some: Sequence[SharePoint], all_data: Accuracy | None) -> SharePoint | None:
    """The smallest share that still works: it, and all larger ones, are not below all data.

    That is: the 95 % interval of the fused and fine-tuned network does not lie below that of the
    network trained on everything. None if that of the largest share does.
    """
    found = None
    for one in some:
        if all_data is None or one.tuned.high < all_data.low:
            break
        found = one
    return found


def headline(curve: ShareCurve, seed: int, say: Texts = ENGLISH) -> str:
    """One sentence: down to which share it works, by the measure of `smallest`."""
    some, all_data = of_seed(curve, seed), whole(curve, seed)
    if all_data is None or not some:
        return ""
    found = smallest(some, all_data)
    if found is None:
        one = some[0]
        return say("shares.headline.none", count=one.count, mean=one.tuned.mean, all=all_data.mean)
    known = dict(
        count=found.count, images=found.images, mean=found.tuned.mean, all=all_data.mean,
        total=found.tuned.total,
    )  # fmt: skip
    last = found.count == some[-1].count
    return say("shares.headline.all" if last else "shares.headline.until", **known)


def alt(curve: ShareCurve, seed: int, say: Texts = ENGLISH) -> str:
    """The finding in words, share by share."""
    told = [
        say("shares.told", count=one.count, tuned=one.tuned.mean, fused=one.fused.mean,
            alone=one.alone.mean)
        for one in of_seed(curve, seed)
    ]  # fmt: skip
    return " ".join([say("shares.alt"), *told, headline(curve, seed, say)]).strip()


def caption(curve: ShareCurve, say: Texts = ENGLISH) -> tuple[str, str]:
    """What the curve shows, and what not to read into it."""
    total = min(one.tuned.total for one in curve.points)
    return (
        say("shares.caption", epochs=curve.plan.epochs, tuned=curve.plan.fused_epochs, total=total),
        say("shares.caution", tuned=curve.plan.fused_epochs),
    )  # fmt: skip
