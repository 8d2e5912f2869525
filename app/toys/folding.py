"""Folding batch norm: the numbers of a layer and its norm, what they fold into, and the proof."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace

import streamlit as st

from app.charts import as_json, chart
from app.figures import toys as figures
from app.language import Texts
from app.page import mode
from app.toys import norm
from app.toys.norm import Folded, Layer, fold
from app.toys.stage import achieved, held, playing

FACTS = (
    "folding.changed", "folding.input", "folding.checked", "folding.epsilon", "folding.mean",
)  # fmt: skip
#: Differences up to this share of an output are rounding.
ROUNDING = 1e-9
#: What the numbers of the batch norm are stepped by.
STEPS = {"bias": 0.1, "gamma": 0.1, "beta": 0.1, "mean": 0.1, "variance": 0.05}


def show(say: Texts, settings: Mapping[str, str]) -> None:
    """Draw the toy.

    Raises
    ------
    RecipeError
        If a setting can't be read.
    """
    given = norm.layer(settings)
    toy = held("folding", given, lambda: {
        "layer": given, "chosen": 0, "checked": False, "no_epsilon": False, "no_mean": False,
    })  # fmt: skip
    playing(lambda: _draw(say, given, toy))


def _draw(say: Texts, given: Layer, toy: dict) -> None:
    key = f"toy folding {toy['version']} "
    _pick_numbers(say, given, toy, key)
    layer, place = toy["layer"], toy["chosen"]
    right = fold(layer)
    st.markdown(f"**{say('toys.folding.becomes', place=place)}**")
    for line in formulas(say, layer, right, place):
        st.latex(line)
    st.markdown(f"**{say('toys.folding.proof')}**")
    _pick_input(say, toy, key)

    def check() -> None:
        toy["checked"] = True
        achieved("folding.checked")

    if not toy["checked"]:
        st.button(
            say("toys.folding.check"), key=f"{key}check", on_click=check, type="primary",
            icon=":material/play_arrow:",
        )  # fmt: skip
        return
    _pick_mistakes(say, toy, key)
    shown = fold(toy["layer"], toy["no_epsilon"], toy["no_mean"])
    drawn, told = figures.outputs(shown, mode(), say), figures.outputs_alt(shown, say)
    chart(as_json(drawn), f"{key}outputs", told, bar=False)
    _tell(say, toy, shown)


def _number(say: Texts, toy: dict, name: str, place: int, own: str, **limits) -> None:
    """One number of the layer as a field."""

    def change() -> None:
        toy["layer"] = toy["layer"].changed(name, place, st.session_state[own])
        achieved("folding.input" if name == "input" else "folding.changed")

    st.session_state[own] = float(getattr(toy["layer"], name)[place])
    st.number_input(
        say(f"toys.folding.{name}", place=place), key=own, on_change=change, format="%g", **limits
    )  # fmt: skip


def _pick_numbers(say: Texts, given: Layer, toy: dict, key: str) -> None:
    channel_key, epsilon_key = f"{key}channel", f"{key}epsilon"
    st.session_state[channel_key] = toy["chosen"]
    st.session_state[epsilon_key] = toy["layer"].epsilon

    def choose() -> None:
        toy["chosen"] = st.session_state[channel_key]

    def strength() -> None:
        toy["layer"] = replace(toy["layer"], epsilon=st.session_state[epsilon_key])
        achieved("folding.changed")

    left, right = st.columns(2)
    with left:
        st.segmented_control(
            say("toys.folding.pick"), range(len(given.weights)), key=channel_key, required=True,
            on_change=choose, format_func=lambda k: say("toys.folding.channel", place=k),
        )  # fmt: skip
    with right:
        options = sorted({*norm.EPSILONS, given.epsilon})
        st.select_slider(
            "ε", options, key=epsilon_key, on_change=strength,
            format_func=lambda e: figures.value(say, e),
        )  # fmt: skip
    place = toy["chosen"]
    columns = st.columns(len(STEPS))
    for column, (name, step) in zip(columns, STEPS.items(), strict=True):
        least = 0.0 if name == "variance" else -norm.FAR
        with column:
            _number(
                say, toy, name, place, f"{key}{name} {place}", min_value=least,
                max_value=norm.FAR, step=step,
            )  # fmt: skip


def _pick_input(say: Texts, toy: dict, key: str) -> None:
    count = len(toy["layer"].input)
    for place, column in enumerate(st.columns(count)):
        with column:
            _number(
                say, toy, "input", place, f"{key}input {place}", min_value=-norm.FAR,
                max_value=norm.FAR, step=0.5,
            )  # fmt: skip


def _pick_mistakes(say: Texts, toy: dict, key: str) -> None:
    for name, fact in (("no_epsilon", "folding.epsilon"), ("no_mean", "folding.mean")):
        own = f"{key}{name}"
        st.session_state[own] = toy[name]

        def forget(name=name, fact=fact, own=own) -> None:
            toy[name] = st.session_state[own]
            achieved(fact)

        st.toggle(say(f"toys.folding.{name}"), key=own, on_change=forget)


def _tell(say: Texts, toy: dict, shown: Folded) -> None:
    """How far the folded layer is off, in words, channel by channel where it is."""
    off = [
        (place, difference)
        for place, (difference, before) in enumerate(
            zip(shown.difference.tolist(), shown.before.tolist(), strict=True)
        )
        if not abs(difference) <= ROUNDING * max(1.0, abs(before))  # also if it is not a number
    ]
    mistake = toy["no_epsilon"] or toy["no_mean"]
    if not off:
        most = float(shown.difference.abs().max())
        key = "toys.folding.same_anyway" if mistake else "toys.folding.same"
        st.success(say(key, most=figures.value(say, most)), icon=":material/check:")
        return
    told = [
        say(
            "toys.folding.off",
            place=place,
            by=figures.value(say, by),
            share=share(say, shown, place),
        )
        for place, by in off
    ]
    st.error(" ".join(told), icon=":material/error:")
    if toy["no_epsilon"]:
        st.markdown(say("toys.folding.why_epsilon"))
    if toy["no_mean"]:
        st.markdown(say("toys.folding.why_mean"))


def share(say: Texts, shown: Folded, place: int) -> str:
    """A difference as a share of what the output should be; empty where that is 0."""
    before, by = float(shown.before[place]), float(shown.difference[place])
    if before == 0 or not math.isfinite(by):
        return ""
    return say("toys.folding.share", share=abs(by / before))


# -- formulas -------------------------------------------------------------------------------------


def tex(say: Texts, number: float) -> str:
    """A number in a formula, where a comma would be followed by a space."""
    if not math.isfinite(number):
        return r"\infty" if number > 0 else r"-\infty"
    if number and not 1e-3 <= abs(number) < 1e4:
        digits, power = f"{number:.2e}".split("e")
        return rf"{tex(say, float(digits))}\cdot 10^{{{int(power)}}}"
    return say.number(number or 0.0, ".4g").replace(",", "{,}").replace("−", "-")  # no −0


def signed(say: Texts, number: float) -> str:
    """The same as a factor or a term: in brackets below zero."""
    return f"({tex(say, number)})" if number < 0 else tex(say, number)


def vector(say: Texts, numbers: tuple[float, ...], kind: str) -> str:
    """A channel's weights: a row of a linear layer, a kernel of a convolution."""
    told = [tex(say, one) for one in numbers]
    rows = [told[:2], told[2:]] if kind == "conv" else [told]
    return r"\begin{pmatrix}" + r"\\".join(" & ".join(row) for row in rows) + r"\end{pmatrix}"


def formulas(say: Texts, layer: Layer, folded: Folded, place: int) -> list[str]:
    """w′ and b′ of a channel, with letters and with its numbers; a short line each."""
    w, b = layer.weights[place], layer.bias[place]
    gamma, beta = layer.gamma[place], layer.beta[place]
    mean, variance = layer.mean[place], layer.variance[place]
    new, moved = tuple(folded.weight[place].tolist()), float(folded.bias[place])
    scale = float(folded.scale[place])
    root = rf"\sqrt{{{tex(say, variance)} + {tex(say, layer.epsilon)}}}"
    return [
        r"\begin{aligned}"
        r"s &= \frac{\gamma}{\sqrt{\sigma^2 + \varepsilon}} \\[0.6em]"
        rf"&= \frac{{{tex(say, gamma)}}}{{{root}}} = {tex(say, scale)}"
        r"\end{aligned}",
        r"\begin{aligned}"
        rf"w' = s\,w &= {signed(say, scale)} \cdot {vector(say, w, layer.kind)} \\"
        rf"&= {vector(say, new, layer.kind)}"
        r"\end{aligned}",
        r"\begin{aligned}"
        r"b' &= \beta + (b - \mu)\,s \\"
        rf"&= {tex(say, beta)} + ({tex(say, b)} - {signed(say, mean)})"
        rf"\cdot {signed(say, scale)} \\"
        rf"&= {tex(say, moved)}"
        r"\end{aligned}",
    ]
