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
from app.language import ENGLISH, Texts
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


def figure(
    embedding: Embedding, step: Step, group: Group, mode: str, say: Texts = ENGLISH
) -> go.Figure:
    """The channels before and after, in one picture whose axes don't move with the sparsity.

    Traces are told apart by their meta, for names are in the page's language. "discarded", "kept"
    and "fused" answer to clicks: their customdata is [role, channel] for each point; a fused
    channel has the number of the kept channel whose place it takes. "lines" lead from discarded
    channels to where their mass goes, a gap after each. For plain pruning there are no fused
    channels. `mode` is "light" or "dark".
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
        return _origins(channels, role, score, kept, share, guessed, say)

    traces = []
    if step.plan is not None or guessed:
        traces += _links(before, after, kept, share, zoom, mode)
    if step.plan is not None:
        mass = group.width * step.plan.mass.numpy().sum(0)  # in channels
        size = zoom * np.minimum(DIAMOND * np.sqrt(mass), LARGEST)
        traces.append(
            _points(
                "fused", 3, after, kept, _arrivals(kept, step, say), say,
                dict(
                    symbol="diamond", size=size, sizemin=5, opacity=1, color=theme.FUSED[mode],
                    line=edge,
                ),
            )
        )  # fmt: skip
    traces.append(
        _points(
            "discarded", 1, before[gone], gone, words(gone, "discarded"), say,
            dict(
                symbol="circle-open", size=zoom * CIRCLE, line_width=1.8 * zoom,
                color=theme.PRUNED[mode],
            ),
        )
    )  # fmt: skip
    size = zoom * (DOT if step.plan is not None else CIRCLE)
    traces.append(
        _points(
            "kept", 2, before[kept], kept, words(kept, "kept"), say,
            dict(symbol="circle", size=size, color=theme.DENSE[mode], line=edge),
        )
    )  # fmt: skip
    chart = go.Figure(traces)
    first, second = _axis_titles(embedding, say)
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
            name="chosen", meta="chosen", x=[x], y=[y], mode="markers", hoverinfo="skip",
            showlegend=False,
            marker=dict(symbol="circle-open", size=20, line_width=3, color=theme.CHOSEN[mode]),
        )
    ]  # fmt: skip
    if step.plan is not None or guesses(step):
        ends = np.array(pairs, int).reshape(-1, 2).T
        lines = _lines(before, after, ends, look, 0.9)
        lines.name = lines.meta = "chosen"
        chosen.append(lines)
    return chosen


def alt(
    embedding: Embedding, step: Step, group: Group, trusted: float | None, say: Texts = ENGLISH
) -> str:
    """What the figure shows, in words: for people who hear the page.

    `trusted` is the picture's trustworthiness for the recipe, if it has one.
    """
    stay = len(step.measures.kept)
    told = dict(
        method=embedding.method.upper(), count=group.width, stay=stay, gone=group.width - stay
    )
    sentences = []
    if guesses(step):
        sentences.append(say("scatter.alt_guessed", **told))
    elif step.plan is None:
        sentences.append(say("scatter.alt_pruned", **told))
    else:
        sentences.append(say("scatter.alt_fused", **told))
        if stay < group.width:
            lost = np.setdiff1d(np.arange(group.width), step.measures.kept.numpy())
            targets = float((shares(step)[lost] >= FAINT).sum(1).mean())
            sentences.append(say("scatter.alt_targets", targets=targets))
    if embedding.explained:
        sentences.append(say("scatter.alt_variance", share=sum(embedding.explained)))
    if trusted is not None:
        sentences.append(say("scatter.alt_trust", trusted=trusted))
    return " ".join(sentences)


def caption(
    embedding: Embedding, step: Step, group: Group, say: Texts = ENGLISH
) -> tuple[str, str]:
    """What the figure shows, and what not to read into it: a sentence each."""
    if guesses(step):
        shows = say("scatter.shows_guessed")
    elif step.plan is None:
        shows = say("scatter.shows_pruned")
    else:
        shows = say("scatter.shows_fused")
        if group.width <= FEW:
            shows += " " + say("scatter.shows_dotted")
    if embedding.explained:
        return shows, say("scatter.caution_pca", share=sum(embedding.explained))
    return shows, say("scatter.caution_umap")


def story(step: Step, group: Group, say: Texts = ENGLISH) -> str | None:
    """What happens while the discarded channels travel to where their mass goes.

    None where nothing is transported: no channel is discarded, or the rule has no plan.
    """
    stay = len(step.measures.kept)
    if step.plan is None or stay == group.width:
        return None
    return say("scatter.story", count=group.width, gone=group.width - stay, stay=stay)


def _points(
    role: str,
    rank: int,
    at: np.ndarray,
    channels: np.ndarray,
    words: list[str],
    say: Texts,
    marker: dict,
) -> go.Scatter:
    """Channels of one role; `rank` is their place in the legend."""
    return go.Scatter(
        name=say(f"scatter.legend.{role}", count=len(at)), meta=role, legendrank=rank,
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
        links[-1].meta = "places"  # no mass of discarded channels: the story leaves them out
    return links


def _lines(before, after, pairs, look: dict, opacity: float) -> go.Scatter:
    """Lines from `before` to `after` for pairs of their rows, with gaps between them."""
    starts, ends = before[pairs[0]], after[pairs[1]]
    gap = np.full_like(starts, np.nan)
    x, y = np.stack([starts, ends, gap], 1).reshape(-1, 2).T
    return go.Scatter(
        name="lines", meta="lines", x=x, y=y, mode="lines", line=look, opacity=opacity,
        showlegend=False, hoverinfo="skip",
    )  # fmt: skip


def _origins(
    channels: np.ndarray,
    role: str,
    score: np.ndarray,
    kept: np.ndarray,
    share: np.ndarray,
    guessed: bool,
    say: Texts,
) -> list[str]:
    """What the pointer reads at original channels."""
    called = say(f"scatter.role.{role}")
    words = []
    for channel in channels:
        goes = []
        for j in np.argsort(-share[channel], kind="stable")[:3]:
            part = float(share[channel, j])
            if part < FAINT:
                break
            if kept[j] == channel:
                goes.append(say("scatter.itself" if guessed else "scatter.stays", share=part))
            else:
                key = "scatter.source" if guessed else "scatter.target"
                goes.append(say(key, channel=kept[j], share=part))
        listed = ", ".join(goes)
        if more := int((share[channel] >= FAINT).sum()) - len(goes):
            listed += " " + say("scatter.more", count=more)
        if not listed:
            fate = say("scatter.nothing" if guessed else "scatter.deleted")
        else:
            fate = say("scatter.guessed" if guessed else "scatter.mass", listed=listed)
        words.append(
            say("scatter.hover", channel=channel, role=called, score=score[channel], fate=fate)
        )
    return words


def _arrivals(kept: np.ndarray, step: Step, say: Texts) -> list[str]:
    """What the pointer reads at fused channels."""
    mass = step.plan.mass.numpy()
    part = mass / np.maximum(mass.sum(0), 1e-300)  # (n, m): what each fused channel consists of
    words = []
    for place, channel in enumerate(kept):
        sources = np.argsort(-part[:, place], kind="stable")[:4]
        named = [
            say("scatter.part", channel=i, share=float(part[i, place]))
            for i in sources
            if part[i, place] >= FAINT
        ]
        listed = ", ".join(named)
        if more := int((part[:, place] >= FAINT).sum()) - len(named):
            listed += " " + say("scatter.more", count=more)
        words.append(say("scatter.hover_fused", channel=channel, listed=listed))
    return words


def _ranges(embedding: Embedding, after: np.ndarray) -> list[tuple[float, float]]:
    """The embedding's box; wider where a fused channel would be left out."""
    ranges = []
    for axis, (low, high) in enumerate(embedding.box):
        room = 0.03 * (high - low)
        values = after[:, axis]
        ranges.append((min(low, float(values.min()) - room), max(high, float(values.max()) + room)))
    return ranges


def _axis_titles(embedding: Embedding, say: Texts) -> tuple[str, str]:
    if not embedding.explained:
        return "", ""
    first, second = embedding.explained
    return say("scatter.axis_first", share=first), say("scatter.axis_second", share=second)
