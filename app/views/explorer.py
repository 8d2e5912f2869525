"""The explorer: one network, one group, one recipe; graph, accuracy, plan and channels."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable

import streamlit as st

from app import cache, channel_text, controls, jobs
from app.charts import as_json, chart
from app.figures import accuracy as accuracy_figure
from app.figures import filters as filters_figure
from app.figures import graph as graph_figure
from app.figures import plan as plan_figure
from app.figures import scatter as scatter_figure
from core import channel, data, download, zoo
from core.compress import Step
from core.errors import DataMissing, ExplorerError, Unsupported


def data_dir() -> str | None:
    """The folder named on the command line: `streamlit run app/main.py -- --data-dir FOLDER`."""
    parser = argparse.ArgumentParser(add_help=False)
    parser.add_argument("--data-dir")
    return parser.parse_known_args(sys.argv[1:])[0].data_dir


def mode() -> str:
    """`light` or `dark`, as the browser shows it."""
    return "dark" if st.context.theme.type == "dark" else "light"


def main() -> None:
    with jobs.page_first():
        draw()


def draw() -> None:
    """The whole page, for the person whose session this is."""
    folder = data_dir()
    try:
        available, trouble = data.available(folder), None
    except ExplorerError as error:
        available, trouble = {"digits": ""}, str(error)
    here = "cifar10" in available and "vgg11_bn-cifar10" in zoo.shipped()
    default = "vgg11_bn-cifar10" if here else "vgg11_bn-digits"
    notes = controls.read_link(default)

    for note in notes:
        st.info(note, icon=":material/link:")
    if trouble:
        st.warning(trouble, icon=":material/folder_off:")
    if "cifar10" not in available:
        offer_download(None if trouble else folder)

    try:
        loaded = cache.network(controls.pick_network())
        choice = controls.pick_recipe(loaded)
        controls.write_link(choice)
        page(loaded, choice, None if trouble else folder)
    except ExplorerError as error:
        st.error(str(error), icon=":material/error:")
    cache.warm_up()


def page(loaded: cache.Loaded, choice: controls.Choice, folder: str | None) -> None:
    """Everything below the title, for a choice that is valid."""
    fused = decide(loaded, choice, folder)
    if fused is None:
        return
    left, right = st.columns([3, 2], gap="large")
    below_left, below_right = st.columns(2, gap="large")
    # What a move of the slider changes most is sent first.
    with below_left:
        st.subheader(
            "What the next layer guesses" if fused.plan is None else "Where the mass goes",
            anchor=False,
        )
        show_plan(loaded, choice, fused)
    with below_right:
        st.subheader("The channels, before and after", anchor=False)
        show_scatter(loaded, choice, fused)
    with left:
        st.subheader("Layers that shrink together", anchor=False)
        show_graph(loaded, choice)
    with right:
        st.subheader("What it does to the accuracy", anchor=False)
        show_accuracy(loaded, choice, folder)
    if choice.channel is not None:
        show_channel(loaded, choice, fused, choice.channel)
    with left:
        show_sizes(loaded, choice, fused)  # last: PyTorch takes a second to count the first time


def decide(loaded: cache.Loaded, choice: controls.Choice, folder: str | None) -> Step | None:
    """What is decided for the chosen group; None while that takes its time, or if it failed."""
    if not cache.takes_long(choice.recipe):
        with st.spinner("Solving the transport problem …"):
            return cache.step(loaded, choice.group, choice.recipe)
    wanted = (loaded.name, choice.group, choice.recipe, folder)
    job = cache.deciding(*wanted)
    if job.cancelled:
        cache.deciding.clear(*wanted)
        job = cache.deciding(*wanted)
    before, st.session_state["deciding"] = st.session_state.get("deciding"), job
    if before is not None and before is not job and before.running:
        before.cancel()  # nobody here waits for it any more; whoever else does starts it anew
    if not job.running and job.error is None:
        return job.result
    st.subheader("Layers that shrink together", anchor=False)
    show_graph(loaded, choice)
    if job.error:
        cache.deciding.clear(*wanted)  # an error is not remembered
        st.info(job.error, icon=":material/image_not_supported:")
        return None
    live(job, 0.5, lambda drawn_in: st.progress(job.share, job.sentence or "Waiting for a worker"))
    return None


def live(job: jobs.Job, every: float, draw: Callable[[str], None]) -> None:
    """Draw a part of the page again and again while a job runs, and the whole page at its end.

    `draw` is given the theme to draw in. The browser tells its theme only after the first run, so
    a part that finds it changed has the whole page drawn again; so does one in which a channel was
    clicked, for other parts show it, too.
    """
    polling, drawn_in = job.running, mode()
    channel_drawn = st.session_state.get("channel")

    def part() -> None:
        ended = polling and not job.running
        job.look()
        draw(drawn_in)
        if ended or mode() != drawn_in or st.session_state.get("channel") != channel_drawn:
            st.rerun()

    st.fragment(part, run_every=every if polling else None)()


def captions(sentences: tuple[str, str]) -> None:
    """What a figure shows, and what not to read into it."""
    st.caption(f"{sentences[0]} *{sentences[1]}*")


# -- the graph ------------------------------------------------------------------------------------


def show_graph(loaded: cache.Loaded, choice: controls.Choice) -> None:
    def clicked(layer: object) -> None:
        index = layer[0] if isinstance(layer, list) and layer else None
        if isinstance(index, int) and 0 <= index < len(loaded.graph.groups):
            st.session_state["group"] = index

    chart(
        cache.graph_picture(loaded, choice.group, mode()),
        "graph",
        graph_figure.alt(loaded.graph, choice.group),
        clicked=clicked,
    )
    captions(graph_figure.caption(loaded.graph, choice.group))


# -- the plan -------------------------------------------------------------------------------------


def show_plan(loaded: cache.Loaded, choice: controls.Choice, step: Step) -> None:
    group, plan = loaded.graph.groups[choice.group], step.plan
    picture = cache.plan_picture(loaded, choice.group, step, mode())
    over = [] if choice.channel is None else plan_figure.marks(step, choice.channel, mode())
    chart(
        picture, "plan", plan_figure.alt(step, group), over=over,
        clicked=lambda at: click(loaded, choice, at, 0),
    )  # fmt: skip
    captions(plan_figure.caption(step, group))
    if plan is not None and not plan.converged:
        st.warning(
            f"The solver {plan.solver} stopped after {plan.iterations} iterations without "
            f"converging: the plan misses its masses by up to "
            f"{max(plan.source_error, plan.target_error):.1e}. Choose a larger ε or the exact "
            "solver."
        )


def click(loaded: cache.Loaded, choice: controls.Choice, at: object, place: int) -> None:
    """Choose the channel that was clicked, which the point's customdata tell in this place."""
    if isinstance(at, list) and len(at) > place:
        controls.choose_channel(loaded, choice.group, at[place])


# -- one channel ----------------------------------------------------------------------------------


def show_channel(loaded: cache.Loaded, choice: controls.Choice, step: Step, number: int) -> None:
    """One channel: where it stands, what it is made with, where its mass goes, what it becomes."""
    told = channel.channel(loaded.prepared, choice.recipe, choice.group, step, number)
    st.subheader(f"Channel {number}", anchor=False)
    st.markdown(channel_text.fate(told))
    left, right = st.columns([2, 3], gap="large")
    with left:
        tables = (channel_text.HEIRS, told.heirs), (channel_text.PARENTS, told.parents)
        for title, ties in tables:
            if ties:
                st.markdown(title[step.plan is not None])
                st.dataframe(channel_text.table(ties), hide_index=True, width="stretch")
    with right:
        sums = {}
        stays = number if told.place is not None else next((t.channel for t in told.heirs), None)
        if step.plan is not None and stays is not None:
            sums = channel.fused(loaded.prepared, choice.group, step, stays)
        for layer, own in told.filters.items():
            filters = {f"channel {number}": own}
            if layer in sums:
                if stays != number:
                    heir = channel.filters(
                        loaded.prepared.folded, loaded.graph, choice.group, stays
                    )  # fmt: skip
                    filters[f"heir {stays}"] = heir[layer]
                filters[f"fused, in the place of {stays}"] = sums[layer].total
            st.markdown(f"**{layer}**")
            picture = as_json(filters_figure.figure(filters, mode()))
            chart(picture, f"filters {layer}", filters_figure.alt(filters), bar=False)
            if layer in sums:
                st.latex(channel_text.formula(sums[layer]))
        captions(filters_figure.caption(filters))


# -- the accuracy ---------------------------------------------------------------------------------


def show_accuracy(loaded: cache.Loaded, choice: controls.Choice, folder: str | None) -> None:
    """Start (or find again) the run for this choice, and draw it while it grows."""
    state = st.session_state
    wanted = (loaded.name, choice.recipe, folder)
    if state.get("run_for") != wanted or state["run"].abandoned:
        if "run" in state:
            state["run"].cancel()  # what it has counted stays counted
        state["run"] = start(loaded, choice, folder)
        state["run_for"] = wanted
    run: jobs.Job = state["run"]
    live(run, 0.8, lambda drawn_in: draw_accuracy(run, loaded, choice, folder, drawn_in))


def start(loaded: cache.Loaded, choice: controls.Choice, folder: str | None) -> jobs.Job:
    """A job that measures dense, pruned and fused on the network's test images."""
    wanted = zoo.network(loaded.name).images

    def tallies(job: jobs.Job) -> dict[str, jobs.Tally]:
        # A slider on its way passes many values: the pictures come first, then the counting.
        job.hold()
        job.report(0.0, "Multiplying the layers with the plan")
        modules = {"dense": loaded.module}
        for name, recipe in (("pruned", choice.pruning), ("fused", choice.recipe)):
            modules[name] = cache.compressed(loaded, recipe, folder).module
            job.hold()
        job.report(0.0, "Reading the images")
        images = cache.images(wanted, folder)
        return {name: cache.tally(module, images) for name, module in modules.items()}

    return jobs.measuring(tallies).start()


def draw_accuracy(
    run: jobs.Job,
    loaded: cache.Loaded,
    choice: controls.Choice,
    folder: str | None,
    drawn_in: str,
) -> None:
    if run.error:
        apart = isinstance(run.fault, DataMissing)
        more = " Graph, plan, channels and sizes need no images." if apart else ""
        st.info(run.error + more, icon=":material/image_not_supported:")
        card = loaded.card
        st.caption(
            f"Recorded for the dense network: {100 * card.accuracy:.1f} % of {card.tested:,} test "
            f"images ({card.data})."
        )
        return
    tallies: dict[str, jobs.Tally] = run.result or {}
    known = {name: tally.accuracy for name, tally in tallies.items()}
    title = next(iter(tallies.values())).images.title if tallies else ""
    picture = as_json(accuracy_figure.figure(known, drawn_in))
    chart(picture, "accuracy", accuracy_figure.alt(known, title), bar=False)
    st.markdown(f"**{accuracy_figure.finding(known) or 'Measuring …'}**")
    st.progress(run.share, run.sentence or "Waiting for a free worker")
    left, right = st.columns([3, 1], vertical_alignment="center")
    left.caption(
        f"Top-1 accuracy, live, on {title}. *The thin lines are 95 % intervals: what lies within "
        "them the images can't tell apart.*"
        if title
        else "Starting …"
    )
    if run.running:
        if right.button("Cancel", key="cancel", width="stretch"):
            run.cancel()
            st.rerun()
    elif run.cancelled and right.button("Go on", key="go_on", width="stretch"):
        st.session_state["run"] = start(loaded, choice, folder)
        st.rerun()


def show_sizes(loaded: cache.Loaded, choice: controls.Choice, step: Step) -> None:
    """Parameters and multiply-accumulates, before and after."""
    before = cache.size(loaded.name, ())
    after = cache.size(loaded.name, ((choice.group, tuple(step.measures.kept.tolist())),))
    left, right = st.columns(2)
    left.metric(
        "Parameters left",
        f"{after.parameters:,}",
        f"{100 * after.parameters / before.parameters:.1f} % of {before.parameters:,}",
        delta_color="off",
        delta_arrow="off",
    )
    right.metric(
        "Multiply-accumulates left",
        f"{after.macs / 1e6:,.1f} M",
        f"{100 * after.macs / before.macs:.1f} % of {before.macs / 1e6:,.1f} M an image",
        delta_color="off",
        delta_arrow="off",
    )


# -- the channels ---------------------------------------------------------------------------------


def show_scatter(loaded: cache.Loaded, choice: controls.Choice, step: Step) -> None:
    base = choice.recipe.replace(sparsity=0.0)  # one picture serves all sparsities
    group = loaded.graph.groups[choice.group]
    ahead = controls.SPARSITIES if step.plan is not None and not cache.takes_long(base) else ()
    job = cache.umap(loaded.name, choice.group, base, ahead, mode())

    def draw(drawn_in: str) -> None:
        fitted = None if job.running else job.result
        try:
            picture = fitted or cache.pca(loaded.name, choice.group, base)
            drawn = cache.scatter_picture(loaded, choice.group, picture, step, drawn_in)
        except Unsupported as error:  # the rest of the page needs no picture of the channels
            st.info(str(error), icon=":material/scatter_plot:")
            return
        over = []
        if choice.channel is not None:
            over = scatter_figure.marks(picture, step, choice.channel, drawn_in)
        chart(
            drawn, "scatter", scatter_figure.alt(picture, step, group), over=over,
            clicked=lambda at: click(loaded, choice, at, 1),
        )  # fmt: skip
        captions(scatter_figure.caption(picture, step, group))
        if job.running:
            st.caption(":material/hourglass: PCA, until UMAP is ready.")
        if job.error:
            st.caption(f"PCA, for UMAP failed: {job.error}")

    live(job, 1.0, draw)


# -- images that are missing ----------------------------------------------------------------------


def offer_download(folder: str | None) -> None:
    """One line that CIFAR-10 isn't here, and one button that fetches it."""
    shared = cache.download_job()
    if shared["job"] is None:
        draw_download(shared, folder)
    else:
        live(shared["job"], 0.5, lambda drawn_in: draw_download(shared, folder))


def draw_download(shared: dict, folder: str | None) -> None:
    job: jobs.Job | None = shared["job"]
    with st.container(border=True):
        left, right = st.columns([4, 1], vertical_alignment="center")
        if job is not None and job.running:
            left.progress(job.share, job.sentence or "Starting the download")
            if right.button("Cancel", key="cancel_download", width="stretch"):
                job.cancel()
                st.rerun()
            return
        left.markdown(
            ":material/cloud_download: **CIFAR-10 is not on this machine yet.** Its networks show "
            "everything but live accuracies; the digits networks show those as well."
        )
        if job is not None and job.error:
            left.error(job.error)
        elif job is not None and job.cancelled:
            left.caption("The download was cancelled; nothing was kept.")
        if right.button("Download (170 MB)", key="download", width="stretch"):

            def fetch(job: jobs.Job):
                return download.download("cifar10", folder, job.report, lambda: job.cancelled)

            shared["job"] = jobs.Job(fetch).start("download")
            st.rerun()


main()
