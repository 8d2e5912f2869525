"""Whole network: all groups shrink at once, by one sparsity or by a budget."""

from __future__ import annotations

import streamlit as st

from app import cache, controls, frame
from app.charts import as_json, chart
from app.figures import whole as figures
from app.figures.whole import Point
from app.jobs import Job
from app.page import Page, captions
from app.parts import accuracy, run, sweeping, timing
from app.parts.sweeping import Found
from core import published, sweep
from core.recipe import Recipe

#: Shares of the channels that are gone, or, by budget, of the weights.
SHARES = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8)
#: By share: plain pruning, and fusion with the same widths.
Pairs = dict[float, tuple[Recipe, Recipe]]


def uniform(page: Page) -> Pairs:
    """One sparsity for all groups."""
    both = (page.choice.pruning, page.choice.recipe)
    return {
        share: tuple(recipe.replace(groups="all", sparsity=share) for recipe in both)
        for share in SHARES
    }


def budgeted(page: Page, job: Job | None = None) -> Pairs:
    """The weights that may stay are spread over the groups by what they leave unexplained."""
    found = {}
    for place, share in enumerate(SHARES):
        if job:
            job.report(place / len(SHARES), page.say("whole.spreading"))
        fused = page.choice.recipe.replace(groups="all")
        fused = cache.budgeted(page.loaded, fused, 1 - share, page.folder)
        pruned = page.choice.pruning.replace(groups="all", sparsity=fused.sparsity)
        found[share] = (pruned, fused)
    return found


def body(page: Page, told: dict[str, str]) -> None:
    say = page.say
    st.subheader(say("whole.title"), anchor=False)
    st.markdown(say("whole.lead"))
    with st.container(horizontal=True):
        spread = controls.pick_view("spread", labelled=True)
        count = controls.pick_view("images", labelled=True)
    limit = None if count == "all" else int(count)
    key = ("whole", page.loaded.name, page.choice.recipe, spread, limit, page.folder)
    even = uniform(page)

    def wanted(job: Job) -> list[Recipe]:
        return recipes(budgeted(page, job) if spread == "budget" else even)

    def saved() -> Found | None:
        # Where a budget goes takes seconds to find out: only a run does.
        return None if spread == "budget" else sweeping.saved(page, recipes(even), limit)

    def shown(found: Found | None, drawn_in: str) -> None:
        pairs = even
        if spread == "budget":
            pairs = budgeted(page) if found else {}
        draw(page, spread, pairs, found, drawn_in)

    def complete(found: object) -> bool:
        return bool(found) and len(found) >= 1 + 2 * len(SHARES)

    run.show(page, key, sweeping.work(page, wanted, limit), shown, saved, complete)

    def timed(job: Job) -> list[tuple[float, Recipe]]:
        """Widths alone decide how long a network takes: plain pruning has those of fusion."""
        pairs = budgeted(page, job) if spread == "budget" else even
        widths = Recipe(groups="all", rule="select")
        return [(share, widths.replace(sparsity=one.sparsity)) for share, (one, _) in pairs.items()]

    # One share of every group makes the same widths whatever else is chosen.
    named = "even" if spread == "even" else page.choice.recipe.replace(groups="all", sparsity=0).key
    timing.show(page, named, timed)


def recipes(pairs: Pairs) -> list[Recipe]:
    return [sweep.DENSE, *(recipe for pair in pairs.values() for recipe in pair)]


def draw(page: Page, spread: str, pairs: Pairs, found: Found | None, drawn_in: str) -> None:
    """Accuracy against weights gone, and the same as a table with operations."""
    say = page.say
    points = known(page, pairs, found or {})
    if not points:
        st.info(say("whole.nothing"), icon=":material/query_stats:")
        return
    recorded = accuracy.found(page)
    dense = (found or {}).get(sweep.DENSE) or (recorded.dense if recorded else None)
    theirs = published.fine_tuned(page.loaded.name) if spread == "even" else {}
    left, right = st.columns(2, gap="large")
    with left:
        picture = as_json(figures.figure(points, dense, theirs, drawn_in, say))
        chart(picture, page.key("whole"), figures.alt(points, say))
        captions(figures.caption(points, bool(theirs), say))
    with right:
        table(page, spread, points)


def known(page: Page, pairs: Pairs, found: Found) -> list[Point]:
    """The compressions of which both networks were counted, the mildest first."""
    before = cache.size(page.loaded.name, ())
    points = []
    for share, (pruned, fused) in pairs.items():
        if pruned in found and fused in found:
            after = cache.size_of(page.loaded.name, fused)
            points.append(
                Point(
                    share, 1 - after.parameters / before.parameters, after.parameters,
                    after.macs / before.macs, found[pruned], found[fused],
                )
            )  # fmt: skip
    return points


def table(page: Page, spread: str, points: list[Point]) -> None:
    """A row for each compression; with the paper's sizes where it has them (table 9)."""
    say = page.say
    theirs = {one.channels: one for one in published.sizes(page.loaded.name)}
    rows = []
    for point in points:
        row = {
            say("whole.column_weights" if spread == "budget" else "whole.column_channels"): (
                say.number(point.asked, ".0%")
            ),
            say("whole.column_gone"): say.number(point.gone, ".1%"),
            say("whole.column_macs"): say.number(point.macs, ".1%"),
            say("accuracy.name.pruned"): say.number(point.pruned.mean, ".1%"),
            say("accuracy.name.fused"): say.number(point.fused.mean, ".1%"),
        }
        if theirs and spread == "even":
            share = theirs.get(point.asked)
            row[say("whole.column_paper")] = say.number(share.weights, ".0%") if share else "–"
        rows.append(row)
    narrow = {name: st.column_config.Column(width="small") for name in rows[0]}
    st.dataframe(
        rows, hide_index=True, key=page.key("whole_table"), alt=figures.alt(points, say),
        column_config=narrow,
    )  # fmt: skip
    st.caption(say("whole.table_caption"))


frame.draw(body)
