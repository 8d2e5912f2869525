"""Signs of failure of the chosen group at the chosen sparsity, a sentence each."""

from __future__ import annotations

import streamlit as st

from app import cache, jobs
from app.page import Page, live


def show(page: Page) -> None:
    """Look for signs off the page, and name those that are there."""
    job = _noticing(page)
    if job.running:
        waiting = f":material/hourglass: {page.say('signs.waiting', **_at(page))}"
        live(job, 0.7, lambda drawn_in: st.caption(waiting))
    for one in job.result or ():
        if one.where.get("variant") == "pruned":
            continue  # far off after plain pruning is no plan's fault
        told = page.say(
            f"signs.{one.name}", **_at(page), value=one.value, threshold=one.threshold,
            channel=one.where.get("channel", ""), images=cache.SOME,
        )  # fmt: skip
        st.markdown(f":material/troubleshoot: {told}")


def _at(page: Page) -> dict[str, object]:
    return dict(group=page.choice.group, sparsity=page.choice.recipe.sparsity)


def _noticing(page: Page) -> jobs.Job:
    """The job for this choice, started or found again; the one before it is stopped."""
    wanted = (page.loaded.name, page.choice.recipe, page.folder)
    job = cache.noticing(*wanted)
    if job.cancelled:
        cache.noticing.clear(*wanted)
        job = cache.noticing(*wanted)
    key = page.key("noticing")
    before, st.session_state[key] = st.session_state.get(key), job
    if before is not None and before is not job and before.running:
        before.cancel()
    return job
