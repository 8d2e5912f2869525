"""The method as a strip of eight buttons: what each step did for this choice, and its lesson."""

from __future__ import annotations

import streamlit as st

from app import cache
from app.figures import theme
from app.lesson import STAGES
from app.page import Page, mode
from app.parts import lesson
from core.compress import Step

#: `§` stands for the strip's own class.
_STYLE = """
:has(> §) { container-type: inline-size; }
§ { display: grid; grid-template-columns: repeat(8, minmax(0, 1fr)); gap: 0.5rem 0.9rem; }
§ > div { position: relative; min-width: 0; min-height: 4.4rem; }
§ > div, § > div div, § button { width: 100%; }
§ button { padding: 0.2rem 0.5rem; text-align: left; min-height: 4.4rem; }
§ button, § button > div { justify-content: flex-start; align-items: flex-start; }
§ button p { font-size: 0.8rem; line-height: 1.25; white-space: normal; }
§ button strong { display: block; font-size: 0.9rem; }
§ button, § button * { overflow: visible; text-overflow: clip; }
§ > div:not(:last-child)::after {
  content: "→"; position: absolute; right: -0.85rem; top: 0.9rem; font-size: 0.8rem; opacity: 0.7;
}
@container (max-width: 58rem) {
  § { grid-template-columns: repeat(4, minmax(0, 1fr)); }
  § > div:nth-child(4)::after { content: none; }
}
@container (max-width: 34rem) {
  § { display: flex; flex-wrap: nowrap; overflow-x: auto; padding-bottom: 0.5rem; }
  § > div { flex: 0 0 7.5rem; width: auto; }
  § > div:nth-child(4)::after { content: "→"; }
}
"""


def show(page: Page, step: Step | None) -> None:
    """Draw the strip; `step` is None while it is being decided."""
    told = {stage: said(page, step, stage) for stage in STAGES}
    opens = {
        one.stage: (name, number)
        for name, found in cache.lessons()[0].items()
        for number, one in enumerate(found.steps, 1)
        if one.stage
    }
    own = f".st-key-{page.key('strip')}"
    style = _STYLE.replace("§", own)
    for stage, (_, did) in told.items():
        look = f"border-left: 4px solid {theme.CHOSEN[mode()]}" if did else "border-style: dashed"
        style += f"{own} .st-key-{page.key(f'stage_{stage}')} button {{ {look}; }}\n"
    st.html(f"<style>{style}</style>")
    with st.container(horizontal=True, key=page.key("strip")):
        for stage, (words, _) in told.items():
            title = page.say(f"strip.stage.{stage}")
            st.button(
                f"**{title}** {words}",
                key=page.key(f"stage_{stage}"),
                help=page.say("strip.open") if stage in opens else None,
                on_click=lesson.go,
                args=opens.get(stage, ("", 0)),
                disabled=stage not in opens,
            )


def said(page: Page, step: Step | None, stage: str) -> tuple[str, bool]:
    """What a step of the method did, in a few words, and whether it did anything."""
    say, recipe = page.say, page.choice.recipe
    if stage == "graph":
        return say("strip.graph", count=len(page.loaded.graph.groups)), True
    if stage == "folding":
        norms = sum(layer.norm is not None for layer in page.loaded.graph.layers.values())
        return say("strip.folding", count=norms), norms > 0
    if stage == "tuning":
        return say("strip.tuning"), False
    if stage == "fusion":
        what = say(f"strip.rule.{recipe.rule}")
        return f"{recipe.rule}: {what}", True
    if step is None:
        return say("strip.waiting"), False
    if stage == "importance":
        low, high = float(step.scores.min()), float(step.scores.max())
        return say("strip.importance", name=recipe.importance, low=low, high=high), True
    if stage == "target":
        kept = len(step.measures.kept)
        return say("strip.target", kept=kept, all=page.group.width), True
    if step.plan is None:
        return say("strip.no_plan"), False
    if stage == "cost":
        mean = float(step.plan.costs.mean())
        return say("strip.cost", name=recipe.cost, mean=mean), True
    return say("strip.transport", name=recipe.solver, cost=step.plan.cost), True
