"""The transport plan, or what the next layer guesses, as a heatmap, as ribbons or as a table.

A click on a cell or a ribbon, or a selected row of the table, chooses a channel.
"""

from __future__ import annotations

import streamlit as st

from app import controls, link, pictures
from app.charts import chart
from app.figures import order as plan_order
from app.figures import plan as plan_figure
from app.figures import plan_table
from app.figures import ribbons as ribbons_figure
from app.page import Page, captions, mark, mode
from core.compress import Step


def show(page: Page, step: Step) -> None:
    """Draw the plan of a step."""
    say, plan = page.say, step.plan
    st.subheader(say("plan.title_guesses" if plan is None else "plan.title"), anchor=False)
    kind, order, near = _picked(page, step)
    if kind == "table":
        _table(page, step, order, near)
    else:
        _picture(page, step, kind, order, near)
    if plan is None:
        st.caption(say("plan.no_ribbons"))
    elif not plan.converged:
        st.warning(
            say(
                "plan.not_converged",
                solver=plan.solver,
                iterations=plan.iterations,
                error=max(plan.source_error, plan.target_error),
            )  # fmt: skip
        )


def _picked(page: Page, step: Step) -> tuple[str, str, int | None]:
    """How the plan is drawn, in which order, and whose neighbourhood only, if not all of it.

    The buttons stand over the chosen setting; the pinned one's plan follows them.
    """
    channel = page.choice.channel
    kinds = link.VIEWS["plan"] if step.plan is not None else ("heatmap", "table")
    orders = plan_order.orders(step)
    own = page.suffix == ""
    with st.container(horizontal=True, gap="small"):
        kind = _pick("plan", kinds, own)
        order = _pick("order", orders, own)
        # Ribbons of a wide group are too thin to follow one: with a channel, its own are drawn.
        if channel is None:
            near = None
        elif kind == "ribbons" and page.group.width > ribbons_figure.READABLE:
            near = channel
        else:
            near = channel if _pick("zoom", link.VIEWS["zoom"], own) == "yes" else None
    return kind, order, near


def _pick(name: str, options: tuple[str, ...], own: bool) -> str:
    if own:
        return controls.pick_view(name, options)
    now = controls.view(name)
    return now if now in options else options[0]


def _picture(page: Page, step: Step, kind: str, order: str, near: int | None) -> None:
    say, choice, group = page.say, page.choice, page.choice.group
    figure = ribbons_figure if kind == "ribbons" else plan_figure
    picture = pictures.plan_picture(page.loaded, group, step, mode(), kind, order, near, say)
    over = []
    if choice.channel is not None:
        over = figure.marks(step, choice.channel, mode(), order, near)
    chart(
        picture, page.key("plan"), plan_figure.alt(step, page.group, say), over=over,
        clicked=lambda at: controls.clicked_channel(page.loaded, group, at, 0),
        mark=mark(page, 0, mode()),
    )  # fmt: skip
    if kind == "ribbons":
        captions(ribbons_figure.caption(step, order, near, say))
    else:
        captions(plan_figure.caption(step, page.group, order, near, say))


def _table(page: Page, step: Step, order: str, near: int | None) -> None:
    say, key, channel = page.say, page.key("plan table"), page.choice.channel
    told = plan_table.table(step, order, near, channel, say)

    def selected() -> None:
        rows = st.session_state[key]["selection"]["rows"]
        if rows and 0 <= rows[0] < len(told.source):
            controls.choose_channel(page.loaded, page.choice.group, int(told.source[rows[0]]))

    def number(format: str) -> st.column_config.Column:
        return st.column_config.NumberColumn(format=format, alignment="right")

    st.dataframe(
        told.rows, hide_index=True, key=key, on_select=selected, selection_mode="single-row",
        height=430, alt=plan_figure.alt(step, page.group, say),
        column_config={
            say("plan.table_source"): number("%d"),
            say("plan.table_target"): number("%d"),
            say("plan.table_share"): number("percent"),
            say("plan.table_mass"): number("%.4g"),
            say("plan.table_cost"): number("%.4g"),
            say("plan.table_coefficient"): number("%+.4f"),
        },
    )  # fmt: skip
    guess = plan_order.guesses(step)
    shown = (
        say("plan.table_caption_guess")
        if guess
        else say("plan.table_caption", first=say(f"plan.order.{order}"))
    )
    if channel is not None:
        shown += " " + say("plan.table_first")
    if near is not None:
        shown += " " + plan_figure.near_caption(step, near, say)
    if len(told.rows) < told.entries:
        shown += " " + say("plan.table_most", entries=told.entries, shown=len(told.rows))
    captions((shown, say("plan.doubt_guess" if guess else "plan.doubt")))
