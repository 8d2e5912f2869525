"""Draw a transport plan: which of the channels that stay each channel's mass goes to.

A row is one of the n channels of a group, a column one of the m that stay. Ordered by where mass
goes, the plan is a staircase: each step holds the channels that end up in one. Plain pruning is
drawn on the same axes; what it deletes are empty rows. So are the coefficients of rules that move
nothing and let the next layer guess what was deleted: signed, each row a recipe for one channel.

The browser is sent the cells, not the n × m numbers of the picture, most of which are nothing, nor
the words that it shows of a cell: `chart.js` makes both.
"""

from __future__ import annotations

import numpy as np
import plotly.graph_objects as go
from plotly.colors import sample_colorscale

from app.figures import theme
from app.figures.order import (
    DUST,
    FAINT,
    arrangement,
    coefficients,
    guesses,
    neighbourhood,
    shares,
)
from app.language import ENGLISH, Texts
from core.compress import Step
from core.groups import Group

#: Groups up to this wide get a number at every row and column, and gaps between the cells.
NUMBERED = 20
#: Pixels kept free below the plot, and the plot's width that marks are made for.
BELOW, WIDTH = 58, 480
#: Cells in rows thinner than this many pixels are drawn as dots of that size, or they vanish; at
#: most this share of all cells, for dense plans need none.
THINNEST, SPARSE = 3.0, 1 / 8


def _scale(start: float, end: float) -> list[list]:
    """A stretch of the colour scale that fades into the paper below a quarter of a channel."""
    places = np.linspace(0, 1, 21)
    colours = sample_colorscale(theme.MAGNITUDE, start + (end - start) * places)
    fade = np.clip(0.2 + 3.2 * places, 0, 1)
    return [
        [place, f"rgba{c[3:-1]}, {a:.2f})"]
        for place, c, a in zip(places.tolist(), colours, fade, strict=True)
    ]


#: A whole channel stands out most: dark on light paper, light on dark. Next to nothing, which is
#: all there is in most cells of a dense plan, is next to the paper.
SCALES = {"light": _scale(0.96, 0.0), "dark": _scale(0.18, 1.0)}


def _signed(mode: str) -> list[list]:
    """From a full colour below zero through nothing to another full one above it."""
    ends = []
    for colour in (theme.BELOW[mode], theme.ABOVE[mode]):
        ends.append(", ".join(str(int(colour[i : i + 2], 16)) for i in (1, 3, 5)))
    below, above = ends
    return [
        [0, f"rgba({below}, 1)"], [0.5, f"rgba({below}, 0)"],
        [0.5, f"rgba({above}, 0)"], [1, f"rgba({above}, 1)"],
    ]  # fmt: skip


def figure(
    step: Step, group: Group, mode: str, order: str = "structure", near: int | None = None,
    say: Texts = ENGLISH,
) -> go.Figure:  # fmt: skip
    """The plan as a heatmap of the share of each channel's mass, or the coefficients of a guess.

    Trace "plan" is the picture: its meta hold what `_sent` says, of which the browser makes the
    numbers, and answers to the pointer with [source channel, target channel]. Where rows are too
    thin to be seen, trace "cells" has a dot for each. Trace "kept" marks the rows and columns of
    channels that stay. `mode` is "light" or "dark", `order` a key of `ORDERS`; `near`: a channel,
    of which only the neighbourhood is drawn.
    """
    share = shares(step)
    rows, columns = arrangement(step, order, near, share)
    cells = (coefficients(step) if guesses(step) else share)[np.ix_(rows, columns)]
    kept = step.measures.kept.numpy()
    stays = np.isin(rows, kept)
    count, stay = cells.shape
    numbered = near is not None or count <= NUMBERED
    scale = dict(zmin=0, zmax=1, colorscale=SCALES[mode])
    if guesses(step):
        scale = dict(zmin=-1, zmax=1, colorscale=_signed(mode))
    labelled = numbered or order == "channel"
    tall = height(count, near is not None)
    top = 46 if labelled else 28
    plot = tall - top - BELOW  # the plot's height in pixels
    size = np.abs(cells)
    dots = None
    if plot / count < THINNEST and not guesses(step):
        seen = np.argwhere(size >= FAINT).astype(np.int16)
        dots = seen if len(seen) <= SPARSE * cells.size else None
    plan = go.Heatmap(
        name="plan", meta=_sent(step, rows, columns, cells, size > DUST, say),
        **scale, xgap=int(numbered), ygap=int(numbered), hoverongaps=False,
        hoverinfo="text" if dots is None else "skip",
        colorbar=dict(
            orientation="h", x=0.5, y=0, yref="paper", yanchor="top", ypad=8,
            thickness=8, len=0.7, outlinewidth=0, ticklen=3, **_legend(step, say),
        ),
    )  # fmt: skip
    traces = [plan, _marks(stays, stay, plot, numbered, mode)]
    if dots is not None:
        marker = dict(
            symbol="square", size=THINNEST, cmin=0, cmax=1, colorscale=SCALES[mode]
        )  # fmt: skip
        traces.append(
            go.Scatter(
                name="cells", mode="markers", x=dots[:, 1], y=dots[:, 0], marker=marker,
                hoverinfo="text",
            )
        )  # fmt: skip
    frame = dict(
        type="rect", x0=-0.5, x1=stay - 0.5, y0=-0.5, y1=count - 0.5, layer="below",
        line=dict(color=theme.FAINT[mode], width=1),
    )  # fmt: skip
    quiet = dict(
        showgrid=False, zeroline=False, ticks="", tickfont=dict(size=11), showticklabels=labelled,
        automargin=labelled,
    )  # fmt: skip
    parts = dict(stay=stay, count=count, all_stay=len(kept), all=group.width)
    part = "" if near is None else "_near"
    gone = count - stay
    notes = []
    if step.plan is None and gone and not guesses(step):
        empty = np.flatnonzero(~stays)
        notes.append(
            dict(
                x=(stay - 1) / 2, y=(empty[0] + empty[-1]) / 2, showarrow=False,
                text=f"<b>{say('plan.deleted', gone=gone)}</b>",
                font=dict(size=16, color=theme.PRUNED[mode]),
            )
        )  # fmt: skip
    # All at once: each change that Plotly is asked for later takes as long as the rest.
    return theme.layout(
        go.Figure(traces), mode, tall, dragmode=False, hovermode="closest",
        # Room for letters that is known beforehand: Plotly draws twice where it has to find out.
        margin=dict(l=8 if labelled else 40, r=8, t=top, b=BELOW, autoexpand=labelled),
        shapes=[frame], annotations=notes,
        xaxis=dict(
            quiet, side="top", range=[-0.5 - 2 * _strip(stay, WIDTH), stay - 0.5],
            title=dict(text=say(f"plan.columns{part}", **parts), standoff=6),
            **_ticks(kept[columns], np.ones(stay, bool), numbered),
        ),
        yaxis=dict(
            quiet, range=[count - 0.5, -0.5 - 2 * _strip(count, plot)],
            title=dict(text=say(f"plan.rows{part}", **parts), standoff=6),
            **_ticks(rows, stays, numbered),
        ),
    )  # fmt: skip


def _sent(
    step: Step, rows: np.ndarray, columns: np.ndarray, cells: np.ndarray, full: np.ndarray,
    say: Texts,
) -> dict:  # fmt: skip
    """What the browser makes the picture of: `cells`, numbers of `rows` and `columns`, `words`.

    `cells` are {row, column, value, cost} of the full ones, or of all {value, cost}, row by row,
    where that is shorter; the cost in units of `unit`, where there is one.
    """
    targets = step.measures.kept.numpy()[columns]
    costs = None if step.plan is None else step.plan.costs.numpy()[np.ix_(rows, columns)]
    cell = np.where(full, cells, np.nan).astype(np.float32)
    if 2 * np.count_nonzero(full) < full.size:
        y, x = np.nonzero(full)
        sent = dict(row=y.astype(np.int16), column=x.astype(np.int16), value=cell[y, x])
        if costs is not None:
            sent |= dict(cost=costs[y, x].astype(np.float32), unit=1)
    else:
        sent = dict(value=cell.ravel())
        if costs is not None:  # as whole numbers: half as long, and exact to five digits
            unit = max(float(costs.max()), 1e-300) / 65535
            sent |= dict(cost=np.rint(costs.ravel() / unit).astype(np.uint16), unit=unit)
    return dict(
        cells=sent, rows=rows.astype(np.int32), columns=targets.astype(np.int32),
        words=words(step, say),
    )  # fmt: skip


def words(step: Step, say: Texts) -> dict[str, str]:
    """What is said of a cell that keeps what it has, and of one that gives: for the browser.

    It fills in {source}, {target}, {value} and {cost}, written as in `language`.
    """
    holes = {name: f"{{{name}}}" for name in ("source", "target", "value", "cost")}
    if guesses(step):
        own = moved = say("plan.cell_guess", **holes)
    else:
        own = say("plan.cell_stays" if step.plan is None else "plan.cell_own", **holes)
        moved = say("plan.cell_moved", **holes)
    kind = "coefficient" if guesses(step) else "share"
    return dict(own=own, moved=moved, kind=kind, language=say.language)


def marks(
    step: Step, channel: int, mode: str, order: str = "structure", near: int | None = None
) -> list[go.Scatter]:
    """A frame around a channel's row, and around its column if it stays: trace "chosen"."""
    rows, columns = arrangement(step, order, near)
    kept = step.measures.kept.numpy()[columns]
    y, right, down = int(np.flatnonzero(rows == channel)[0]), len(kept) - 0.5, len(rows) - 0.5
    frames = [(-0.5, right, y - 0.5, y + 0.5)]
    frames += [(x - 0.5, x + 0.5, -0.5, down) for x in np.flatnonzero(kept == channel).tolist()]
    corners = [
        ([a, b, b, a, a, None], [top, top, bottom, bottom, top, None])
        for a, b, top, bottom in frames
    ]
    return [
        go.Scatter(
            name="chosen", mode="lines", line=dict(color=theme.CHOSEN[mode], width=2),
            x=sum((x for x, _ in corners), []), y=sum((y for _, y in corners), []),
            hoverinfo="skip", cliponaxis=False,
        )
    ]  # fmt: skip


def alt(step: Step, group: Group, say: Texts = ENGLISH) -> str:
    """What the figure shows, in words: for people who hear the page."""
    count, stay = group.width, len(step.measures.kept)
    lost = count - stay
    gone = say("plan.gone", lost=lost) if lost else say("plan.gone_none")
    told = dict(count=count, stay=stay, gone=gone)
    if guesses(step):
        largest = np.abs(coefficients(step))[~np.isin(np.arange(count), step.measures.kept.numpy())]
        return say(
            "plan.alt_guess", **told,
            largest=float(largest.max()) if largest.size else 0.0,
            median=float(np.median(largest.max(1))) if largest.size else 0.0,
        )  # fmt: skip
    if step.plan is None:
        return say("plan.alt_pruned", **told)
    sources = int((shares(step) >= FAINT).sum(0).max())
    end = say("plan.converged" if step.plan.converged else "plan.gave_up")
    return say("plan.alt", **told, sources=sources, cost=step.plan.cost, end=end)


def caption(
    step: Step, group: Group, order: str = "structure", near: int | None = None,
    say: Texts = ENGLISH,
) -> tuple[str, str]:  # fmt: skip
    """What the figure shows, and what not to read into it: a sentence each."""
    told = dict(count=group.width, stay=len(step.measures.kept))
    if guesses(step):
        shown, doubt = say("plan.caption_guess", **told), say("plan.doubt_guess")
    elif step.plan is None:
        shown, doubt = say("plan.caption_pruned", **told), say("plan.doubt_pruned")
    else:
        first = say(f"plan.order_{order}")
        shown, doubt = say("plan.caption", **told, first=first), say("plan.doubt")
    if near is not None:
        shown += " " + near_caption(step, near, say)
    return shown, doubt


def near_caption(step: Step, near: int, say: Texts = ENGLISH) -> str:
    """Which part of the plan is drawn, in a sentence, and a second if more belongs to it."""
    rows, columns, whole = neighbourhood(step, near)
    kept = near in step.measures.kept.tolist()
    text = say("plan.near_kept" if kept else "plan.near_lost", channel=near)
    if not whole:
        text += " " + say("plan.near_strongest", rows=int(rows.sum()), columns=int(columns.sum()))
    return text


def height(count: int, near: bool = False) -> int:
    """The figure's height in pixels for so many rows; `near`: every one has to have its number."""
    return int(np.clip(120 + 22 * count, 220 if near else 300, 800 if near else 540))


def _legend(step: Step, say: Texts) -> dict:
    """What the colour bar says."""
    if guesses(step):
        text, places, ends = say("plan.coefficient"), [-1, 0, 1], ["≤ −1", "0", "≥ 1"]
    else:
        text, places = say("plan.share_of_row"), [0, 0.5, 1]
        ends = ["0", say.number(0.5, ".0%"), say.number(1.0, ".0%")]
    return dict(
        tickvals=places, ticktext=ends, title=dict(text=text, side="bottom", font=dict(size=13))
    )


def _strip(count: int, pixels: float) -> float:
    """Six pixels, in units of an axis with `count` cells on it."""
    return 6 * count / pixels


def _ticks(channels: np.ndarray, stays: np.ndarray, numbered: bool) -> dict:
    """Numbers of channels along an axis: all of them, bold if they stay, or about eight."""
    if not numbered:
        places = np.arange(0, len(channels), max(1, len(channels) // 8))
        return dict(tickvals=places, ticktext=[str(channel) for channel in channels[places]])
    bold = [f"<b>{a}</b>" if b else str(a) for a, b in zip(channels, stays, strict=True)]
    return dict(tickvals=np.arange(len(channels)), ticktext=bold)


def _marks(stays: np.ndarray, columns: int, plot: float, numbered: bool, mode: str) -> go.Scatter:
    """A bar at the left of each row that stays, and above each column."""
    left = -0.5 - _strip(columns, WIDTH)
    above = -0.5 - _strip(len(stays), plot)
    half = 0.4 if numbered else 0.5
    ends, gap = np.array([-half, half, np.nan]), np.array([0, 0, np.nan])
    rows, tops = np.flatnonzero(stays)[:, None], np.arange(columns)[:, None]
    x = np.concatenate([(gap + left + 0 * rows).ravel(), (tops + ends).ravel()])
    y = np.concatenate([(rows + ends).ravel(), (gap + above + 0 * tops).ravel()])
    return go.Scatter(
        name="kept", x=x.astype(np.float32), y=y.astype(np.float32), mode="lines",
        line=dict(color=theme.INK[mode], width=4), hoverinfo="skip",
    )  # fmt: skip
