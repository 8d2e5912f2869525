"""Transport by hand: a handful of channels as points; move one, and the plan follows."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import partial

import streamlit as st

from app.charts import as_json, chart
from app.figures import toys as figures
from app.language import Texts
from app.page import mode
from app.toys import problem as problems
from app.toys.board import board
from app.toys.problem import LOOKS, Problem, Scene, scene
from app.toys.stage import achieved, held, playing
from core.cost import COSTS
from core.transport import TransportPlan

FACTS = (
    "transport.moved", "transport.weighed", "transport.distance", "transport.normalised",
    "transport.sinkhorn", "transport.epsilon", "transport.compared",
)  # fmt: skip


#: Moves that cost less are rounding.
DUST = 1e-9


def show(say: Texts, settings: Mapping[str, str]) -> None:
    """Draw the toy.

    Raises
    ------
    RecipeError
        If a setting can't be read.
    """
    given = scene(settings)
    # What is shown beside the picture may change from step to step without anything starting anew.
    toy = held("transport", (given.problem, given.epsilon, given.solver), lambda: _made(given))
    playing(lambda: _draw(say, given, toy))


def _made(given: Scene) -> dict:
    return {"problem": given.problem, "epsilon": given.epsilon, "look": given.solver,
            "chosen": 0, "answers": {}}  # fmt: skip


def _draw(say: Texts, given: Scene, toy: dict) -> None:
    key = f"toy transport {toy['version']} "

    def moved(solver: str, place: int, x: float, y: float, number: int) -> None:
        toy["problem"] = toy["problem"].moved(place, x, y)
        toy["chosen"], toy["answers"][solver] = place, number
        achieved("transport.moved")

    def choose(place: int) -> None:
        toy["chosen"] = place

    # What follows a point stands near it; the numbers, which few need, at the end.
    drawn, choice, matrices, numbers = (st.container() for _ in range(4))
    if "sinkhorn" in given.show:  # first, for the plan follows what is chosen here
        with choice:
            _pick_solver(say, given, toy, key)
    with numbers:
        _pick_point(say, given, toy, key)
    problem = toy["problem"]
    looks = ("exact", "sinkhorn") if toy["look"] == "both" else (toy["look"],)
    plans = {solver: problem.solve(solver, toy["epsilon"]) for solver in looks}
    with drawn:
        columns = st.columns(len(plans))
        for column, (solver, plan) in zip(columns, plans.items(), strict=True):
            with column:
                if len(plans) > 1:
                    st.markdown(f"**{say(f'toys.transport.look.{solver}')}**")
                board(
                    figures.board(problem, plan, toy["chosen"], mode(), say),
                    f"{key}board {solver}", toy["answers"].get(solver, 0),
                    partial(moved, solver), choose,
                )  # fmt: skip
        st.caption(say("toys.transport.legend"))
        if problem.normalise:
            st.caption(say("toys.transport.circle"))
    with matrices:
        beside = len(plans) == 1 and {"costs", "plan"} <= set(given.show)
        left, right = st.columns(2) if beside else (st.container(), st.container())
        if "costs" in given.show:
            with left:
                _costs(say, problem, next(iter(plans.values())), key)
        if "plan" in given.show:
            with right:
                _plans(say, problem, plans, key)


def _pick_point(say: Texts, given: Scene, toy: dict, key: str) -> None:
    """One point's place and masses, as numbers: everything that dragging does, and more."""
    problem: Problem = toy["problem"]
    point = toy["chosen"]
    shown = f"{key}point"
    st.session_state[shown] = point  # a drag chooses a point, too

    def choose() -> None:
        toy["chosen"] = st.session_state[shown]

    sorts = ("leaves", "stays")
    st.segmented_control(
        say("toys.transport.channel"), range(len(problem.points)), key=shown, on_change=choose,
        format_func=lambda k: say(f"toys.transport.{sorts[k in problem.stays]}", point=k),
        required=True,
    )  # fmt: skip
    fields = st.columns(2)
    for axis, (name, edge) in enumerate((("x", problems.ACROSS), ("y", problems.UP))):
        own = f"{key}{name} {point}"
        st.session_state[own] = problem.points[point][axis]

        def place(axis=axis, own=own) -> None:
            at = list(toy["problem"].points[point])
            at[axis] = st.session_state[own]
            toy["problem"] = toy["problem"].moved(point, *at)
            achieved("transport.moved")

        with fields[axis]:
            st.number_input(
                say(f"toys.transport.{name}", point=point), -edge, edge, step=problems.GRID,
                format="%.1f", key=own, on_change=place,
            )  # fmt: skip
    if "masses" in given.show:
        fields = st.columns(2)
        sides = [("source", point)]
        if point in problem.stays:
            sides.append(("target", problem.stays.index(point)))
        for column, (side, index) in zip(fields, sides, strict=False):
            with column:
                _weight(say, toy, side, index, point, f"{key}{side} {point}")
    if "distance" in given.show:
        _pick_distance(say, toy, key)


def _weight(say: Texts, toy: dict, side: str, index: int, point: int, own: str) -> None:
    def weigh() -> None:
        toy["problem"] = toy["problem"].weighed(side, index, st.session_state[own])
        achieved("transport.weighed")

    st.session_state[own] = float(getattr(toy["problem"], side)[index])
    st.slider(
        say(f"toys.transport.{side}", point=point), problems.LIGHT, problems.HEAVY,
        step=problems.WEIGHT_STEP, format="%.1f", key=own, on_change=weigh,
        help=say("toys.transport.divided"),
    )  # fmt: skip


def _pick_distance(say: Texts, toy: dict, key: str) -> None:
    cost_key, norm_key = f"{key}cost", f"{key}normalise"
    st.session_state[cost_key] = toy["problem"].cost
    st.session_state[norm_key] = toy["problem"].normalise

    def distance() -> None:
        toy["problem"] = replace(toy["problem"], cost=st.session_state[cost_key])
        achieved("transport.distance")

    def normalise() -> None:
        toy["problem"] = replace(toy["problem"], normalise=st.session_state[norm_key])
        achieved("transport.normalised")

    left, right = st.columns(2, vertical_alignment="bottom")
    with left:
        st.segmented_control(
            say("toys.transport.distance"), tuple(COSTS), key=cost_key, on_change=distance,
            format_func=lambda name: say(f"toys.transport.cost.{name}"), required=True,
        )  # fmt: skip
    with right:
        st.toggle(say("toys.transport.normalise"), key=norm_key, on_change=normalise)


def _pick_solver(say: Texts, given: Scene, toy: dict, key: str) -> None:
    look_key, epsilon_key = f"{key}look", f"{key}epsilon"
    st.session_state[look_key] = toy["look"]

    def look() -> None:
        toy["look"] = st.session_state[look_key]
        if toy["look"] != "exact":
            achieved("transport.sinkhorn")
        if toy["look"] == "both":
            achieved("transport.compared")

    def strength() -> None:
        toy["epsilon"] = st.session_state[epsilon_key]
        achieved("transport.epsilon")

    left, right = st.columns(2)
    with left:
        st.segmented_control(
            say("toys.transport.solver"), LOOKS, key=look_key, on_change=look,
            format_func=lambda name: say(f"toys.transport.look.{name}"), required=True,
        )  # fmt: skip
    if toy["look"] != "exact":
        st.session_state[epsilon_key] = toy["epsilon"]
        with right:
            st.select_slider(
                say("toys.transport.epsilon"), sorted({*problems.EPSILONS, given.epsilon}),
                key=epsilon_key, on_change=strength, format_func=lambda e: say.number(e, "g"),
            )  # fmt: skip


def _names(say: Texts, problem: Problem) -> tuple[list[str], list[str]]:
    rows = [say("toys.transport.row", point=k) for k in range(len(problem.points))]
    return rows, [say("toys.transport.column", point=k) for k in problem.stays]


def _costs(say: Texts, problem: Problem, plan: TransportPlan, key: str) -> None:
    st.markdown(f"**{say('toys.transport.costs')}**")
    rows, columns = _names(say, problem)
    drawn = figures.matrix(plan.costs, rows, columns, mode(), say)
    told = figures.matrix_alt(say("toys.transport.costs"), plan.costs, rows, columns, say)
    chart(as_json(drawn), f"{key}costs", told, bar=False)


def _plans(say: Texts, problem: Problem, plans: dict[str, TransportPlan], key: str) -> None:
    rows, columns = _names(say, problem)
    least = plans["exact"].cost if "exact" in plans else None
    for column, (solver, plan) in zip(st.columns(len(plans)), plans.items(), strict=True):
        with column:
            name = say(f"toys.transport.look.{solver}")
            title = say("toys.transport.plan", solver=name)
            st.markdown(f"**{title}**")
            masses = [
                f"{row} · {say.number(float(m), '.2f')}"
                for row, m in zip(rows, plan.source, strict=True)
            ]
            tops = [
                f"{name}<br>{say.number(float(m), '.2f')}"
                for name, m in zip(columns, plan.target, strict=True)
            ]
            drawn = figures.matrix(plan.mass, masses, tops, mode(), say)
            told = figures.matrix_alt(title, plan.mass, masses, tops, say)
            chart(as_json(drawn), f"{key}plan {solver}", told, bar=False)
            st.markdown(total(say, plan))
            if least is not None and solver == "sinkhorn" and least > 0:
                st.markdown(say("toys.transport.more", share=plan.cost / least - 1))
            if not plan.converged:
                st.warning(say("toys.transport.not_converged", error=plan.source_error))
    st.caption(say("toys.transport.plan_caption"))


def total(say: Texts, plan: TransportPlan) -> str:
    """The total cost as the sum of products that it is; moves that cost nothing are left out."""
    pairs = [
        (mass, cost)
        for masses, costs in zip(plan.mass.tolist(), plan.costs.tolist(), strict=True)
        for mass, cost in zip(masses, costs, strict=True)
        if mass * cost > DUST
    ]
    terms = [f"{say.number(m, '.2f')} × {say.number(c, '.2f')}" for m, c in pairs if m >= 5e-3]
    if len(terms) < len(pairs):
        terms.append("…")
    shown = " + ".join(terms) or "0"
    return say("toys.transport.total", terms=shown, cost=plan.cost)
