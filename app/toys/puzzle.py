"""The residual puzzle: a layer loses channels; which layers must shrink with it?"""

from __future__ import annotations

from collections.abc import Mapping

import streamlit as st

from app.charts import as_json, chart
from app.figures import toys_puzzle as figures
from app.language import Texts
from app.page import mode
from app.toys import networks
from app.toys.networks import Puzzle, Remark, Tried, network
from app.toys.stage import achieved, held, playing

FACTS = ("puzzle.picked", "puzzle.checked", "puzzle.broken", "puzzle.solved")


def show(say: Texts, settings: Mapping[str, str]) -> None:
    """Draw the toy.

    Raises
    ------
    RecipeError
        If a setting can't be read.
    """
    puzzle = networks.puzzle(settings)
    toy = held("puzzle", puzzle, lambda: {"picked": frozenset(), "checked": False, "tried": None})
    playing(lambda: _draw(say, puzzle, toy))


def _draw(say: Texts, puzzle: Puzzle, toy: dict) -> None:
    key = f"toy puzzle {toy['version']} "

    def pick(layers: frozenset[str]) -> None:
        toy.update(picked=layers, checked=False, tried=None)
        achieved("puzzle.picked")

    def clicked(customdata: object) -> None:
        match customdata:  # what a browser sends is checked
            case [str(layer)] if layer in puzzle.choices:
                pick(toy["picked"] ^ {layer})

    def check() -> None:
        toy["checked"] = True
        achieved("puzzle.checked")

    def attempt() -> None:
        toy["tried"] = networks.attempt(puzzle, toy["picked"])
        achieved("puzzle.solved" if toy["tried"].runs else "puzzle.broken")

    st.markdown(
        say("toys.puzzle.question", layer=puzzle.layer, remove=puzzle.remove, width=_width(puzzle))
    )
    figure = figures.figure(puzzle, toy["picked"], toy["checked"], toy["tried"], mode(), say)
    told = figures.alt(puzzle, toy["picked"], say)
    chart(as_json(figure), f"{key}network", told, bar=False, clicked=clicked)
    st.caption(say("toys.puzzle.legend"))
    st.session_state[f"{key}picked"] = [n for n in puzzle.choices if n in toy["picked"]]
    st.multiselect(
        say("toys.puzzle.pick"), puzzle.choices, key=f"{key}picked",
        placeholder=say("toys.puzzle.none_yet"),
        on_change=lambda: pick(frozenset(st.session_state[f"{key}picked"])),
    )  # fmt: skip
    with st.container(horizontal=True):
        st.button(
            say("toys.puzzle.check"), key=f"{key}check", on_click=check,
            icon=":material/fact_check:",
        )  # fmt: skip
        st.button(
            say("toys.puzzle.try"), key=f"{key}try", on_click=attempt,
            icon=":material/play_arrow:", type="primary",
        )  # fmt: skip
    if toy["tried"] is not None:
        _tell_tried(say, puzzle, toy["tried"])
    if toy["checked"]:
        _tell_checked(say, puzzle, toy["picked"])


def _width(puzzle: Puzzle) -> int:
    return network(puzzle.network).outputs(puzzle.layer)


def _tell_checked(say: Texts, puzzle: Puzzle, picked: frozenset[str]) -> None:
    missing, extra = networks.check(puzzle, picked)
    if not missing and not extra:
        st.success(say("toys.puzzle.right"), icon=":material/check:")
        st.markdown(_listed(say, puzzle, [networks.remark(puzzle, n) for n in sorted(picked)]))
        return
    if missing:
        st.warning(say("toys.puzzle.missing", count=len(missing)), icon=":material/question_mark:")
        st.markdown(_listed(say, puzzle, missing))
    if extra:
        st.warning(say("toys.puzzle.extra", count=len(extra)), icon=":material/close:")
        st.markdown(_listed(say, puzzle, extra))


def _listed(say: Texts, puzzle: Puzzle, remarks: list[Remark]) -> str:
    return "\n".join(
        "- "
        + say(f"toys.puzzle.why.{one.kind}", layer=one.layer, where=one.where, asked=puzzle.layer)
        for one in remarks
    )


def _tell_tried(say: Texts, puzzle: Puzzle, tried: Tried) -> None:
    before, after = tried.parameters
    if tried.runs:
        st.success(
            say("toys.puzzle.runs", before=before, after=after, share=after / before),
            icon=":material/check:",
        )
    elif tried.operation is None:
        st.error(
            say("toys.puzzle.classes", outputs=tried.outputs, classes=networks.CLASSES),
            icon=":material/error:",
        )
    else:
        st.error(
            say(f"toys.puzzle.broke.{tried.kind}", where=tried.operation, wants=tried.wants,
                gets=tried.gets),
            icon=":material/error:",
        )  # fmt: skip
        st.caption(say("toys.puzzle.own_words") + f" `{tried.error}`")
