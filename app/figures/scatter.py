"""Draw a group's channels as points: the original ones, the fused ones, and where mass goes.

Roles are told by shape as well as by colour: kept channels are small solid dots, discarded ones
hollow circles, fused ones solid diamonds that grow with the mass they take in. Dots and circles lie
on top, for a fused channel often ends up where a kept one was.
"""

from __future__ import annotations

import numpy as np
import plotly.graph_objects as go

from app.figures import theme
from app.figures.plan import FAINT, guesses, shares
from core.compress import Step
from core.embedding import Embedding
from core.groups import Group

HEIGHT = 480
#: Kinds of lines by the share of the discarded channel's mass: at least, width, opacity.
LINES = ((2 / 3, 1.8, 0.6), (1 / 3, 1.3, 0.42), (0.1, 0.8, 0.3))
#: Sizes in pixels of circles and dots, of a diamond with the mass of one channel, and at most.
CIRCLE, DOT, DIAMOND, LARGEST = 8, 5.5, 8, 24
#: Wider groups are drawn smaller and thinner.
CROWD = 128
#: Up to this many channels, dotted lines lead from kept channels to their fused ones, too.
FEW = 64


def figure(embedding: Embedding, step: Step, group: Group, mode: str) -> go.Figure:
    """The channels before and after, in one picture whose axes don't move with the sparsity.

    Traces "discarded", "kept" and "fused" answer to clicks: their customdata is [role, channel]
    for each point; a fused channel has the number of the kept channel whose place it takes. For
    plain pruning there are no fused channels. `mode` is "light" or "dark".
    """
    before = embedding.before
    kept = step.measures.kept.numpy()
    gone = np.setdiff1d(np.arange(group.width), kept)
    after = embedding.after(step)
    score, share = step.scores.numpy(), shares(step)
    zoom = min(1.0, max(0.65, (CROWD / group.width) ** 0.5))
    edge = dict(color=theme.PAPER[mode], width=0.8)
    guessed = guesses(step)

    def words(channels: np.ndarray, role: str) -> list[str]:
        return _origins(channels, role, score, kept, share, guessed)

    traces = []
    if step.plan is not None or guessed:
        traces += _links(before, after, kept, share, zoom, mode)
    if step.plan is not None:
        mass = group.width * step.plan.mass.numpy().sum(0)  # in channels
        size = zoom * np.minimum(DIAMOND * np.sqrt(mass), LARGEST)
        traces.append(
            _points(
                "fused", 3, after, kept, _arrivals(kept, step),
                dict(
                    symbol="diamond", size=size, sizemin=5, opacity=1, color=theme.FUSED[mode],
                    line=edge,
                ),
            )
        )  # fmt: skip
    traces.append(
        _points(
            "discarded", 1, before[gone], gone, words(gone, "discarded"),
            dict(
                symbol="circle-open", size=zoom * CIRCLE, line_width=1.8 * zoom,
                color=theme.PRUNED[mode],
            ),
        )
    )  # fmt: skip
    size = zoom * (DOT if step.plan is not None else CIRCLE)
    traces.append(
        _points(
            "kept", 2, before[kept], kept, words(kept, "kept"),
            dict(symbol="circle", size=size, color=theme.DENSE[mode], line=edge),
        )
    )  # fmt: skip
    chart = go.Figure(traces)
    first, second = _axis_titles(embedding)
    side = 30 if first else 8
    theme.layout(
        chart, mode, HEIGHT, showlegend=True, dragmode=False, hovermode="closest",
        # Room that is known beforehand (a legend of two rows, titles): Plotly draws twice where it
        # has to find out.
        margin=dict(l=side, r=8, t=46, b=side, autoexpand=False),
        legend=dict(
            orientation="h", x=0, y=1, xanchor="left", yanchor="bottom", itemsizing="trace",
            bgcolor="rgba(0,0,0,0)", itemclick=False, itemdoubleclick=False,
        ),
        # Whoever has zoomed in stays there while the sparsity changes.
        uirevision=f"{embedding.method} {group.index} {group.width}",
    )  # fmt: skip
    across, up = _ranges(embedding, after)
    quiet = dict(
        showgrid=False, zeroline=False, showticklabels=False, ticks="", automargin=False
    )  # fmt: skip
    line = dict(showline=True, mirror=True, linecolor=theme.FAINT[mode], title_standoff=4)
    chart.update_xaxes(quiet | line, range=across, title_text=first)
    # One scale for both: a distance is as long across as it is up.
    chart.update_yaxes(quiet | line, range=up, title_text=second, scaleanchor="x")
    return chart


def marks(embedding: Embedding, step: Step, channel: int, mode: str) -> list[go.Scatter]:
    """A ring around a channel, and lines to its heirs and from its parents: trace "chosen".

    Heirs are the fused channels its mass goes to, parents, of one that stays, the channels whose
    mass arrives there; for rules that guess, the channels it is guessed from.
    """
    before, kept = embedding.before, step.measures.kept.numpy()
    after, share = embedding.after(step), shares(step)
    pairs = [(channel, int(j)) for j in np.flatnonzero(share[channel] >= FAINT)]
    for place in np.flatnonzero(kept == channel):
        pairs += [(int(i), int(place)) for i in np.flatnonzero(share[:, place] >= FAINT)]
    x, y = before[channel]
    look = dict(color=theme.CHOSEN[mode], width=2.2)
    chosen = [
        go.Scatter(
            name="chosen", x=[x], y=[y], mode="markers", hoverinfo="skip", showlegend=False,
            marker=dict(symbol="circle-open", size=20, line_width=3, color=theme.CHOSEN[mode]),
        )
    ]  # fmt: skip
    if step.plan is not None or guesses(step):
        ends = np.array(pairs, int).reshape(-1, 2).T
        lines = _lines(before, after, ends, look, 0.9)
        lines.name = "chosen"
        chosen.append(lines)
    return chosen


def alt(embedding: Embedding, step: Step, group: Group) -> str:
    """What the figure shows, in words: for people who hear the page."""
    stay = len(step.measures.kept)
    gone = group.width - stay
    method = embedding.method.upper()
    if guesses(step):
        text = (
            f"{method} picture of {group.width:,} channels: {stay:,} stay, {gone:,} are discarded "
            "and guessed from those that stay."
        )
    elif step.plan is None:
        text = f"{method} picture of {group.width:,} channels: {stay:,} stay, {gone:,} are deleted."
    else:
        text = (
            f"{method} picture of {group.width:,} channels, {gone:,} of them discarded, and of "
            "what "
            f"they are fused into: {stay:,}."
        )
        if gone:
            lost = np.setdiff1d(np.arange(group.width), step.measures.kept.numpy())
            targets = (shares(step)[lost] >= FAINT).sum(1).mean()
            text += f" A discarded channel's mass goes to {targets:.1f} of those on average."
    if embedding.explained:
        text += f" The two axes hold {_percent(sum(embedding.explained))} of the variance."
    if embedding.trustworthiness is not None:
        text += f" Trustworthiness {embedding.trustworthiness:.2f} of 1."
    return text


def caption(embedding: Embedding, step: Step, group: Group) -> tuple[str, str]:
    """What the figure shows, and what not to read into it: a sentence each."""
    if guesses(step):
        shows = (
            "Each point is a channel: dots stay as they are, hollow circles are discarded; lines "
            "lead to the channels that the next layer guesses them from, the strongest ones."
        )
    elif step.plan is None:
        shows = "Each point is a channel: dots stay as they are, hollow circles are deleted."
    else:
        shows = (
            "Each point is a channel: dots are kept, hollow circles discarded, diamonds what they "
            "are fused into, larger with more mass; lines lead from each discarded channel to "
            "where its mass goes"
            + (", dotted ones from kept channels to fused." if group.width <= FEW else ".")
        )
    trusted = embedding.trustworthiness
    trust = f" (trustworthiness {trusted:.2f} of 1)" if trusted is not None else ""
    if embedding.explained:
        caution = (
            f"The axes are the two directions of most variance and hold "
            f"{_percent(sum(embedding.explained))} of it: channels that are apart here are apart, "
            f"channels that meet here need not{trust}."
        )
    else:
        caution = (
            f"Neighbourhoods mean something{trust}; sizes, gaps and axes don't, and numbers come "
            "from the original space."
        )
    return shows, caution


def _points(
    role: str, rank: int, at: np.ndarray, channels: np.ndarray, words: list[str], marker: dict
) -> go.Scatter:
    """Channels of one role; `rank` is their place in the legend."""
    return go.Scatter(
        name=f"{role} ({len(at):,})", legendrank=rank,
        x=at[:, 0], y=at[:, 1],
        mode="markers",
        marker=marker,
        # Arrays of objects are sent as lists, and are not looked at one by one here.
        customdata=np.array([[role, int(channel)] for channel in channels], object).reshape(-1, 2),
        hovertext=np.array(words, object), hoverinfo="text",
    )  # fmt: skip


def _links(
    before: np.ndarray,
    after: np.ndarray,
    kept: np.ndarray,
    share: np.ndarray,
    zoom: float,
    mode: str,
) -> list[go.Scatter]:
    """Lines from discarded channels to where their mass goes, a trace for each kind of `LINES`.

    Of mass that goes in many directions the largest part is drawn, and whatever is above the
    smallest share.
    """
    count, stay = share.shape
    gone = ~np.isin(np.arange(count), kept)
    drawn = share >= LINES[-1][0]
    drawn[np.arange(count), share.argmax(1)] = True
    links, most = [], np.inf
    for least, width, opacity in LINES:
        low = least if least > LINES[-1][0] else 0.0
        pairs = np.nonzero(drawn & gone[:, None] & (share >= low) & (share < most))
        look = dict(color=theme.DENSE[mode], width=zoom * width)
        links.append(_lines(before, after, pairs, look, zoom * opacity))
        most = low
    if count <= FEW:
        look = dict(color=theme.DENSE[mode], width=1, dash="dot")
        links.append(_lines(before, after, (kept, np.arange(stay)), look, 0.6))
    return links


def _lines(before, after, pairs, look: dict, opacity: float) -> go.Scatter:
    """Lines from `before` to `after` for pairs of their rows, with gaps between them."""
    starts, ends = before[pairs[0]], after[pairs[1]]
    gap = np.full_like(starts, np.nan)
    x, y = np.stack([starts, ends, gap], 1).reshape(-1, 2).T
    return go.Scatter(
        name="lines", x=x, y=y, mode="lines", line=look, opacity=opacity,
        showlegend=False, hoverinfo="skip",
    )  # fmt: skip


def _origins(
    channels: np.ndarray,
    role: str,
    score: np.ndarray,
    kept: np.ndarray,
    share: np.ndarray,
    guessed: bool,
) -> list[str]:
    """What the pointer reads at original channels."""
    what, itself, to = ("guessed from", "itself", "") if guessed else ("its mass", "stays", "to ")
    words = []
    for channel in channels:
        targets = np.argsort(-share[channel], kind="stable")[:3]
        goes = [
            f"{itself if kept[j] == channel else f'{to}{kept[j]}'} {_percent(share[channel, j])}"
            for j in targets
            if share[channel, j] >= FAINT
        ]
        more = int((share[channel] >= FAINT).sum()) - len(goes)
        mass = ", ".join(goes) + (f" and {more} more" if more else "") or "deleted"
        words.append(
            f"channel {channel}, {role}<br>importance {score[channel]:.3g}<br>{what}: {mass}"
        )
    return words


def _arrivals(kept: np.ndarray, step: Step) -> list[str]:
    """What the pointer reads at fused channels."""
    mass = step.plan.mass.numpy()
    part = mass / np.maximum(mass.sum(0), 1e-300)  # (n, m): what each fused channel consists of
    words = []
    for place, channel in enumerate(kept):
        sources = np.argsort(-part[:, place], kind="stable")[:4]
        named = [f"{i} ({_percent(part[i, place])})" for i in sources if part[i, place] >= FAINT]
        more = int((part[:, place] >= FAINT).sum()) - len(named)
        words.append(
            f"fused channel, in the place of {channel}<br>takes in "
            + ", ".join(named)
            + (f" and {more} more" if more else "")
        )
    return words


def _ranges(embedding: Embedding, after: np.ndarray) -> list[tuple[float, float]]:
    """The embedding's box; wider where a fused channel would be left out."""
    ranges = []
    for axis, (low, high) in enumerate(embedding.box):
        room = 0.03 * (high - low)
        values = after[:, axis]
        ranges.append((min(low, float(values.min()) - room), max(high, float(values.max()) + room)))
    return ranges


def _axis_titles(embedding: Embedding) -> tuple[str, str]:
    if not embedding.explained:
        return "", ""
    first, second = embedding.explained
    return f"most variance ({_percent(first)})", f"second most ({_percent(second)})"


def _percent(share: float) -> str:
    return f"{100 * share:.0f} %" if share >= 0.1 else f"{100 * share:.1f} %"
