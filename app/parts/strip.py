"""The method as a strip of eight buttons: what each step did for this choice, and its lesson."""

from __future__ import annotations

import streamlit as st

from app import cache
from app.figures import theme
from app.lesson import STAGES
from app.page import Page, mode
from app.parts import lesson
from core.compress import Step

_STYLE = """<style>
.st-key-strip { gap: 0.5rem 0.35rem; counter-reset: stage; }
.st-key-strip button { padding: 0.2rem 0.6rem; text-align: left; min-height: 3.1rem; }
.st-key-strip button p { font-size: 0.8rem; line-height: 1.25; }
.st-key-strip button strong { display: block; font-size: 0.9rem; }
.st-key-strip > div:not(:first-child)::before {
  content: "→"; position: absolute; margin: 0.9rem 0 0 -0.95rem; font-size: 0.8rem; opacity: 0.7;
}
.st-key-strip { column-gap: 1.1rem; }
%s { border-left: 4px solid %s; }
%s { border-style: dashed; }
@media (max-width: 700px) {
  .st-key-strip { flex-wrap: nowrap; overflow-x: auto; padding-bottom: 0.5rem; }
  .st-key-strip > div { flex: 0 0 auto; }
}
</style>"""


def show(page: Page, step: Step | None) -> None:
    """Draw the strip; `step` is None while it is being decided."""
    told = {stage: said(page, step, stage) for stage in STAGES}
    opens = {
        one.stage: (name, number)
        for name, found in cache.lessons()[0].items()
        for number, one in enumerate(found.steps, 1)
        if one.stage
    }
    lit, idle = ([_button(stage) for stage, (_, on) in told.items() if on is at] for at in (1, 0))
    st.html(_STYLE % (", ".join(lit), theme.CHOSEN[mode()], ", ".join(idle)))
    with st.container(horizontal=True, key="strip"):
        for stage, (words, _) in told.items():
            st.button(
                f"**{page.say(f'strip.stage.{stage}')}** {words}",
                key=page.key(f"stage_{stage}"),
                help=page.say("strip.open") if stage in opens else None,
                on_click=lesson.go,
                args=opens.get(stage, ("", 0)),
                disabled=stage not in opens,
            )


def _button(stage: str) -> str:
    return f".st-key-strip .st-key-stage_{stage} button"


def said(page: Page, step: Step | None, stage: str) -> tuple[str, int]:
    """What a step of the method did, in a few words, and 1 where it did something, else 0."""
    say, recipe = page.say, page.choice.recipe
    if stage == "graph":
        return say("strip.graph", count=len(page.loaded.graph.groups)), 1
    if stage == "folding":
        norms = sum(layer.norm is not None for layer in page.loaded.graph.layers.values())
        return say("strip.folding", count=norms), int(norms > 0)
    if stage == "tuning":
        return say("strip.tuning"), 0
    if stage == "fusion":
        return f"{recipe.rule}: {say(f'strip.rule.{recipe.rule}')}", 1
    if step is None:
        return say("strip.waiting"), 0
    if stage == "importance":
        low, high = float(step.scores.min()), float(step.scores.max())
        return say("strip.importance", name=recipe.importance, low=low, high=high), 1
    if stage == "target":
        kept = len(step.measures.kept)
        return say("strip.target", kept=kept, all=page.group.width), 1
    if step.plan is None:
        return say("strip.no_plan"), 0
    if stage == "cost":
        mean = float(step.plan.costs.mean())
        return say("strip.cost", name=recipe.cost, mean=mean), 1
    return say("strip.transport", name=recipe.solver, cost=step.plan.cost), 1
