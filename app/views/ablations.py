"""Ablations: the paper's comparisons and its open questions, for the chosen group and sparsity."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import streamlit as st

from app import cache, controls, frame, runs
from app.charts import as_json, chart
from app.figures import ablation as figures
from app.figures import ablation_table as tables
from app.jobs import Job
from app.page import Page, captions
from app.parts import run
from core import ablation, zoo
from core.book import Book, Entry, Wanted, read
from core.experiments import Bench

#: Networks trained here where an ablation is about several: a minute or so each.
TRAINED = 3
#: Where one click leads: the page, and what its link says.
PRESETS = {
    "divergence": (
        "divergence", {"network": "resnet18-cifar10", "group": "1", "sparsity": "0.5"}
    ),
    "masses": (
        "ablations",
        {
            "network": "resnet18-cifar10", "group": "0", "sparsity": "0.3", "ablation": "masses",
        },
    ),
    "splits": (
        "splits",
        {
            "network": "vgg11_bn-digits", "sparsity": "0.5", "split": "halves-2",
            "inside": "fusion", "fused_in": "fap",
        },
    ),
}  # fmt: skip


def body(page: Page, told: dict[str, str]) -> None:
    say, loaded, choice = page.say, page.loaded, page.choice
    st.subheader(say("ablation.heading"), anchor=False)
    st.markdown(say("ablation.lead"))
    presets(page)
    kind = controls.pick_view("ablation", labelled=True)
    st.markdown(say(f"ablation.about.{kind}"))
    count = controls.pick_view("images", labelled=True)
    limit = None if count == "all" else int(count)
    recipe = choice.recipe
    key = ("ablation", kind, loaded.name, recipe, limit, page.folder)
    file = runs.folder() / f"ablation-{kind}-{loaded.card.sha256[:12]}-{recipe.key}-{count}.json"

    def work(job: Job) -> tuple[list[Entry], bool]:
        job.report(0.0, say("accuracy.reading"))
        bench = cache.bench(loaded.name, limit, page.folder)
        trains = kind == "spoiled" or (kind == "masses" and digits(page))

        def report(start: float, share: float, sentence: str) -> None:
            job.result = list(book.entries.values()), False
            job.report(start + (1 - start) * share, sentence)

        book = Book(kind, bench, file, say("ablation.command"))
        ahead = 0.5 if trains else 0.0
        asked = wanted(kind, bench, recipe, lambda s, line: job.report(ahead * s, line), trains)
        entries = book.counted(asked, report=partial(report, ahead), between=job.hold)
        return entries, True

    def saved() -> tuple[list[Entry], bool] | None:
        return (list(read(file)[1].values()), False) if file.exists() else None

    run.show(
        page, key, work, partial(draw, page, kind), saved,
        lambda found: found is not None and found[1],
    )  # fmt: skip


def digits(page: Page) -> bool:
    """Whether networks like this one are trained in a minute."""
    return zoo.network(page.loaded.name).images == "digits"


def wanted(kind: str, bench: Bench, recipe, report, trains: bool) -> Sequence[Wanted]:
    """What an ablation counts for one group at one sparsity."""
    sparsities = (recipe.sparsity,)
    if trains:
        kinds = ablation.SPOILED if kind == "spoiled" else ablation.SPOILED[:1]
        count = 1 if kind == "spoiled" else TRAINED
        benches = ablation.trained(bench, count, kinds=kinds, report=report)
        if kind == "spoiled":
            return ablation.of_spoiled(benches, recipe, recipe.sparsity)
        return ablation.masses([one for _, one in benches], recipe, sparsities)
    if kind == "masses":
        return ablation.masses([bench], recipe, sparsities)
    if kind == "corruption":
        return ablation.corruption(bench, recipe, recipe.sparsity)
    return getattr(ablation, kind)(bench, recipe, sparsities)


def draw(page: Page, kind: str, found: tuple[list[Entry], bool] | None, drawn_in: str) -> None:
    """The figure, the sentence that says what came out, and the table where there is one."""
    say = page.say
    entries = found[0] if found else []
    if not any(entry.recipe for entry in entries):
        st.info(say("ablation.nothing"), icon=":material/query_stats:")
        return
    if head := figures.headline(kind, entries, say):
        st.markdown(f"#### {head}")
    picture = as_json(figures.figure(kind, entries, drawn_in, say))
    chart(picture, page.key("ablation"), figures.alt(kind, entries, say))
    captions(figures.caption(kind, entries, "", say))
    if kind == "solvers":
        told = tables.written(tables.solvers(entries, say), say)
        st.dataframe(told, hide_index=True, key=page.key("solvers"))
    if kind == "masses":
        tests = ablation.kruskal(entries)
        st.markdown(tables.kruskal_headline(tests, say))
        if tests:
            told = tables.written(tables.kruskal(tests, say), say)
            st.dataframe(told, hide_index=True, key=page.key("kruskal"))


def presets(page: Page) -> None:
    """What the paper is known for, a click each."""
    state = st.session_state

    def go(name: str) -> None:
        there, given = PRESETS[name]
        controls.show_link(given)
        state["go_to"] = there

    with st.container(horizontal=True, vertical_alignment="center"):
        st.caption(page.say("ablation.presets"), width="content")
        for name in PRESETS:
            st.button(
                page.say(f"ablation.preset.{name}"), key=f"preset_{name}", on_click=go,
                args=(name,), type="tertiary", icon=":material/bolt:",
            )  # fmt: skip
    if (there := state.pop("go_to", "ablations")) != "ablations":
        st.switch_page(f"views/{there}.py")


frame.draw(body)
