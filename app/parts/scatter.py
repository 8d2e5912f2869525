"""The channels as points, before and after: PCA at once, UMAP when it is there, and played."""

from __future__ import annotations

import plotly.graph_objects as go
import streamlit as st

from app import cache, controls, jobs, link, pictures
from app.charts import chart
from app.figures import scatter as scatter_figure
from app.motion import Played, motion
from app.page import Page, captions, live, mark, mode
from core import embedding
from core.compress import Step
from core.errors import Unsupported

#: What is played: a frame for every tenth of the channels.
PLAYED = embedding.SPARSITIES


def show(page: Page, step: Step) -> None:
    """Draw the channels; while UMAP is fitted, again and again."""
    say, loaded, choice = page.say, page.loaded, page.choice
    st.subheader(say("scatter.title"), anchor=False)
    wanted = controls.pick_view("picture") if not page.suffix else controls.view("picture")
    base = embedding.of_all(choice.recipe, choice.group)  # one picture serves all that is chosen
    job = cache.umap(loaded.name, choice.group, base)
    plain = cache.pca(loaded.name, choice.group, base)

    def now() -> embedding.Embedding:
        fitted = None if job.running or wanted == "pca" else job.result
        return fitted or plain

    def draw(drawn_in: str) -> None:
        picture = now()
        st.session_state[page.key("picture_shown")] = picture  # for whoever takes its data along
        chart(
            pictures.scatter_picture(loaded, choice.group, picture, step, drawn_in, say),
            page.key("scatter"),
            scatter_figure.alt(
                picture, step, page.group, picture.trustworthiness(choice.recipe), say
            ),
            over=marks(page, picture, step, drawn_in),
            clicked=lambda at: controls.clicked_channel(loaded, choice.group, at, 1),
            mark=mark(page, 1, drawn_in),
        )

    picture = now()
    try:
        picture.after(step)
    except Unsupported as error:  # the rest of the page needs no picture of the channels
        st.info(str(error), icon=":material/scatter_plot:")
        return
    st.session_state[page.key("picture_shown")] = picture  # for whoever takes its data along
    with st.container(key=page.key("scatter_box")):
        live(job, 1.0, draw)
        play(page, step, picture)
    captions(scatter_figure.caption(picture, step, page.group, say))
    remarks(page, wanted, plain, job)
    anywhere = choice.recipe.replace(sparsity=0.0)
    if step.plan is not None and not cache.takes_long(anywhere):
        wanted_ahead = (loaded.name, choice.group, anywhere, link.SPARSITIES)
        pictures.decided_ahead(*wanted_ahead, choice.recipe.sparsity)
        if not job.running and job.result:
            pictures.ahead(*wanted_ahead, mode(), say.language, job.result)


def marks(page: Page, picture: embedding.Embedding, step: Step, drawn_in: str) -> list[go.Scatter]:
    """What is laid over the picture: the chosen channel, if any is."""
    if page.choice.channel is None:
        return []
    return scatter_figure.marks(picture, step, page.choice.channel, drawn_in)


def remarks(page: Page, wanted: str, plain: embedding.Embedding, job: jobs.Job) -> None:
    """What is to be said of both pictures: how far each can be trusted, and why it is this one."""
    say, recipe = page.say, page.choice.recipe
    known = {plain.method: plain}
    if not job.running and job.result:
        known[job.result.method] = job.result
    trusted = {name: picture.trustworthiness(recipe) for name, picture in known.items()}
    if None not in trusted.values():
        listed = [
            say("scatter.trusted_one", method=name.upper(), trusted=share)
            for name, share in trusted.items()
        ]
        if job.running:
            listed.append(say("scatter.trusted_later"))
        st.caption(say("scatter.trusted", listed=", ".join(listed)))
    if wanted == "pca":
        return
    if job.running:
        st.caption(f":material/hourglass: {say('scatter.waiting')}")
    if job.error:
        st.caption(say("scatter.failed", error=job.error))
    if page.group.width < embedding.FEWEST:
        st.caption(say("scatter.small", least=embedding.FEWEST))


def play(page: Page, step: Step, picture: embedding.Embedding) -> None:
    """The button that plays the sparsity, and the story of the first view.

    Frames are drawn off the page once somebody asks for them, and sent once for as long as nothing
    but the slider moves: the browser then needs nobody to play them.
    """
    say, loaded, choice, state = page.say, page.loaded, page.choice, st.session_state
    recipe = choice.recipe.replace(sparsity=0.0)
    wanted = (
        loaded.name, choice.group, recipe, PLAYED, picture.method, mode(), say.language,
        page.folder,
    )  # fmt: skip
    key, for_key = page.key("frames"), page.key("frames_for")
    if state.get(for_key) != wanted:
        leave(page)
    job: jobs.Job | None = state.get(key)

    def asked() -> None:
        made = pictures.frames(*wanted, picture)
        if made.cancelled or made.error:  # neither is remembered
            pictures.frames.clear(*wanted, picture)
            made = pictures.frames(*wanted, picture)
        state[for_key], state[key] = wanted, made

    ready = bool(job and not job.running and job.result)
    motion(
        page.key("motion"), page.key("scatter_box"), say, choice.recipe.sparsity,
        preparing=bool(job and job.running),
        played=played(page, picture, job.result) if ready else [],
        story=None if page.suffix else scatter_figure.story(step, page.group, say),
        asked=asked,
        stopped=lambda: leave(page),
    )  # fmt: skip
    if job and job.error:
        st.caption(say("scatter.unplayable", error=job.error))
    elif job and job.running:
        live(job, 0.5, lambda drawn_in: st.progress(job.share, job.sentence or say("page.waiting")))


def leave(page: Page) -> None:
    """Nobody wants the frames any more that were asked for."""
    state = st.session_state
    state.pop(page.key("frames_for"), None)
    job = state.pop(page.key("frames"), None)
    if job and job.running:
        job.cancel()


def played(page: Page, picture: embedding.Embedding, frames: list[pictures.Frame]) -> list[Played]:
    """What the page shows at each sparsity that is played."""
    trusted = picture.trustworthiness(page.choice.recipe)
    return [
        Played(
            frame.sparsity,
            frame.drawn,
            scatter_figure.alt(picture, frame.decided, page.group, trusted, page.say),
            marks(page, picture, frame.decided, mode()),
        )
        for frame in frames
    ]
