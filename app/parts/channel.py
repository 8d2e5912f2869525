"""One channel: where it stands, what it is made with, where its mass goes, what it becomes."""

from __future__ import annotations

import streamlit as st

from app import cache, channel_text, controls, jobs
from app.charts import as_json, chart
from app.figures import blame as blame_figure
from app.figures import filters as filters_figure
from app.page import Page, captions, live, mode
from core import channel
from core.channel import Channel, Sum, Tie
from core.compress import Step


def show(page: Page, step: Step) -> None:
    """Everything about the chosen channel, where one is chosen; and the list of all channels."""
    number = page.choice.channel
    opened = st.session_state.get(page.key("all_channels"))
    if number is None and not opened:
        everyone(page, step, None)
        return
    job = examining(page, step)
    known = None if job.running else job.result
    if number is not None:
        one(page, step, number, job, known)
    everyone(page, step, known)


def one(page: Page, step: Step, number: int, job: jobs.Job, known: cache.Examined | None) -> None:
    """The chosen channel, as four cards."""
    loaded, choice, say = page.loaded, page.choice, page.say
    told = channel.channel(loaded.prepared, choice.recipe, choice.group, step, number)
    stays = number if told.place is not None else next((t.channel for t in told.heirs), None)
    sums: dict[str, Sum] = {}
    if step.plan is not None and stays is not None and channel.one_sum(choice.recipe):
        refits = known.refits if known else {}
        sums = channel.fused(loaded.prepared, choice.group, step, stays, refits)
    st.subheader(say("channel.title", number=number), anchor=False)
    left, right = st.columns([2, 3], gap="medium")
    with left.container(border=True):
        st.markdown(channel_text.fate(told, say))
        if step.plan is not None:
            st.markdown(channel_text.masses(told, say))
        share(page, step, number, job, known)
    with right.container(border=True):
        pictures(page, told, stays, sums)
    left, right = st.columns([2, 3], gap="medium")
    with left.container(border=True):
        ways(page, step, told)
    with right.container(border=True):
        becomes(page, step, told, stays, sums, known)


def examining(page: Page, step: Step) -> jobs.Job:
    """The closer look at this group, started or found again; the one before it is stopped."""
    wanted = (page.loaded.name, page.choice.group, page.choice.recipe, page.folder, step)
    job = cache.examining(*wanted)
    if job.cancelled or (job.error and not job.running):  # neither is remembered
        shown = st.session_state.get(page.key("examining"))
        if job.cancelled or shown is not job:
            cache.examining.clear(*wanted)
            job = cache.examining(*wanted)
    key = page.key("examining")
    before, st.session_state[key] = st.session_state.get(key), job
    if before is not None and before is not job and before.running:
        before.cancel()
    return job


def share(page: Page, step: Step, number: int, job: jobs.Job, known: cache.Examined | None) -> None:
    """The channel's share of what the next layers miss, among those of all."""
    say = page.say
    st.markdown(say("channel.error_title"))
    if known is None:
        if job.running:
            waiting = f":material/hourglass: {say('channel.error_waiting')}"
            live(job, 0.7, lambda drawn_in: st.caption(waiting))
        elif job.error:
            st.caption(job.error)
        return
    if known.missed is None:
        st.caption(known.refusal)
        return
    st.markdown(channel_text.error(known.missed, number, say))
    if not known.missed.total:
        return
    kept = frozenset(step.measures.kept.tolist())
    chart(
        as_json(blame_figure.figure(known.missed, kept, number, mode(), say)),
        page.key("blame"), blame_figure.alt(known.missed, kept, number, say), bar=False,
        clicked=lambda at: controls.clicked_channel(page.loaded, page.choice.group, at, 0),
    )  # fmt: skip
    st.caption(say("channel.error_total", total=known.missed.total))


def pictures(page: Page, told: Channel, stays: int | None, sums: dict[str, Sum]) -> None:
    """The channel's filters, beside its heir's and the fused ones, by producing layer."""
    loaded, say, number = page.loaded, page.say, told.index
    st.markdown(say("channel.filters"))
    heir = {}
    if sums and stays != number:
        heir = channel.filters(loaded.prepared.folded, loaded.graph, page.choice.group, stays)
    filters: dict = {}
    for layer, own in told.filters.items():
        filters = {say("filters.own", number=number): own}
        if layer in sums:
            if layer in heir:
                filters[say("filters.heir", number=stays)] = heir[layer]
            filters[say("filters.fused", number=stays)] = sums[layer].total
        st.markdown(f"`{layer}`")
        picture = as_json(filters_figure.figure(filters, mode(), say))
        alt = filters_figure.alt(filters, say)
        chart(picture, page.key(f"filters {layer}"), alt, bar=False)
    if filters:
        captions(filters_figure.caption(filters, say))


def ways(page: Page, step: Step, told: Channel) -> None:
    """Where its mass goes and comes from, and where it would go alone; rows choose channels."""
    say, moved = page.say, step.plan is not None
    if told.heirs:
        st.markdown(say("channel.heirs" if moved else "channel.guessed_from"))
        _table(page, "heirs", channel_text.table(told.heirs, say), told.heirs)
    if told.parents:
        st.markdown(say("channel.parents" if moved else "channel.helps"))
        _table(page, "parents", channel_text.table(told.parents, say), told.parents)
    if told.nearest:
        st.markdown(say("channel.nearest"))
        _table(page, "nearest", channel_text.nearest(told, say), told.nearest)
        st.caption(channel_text.why_not_nearest(told, say))
    if told.heirs or told.parents:
        st.caption(say("channel.choose"))


def _table(page: Page, name: str, columns: dict[str, list], ties: tuple[Tie, ...]) -> None:
    """A table of other channels, a row of which can be chosen."""
    # By channel: what was chosen in one channel's table is not chosen in the next one's.
    key = page.key(f"{name} of {page.choice.channel}")
    numbers = [tie.channel for tie in ties[: channel_text.MOST_TIES]]
    st.dataframe(
        columns, hide_index=True, width="stretch", key=key, selection_mode="single-row",
        on_select=lambda: choose(page, key, numbers),
    )  # fmt: skip


def choose(page: Page, key: str, numbers: list[int]) -> None:
    """Choose the channel of the row that was chosen in a table."""
    rows = st.session_state[key]["selection"]["rows"]
    if rows and 0 <= rows[0] < len(numbers):  # the last row tells how many are left out
        controls.choose_channel(page.loaded, page.choice.group, numbers[rows[0]])


def becomes(
    page: Page, step: Step, told: Channel, stays: int | None, sums: dict[str, Sum],
    known: cache.Examined | None,
) -> None:  # fmt: skip
    """The formulas with their numbers, and whether they hold."""
    loaded, choice, say, number = page.loaded, page.choice, page.say, told.index
    if sums:
        key = "channel.becomes" if stays == number else "channel.becomes_heir"
        st.markdown(say(key, heir=stays))
        alike: dict[str, list[str]] = {}
        for layer, one in sums.items():
            alike.setdefault(channel_text.formula(one, say), []).append(layer)
        for formula, layers in alike.items():
            if len(sums) > 1:
                named = ", ".join(f"`{layer}`" for layer in layers)
                st.markdown(say("channel.of_layers", layers=named))
            st.latex(formula)
        if known is not None:
            differences = channel.differences(
                loaded.prepared, choice.group, step, stays, sums, known.weights, known.refits
            )
            held, sentence = channel_text.check(sums, differences, say)
            if held:
                st.caption(f":material/check: {sentence}")
            else:
                st.error(sentence, icon=":material/error:")
    elif step.plan is not None and stays is not None:
        st.markdown(say("channel.rounds"))
    formula = channel_text.reading(
        step.projection.unmerge, step.measures.kept.tolist(), number, say
    )
    if formula is None:
        st.markdown(say("channel.reads_nothing"))
        return
    st.markdown(say("channel.reads_gone" if told.place is None else "channel.reads"))
    st.latex(formula)


def everyone(page: Page, step: Step, known: cache.Examined | None) -> None:
    """All channels of the group as a table, a row of which can be chosen."""
    say = page.say
    box = st.expander(
        say("channel.all", width=page.group.width), key=page.key("all_channels"),
        on_change="rerun", icon=":material/table_rows:",
    )  # fmt: skip
    if not box.open:
        return
    with box:
        key = page.key(f"everyone of {page.loaded.name} {page.choice.group}")
        rows = channel.listed(step)
        missed = known.missed if known else None
        st.dataframe(
            channel_text.everyone(rows, missed, say), hide_index=True, width="stretch", key=key,
            height=360, placeholder="–", selection_mode="single-row",
            on_select=lambda: choose(page, key, [row.index for row in rows]),
            column_config={
                say("channel.column.score"): st.column_config.NumberColumn(format="%.3g"),
                say("channel.column.error"): st.column_config.NumberColumn(format="%.2f"),
            },
        )  # fmt: skip
        st.caption(say("channel.choose"))
        if missed is None:
            st.caption(known.refusal if known else say("channel.all_waiting"))
