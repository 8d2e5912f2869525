"""Recipes counted off the page: the run of a sweep, and what former runs have left of it."""

from __future__ import annotations

import threading
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from app import cache, runs
from app.jobs import Job
from app.page import Page
from core import store, sweep
from core.evaluate import Accuracy
from core.recipe import Recipe

Found = Mapping[Recipe, Accuracy]
#: By file: held by the run that writes to it.
_writing: defaultdict[Path, threading.Lock] = defaultdict(threading.Lock)
#: Seconds after which a run that waits for another one looks whether it was cancelled.
LOOK = 0.2


def file(page: Page, limit: int | None) -> Path:
    """Where the counts of a network on so many images are kept."""
    name = f"{page.loaded.name}-{page.loaded.card.sha256[:12]}-{limit or 'all'}.csv"
    return runs.folder() / name


def saved(page: Page, recipes: Sequence[Recipe], limit: int | None) -> Found | None:
    """What is kept of these recipes; None if nothing is."""
    path = file(page, limit)
    known = {row.recipe: row.right for row in store.read(path).values()} if path.exists() else {}
    return {one: known[one] for one in recipes if one in known} or None


@contextmanager
def _alone(path: Path, job: Job, sentence: str) -> Iterator[None]:
    """Wait until no other run writes to the file; raises `Cancelled` if the job is."""
    lock = _writing[path]
    while not lock.acquire(timeout=LOOK):
        job.report(0.0, sentence)
    try:
        yield
    finally:
        lock.release()


def work(
    page: Page, recipes: Callable[[Job], Sequence[Recipe]], limit: int | None
) -> Callable[[Job], Found]:
    """A run that counts all of them; its result grows.

    `recipes` is called in the worker: which they are may take a while to find out.
    """
    say = page.say

    def run(job: Job) -> Found:
        with _alone(file(page, limit), job, say("sweep.busy")):
            return count(job)

    def count(job: Job) -> Found:
        job.report(0.0, say("accuracy.reading"))
        bench = cache.bench(page.loaded.name, limit, page.folder)
        wanted = recipes(job)
        job.result = saved(page, wanted, limit) or {}
        job.report(0.0, say("accuracy.multiplying"))
        for event in sweep.run(bench, wanted, file(page, limit), between=job.hold):
            if event.stored:
                job.result = {**job.result, **{row.recipe: row.right for row in event.stored}}
            begun = 0.0 if event.phase == "stored" else event.step / max(1, event.steps)
            left = say("sweep.left", minutes=event.left / 60) if event.left else ""
            told = say(f"sweep.{event.phase}", done=event.done, all=event.entries)
            job.report((event.done + begun) / event.entries, told + left)
        return job.result

    return run
