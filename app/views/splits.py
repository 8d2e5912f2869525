"""Splits: networks trained on parts of the data, fused and pruned, beside one trained on all."""

from __future__ import annotations

from functools import partial

import streamlit as st

from app import controls, frame, runs
from app.charts import as_json, chart
from app.figures import shares as shares_figure
from app.figures import split_accuracy
from app.figures import splits as figures
from app.page import Page, captions, mode
from app.parts import matching, run, splitting
from core import zoo
from core.published import SPEEDUPS, TRAINED
from core.split_plan import PAPER, Plan
from core.split_result import Result, Run
from core.split_shares import ShareCurve

#: Where one click leads: what the link says.
PRESETS = {
    "digits": {"network": "vgg11_bn-digits", "sparsity": "0.5"},
    "recorded": {"network": "vgg11_bn-cifar10", "sparsity": "0.5"},
}


def body(page: Page, told: dict[str, str]) -> None:
    say, name = page.say, page.loaded.name
    st.subheader(say("splits.heading"), anchor=False)
    st.markdown(say("splits.lead"))
    presets(page)
    if zoo.network(name).images == "digits":
        measured(page)
    else:
        recorded(page)


def presets(page: Page) -> None:
    """The two things there are to look at, a click each."""
    there = zoo.shipped()
    with st.container(horizontal=True, vertical_alignment="center"):
        st.caption(page.say("ablation.presets"), width="content")
        for name, given in PRESETS.items():
            if given["network"] in there:
                st.button(
                    page.say(f"splits.preset.{name}"), key=f"splits_{name}", type="tertiary",
                    on_click=controls.show_link, args=(given,), icon=":material/bolt:",
                )  # fmt: skip


def measured(page: Page) -> None:
    """A run on this machine, and the curve over shares."""
    say = page.say
    with st.container(horizontal=True):
        split = controls.pick_view("split", labelled=True)
        inside = controls.pick_view("inside", labelled=True)
    plan = splitting.plan_of(page, split, inside)
    st.caption(described(page, plan))
    key = ("splits", plan, page.folder)
    run.show(
        page, key, splitting.training(page, plan), partial(draw, page, key),
        partial(splitting.saved, plan), lambda known: known is not None and known.done,
        pauses=True, above=True,
    )  # fmt: skip
    job = runs.found(key)
    known = splitting.saved(plan) if job is None else job.result
    left, right = st.columns(2, gap="large")
    with left:
        st.markdown(f"#### {say('matching.title')}")
        if known is not None and known.runs and known.runs[0].timelines:
            matching.show(page, known, known.runs[0])
        else:
            st.info(say("matching.later"), icon=":material/conversion_path:")
    with right:
        st.markdown(f"#### {say('shares.title')}")
        whole = splitting.curve_plan(page)
        run.show(
            page, ("shares", whole, page.folder), splitting.curve(page, whole),
            partial(draw_curve, page), partial(splitting.saved_curve, whole),
            lambda curve: curve is not None and curve.done, pauses=True, start="shares.start",
        )  # fmt: skip


def recorded(page: Page) -> None:
    """The run of a larger network that ships, if one does; how to make one, if not."""
    say, name = page.say, page.loaded.name
    found = splitting.recorded(name)
    if found is None or not found.runs:
        title = zoo.network(name).title
        st.info(say("splits.not_recorded", network=title), icon=":material/inventory_2:")
        hours = splitting.preset(name)
        st.code(
            f"python -m core splits --network {name} --seeds {','.join(map(str, hours.seeds))} "
            f"--out parts\ncp parts/splits.json assets/results/splits-{name}.json",
            language="bash",
        )  # fmt: skip
        return
    seeds = {one.seed: one for one in found.runs}
    chosen = next(iter(seeds))
    if len(seeds) > 1:
        chosen = st.segmented_control(
            say("splits.seed"), list(seeds), default=chosen, key=f"splits_seed_{name}",
            required=True,
        )  # fmt: skip
    st.caption(described(page, found.plan))
    draw_run(page, found, seeds[chosen], mode())
    if found.provenance:
        last = found.provenance[-1]
        told = {name: last[name] for name in ("date", "machine", "command")}
        st.caption(say("splits.recorded", **told))
    left, right = st.columns(2, gap="large")
    with left:
        st.markdown(f"#### {say('matching.title')}")
        matching.show(page, found, seeds[chosen])
    with right:
        curve = splitting.saved_curve(splitting.curve_plan(page))
        if curve is not None:
            st.markdown(f"#### {say('shares.title')}")
            draw_curve(page, curve, mode())


def described(page: Page, plan: Plan) -> str:
    """How networks are trained and compressed, in a line."""
    return page.say(
        "splits.plan", network=zoo.network(plan.network).title, count=len(plan.splits),
        share=plan.splits.fraction, epochs=plan.epochs, steps=plan.steps,
        gone=plan.recipe.sparsity, pruned=plan.pruned_epochs, fused=plan.fused_epochs,
        rule=plan.recipe.rule, importance=plan.recipe.importance, samples=plan.fusion.samples,
        seeds=", ".join(map(str, plan.seeds)),
    )  # fmt: skip


def draw(page: Page, key: tuple, known: Result | None, drawn_in: str) -> None:
    """The only run of a plan, as far as it is known."""
    if known is None or not known.runs or not known.runs[0].timelines:
        job = runs.found(key)
        told = "splits.soon" if job is not None and job.running else "splits.nothing"
        st.info(page.say(told), icon=":material/call_split:")
        return
    draw_run(page, known, known.runs[0], drawn_in)


def draw_run(page: Page, known: Result, told: Run, drawn_in: str) -> None:
    """The timeline with its numbers, accuracy along the way, what fusion alone gives."""
    say = page.say
    if head := figures.headline(told, say):
        st.markdown(f"#### {head}")
    picture = as_json(figures.timeline(told, drawn_in, say))
    chart(picture, page.key("timeline"), figures.alt(told, say))
    captions(figures.caption(known, told, say))
    rows = figures.rows(told, say)
    st.dataframe(rows, hide_index=True, key=page.key("splits_table"), alt=figures.alt(told, say))
    beside = " ".join(trained(page, known, told))
    st.caption(f"{say('splits.table')} {paper(page, told)} {beside}")
    left, right = st.columns(2, gap="large")
    with left:
        st.markdown(f"**{say('splits.title_along')}**")
        picture = as_json(split_accuracy.along(told, drawn_in, say))
        chart(picture, page.key("along"), split_accuracy.alt_along(told, say))
        captions(split_accuracy.caption_along(told, say))
    if any(one.fused for one in told.timelines.values()):
        with right:
            st.markdown(f"**{say('splits.title_alone')}**")
            picture = as_json(split_accuracy.alone(told, drawn_in, say))
            chart(picture, page.key("alone"), split_accuracy.alt_alone(told, say))
            captions(split_accuracy.caption_alone(say))


def paper(page: Page, told: Run) -> str:
    """The first training alone, and what the published figures are of."""
    ours = next(
        (told.training_speedup(name) for name in told.timelines if name != "whole"), None
    )  # fmt: skip
    known = dict(theirs=SPEEDUPS["training"], epochs=PAPER["epochs"])
    if ours is None:
        return page.say("splits.paper", **known)
    return f"{page.say('splits.training', ours=ours, **known)} {page.say('splits.paper', **known)}"


def trained(page: Page, known: Result, told: Run) -> list[str]:
    """Accuracies after the first training beside the published ones, where there are such."""
    theirs = TRAINED.get(known.plan.network)
    ours: dict[str, list[float]] = {"part": [], "whole": []}
    for timeline in told.timelines.values():
        for stage in timeline.stages:
            if stage.name == "train":
                ours[stage.network.split()[0]].append(stage.accuracy.mean)
    if theirs is None or not all(ours.values()):
        return []
    low, high = zip(*(theirs[kind] for kind in ours), strict=True)
    return [
        page.say(
            "splits.trained", low=min(ours["part"]), high=max(ours["part"]),
            whole=ours["whole"][0], epochs=known.plan.epochs, their_epochs=PAPER["epochs"],
            their_low=low[0], their_high=high[0], whole_low=low[1], whole_high=high[1],
        )
    ]  # fmt: skip


def draw_curve(page: Page, curve: ShareCurve | None, drawn_in: str) -> None:
    """Accuracy against the share of the data."""
    say = page.say
    if curve is None or not curve.points:
        counts = ", ".join(map(str, splitting.COUNTS))
        st.info(say("shares.nothing", counts=counts), icon=":material/data_usage:")
        return
    seed = curve.points[0].seed
    if head := shares_figure.headline(curve, seed, say):
        st.markdown(head)
    picture = as_json(shares_figure.figure(curve, seed, drawn_in, say))
    chart(picture, page.key("shares"), shares_figure.alt(curve, seed, say))
    captions(shares_figure.caption(curve, say))


frame.draw(body)
