"""What fusion gains over plain pruning, as a map over groups and sparsities."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import plotly.graph_objects as go

from app.figures import theme
from app.language import ENGLISH, Texts
from core.gains import GainMap

#: Points at which a colour is at its strongest: what lies beyond is told by its number.
STRONGEST = 30.0
ROW, AROUND = 34, 96

#: (group, sparsity) → points.
Points = Mapping[tuple[int, float], float]


def points(found: GainMap) -> dict[tuple[int, float], float]:
    """The gains of a map, as `figure` takes them."""
    return {key: gain.points for key, gain in found.cells.items()}


def figure(cells: Points, now: int | None, mode: str, say: Texts = ENGLISH) -> go.Figure:
    """A cell for each group (a row, group 0 last as it is nearest the output) and sparsity.

    Every cell has its number in points of accuracy; blue is a gain, purple a loss. The customdata
    of a cell is [group]. `now` : the group that is looked at; its name is marked.
    """
    groups = sorted({group for group, _ in cells}, reverse=True)  # from the input on
    sparsities = sorted({sparsity for _, sparsity in cells})
    values = np.array([[cells.get((g, s), np.nan) for s in sparsities] for g in groups])
    colours = theme.diverging(mode)
    chart = go.Figure(
        go.Heatmap(
            name="gains", z=values, x=list(range(len(sparsities))), y=list(range(len(groups))),
            zmin=-STRONGEST, zmax=STRONGEST, xgap=2, ygap=2, showscale=False, hoverongaps=False,
            colorscale=[[i / (len(colours) - 1), c] for i, c in enumerate(colours)],
            customdata=[[[group]] * len(sparsities) for group in groups],
            hovertext=[
                [
                    say("gains.hover", group=g, sparsity=s, points=float(v)) if v == v else ""
                    for s, v in zip(sparsities, row, strict=True)
                ]
                for g, row in zip(groups, values, strict=True)
            ],
            hovertemplate="%{hovertext}<extra></extra>",
        )
    )  # fmt: skip
    for y, row in enumerate(values):
        for x, value in enumerate(row):
            if value != value:
                continue
            strong = abs(value) > 0.55 * STRONGEST
            ink = theme.PAPER[mode] if strong else theme.INK[mode]
            chart.add_annotation(
                x=x, y=y, text=written(value, say), showarrow=False, font=dict(color=ink, size=13)
            )
    theme.layout(
        chart, mode, AROUND + ROW * len(groups), dragmode=False,
        margin=dict(l=70, r=8, t=8, b=48, autoexpand=False),
    )  # fmt: skip
    plain = dict(fixedrange=True, showgrid=False, zeroline=False, showline=False)
    chart.update_xaxes(
        plain, tickvals=list(range(len(sparsities))), title_text=say("gains.x"),
        ticktext=[say.number(s, ".0%") for s in sparsities],
    )  # fmt: skip
    chart.update_yaxes(
        plain, autorange="reversed", tickvals=list(range(len(groups))),
        ticktext=[_name(group, group == now, say) for group in groups],
    )  # fmt: skip
    return chart


def written(value: float, say: Texts = ENGLISH) -> str:
    """Points with their sign and as many digits as mean something."""
    return say.number(float(value), "+.0f" if abs(value) >= 9.95 else "+.1f")


def _name(group: int, chosen: bool, say: Texts) -> str:
    name = say("gains.group", group=group)
    return f"<b>▸ {name}</b>" if chosen else name


def alt(cells: Points, whose: str, say: Texts = ENGLISH) -> str:
    """Where fusion gains most and where it loses most, in words."""
    best, worst = max(cells, key=cells.__getitem__), min(cells, key=cells.__getitem__)
    return say(
        "gains.alt", whose=whose, count=len(cells),
        above=sum(value > 0 for value in cells.values()),
        best=cells[best], best_group=best[0], best_at=best[1],
        worst=cells[worst], worst_group=worst[0], worst_at=worst[1],
    )  # fmt: skip


def caption(say: Texts = ENGLISH) -> tuple[str, str]:
    """What the figure shows, and what not to read into it."""
    return say("gains.caption"), say("gains.doubt")
