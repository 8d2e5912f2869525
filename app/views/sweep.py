"""Sweep: accuracy against sparsity for a group, the gain over all groups, the paper's beside it."""

from __future__ import annotations

from functools import partial

import streamlit as st

from app import controls, frame, values
from app.charts import as_json, chart
from app.figures import curves as curves_figure
from app.figures import gains as gains_figure
from app.page import Page, captions
from app.parts import accuracy, run, sweeping
from app.parts.sweeping import Found
from core import published, sweep
from core.errors import DataError
from core.evaluate import Accuracy
from core.gains import GainMap, gain_map
from core.recipe import Recipe


def asked(page: Page, scope: str) -> list[Recipe]:
    """The recipes of a sweep: the chosen way to fuse and plain pruning, at every tenth."""
    choice = page.choice
    groups = [choice.group] if scope == "group" else [g.index for g in page.loaded.graph.groups]
    found: dict[Recipe, None] = {sweep.DENSE: None}
    for group in groups:
        for recipe in (choice.pruning, choice.recipe):
            for sparsity in sweep.SPARSITIES:
                found[recipe.replace(groups=(group,), sparsity=sparsity)] = None
    return list(found)


def body(page: Page, told: dict[str, str]) -> None:
    say = page.say
    st.subheader(say("sweep.title"), anchor=False)
    st.markdown(say("sweep.lead"))
    with st.container(horizontal=True):
        scope = controls.pick_view("scope", labelled=True)
        count = controls.pick_view("images", labelled=True)
    limit = None if count == "all" else int(count)
    recipes = asked(page, scope)
    key = ("sweep", page.loaded.name, tuple(recipes), limit, page.folder)

    def complete(known: object) -> bool:
        return bool(known) and all(one in known for one in recipes)

    run.show(
        page, key, sweeping.work(page, lambda job: recipes, limit), partial(draw, page),
        partial(sweeping.saved, page, recipes, limit), complete,
    )  # fmt: skip


def draw(page: Page, own: Found | None, drawn_in: str) -> None:
    """What is recorded and what was measured here, as curves of the group and maps of all."""
    found, note = together(page, own)
    left, right = st.columns(2, gap="large")
    with left:
        curves(page, found, note, drawn_in)
    with right:
        maps(page, found, drawn_in)


def together(page: Page, own: Found | None) -> tuple[dict[Recipe, Accuracy], str]:
    """What is recorded, with what was measured here in its place; and where it is from."""
    recorded = accuracy.found(page)
    found = dict(recorded.found) if recorded else {}
    told = []
    if recorded:
        found[sweep.DENSE] = recorded.dense
        told.append(page.say("sweep.recorded", date=recorded.note.date))
    if own:
        found |= own
        told.append(page.say("sweep.own", count=len(own), total=min(a.total for a in own.values())))
    return found, "; ".join(told)


def curves(page: Page, found: Found, note: str, drawn_in: str) -> None:
    """Accuracy against sparsity for the chosen group, with the paper's points."""
    say, choice = page.say, page.choice
    st.markdown(f"#### {say('sweep.curves', index=choice.group, group=page.group.title)}")
    both = [
        {
            s: found[one]
            for s in sweep.SPARSITIES
            if (one := recipe.replace(sparsity=s)) in found
        }
        for recipe in (choice.pruning, choice.recipe)
    ]  # fmt: skip
    if not all(both):
        st.info(say("sweep.nothing"), icon=":material/query_stats:")
        return
    drawn = curves_figure.Curves(*both)
    picture = as_json(curves_figure.figure([drawn], found.get(sweep.DENSE), drawn_in, say))
    theirs = {
        sparsity: pair
        for (group, sparsity), pair in paper(page).items()
        if group == choice.group
    }  # fmt: skip
    over = curves_figure.present(choice.recipe.sparsity, drawn_in)
    if theirs:
        over += curves_figure.of_paper(theirs, drawn_in, say)
    alt = curves_figure.alt([drawn], choice.recipe.sparsity, {}, say)
    chart(picture, page.key("sweep_curves"), alt, over=over)
    captions(curves_figure.caption([drawn], note, say))
    if theirs:
        st.caption(say("sweep.paper_points"))


def paper(page: Page) -> dict[tuple[int, float], published.Pair]:
    """The paper's figures for this network and importance."""
    return published.data_free(page.loaded.name, page.choice.recipe.importance)


def maps(page: Page, found: Found, drawn_in: str) -> None:
    """The gain over groups and sparsities, ours and the paper's; which groups are volatile."""
    say, choice = page.say, page.choice

    def chosen(at: object) -> None:
        if isinstance(at, list) and at and at[0] in range(len(page.loaded.graph.groups)):
            values.put("group", at[0])

    try:
        ours = gain_map(found, choice.recipe, found[sweep.DENSE])
    except (DataError, KeyError):
        ours = None
    both = [("ours", gains_figure.points(ours))] if ours else []
    if theirs := {key: pair.gain for key, pair in paper(page).items() if key[1] <= 0.7}:
        both.append(("paper", theirs))
    for whose, cells in both:
        st.markdown(f"#### {say(f'sweep.map_{whose}', rule=choice.recipe.rule)}")
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
