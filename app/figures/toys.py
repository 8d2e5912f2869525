"""The toys' figures: points with what moves between them, small matrices with their numbers, bars.

The picture of the points is no Plotly figure, for its points can be dragged: `board` gives what
`app/toys/board.js` draws.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import plotly.graph_objects as go
from torch import Tensor

from app.figures import theme
from app.figures.plan import SCALES
from app.language import ENGLISH, Texts
from app.toys.norm import Folded
from app.toys.problem import ACROSS, GRID, UP, Problem
from core.transport import TransportPlan

#: Shares of all mass below this are not drawn as lines and not written as terms.
FAINT = 5e-4
#: Pixels: radius of a disc of all mass, width of a line of all mass, height of a row, a header.
DISC, LINE, ROW, HEAD = 42, 44, 34, 46


def board(
    problem: Problem, plan: TransportPlan, chosen: int, mode: str, say: Texts = ENGLISH
) -> dict:
    """Points and the mass that is moved, for `board.js`; `chosen` is marked.

    A disc's area is the mass a point has, that of the dashed ring what it has to hold.
    """
    points = []
    for place, (x, y) in enumerate(problem.points):
        stays = place in problem.stays
        share = float(plan.source[place])
        held = float(plan.target[problem.stays.index(place)]) if stays else 0.0
        key = "toys.transport.point_stays" if stays else "toys.transport.point_goes"
        points.append(
            dict(
                x=x, y=y, label=str(place), stays=stays, radius=DISC * math.sqrt(share),
                ring=DISC * math.sqrt(held), name=say(key, point=place, x=x, y=y, mass=share),
                on=[round(v, 4) for v in problem.features[place].tolist()],
            )
        )  # fmt: skip
    lines = [
        dict(
            source=i, target=problem.stays[j], width=max(1.5, LINE * mass),
            text=say.number(mass, ".2f"),
        )
        for i, row in enumerate(plan.mass.tolist())
        for j, mass in enumerate(row)
        if mass >= FAINT and i != problem.stays[j]
    ]  # fmt: skip
    return dict(
        alt=board_alt(problem, plan, say), points=points, lines=lines, chosen=chosen,
        across=ACROSS, up=UP, grid=GRID, circle=problem.normalise,
        colours=dict(
            stays=theme.FUSED[mode], goes=theme.PRUNED[mode], line=theme.DENSE[mode],
            ink=theme.INK[mode], faint=theme.FAINT[mode], paper=theme.PAPER[mode],
            chosen=theme.CHOSEN[mode],
        ),
    )  # fmt: skip


def board_alt(problem: Problem, plan: TransportPlan, say: Texts = ENGLISH) -> str:
    """Where the mass of each channel goes, in words."""
    told = [
        say("toys.transport.goes", source=i, target=problem.stays[j], mass=mass)
        for i, row in enumerate(plan.mass.tolist())
        for j, mass in enumerate(row)
        if mass >= FAINT
    ]
    listed = "; ".join(told)
    return say("toys.transport.board_alt", count=len(problem.points), cost=plan.cost, moves=listed)


def matrix(
    values: Tensor, rows: Sequence[str], columns: Sequence[str], mode: str, say: Texts = ENGLISH
) -> go.Figure:
    """A small matrix with a number in every cell: (n, m) with its rows' and columns' names."""
    shown = values.tolist()
    most = float(values.max()) or 1.0
    figure = go.Figure(
        go.Heatmap(
            z=shown, zmin=0, zmax=most, xgap=2, ygap=2, showscale=False, hoverinfo="skip",
            colorscale=SCALES[mode],
        )
    )  # fmt: skip
    for i, row in enumerate(shown):
        for j, value in enumerate(row):
            ink = _letters(SCALES[mode][round(20 * value / most)][1], mode)
            figure.add_annotation(
                x=j, y=i, text=say.number(value, ".2f"), showarrow=False,
                font=dict(size=15, color=ink),
            )  # fmt: skip
    height = HEAD + ROW * len(shown)
    theme.layout(figure, mode, height, dragmode=False, margin=dict(l=4, r=4, t=4, b=4))
    letters = dict(size=14, color=theme.INK[mode])
    bare = dict(showgrid=False, zeroline=False, ticks="", fixedrange=True, tickfont=letters)
    figure.update_xaxes(bare, tickvals=list(range(len(columns))), ticktext=columns, side="top")
    figure.update_yaxes(bare, tickvals=list(range(len(rows))), ticktext=rows, autorange="reversed")
    return figure


def _letters(colour: str, mode: str) -> str:
    """Ink or paper, whichever stands out more from a colour of the scale, “rgba(r, g, b, a)”."""
    *mixed, alpha = map(float, colour[5:-1].split(","))
    paper = _rgb(theme.PAPER[mode])
    seen = _luminance([alpha * a + (1 - alpha) * b for a, b in zip(mixed, paper, strict=True)])

    def contrast(letters: str) -> float:  # WCAG 2
        low, high = sorted([_luminance(_rgb(letters)), seen])
        return (high + 0.05) / (low + 0.05)

    return max((theme.INK[mode], theme.PAPER[mode]), key=contrast)


def _rgb(colour: str) -> list[int]:
    return [int(colour[i : i + 2], 16) for i in (1, 3, 5)]


def _luminance(colour: Sequence[float]) -> float:
    parts = [c / 255 for c in colour]
    parts = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in parts]
    return 0.2126 * parts[0] + 0.7152 * parts[1] + 0.0722 * parts[2]


def matrix_alt(
    title: str, values: Tensor, rows: Sequence[str], columns: Sequence[str], say: Texts = ENGLISH
) -> str:
    """The matrix row by row, in words."""
    told = [
        f"{name}: "
        + ", ".join(f"{c} {say.number(v, '.2f')}" for c, v in zip(columns, row, strict=True))
        for name, row in zip(rows, values.tolist(), strict=True)
    ]
    return f"{title}. " + "; ".join(told).replace("<br>", " ") + "."


def outputs(folded: Folded, mode: str, say: Texts = ENGLISH) -> go.Figure:
    """What both networks put out for the input, a pair of bars a channel."""
    channels = [say("toys.folding.channel", place=k) for k in range(len(folded.before))]
    figure = go.Figure()
    for key, values, colour, pattern in (
        ("before", folded.before, theme.DENSE[mode], ""),
        ("after", folded.after, theme.FUSED[mode], "."),
    ):
        shown = [v if math.isfinite(v) else None for v in values.tolist()]
        figure.add_bar(
            name=say(f"toys.folding.{key}"), x=channels, y=shown, marker_color=colour,
            marker_pattern=dict(
                shape=pattern, bgcolor=colour, fgcolor=theme.PAPER[mode], size=7, solidity=0.15
            ),
            text=[value(say, v) for v in values.tolist()], textposition="outside",
            textfont=dict(size=14), cliponaxis=False, hoverinfo="skip",
        )  # fmt: skip
    theme.layout(
        figure, mode, 260, barmode="group", bargap=0.35, bargroupgap=0.08, showlegend=True,
        legend=dict(orientation="h", x=0, y=1.22, yanchor="top"), dragmode=False,
        margin=dict(l=8, r=8, t=44, b=8), font=dict(size=14, color=theme.INK[mode]),
    )  # fmt: skip
    figure.update_xaxes(fixedrange=True)
    ends = [v for v in (*folded.before.tolist(), *folded.after.tolist()) if math.isfinite(v)]
    low, high = min([0.0, *ends]), max([0.0, *ends])
    room = 0.2 * ((high - low) or 1.0)  # for the numbers at the bars' ends
    figure.update_yaxes(fixedrange=True, range=[low - room * (low < 0), high + room], zeroline=True)
    return figure


def outputs_alt(folded: Folded, say: Texts = ENGLISH) -> str:
    """Both outputs of every channel, in words."""
    return " ".join(
        say("toys.folding.alt", place=k, before=value(say, a), after=value(say, b))
        for k, (a, b) in enumerate(zip(folded.before.tolist(), folded.after.tolist(), strict=True))
    )


def value(say: Texts, number: float) -> str:
    """A number as it is shown: four digits, a power of ten where it is far from 1, or ∞."""
    if not math.isfinite(number):
        return "?" if math.isnan(number) else "−∞" if number < 0 else "∞"
    if number and not 1e-3 <= abs(number) < 1e4:
        digits, power = f"{number:.2e}".split("e")
        raised = str(int(power)).translate(str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹"))
        return f"{say.number(float(digits), '.3g')}·10{raised}"
    return say.number(number, ".4g")
