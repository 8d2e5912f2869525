"""Accuracy at every recorded sparsity, with what the person expected of it."""

from __future__ import annotations

import streamlit as st

from app import pictures
from app.charts import chart
from app.figures import curves as curves_figure
from app.page import Page, captions, mode
from app.parts import accuracy, predict


def show(page: Page, other: Page | None = None) -> None:
    """Draw the recorded curves of the setting, and of the pinned one; nothing where none are."""
    if predict.hidden(page):
        return
    pages = [page] if other is None else [other, page]
    say, letters = page.say, ("",) if len(pages) == 1 else ("A", "B")
    settings, drawn, note = [], [], ""
    for one, letter in zip(pages, letters, strict=True):
        found = accuracy.found(one)
        recipes = [r.replace(sparsity=0.0) for r in (one.choice.pruning, one.choice.recipe)]
        if found and all(map(found.curve, recipes)):
            settings.append((letter, one.loaded.name, *recipes))
            drawn.append(curves_figure.Curves(*map(found.curve, recipes), letter))
            note = f"{found.note.date}, {found.note.machine}"
    if not drawn:
        return
    guess = predict.guess(page)
    expected = guess.expected if guess else {}
    now = page.choice.recipe.sparsity
    st.subheader(say("curves.title"), anchor=False)
    if len(expected) > 1:  # asked of recorded curves alone: the last one is the present one
        st.markdown(predict.off_curve(expected, drawn[-1].pruned, drawn[-1].fused, say))
    over = curves_figure.present(now, mode())
    if expected:
        over += curves_figure.guesses(expected, mode(), say)
    picture = pictures.curves_picture(tuple(settings), mode(), say)
    alt = curves_figure.alt(drawn, now, expected, say)
    chart(picture, page.key("curves"), alt, over=over)
    captions(curves_figure.caption(drawn, note, say))
