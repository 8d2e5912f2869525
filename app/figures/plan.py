"""Draw a transport plan: which of the channels that stay each channel's mass goes to.

A row is one of the n channels of a group, a column one of the m that stay. Ordered by where mass
goes, the plan is a staircase: each step holds the channels that end up in one. Plain pruning is
drawn on the same axes; what it deletes are empty rows. So are the coefficients of rules that move
nothing and let the next layer guess what was deleted: signed, each row a recipe for one channel.
"""

from __future__ import annotations

import numpy as np
import plotly.graph_objects as go
from plotly.colors import sample_colorscale

from app.figures import theme
from core.compress import Step
from core.groups import Group

#: How rows and columns can be ordered.
ORDERS = {
    "structure": "by importance, each channel beneath the one that takes most of it in",
    "channel": "by number, as the network stores them",
}
#: Shares of a channel's mass below the first are rounding, and not drawn; those below the second
#: can't be pointed at, and don't count as a source.
DUST, FAINT = 1e-12, 1e-3
#: Cells that can be pointed at, at most: dense plans have 131,072, strong ones come first.
MOST_CELLS = 20_000
#: More of them than this are drawn by the graphics card: starting it up takes longer than drawing.
MANY_CELLS = 4_000
#: Groups up to this wide get a number at every row and column, and gaps between the cells.
NUMBERED = 20
#: Pixels kept free below the plot, and the plot's width that marks are made for.
BELOW, WIDTH = 58, 480
#: Cells in rows thinner than this many pixels are drawn as dots of that size, or they vanish.
THINNEST = 3.0


def _scale(start: float, end: float) -> list[str]:
    """A stretch of the colour scale that fades into the paper below a quarter of a channel."""
    places = np.linspace(0, 1, 21)
    colours = sample_colorscale(theme.MAGNITUDE, start + (end - start) * places)
    fade = np.clip(0.2 + 3.2 * places, 0, 1)
    return [f"rgba{c[3:-1]}, {a:.2f})" for c, a in zip(colours, fade, strict=True)]


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


def guesses(step: Step) -> bool:
    """Whether discarded channels are guessed from those that stay: there are coefficients."""
    return step.plan is None and not step.projection.selects


def figure(step: Step, group: Group, mode: str, order: str = "structure") -> go.Figure:
    """The plan as a heatmap of the share of each channel's mass, or the coefficients of a guess.

    Trace "plan" is the picture. Trace "cells" lies on it, unseen where cells are large enough to be
    seen themselves, and answers to the pointer: its customdata is [source channel, target channel]
    for each cell. Trace "kept" marks the rows and columns of channels that stay. `mode` is "light"
    or "dark", `order` a key of `ORDERS`.
    """
    rows, columns = arrangement(step, order)
    drawn = (coefficients(step) if guesses(step) else shares(step))[rows][:, columns]  # (n, m)
    kept = step.measures.kept.numpy()
    stays = np.isin(rows, kept)
    count, stay = drawn.shape
    numbered = count <= NUMBERED
    scale = dict(zmin=0, zmax=1, colorscale=SCALES[mode])
    if guesses(step):
        scale = dict(zmin=-1, zmax=1, colorscale=_signed(mode))
    labelled = numbered or order == "channel"
    tall = height(count)
    top = 46 if labelled else 28
    plot = tall - top - BELOW  # the plot's height in pixels
    chart = go.Figure(
        [
            go.Heatmap(
                name="plan",
                z=np.where(np.abs(drawn) > DUST, drawn, np.nan).astype(np.float32),
                **scale,
                xgap=int(numbered), ygap=int(numbered),
                hoverinfo="skip",
                colorbar=dict(
                    orientation="h", x=0.5, y=0, yref="paper", yanchor="top", ypad=8,
                    thickness=8, len=0.7, outlinewidth=0, ticklen=3,
                    **_legend(step),
                ),
            ),
            _marks(stays, stay, plot, mode),
            _cells(step, rows, kept[columns], drawn, plot / count, mode),
        ]
    )  # fmt: skip
    theme.layout(
        chart, mode, tall, dragmode=False, hovermode="closest",
        # Room for letters that is known beforehand: Plotly draws twice where it has to find out.
        margin=dict(l=8 if labelled else 40, r=8, t=top, b=BELOW, autoexpand=labelled),
    )  # fmt: skip
    chart.add_shape(
        type="rect", x0=-0.5, x1=stay - 0.5, y0=-0.5, y1=count - 0.5, layer="below",
        line=dict(color=theme.FAINT[mode], width=1),
    )  # fmt: skip
    quiet = dict(
        showgrid=False, zeroline=False, ticks="", tickfont_size=11, title_standoff=6,
        showticklabels=labelled, automargin=labelled,
    )  # fmt: skip
    chart.update_xaxes(
        quiet, side="top", range=[-0.5 - 2 * _strip(stay, WIDTH), stay - 0.5],
        title_text=f"{stay:,} {_channels(stay)} stay{'s' if stay == 1 else ''}",
        **_ticks(kept[columns], np.ones(stay, bool), numbered),
    )  # fmt: skip
    chart.update_yaxes(
        quiet, range=[count - 0.5, -0.5 - 2 * _strip(count, plot)],
        title_text=f"all {count:,} {_channels(count)}, ━ those that stay",
        **_ticks(rows, stays, numbered),
    )  # fmt: skip
    gone = count - stay
    if step.plan is None and gone and not guesses(step):
        empty = np.flatnonzero(~stays)
        chart.add_annotation(
            x=(stay - 1) / 2, y=(empty[0] + empty[-1]) / 2, showarrow=False,
            text=f"<b>{gone:,} {_channels(gone)} deleted</b>",
            font=dict(size=16, color=theme.PRUNED[mode]),
        )  # fmt: skip
    return chart


def marks(step: Step, channel: int, mode: str, order: str = "structure") -> list[go.Scatter]:
    """A frame around a channel's row, and around its column if it stays: trace "chosen"."""
    rows, columns = arrangement(step, order)
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


def alt(step: Step, group: Group) -> str:
    """What the figure shows, in words: for people who hear the page."""
    count, stay = group.width, len(step.measures.kept)
    gone = f"{count - stay:,} are" if count - stay > 1 else "1 is" if count > stay else "none is"
    if guesses(step):
        lost = ~np.isin(np.arange(count), step.measures.kept.numpy())
        largest = np.abs(coefficients(step))[lost]
        return (
            f"Coefficients that guess {count:,} {_channels(count)} from the {stay:,} that stay: "
            f"{gone} discarded. The largest coefficient of a discarded one is "
            f"{largest.max() if largest.size else 0:.2f}, of their largest ones the median "
            f"{np.median(largest.max(1)) if largest.size else 0:.2f}."
        )
    if step.plan is None:
        return (
            f"Plain pruning of {count:,} {_channels(count)} to {stay:,}: {gone} deleted, and what "
            "stays is left as it is."
        )
    sources = int((shares(step) >= FAINT).sum(0).max())
    end = (
        "The solver converged."
        if step.plan.converged
        else "The solver did not converge, so the plan is not the best one."
    )
    return (
        f"Transport plan of {count:,} {_channels(count)} onto {stay:,}: {gone} discarded. The one "
        f"that takes in most has {sources:,} source{'s' if sources > 1 else ''}, itself included. "
        f"The total cost is {step.plan.cost:.4g}. {end}"
    )


def caption(step: Step, group: Group, order: str = "structure") -> tuple[str, str]:
    """What the figure shows, and what not to read into it: a sentence each."""
    count, stay = group.width, len(step.measures.kept)
    if guesses(step):
        return (
            f"Each row is one of {count:,} channels, marked on the left if it stays, each column "
            f"one of the {stay:,} that stay; colour is the coefficient with which the next layer "
            "guesses the row's channel from the column's.",
            "A coefficient says what helps to guess on the images it was fitted to, next to all "
            "the others, not that two channels are alike.",
        )
    if step.plan is None:
        return (
            f"Each row is one of {count:,} channels, marked on the left if it stays; plain pruning "
            "deletes the others, and their rows are empty.",
            "A full cell says that a channel stays, not that it matters.",
        )
    first = "most important first" if order == "structure" else "by number"
    return (
        f"Each row is one of {count:,} channels, marked on the left if it stays, each column one "
        f"of the {stay:,} that stay, {first}; colour is the share of the row's mass that goes "
        "there.",
        "That two channels share a target says that it was the cheapest way overall, not that they "
        "are alike, and mass is not importance.",
    )


def coefficients(step: Step) -> np.ndarray:
    """What the group's first consumer multiplies the channels that stay with: (n, m)."""
    return step.projection.unmerge.numpy()


def shares(step: Step) -> np.ndarray:
    """The share of each channel's mass that goes to each that stays: (n, m), P / μ.

    Plain pruning moves nothing: a channel that stays keeps all of its own. Where discarded channels
    are guessed, the share of each coefficient's size in their row.
    """
    kept = step.measures.kept.numpy()
    if guesses(step):
        size = np.abs(coefficients(step))
        return size / np.maximum(size.sum(1, keepdims=True), 1e-300)
    if step.plan is None:
        share = np.zeros((len(step.scores), len(kept)))
        share[kept, range(len(kept))] = 1
        return share
    source = step.plan.source.numpy()[:, None]
    return step.plan.mass.numpy() / np.where(source > 0, source, 1)


def arrangement(step: Step, order: str) -> tuple[np.ndarray, np.ndarray]:
    """Which channel each row shows (n,), and which of the kept channels each column (m,).

    By "structure", columns fall in importance; rows are grouped by the column that most of their
    mass goes to, in a group those that stay come first, then by how much of their mass that is.
    Rows without mass come last.
    """
    kept = step.measures.kept.numpy()
    if order == "channel":
        return np.arange(len(step.scores)), np.arange(len(kept))
    score = step.scores.numpy()
    columns = np.argsort(-score[kept], kind="stable")
    share = shares(step)[:, columns]
    most = share.max(1)
    main = np.where(most > DUST, share.argmax(1), len(kept))
    gone = ~np.isin(np.arange(len(score)), kept)
    # Rounded: shares that are equal but for the last digit are ordered by importance.
    return np.lexsort((-score, -most.round(9), gone, main)), columns


def height(count: int) -> int:
    """The figure's height in pixels for a group of `count` channels."""
    return int(np.clip(120 + 22 * count, 300, 540))


def _legend(step: Step) -> dict:
    """What the colour bar says."""
    if guesses(step):
        text, places, words = "coefficient", [-1, 0, 1], ["≤ −1", "0", "≥ 1"]
    else:
        text, places, words = "share of the row's mass", [0, 0.5, 1], ["0", "50 %", "100 %"]
    return dict(tickvals=places, ticktext=words, title=dict(text=text, side="bottom", font_size=13))


def _channels(count: int) -> str:
    return "channel" if count == 1 else "channels"


def _strip(count: int, pixels: float) -> float:
    """Six pixels, in units of an axis with `count` cells on it."""
    return 6 * count / pixels


def _ticks(channels: np.ndarray, stays: np.ndarray, numbered: bool) -> dict:
    """Numbers of channels along an axis: all of them, bold if they stay, or about eight."""
    if not numbered:
        places = np.arange(0, len(channels), max(1, len(channels) // 8))
        return dict(tickvals=places, ticktext=[str(channel) for channel in channels[places]])
    words = [f"<b>{a}</b>" if b else str(a) for a, b in zip(channels, stays, strict=True)]
    return dict(tickvals=np.arange(len(channels)), ticktext=words)


def _marks(stays: np.ndarray, columns: int, plot: float, mode: str) -> go.Scatter:
    """A bar at the left of each row that stays, and above each column."""
    left = -0.5 - _strip(columns, WIDTH)
    above = -0.5 - _strip(len(stays), plot)
    half = 0.4 if len(stays) <= NUMBERED else 0.5
    ends, gap = np.array([-half, half, np.nan]), np.array([0, 0, np.nan])
    rows, tops = np.flatnonzero(stays)[:, None], np.arange(columns)[:, None]
    x = np.concatenate([(gap + left + 0 * rows).ravel(), (tops + ends).ravel()])
    y = np.concatenate([(rows + ends).ravel(), (gap + above + 0 * tops).ravel()])
    return go.Scatter(
        name="kept", x=x, y=y, mode="lines", line=dict(color=theme.INK[mode], width=4),
        hoverinfo="skip",
    )  # fmt: skip


def _cells(
    step: Step, rows: np.ndarray, targets: np.ndarray, drawn: np.ndarray, pixels: float, mode: str
) -> go.Scatter | go.Scattergl:
    """The cells that can be pointed at. A heatmap's own don't answer to a click in Streamlit.

    `pixels` is the height of a row.
    """
    size = np.abs(drawn)
    flat = np.flatnonzero(size >= FAINT)
    flat = flat[np.argsort(-size.flat[flat], kind="stable")[:MOST_CELLS]]
    y, x = np.divmod(flat, drawn.shape[1])
    source, target = rows[y], targets[x]
    if guesses(step):
        words = [
            f"channel {a} is guessed<br>with {value:+.3g} times channel {b}"
            for a, b, value in zip(source, target, drawn[y, x], strict=True)
        ]
    elif step.plan is None:
        words = [f"channel {channel} stays as it is" for channel in source]
    else:
        column = np.searchsorted(step.measures.kept.numpy(), target)
        costs = step.plan.costs.numpy()[source, column]
        words = [
            f"channel {a} stays<br>{100 * share:.3g} % of its mass"
            if a == b
            else f"channel {a} → {b}<br>{100 * share:.3g} % of its mass<br>cost {cost:.3g}"
            for a, b, share, cost in zip(source, target, drawn[y, x], costs, strict=True)
        ]
    marker = dict(symbol="square", size=max(pixels, THINNEST))
    if pixels < THINNEST and len(x) <= drawn.size / 8 and not guesses(step):
        marker |= dict(color=drawn[y, x].astype(np.float32), cmin=0, cmax=1)
        marker |= dict(colorscale=SCALES[mode])
    else:
        marker |= dict(color=theme.INK[mode], opacity=0.01)
    kind = go.Scattergl if len(x) > MANY_CELLS else go.Scatter
    return kind(
        name="cells",
        x=x.astype(np.int16), y=y.astype(np.int16),
        mode="markers",
        marker=marker,
        # As objects they are sent as lists, which a click gives back, and are not looked at one
        # by one here.
        customdata=np.stack([source, target], 1).astype(object),
        hovertext=np.array(words, object), hoverinfo="text",
    )  # fmt: skip
