"""Sweep: accuracy against sparsity, way beside way and group beside group; the gain over groups."""

from __future__ import annotations

import streamlit as st

from app import controls, frame, values
from app.charts import as_json, chart
from app.figures import curves as curves_figure
from app.figures import gains as gains_figure
from app.figures import panels as figures
from app.link import BESIDE
from app.page import Page, captions, mode
from app.parts import accuracy, comparing, run, signs, sweeping
from app.parts.comparing import Comparison, Found
from core import published, sweep, zoo
from core.gains import GainMap

#: Panels in a row, where only one importance is drawn.
ACROSS = 3


def body(page: Page, told: dict[str, str]) -> None:
    say = page.say
    st.subheader(say("sweep.title"), anchor=False)
    st.markdown(say("sweep.lead"))
    compared = pick(page)
    with st.container(horizontal=True):
        count = controls.pick_view("images", labelled=True)
        numbers = controls.pick_view("numbers", labelled=True)
    limit = None if count == "all" else int(count)
    recorded = accuracy.found(page) if numbers == "recorded" else None
    known = {**recorded.found, sweep.DENSE: recorded.dense} if recorded else {}
    tested = page.loaded.card.tested
    wanted = compared.missing(known, min(limit or tested, tested))

    def shown(own: Found | None, drawn_in: str) -> None:
        note = []
        if recorded:
            note.append(say("sweep.recorded", date=recorded.note.date))
        if own:
            total = min(one.total for one in own.values())
            note.append(say("sweep.own", count=len(own), total=total))
        draw(page, compared, [known, own or {}], "; ".join(note), drawn_in)

    if not wanted:
        st.caption(f":material/check: {say('sweep.all_recorded')}")
        shown(None, mode())
        return
    run.show(
        page, ("sweep", page.loaded.name, tuple(wanted), limit, page.folder),
        sweeping.work(page, lambda job: wanted, limit), shown,
        lambda: sweeping.saved(page, wanted, limit),
        lambda own: bool(own) and all(one in own for one in wanted), above=True,
    )  # fmt: skip


def pick(page: Page) -> Comparison:
    """What stands beside the choice: groups in a row, everything else folded away."""
    say, choice = page.say, page.choice
    names = {
        str(group.index): str(group.index)
        for group in page.loaded.graph.groups
        if group.index != choice.group
    }
    groups = controls.pick_beside("groups", names, pills=True)
    chosen = {name: getattr(choice.recipe, name[:-1]) for name in BESIDE if name != "groups"}
    opened = st.session_state["opened"]
    beside = {}
    begun = any(opened[name] for name in chosen) or opened["seeds"] != "1"
    with st.expander(say("sweep.compare"), expanded=begun, icon=":material/compare_arrows:"):
        places = st.columns([2, 2, 2, 1.2])
        for place, (name, mine) in zip(places, chosen.items(), strict=False):
            with place:
                options = {one: one for one in BESIDE[name] if one != mine}
                beside[name] = controls.pick_beside(name, options)
        with places[-1]:
            seeds = int(controls.pick_view("seeds", labelled=True))
    return comparing.comparison(
        choice.recipe, zoo.network(page.loaded.name).images, map(int, groups), seeds=seeds, **beside
    )


def draw(
    page: Page, compared: Comparison, sources: list[Found], note: str, drawn_in: str
) -> None:  # fmt: skip
    """The chosen group's curves beside the maps, the other panels beneath.

    `sources` : what is recorded, and what was measured here.
    """
    recorded, own = sources
    found = {**own, **recorded}
    panels = {panel: compared.lines(found, *panel) for panel in compared.panels}
    here = (page.choice.group, page.choice.recipe.importance)
    left, right = st.columns(2, gap="large")
    with left:
        curves(page, compared, panels[here], found, note, drawn_in)
    with right:
        maps(page, compared, sources, drawn_in)
    if len(panels) > 1:
        multiples(page, compared, panels, found, note, drawn_in)


def curves(
    page: Page, compared: Comparison, lines: list[figures.Line], found: Found, note: str,
    drawn_in: str,
) -> None:  # fmt: skip
    """Accuracy against sparsity for the chosen group, with the paper's points and what it shows."""
    say, choice = page.say, page.choice
    title = say("sweep.curves", index=choice.group, group=page.group.title)
    st.markdown(f"#### {title}")
    if len(lines) < 2:
        st.info(say("sweep.nothing"), icon=":material/query_stats:")
    if not lines:
        return
    picture = as_json(figures.figure(lines, found.get(sweep.DENSE), drawn_in, say))
    theirs = paper(page, choice.group, choice.recipe.importance)
    over = curves_figure.present(choice.recipe.sparsity, drawn_in)
    if theirs:
        over += curves_figure.of_paper(theirs, drawn_in, say)
    chart(picture, page.key("sweep_curves"), figures.alt(lines, title, say), over=over)
    captions(figures.caption([lines], note, say))
    if theirs:
        st.caption(say("sweep.paper_points"))
    if len(compared.rules) > 1 and len(compared.solvers) > 1:
        recipe = choice.recipe
        st.caption(say("sweep.star", rule=recipe.rule, solver=recipe.solver))
    for line, fall in figures.falls(lines):
        st.markdown(f":material/troubleshoot: {figures.sign(line, fall, say)}")
    signs.show(page)


def paper(page: Page, group: int, importance: str) -> dict[float, published.Pair]:
    """The paper's figures for a group of this network, by sparsity."""
    known = published.data_free(page.loaded.name, importance)
    return {share: pair for (index, share), pair in known.items() if index == group}


def multiples(
    page: Page, compared: Comparison, panels: dict[tuple[int, str], list[figures.Line]],
    found: Found, note: str, drawn_in: str,
) -> None:  # fmt: skip
    """A small panel for each group and importance, all on the same axes."""
    say, many = page.say, len(compared.importances) > 1
    st.markdown(f"#### {say('panels.title')}")
    across, places = len(compared.importances) if many else ACROSS, list(panels)
    for start in range(0, len(places), across):
        row = st.columns(across, gap="medium")
        for place, (group, importance) in zip(row, places[start : start + across], strict=False):
            lines = panels[group, importance]
            title = page.loaded.graph.groups[group].title
            named = say("panels.of", group=group, title=title)
            head = say("panels.group", group=group)
            if many:
                named, head = f"{named} · {importance}", f"{head} · {importance}"
            with place:
                # In two lines: long titles would wrap, and panels in a row not stand level.
                st.markdown(f"**{head}**  \n{title}")
                if not lines:
                    st.caption(say("sweep.nothing"))
                    continue
                drawn = figures.figure(lines, found.get(sweep.DENSE), drawn_in, say, small=True)
                over = []
                if theirs := paper(page, group, importance):
                    over = curves_figure.of_paper(theirs, drawn_in, say)
                key = page.key(f"panel_{group}_{importance}")
                chart(as_json(drawn), key, figures.alt(lines, named, say), over=over)
                if told := figures.signs(lines, say):
                    st.caption(f":material/troubleshoot: {told}")
    captions(figures.caption(list(panels.values()), note, say))


def maps(page: Page, compared: Comparison, sources: list[Found], drawn_in: str) -> None:
    """The gain over groups and sparsities, ours and the paper's; which groups are volatile."""
    say, choice = page.say, page.choice

    def chosen(at: object) -> None:
        if isinstance(at, list) and at and at[0] in range(len(page.loaded.graph.groups)):
            values.put("group", at[0])

    ways = {
        compared.title(importance, names): (importance, way)
        for importance in compared.importances
        for names, way in compared.fusions(choice.group, importance).items()
    }
    title = next(iter(ways))
    if len(ways) > 1:
        title = st.selectbox(say("sweep.map_of"), list(ways), key=page.key("map_of"))
    importance, way = ways[title]
    ours = comparing.gains(sources, way)
    both = [("ours", gains_figure.points(ours))] if ours else []
    theirs = published.data_free(page.loaded.name, importance)
    if theirs := {key: pair.gain for key, pair in theirs.items() if key[1] <= 0.7}:
        both.append(("paper", theirs))
    for whose, cells in both:
        st.markdown(f"#### {say(f'sweep.map_{whose}', rule=title)}")
        figure = as_json(gains_figure.figure(cells, choice.group, drawn_in, say))
        alt = gains_figure.alt(cells, say(f"sweep.whose_{whose}"), say)
        chart(figure, page.key(f"gains_{whose}"), alt, clicked=chosen)
        if whose == "ours":
            kinds(ours, page)
    if both:
        captions(gains_figure.caption(say))


def kinds(ours: GainMap, page: Page) -> None:
    """Which groups bear plain pruning badly and which well."""
    say, named = page.say, []
    for kind in ("volatile", "resilient"):
        groups = [str(group) for group in ours.groups if ours.kind(group) == kind]
        if groups:
            listed = ", ".join(groups)
            named.append(say(f"sweep.{kind}", count=len(groups), groups=listed))
    if named:
        st.caption(" ".join(named))


frame.draw(body)
