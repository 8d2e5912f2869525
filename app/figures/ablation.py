"""The ablations as pictures: rows of points with intervals, or curves; solvers as a table."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import plotly.graph_objects as go
from plotly.subplots import make_subplots

from app.figures import theme
from app.language import ENGLISH, Texts
from core.ablation import Spread, grouped, spread
from core.book import Entry
from core.corruption import CORRUPTIONS, STRENGTHS

#: What is drawn as curves; anything else as rows of points.
CURVES = ("quality", "corruption")
#: What is told apart: its colour and its symbol, hollow for what was pruned.
LOOKS = {
    "dense": (theme.DENSE, "square"),
    "pruned": (theme.PRUNED, "circle-open"),
    "fused": (theme.FUSED, "circle"),
    "informed": ({mode: theme.CATEGORIES[mode][4] for mode in theme.CATEGORIES}, "diamond"),
}
DASHES = {"dense": "dot", "pruned": "dash", "fused": "solid"}
#: Pixels a point with its room takes, a row's own room, axis and legend; and a panel of curves.
POINT, ROW, AXIS, PANEL = 20, 14, 90, 230
#: Rows that the words for those who don't see the figure tell one by one.
TOLD = 8


@dataclass(frozen=True)
class Row:
    """What stands beside one name: accuracies by what is told apart, keys of `LOOKS`."""

    title: str
    found: dict[str, Spread]


def place_of(entry: Entry, say: Texts) -> str:
    groups, sparsity = entry.recipe.groups, entry.recipe.sparsity
    if groups == "all":
        return say("ablation.place_all", sparsity=sparsity)
    return say(
        "ablation.place", groups=", ".join(map(str, groups)), count=len(groups), sparsity=sparsity
    )


def _variant(ablation: str, variant: str, say: Texts) -> str:
    """What a variant is called; numbers and solvers' names are what they are."""
    word, _, amount = variant.partition(" ")
    if ablation == "spoiled":
        share = float(amount or 0)
        return say(f"ablation.spoiled.{word}", share=share, ratio=share)
    if ablation == "random" and variant == "random":
        return say("ablation.random_scores")
    return variant


def _key(ablation: str, entry: Entry) -> str:
    return "informed" if (ablation, entry.variant) == ("masses", "importance") else entry.kind


def rows(ablation: str, entries: Sequence[Entry], say: Texts = ENGLISH) -> list[Row]:
    """The rows of an ablation: of several networks or seeds, means with their intervals."""
    places = {place_of(entry, say) for entry in entries if entry.recipe}
    # Of the dense network, which every row shares, there is a line across.
    own = entries if ablation == "spoiled" else [entry for entry in entries if entry.recipe]

    def title(entry: Entry) -> str:
        where = place_of(entry, say) if entry.recipe else ""
        if ablation == "masses":
            return where
        name = _variant(ablation, entry.variant, say) or say("accuracy.name.pruned")
        return f"{where}: {name}" if len(places) > 1 and ablation != "spoiled" else name

    return [
        Row(name, {key: spread(one) for key, one in grouped(held, by).items()})
        for name, held in grouped(own, title).items()
        for by in (lambda entry: _key(ablation, entry),)
    ]


def dense(entries: Sequence[Entry]) -> Spread | None:
    """The dense network on clean images; of several networks their mean."""
    found = [e for e in entries if e.kind == "dense" and e.variant in ("", "clean")]
    return spread(found) if found else None


def figure(ablation: str, entries: Sequence[Entry], mode: str, say: Texts = ENGLISH) -> go.Figure:
    """An ablation's figure; `entries` are those that its function in `core.ablation` wants.

    Traces are called as the keys of `LOOKS`.
    """
    if ablation in CURVES:
        return _curves(ablation, entries, mode, say)
    told, chart = rows(ablation, entries, say), go.Figure()
    keys = [key for key in LOOKS if any(key in row.found for row in told)]
    middle = (len(keys) - 1) / 2
    for place, key in enumerate(keys):
        held = [(at, row) for at, row in enumerate(told) if key in row.found]
        # Above and below the row's own height: no point hides another.
        heights = [-at + 0.22 * (middle - place) for at, _ in held]
        found = [row.found[key] for _, row in held]
        titles = [row.title for _, row in held]
        chart.add_scatter(
            name=key, mode="markers", x=[100 * one.mean for one in found], y=heights,
            marker=_marker(key, mode), error_x=_errors(found, key, mode),
            hovertemplate=_hovers(key, titles, found, say),
        )  # fmt: skip
    if ablation != "spoiled" and (whole := dense(entries)):
        chart.add_vline(
            x=100 * whole.mean, line=dict(color=theme.DENSE[mode], width=1.5, dash="dot")
        )
    height = AXIS + len(told) * (ROW + POINT * len(keys))
    theme.layout(chart, mode, height, dragmode=False, hovermode="closest")
    _legend(chart, keys, mode, say)
    _percent(chart.update_xaxes, say)
    chart.update_yaxes(
        tickvals=[-at for at in range(len(told))], ticktext=[_wrapped(row.title) for row in told],
        range=[-len(told) + 0.4, 0.6], fixedrange=True, zeroline=False,
    )  # fmt: skip
    return chart


def _curves(ablation: str, entries: Sequence[Entry], mode: str, say: Texts) -> go.Figure:
    """A panel a corruption, or a group and sparsity; bands are 95 % intervals."""
    panels = _panels(ablation, entries, say)
    columns = 2 if len(panels) > 1 else 1
    lines = -(-len(panels) // columns)
    chart = make_subplots(
        lines, columns, shared_yaxes=True, subplot_titles=[title for title, _ in panels],
        horizontal_spacing=0.06, vertical_spacing=0.26 / lines,
    )  # fmt: skip
    shown = []
    for place, (title, curves) in enumerate(panels):
        where = dict(row=place // columns + 1, col=place % columns + 1)
        for key, curve in curves.items():
            colour, x, found = LOOKS[key][0][mode], list(curve), list(curve.values())
            chart.add_scatter(
                name="band", x=[*x, *x[::-1]], mode="lines", line_width=0, fill="toself",
                y=[100 * one.high for one in found] + [100 * one.low for one in found[::-1]],
                fillcolor=theme.faded(colour, 0.18), hoverinfo="skip", showlegend=False, **where,
            )  # fmt: skip
            names = [f"{title}, {_step(ablation, at, say)}" for at in x]
            chart.add_scatter(
                name=key, x=x, y=[100 * one.mean for one in found], mode="lines+markers",
                line=dict(color=colour, width=2, dash=DASHES[key]), marker=_marker(key, mode),
                hovertemplate=_hovers(key, names, found, say), showlegend=False, **where,
            )  # fmt: skip
            shown += [] if key in shown else [key]
    theme.layout(chart, mode, AXIS + PANEL * lines, dragmode=False, hovermode="closest")
    _legend(chart, [key for key in LOOKS if key in shown], mode, say)
    _percent(chart.update_yaxes, say, title=False)
    chart.update_yaxes(title_text=say("ablation.accuracy"), col=1)
    chart.update_xaxes(fixedrange=True, zeroline=False, showgrid=False)
    if ablation == "corruption":
        chart.update_xaxes(tickvals=[0, *STRENGTHS], title_text=say("ablation.strength"), row=lines)
    else:
        chart.update_xaxes(
            tickvals=[0, 0.5, 1], ticktext=[say.number(x, ".0%") for x in (0, 0.5, 1)],
            range=[-0.05, 1.05],
        )  # fmt: skip
        chart.update_xaxes(title_text=say("ablation.known"), row=lines)
    return chart


def _panels(
    ablation: str, entries: Sequence[Entry], say: Texts
) -> list[tuple[str, dict[str, dict[float, Spread]]]]:
    """Panels by their titles: by what is told apart, accuracy by strength or quality."""
    found = []
    if ablation == "corruption":
        clean = [entry for entry in entries if entry.variant == "clean"]
        for kind in CORRUPTIONS:
            held = [entry for entry in entries if entry.variant.startswith(f"{kind} ")]
            if held:
                parts = grouped([*clean, *held], lambda e: e.kind)
                at = {
                    key: {int(e.variant.partition(" ")[2] or 0): spread([e]) for e in part}
                    for key, part in parts.items()
                }
                found.append((say(f"ablation.corruption.{kind}"), at))
        return found
    own = [entry for entry in entries if entry.recipe]
    for title, held in grouped(own, lambda e: place_of(e, say)).items():
        at = {
            key: {
                quality: spread(part)
                for quality, part in sorted(grouped(mine, lambda e: e.recipe.quality).items())
            }
            for key, mine in grouped(held, lambda e: e.kind).items()
        }
        if whole := dense(entries):
            at["dense"] = {0.0: whole, 1.0: whole}
        found.append((title, at))
    return found


def _step(ablation: str, at: float, say: Texts) -> str:
    if ablation == "corruption":
        return say("ablation.at_strength", strength=at)
    return say("ablation.at_quality", share=at)


def _marker(key: str, mode: str) -> dict:
    colours, symbol = LOOKS[key]
    colour = colours[mode]
    return dict(symbol=symbol, size=9, color=colour, line=dict(color=colour, width=2))


def _errors(found: Sequence[Spread], key: str, mode: str) -> dict:
    return dict(
        type="data", symmetric=False, thickness=1.5, width=4, color=LOOKS[key][0][mode],
        array=[100 * (one.high - one.mean) for one in found],
        arrayminus=[100 * (one.mean - one.low) for one in found],
    )  # fmt: skip


def _hovers(key: str, titles: Sequence[str], found: Sequence[Spread], say: Texts) -> list[str]:
    return [
        say("ablation.hover", title=title, name=say(f"ablation.name.{key}"), mean=one.mean,
            low=one.low, high=one.high) + "<extra></extra>"
        for title, one in zip(titles, found, strict=True)
    ]  # fmt: skip


def _legend(chart: go.Figure, keys: Sequence[str], mode: str, say: Texts) -> None:
    """Names above the figure, each behind its symbol: the browser's legend wraps badly."""
    signs = {"square": "■", "circle-open": "○", "circle": "●", "diamond": "◆"}
    words = [
        f"<span style='color:{LOOKS[key][0][mode]}'><b>{signs[LOOKS[key][1]]} "
        f"{say(f'ablation.name.{key}')}</b></span>"
        for key in keys
    ]
    # One line if a phone has room for it.
    letters = sum(len(say(f"ablation.name.{key}")) + 5 for key in keys)
    half = len(words) if letters < 45 else 2
    text = "<br>".join(
        part for part in ("   ".join(words[:half]), "   ".join(words[half:])) if part
    )
    chart.add_annotation(
        x=0, y=1, xref="paper", yref="paper", xanchor="left", yanchor="bottom", yshift=22,
        text=text, showarrow=False, align="left",
    )  # fmt: skip
    chart.update_layout(margin=dict(t=66))


def _percent(update, say: Texts, title: bool = True) -> None:
    words = ["0", "25", "50", "75", say.number(1, ".0%")]
    update(
        range=[0, 104], tickvals=[0, 25, 50, 75, 100], ticktext=words, fixedrange=True,
        zeroline=False, title_text=say("ablation.accuracy") if title else None,
    )  # fmt: skip


def _wrapped(text: str, most: int = 18) -> str:
    """A name in lines that leave room for the points on a phone."""
    lines = [""]
    for word in text.split(" "):
        if lines[-1] and len(lines[-1]) + len(word) >= most:
            lines.append(word)
        else:
            lines[-1] = f"{lines[-1]} {word}".strip()
    return "<br>".join(lines)


def alt(ablation: str, entries: Sequence[Entry], say: Texts = ENGLISH) -> str:
    """The finding in words, and the first rows or the ends of the curves."""
    if not entries:
        return say("ablation.unknown")
    told = []
    if ablation in CURVES:
        for title, curves in _panels(ablation, entries, say):
            for key, curve in curves.items():
                (first, begins), (last, ends) = list(curve.items())[0], list(curve.items())[-1]
                told.append(
                    say("ablation.told_curve", title=title, name=say(f"ablation.name.{key}"),
                        begins=begins.mean, first=_step(ablation, first, say), ends=ends.mean,
                        last=_step(ablation, last, say))
                )  # fmt: skip
    else:
        all_rows = rows(ablation, entries, say)
        for row in all_rows[:TOLD]:
            parts = [
                say("ablation.told_part", name=say(f"ablation.name.{key}"), mean=one.mean)
                for key, one in row.found.items()
            ]
            told.append(say("ablation.told_row", title=row.title, parts=", ".join(parts)))
        if (more := len(all_rows) - TOLD) > 0:
            told.append(say("ablation.told_more", count=more))
    title = say(f"ablation.title.{ablation}")
    return " ".join([f"{title}.", headline(ablation, entries, say), *told]).strip()


def headline(ablation: str, entries: Sequence[Entry], say: Texts = ENGLISH) -> str:
    """One sentence: in how many comparisons one side is clearly ahead of the other."""
    above, below = ("informed", "fused") if ablation == "masses" else ("fused", "pruned")
    if ablation in CURVES:
        # Clean images stand in every panel of the corruptions, and count once.
        once = {0: ""} if ablation == "corruption" else {}
        pairs = list(
            {
                (once.get(at, title), at): (curves[above][at], curves[below][at])
                for title, curves in _panels(ablation, entries, say)
                if above in curves and below in curves
                for at in curves[above]
                if at in curves[below]
            }.values()
        )
    elif ablation == "solvers":
        pairs = [
            (spread([one]), spread([pruned]))
            for one in entries
            for pruned in entries
            if one.kind == "fused" and pruned.kind == "pruned"
            and (one.recipe.groups, one.recipe.sparsity)
            == (pruned.recipe.groups, pruned.recipe.sparsity)
        ]  # fmt: skip
    else:
        pairs = [
            (row.found[above], row.found[below])
            for row in rows(ablation, entries, say)
            if above in row.found and below in row.found
        ]
    if not pairs:
        return ""
    return say(
        "ablation.headline", count=len(pairs),
        above=say(f"ablation.name.{above}"), below=say(f"ablation.name.{below}"),
        better=sum(one.low > other.high for one, other in pairs),
        worse=sum(one.high < other.low for one, other in pairs),
    )  # fmt: skip


def caption(
    ablation: str, entries: Sequence[Entry], note: str = "", say: Texts = ENGLISH
) -> tuple[str, str]:
    """What the figure shows, and what not to read into it; `note` says where it is from."""
    networks = len({entry.network for entry in entries})
    images = max((entry.accuracy.total for entry in entries), default=0)
    several = max((s.count for s in _spreads(ablation, entries, say)), default=1) > 1
    interval = say("ablation.interval_draws" if several else "ablation.interval_images")
    shows = say(
        f"ablation.caption.{ablation}", networks=networks, images=images, interval=interval,
        note=f" ({note})" if note else "",
    )  # fmt: skip
    return shows, say(f"ablation.caution.{ablation}")


def _spreads(ablation: str, entries: Sequence[Entry], say: Texts) -> list[Spread]:
    if ablation in CURVES:
        return [
            one
            for _, curves in _panels(ablation, entries, say)
            for curve in curves.values()
            for one in curve.values()
        ]
    return [one for row in rows(ablation, entries, say) for one in row.found.values()]
