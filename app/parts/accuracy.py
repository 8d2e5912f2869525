"""The accuracy of the dense, the pruned and the fused network: recorded at once, then counted live.

A pinned setting's bars stand beside the present one's. Where the person is to guess first, nothing
of all this is shown before they have (`app.parts.predict`).
"""

from __future__ import annotations

from dataclasses import replace

import streamlit as st

from app import cache, controls, jobs
from app.charts import as_json, chart
from app.figures import accuracy as accuracy_figure
from app.figures.accuracy import Bar
from app.page import Page, live, mode
from app.parts import pin, predict
from core import zoo
from core.errors import DataError, DataMissing
from core.evaluate import Accuracy
from core.results import Results


def show(page: Page, other: Page | None = None) -> None:
    """Everything about accuracy; `other` is the pinned setting's page."""
    say = page.say
    st.subheader(say("accuracy.title"), anchor=False)
    try:
        cache.recorded(page.loaded.name)
    except DataError as error:
        st.warning(str(error), icon=":material/folder_off:")
    pages = [page] if other is None else [other, page]
    runs = [_run(one) for one in pages]
    watched = jobs.Several(runs)
    if not predict.hidden(page):
        live(watched, 0.8, lambda drawn_in: draw(runs, pages, drawn_in))
    elif runs[-1].error and not recorded(page):  # nothing could be revealed
        draw(runs[-1:], [page], mode())
    else:
        known = found(page)
        sparsities = tuple(known.curve(page.choice.recipe)) if known else ()
        predict.ask(page, page.loaded.card.accuracy, sparsities)
        live(watched, 0.8, lambda drawn_in: _counting(runs[-1], page))
    with st.container(horizontal=True, vertical_alignment="center"):
        controls.pick_view("predict")
        if predict.guess(page) is not None:
            st.button(say("predict.hide"), key="hide", on_click=predict.forget)
        pin.button(page)


def found(page: Page) -> Results | None:
    """What is recorded of the page's network; of a damaged file nothing, `show` tells of it."""
    try:
        return cache.recorded(page.loaded.name)
    except DataError:
        return None


def recorded(page: Page) -> dict[str, Accuracy]:
    """The recorded accuracies of this very choice, by network; {} where one is missing."""
    known = found(page)
    if known is None:
        return {}
    pruned, fused = (known.found.get(one) for one in (page.choice.pruning, page.choice.recipe))
    return {"dense": known.dense, "pruned": pruned, "fused": fused} if pruned and fused else {}


def _run(page: Page) -> jobs.Job:
    """The run for this choice: found again, or started."""
    state, run_key, for_key = st.session_state, page.key("run"), page.key("run_for")
    wanted = (page.loaded.name, page.choice.recipe, page.folder)
    if state.get(for_key) != wanted or state[run_key].abandoned:
        if run_key in state:
            state[run_key].cancel()  # what it has counted stays counted
        state[run_key] = start(page)
        state[for_key] = wanted
    return state[run_key]


def start(page: Page) -> jobs.Job:
    """A job that measures dense, pruned and fused on the network's test images."""
    loaded, choice, folder = page.loaded, page.choice, page.folder
    wanted = zoo.network(loaded.name).images

    def tallies(job: jobs.Job) -> dict[str, jobs.Tally]:
        # A slider on its way passes many values: the pictures come first, then the counting.
        job.hold()
        job.report(0.0, page.say("accuracy.multiplying"))
        made = {"dense": loaded.module}
        for name, recipe in (("pruned", choice.pruning), ("fused", choice.recipe)):
            made[name] = cache.compressed(loaded, recipe, folder)
            job.hold()
        job.report(0.0, page.say("accuracy.reading"))
        images = cache.images(wanted, folder)
        return {name: cache.tally(one, images, loaded.module) for name, one in made.items()}

    return jobs.measuring(tallies, page.say).start()


def bars(runs: list[jobs.Job], pages: list[Page]) -> list[Bar]:
    """A bar a network: dense first, then pruned and fused of A and of B; present ones last."""
    rows: dict[str, list[Bar]] = {name: [] for name in accuracy_figure.NAMES}
    letters = ("",) if len(pages) == 1 else ("A", "B")
    for run, page, letter in zip(runs, pages, letters, strict=True):
        tallies: dict[str, jobs.Tally] = run.result or {}
        known = recorded(page)
        guess = predict.guess(page)
        here = (guess.here() if guess else None) or (None, None)
        expected = {"pruned": here[0], "fused": here[1]}
        for name in accuracy_figure.NAMES:
            live_one = tallies[name].accuracy if name in tallies else None
            bar = Bar(name, live_one, known.get(name), letter, expected.get(name))
            rows[name].append(bar)
    if len(pages) == 2 and pages[0].loaded is pages[1].loaded:  # one dense network for both
        best = max(rows["dense"], key=lambda bar: bar.live.total if bar.live else 0)
        known_best = next((bar.recorded for bar in rows["dense"] if bar.recorded), None)
        rows["dense"] = [replace(best, setting="", recorded=known_best)]
    return [bar for name in accuracy_figure.NAMES for bar in rows[name]]


def draw(runs: list[jobs.Job], pages: list[Page], drawn_in: str) -> None:
    """The finding in large letters, the bars, and how far the counting is."""
    page, run = pages[-1], runs[-1]
    say = page.say
    drawn = bars(runs, pages)
    anything = any(bar.shown for bar in drawn)
    if anything or not run.error:
        mine = [bar for bar in drawn if bar.setting != "A"]
        known, of_record = accuracy_figure.telling(mine)
        told = accuracy_figure.headline(known, say) or say("accuracy.measuring")
        st.markdown(f"#### {told}")
        _source(page, known, of_record)
        _sentences(drawn, known, pages)
        tallies = run.result or {}
        title = next(iter(tallies.values())).images.title if tallies else page.loaded.card.data
        picture = as_json(accuracy_figure.figure(drawn, drawn_in, say))
        alt = accuracy_figure.alt(drawn, title, say)
        chart(picture, page.key("accuracy"), alt, bar=False)
    if not run.error:
        _progress(run, page)
        return
    _trouble(run, page, quiet=anything)
    card = page.loaded.card
    st.caption(
        say("accuracy.caption_recorded") if anything else
        say("accuracy.recorded", share=card.accuracy, tested=card.tested, data=card.data)
    )  # fmt: skip


def _trouble(run: jobs.Job, page: Page, quiet: bool) -> None:
    """Why nothing is counted; `quiet` where recorded accuracies stand in for the missing images."""
    if not isinstance(run.fault, DataMissing):
        st.info(run.error, icon=":material/image_not_supported:")
        return
    told = f"{run.error} {page.say('accuracy.rest_works')}"
    if quiet:
        st.caption(f":material/image_not_supported: {told}")
    else:
        st.info(told, icon=":material/image_not_supported:")


def _counting(run: jobs.Job, page: Page) -> None:
    """What may be seen before the person has guessed."""
    if run.error:
        _trouble(run, page, quiet=True)
    else:
        st.caption(page.say("predict.counting"))
        _progress(run, page)


def _source(page: Page, known: dict[str, Accuracy], of_record: bool) -> None:
    """Where the finding's numbers are from: recorded, with all that is noted of it, or live."""
    say = page.say
    if not known:
        return
    total = min(one.total for one in known.values())
    if of_record:
        note = cache.recorded(page.loaded.name).note
        last = note.runs[-1]
        told = say(
            "accuracy.provenance", command=note.command, commit=last["commit"][:7],
            torch=last["versions"]["torch"], machine=note.machine, date=note.date,
        )  # fmt: skip
        st.caption(say("accuracy.source_recorded", date=note.date, total=total), help=told)
    else:
        whole = total == page.loaded.card.tested
        st.caption(say("accuracy.source_all" if whole else "accuracy.source_live", total=total))


def _sentences(drawn: list[Bar], known: dict[str, Accuracy], pages: list[Page]) -> None:
    """How far A and B are apart, and how far off the person was."""
    page = pages[-1]
    theirs = [bar for bar in drawn if bar.setting in ("A", "") and len(pages) == 2]
    before, _ = accuracy_figure.telling(theirs)
    if known and before and pages[0].loaded is page.loaded:
        st.markdown(accuracy_figure.against(before["fused"], known["fused"], page.say))
    guess = predict.guess(page)
    if guess and known and (here := guess.here()):
        told = predict.off(here, known["pruned"], known["fused"], page.say)
        st.markdown(f"{told} {page.say('predict.legend')}")


def _progress(run: jobs.Job, page: Page) -> None:
    """How far the counting is, with a button to stop it or to go on; no accuracy in it."""
    say = page.say
    st.progress(run.share, run.sentence or say("accuracy.waiting"))
    left, right = st.columns([3, 1], vertical_alignment="center")
    tallies = run.result or {}
    title = next(iter(tallies.values())).images.title if tallies else ""
    left.caption(say("accuracy.caption", title=title) if title else say("accuracy.starting"))
    if run.running:
        if right.button(say("accuracy.cancel"), key=page.key("cancel"), width="stretch"):
            run.cancel()
            st.rerun()
    elif run.cancelled:
        if right.button(say("accuracy.go_on"), key=page.key("go_on"), width="stretch"):
            st.session_state[page.key("run")] = start(page)
            st.rerun()
