"""Predict, then reveal: no accuracy is shown before the person has said what they expect."""

from __future__ import annotations

from dataclasses import dataclass

import streamlit as st

import core
from app import controls
from app.charts import as_json, chart
from app.figures import accuracy as accuracy_figure
from app.figures import curves as curves_figure
from app.figures.curves import Expected
from app.language import Texts
from app.page import Page, mode
from core.evaluate import Accuracy

#: Sparsities at which a whole curve is guessed, where they were recorded.
POINTS = (0.1, 0.3, 0.5, 0.7, 0.9)
#: Percent that sliders start at: it says nothing.
START = 50


@dataclass(frozen=True)
class Guess:
    """What somebody expected, and of which choice: sparsity → (pruned, fused) as shares."""

    network: str
    recipe: core.Recipe
    expected: Expected

    def here(self) -> tuple[float, float] | None:
        """What they expected at the sparsity of the choice itself."""
        return self.expected.get(self.recipe.sparsity)


def hidden(page: Page) -> bool:
    """Whether no accuracy of this choice may be seen yet: whoever shows one asks here first."""
    return controls.view("predict") == "yes" and guess(page) is None


def guess(page: Page) -> Guess | None:
    """What was expected of this very choice, once it is revealed."""
    if controls.view("predict") != "yes":
        return None
    known: Guess | None = st.session_state.get("guess")
    same = known and (known.network, known.recipe) == (page.loaded.name, page.choice.recipe)
    return known if same else None


def forget() -> None:
    """Hide everything again."""
    st.session_state.pop("guess", None)


def ask(page: Page, dense: float, recorded: tuple[float, ...]) -> None:
    """Let the person set what they expect; *Reveal* keeps it and has the page drawn anew.

    `dense` is the dense network's accuracy. `recorded`: the sparsities of which something is
    recorded; where there are several, the whole curve can be guessed.
    """
    st.fragment(lambda: _ask(page, dense, tuple(s for s in POINTS if s in recorded)))()


def _ask(page: Page, dense: float, sparsities: tuple[float, ...]) -> None:
    say, recipe = page.say, page.choice.recipe
    how = "one"
    if len(sparsities) > 1:
        how = st.segmented_control(
            say("predict.how"), ("one", "curve"), default="one", required=True, key="guess_how",
            format_func=lambda key: say("predict.curve" if key == "curve" else "predict.one"),
            label_visibility="collapsed",
        )  # fmt: skip
    asked = "predict.ask_curve" if how == "curve" else "predict.ask"
    st.markdown(say(asked, group=page.choice.group, sparsity=recipe.sparsity, dense=dense))
    expected: dict[float, tuple[float, float]] = {}
    for sparsity in sparsities if how == "curve" else (recipe.sparsity,):
        shares = []
        for name, column in zip(("pruned", "fused"), st.columns(2), strict=True):
            label = say(f"predict.{name}")
            if how == "curve":
                label = say(f"predict.{name}_at", sparsity=sparsity)
            key = f"guess_{name}" + (f"_{sparsity}" if how == "curve" else "")
            shares.append(column.slider(label, 0, 100, START, 1, format="%d %%", key=key) / 100)
        expected[sparsity] = (shares[0], shares[1])
    if how == "curve":
        _preview(expected, say)
    if st.button(say("predict.reveal"), type="primary", key="reveal", width="stretch"):
        st.session_state["guess"] = Guess(page.loaded.name, recipe, expected)
        st.rerun()


def _preview(expected: Expected, say: Texts) -> None:
    drawn = as_json(curves_figure.figure([], None, mode(), say))
    told = ", ".join(
        say("predict.preview_point", sparsity=sparsity, pruned=pruned, fused=fused)
        for sparsity, (pruned, fused) in expected.items()
    )
    chart(
        drawn, "guess_curves", say("predict.preview", told=told), bar=False,
        over=curves_figure.guesses(expected, mode(), say),
    )  # fmt: skip


def off(expected: tuple[float, float], pruned: Accuracy, fused: Accuracy, say: Texts) -> str:
    """One sentence: how far off somebody was."""
    return say(
        "predict.off", pruned=expected[0], fused=expected[1],
        pruned_off=_off(expected[0], pruned, say), fused_off=_off(expected[1], fused, say),
    )  # fmt: skip


def _off(expected: float, real: Accuracy, say: Texts) -> str:
    # A guess is a whole number of percent: right is what rounding alone parts from the interval.
    if real.low - 0.005 <= expected <= real.high + 0.005:
        return say("predict.right", total=real.total)
    points = accuracy_figure.points(abs(expected - real.mean), say)
    return say("predict.high" if expected > real.mean else "predict.low", points=points)


def off_curve(
    expected: Expected,
    pruned: dict[float, Accuracy],
    fused: dict[float, Accuracy],
    say: Texts,
) -> str:
    """One sentence: how far off somebody was over several sparsities, on average."""
    means = []
    for place, curve in enumerate((pruned, fused)):
        errors = [abs(both[place] - curve[s].mean) for s, both in expected.items() if s in curve]
        means.append(accuracy_figure.points(sum(errors) / len(errors), say))
    return say("predict.off_curve", count=len(expected), pruned=means[0], fused=means[1])
