"""One line that CIFAR-10 isn't here, and one button that fetches it."""

from __future__ import annotations

import streamlit as st

from app import cache, jobs
from app.language import Texts
from app.page import live
from core import download


def offer(folder: str | None, say: Texts) -> None:
    """Offer the download, or show how far it is."""
    shared = cache.download_job()
    if shared["job"] is None:
        draw(shared, folder, say)
    else:
        live(shared["job"], 0.5, lambda drawn_in: draw(shared, folder, say))


def draw(shared: dict, folder: str | None, say: Texts) -> None:
    """The line as it stands now."""
    job: jobs.Job | None = shared["job"]
    with st.container(border=True, key="offer"):
        left, right = st.columns([4, 1], vertical_alignment="center")
        if job is not None and job.running:
            left.progress(job.share, job.sentence or say("download.starting"))
            if right.button(say("download.cancel"), key="cancel_download", width="stretch"):
                job.cancel()
                st.rerun()
            return
        left.markdown(f":material/cloud_download: {say('download.offer')}")
        if job is not None and job.error:
            left.error(job.error)
        elif job is not None and job.cancelled:
            left.caption(say("download.cancelled"))
        if right.button(say("download.button"), key="download", width="stretch"):

            def fetch(job: jobs.Job):
                return download.download("cifar10", folder, job.report, lambda: job.cancelled)

            shared["job"] = jobs.Job(fetch).start("download")
            st.rerun()
