"""The chosen settings as one line of text, for a page without its sidebar."""

from __future__ import annotations

import streamlit as st

from app import link
from app.language import Texts
from app.page import Page
from core import zoo


def show(page: Page) -> None:
    """Draw the line where the page is embedded, in a slide say: the sidebar is hidden there."""
    if st.context.is_embedded:
        st.markdown(line(page.choice, page.say))


def line(choice: link.Choice, say: Texts) -> str:
    """What is chosen: always the same few things first, then what differs from the default."""
    recipe = choice.recipe
    named = {*link.TABLES, *link.SETTINGS, "rounds", "seed", "channel"} - {*link.ALWAYS}
    more = [
        f"{say(f'controls.{name}')} {value}"
        for name, value in link.write(choice).items()
        if name in named
    ]
    first = say(
        "take.settings", network=zoo.network(choice.network).title, group=choice.group,
        share=recipe.sparsity, importance=recipe.importance, rule=recipe.rule,
        solver=recipe.solver,
    )  # fmt: skip
    return " · ".join([first, *more])
