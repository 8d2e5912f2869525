"""The transport plan, or what the next layer guesses; a click on a cell chooses a channel."""

from __future__ import annotations

import streamlit as st

from app import cache, controls
from app.charts import chart
from app.figures import plan as plan_figure
from app.page import Page, captions, mode
from core.compress import Step


def show(page: Page, step: Step) -> None:
    """Draw the plan of a step."""
    say, choice, plan = page.say, page.choice, step.plan
    st.subheader(say("plan.title_guesses" if plan is None else "plan.title"), anchor=False)
    picture = cache.plan_picture(page.loaded, choice.group, step, mode())
    over = [] if choice.channel is None else plan_figure.marks(step, choice.channel, mode())
    chart(
        picture, page.key("plan"), plan_figure.alt(step, page.group), over=over,
        clicked=lambda at: controls.clicked_channel(page.loaded, choice.group, at, 0),
    )  # fmt: skip
    captions(plan_figure.caption(step, page.group))
    if plan is not None and not plan.converged:
        st.warning(
            say(
                "plan.not_converged",
                solver=plan.solver,
                iterations=plan.iterations,
                error=max(plan.source_error, plan.target_error),
            )  # fmt: skip
        )
