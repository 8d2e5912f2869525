"""Long work off the page: start it, watch it, cancel it. Workers never call Streamlit.

Whoever moves a slider comes first: while a page is being drawn, workers hold still between two
pieces of their work, and where the system has priorities for threads theirs is a low one.
"""

from __future__ import annotations

import os
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial

import torch

from app.language import ENGLISH, Texts
from core.data import ImageSet
from core.errors import Cancelled, ExplorerError
from core.evaluate import Accuracy, check_classes, count_right


def stand_back(niceness: int) -> None:
    """Give this thread, and those it starts, a low priority: the page and the browser come first.

    Only Linux has priorities for threads; elsewhere workers hold still and that is all.
    """
    if sys.platform == "linux":
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), niceness)


def _pool(name: str, workers: int, niceness: int) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(workers, name, stand_back, (niceness,))


def _new_pools() -> dict[str, ThreadPoolExecutor]:
    """Workers of each kind.

    Two people can measure at once; pictures and downloads never wait for them. What a page waits
    for has the page's priority, and counting the last image the least.
    """
    return {
        "measure": _pool("measure", 2, 5),
        "decide": _pool("decide", 2, 0),
        "picture": _pool("picture", 1, 2),
        "examine": _pool("examine", 1, 3),
        "download": _pool("download", 1, 2),
    }


_pools = _new_pools()
#: Seconds a page has to itself once it is drawn: the browser draws what it was sent.
AFTERWARDS = 0.8
#: Seconds a worker holds still at most between two pieces of work, however many pages are drawn.
PATIENCE = 1.5


class _Page:
    """Until when pages are being drawn."""

    def __init__(self) -> None:
        self.until = 0.0

    def drawn(self, seconds: float) -> None:
        self.until = max(self.until, time.monotonic() + seconds)


_page = _Page()


@contextmanager
def page_first() -> Iterator[None]:
    """While a page is drawn, and for a moment afterwards, workers hold still."""
    _page.drawn(PATIENCE)
    try:
        yield
    finally:
        _page.drawn(AFTERWARDS)


#: Set when the server ends. Python then waits for the workers' threads before anything that is
#: registered with `atexit` is called, so it has to be told where they are, too, if it can be.
_ending = threading.Event()
getattr(threading, "_register_atexit", lambda call: None)(_ending.set)

#: Seconds after which a measurement that no page has drawn makes room for others.
UNSEEN = 10.0


class Job:
    """One piece of long work: its progress, its outcome, and a way to stop it.

    `share` (0 to 1) and `sentence` tell how far it is, `result` what it returned. If it failed,
    `error` is a sentence for the person and `fault` the exception. `work` is called with the job,
    reports through `report`, and is stopped at its next report after `cancel`.
    """

    def __init__(self, work: Callable[[Job], object]) -> None:
        self.share = 0.0
        self.sentence = ""
        self.error: str | None = None
        self.fault: Exception | None = None
        self.result = None
        self.seconds = 0.0
        self._work = work
        self._seen = time.monotonic()
        self.abandoned = False
        self.begun = False
        self._stop = threading.Event()
        self._done = threading.Event()

    def start(self, pool: str = "measure") -> Job:
        """Queue the work with the workers of a kind; returns the job itself.

        While the server stops, its workers take nothing new: the job is then a cancelled one.
        """
        try:
            _pools[pool].submit(self._run)
        except RuntimeError:
            self.cancel()
        return self

    def look(self) -> None:
        """A page draws this job: somebody is there."""
        self._seen = time.monotonic()

    def leave_if_unseen(self) -> None:
        """Stop if no page has drawn this job for a while: its window was closed.

        Raises
        ------
        Cancelled
            If so; `abandoned` then tells it from a person's own wish.
        """
        if time.monotonic() - self._seen > UNSEEN:
            self.abandoned = True
            raise Cancelled("Nobody is looking.")

    def _run(self) -> None:
        begun = time.monotonic()
        self.begun = True
        try:
            if not self.cancelled:
                self.result = self._work(self)
        except Cancelled:
            self._stop.set()
        except ExplorerError as error:
            self.error, self.fault = str(error), error
        except Exception as error:
            # A fault of ours: the page shows a sentence, the console the whole story.
            self.fault = error
            self.error = (
                f"Something went wrong that should not have ({type(error).__name__}: {error}). The "
                "console this app was started from shows where; please report it."
            )
            traceback.print_exc()
        finally:
            self.seconds = time.monotonic() - begun
            self._done.set()

    def cancel(self) -> None:
        """Ask the work to stop; it does at its next report."""
        self._stop.set()

    def pause(self, seconds: float) -> None:
        """Wait, in the work itself, unless it is cancelled meanwhile.

        Raises
        ------
        Cancelled
            If somebody asked for it to stop.
        """
        if self._stop.wait(seconds) or self.cancelled:
            raise Cancelled("Stopped.")

    def hold(self) -> None:
        """Hold still while a page is drawn, for `PATIENCE` seconds at most.

        Raises
        ------
        Cancelled
            If somebody asked for it to stop.
        """
        latest = time.monotonic() + PATIENCE
        self.pause(0)
        while (left := min(_page.until, latest) - time.monotonic()) > 0:
            self.pause(left)

    @property
    def cancelled(self) -> bool:
        """Whether somebody asked for it to stop, or the server ends."""
        return self._stop.is_set() or _ending.is_set()

    @property
    def running(self) -> bool:
        return not self._done.is_set() and not self.cancelled

    @property
    def stopping(self) -> bool:
        """Whether it was cancelled and its worker is at its last piece of work."""
        return self.cancelled and self.begun and not self._done.is_set()

    def report(self, share: float, sentence: str) -> None:
        """Tell how far the work is.

        Raises
        ------
        Cancelled
            If somebody asked for it to stop.
        """
        self.share, self.sentence = min(1.0, max(0.0, share)), sentence
        if self.cancelled:
            raise Cancelled("Stopped.")


class Tally:
    """How many of a set's images, counted from the first, a network has named right so far.

    Shared by everybody who looks at the same network: what one has counted, nobody counts again,
    and a run that was cancelled goes on where it stopped.
    """

    def __init__(
        self,
        module: torch.nn.Module,
        images: ImageSet,
        count: Callable[[int, int], int] | None = None,
    ) -> None:
        """`count` : (start, stop) → how many of those images are named right, if there is a
        quicker way to know than to run the network (`core.replay`).
        """
        self.module = module
        self.images = images
        self._count = count or partial(count_right, module, images)
        self.counted = (0, 0)  # right ones and all, replaced as one: a page never waits to read
        self._lock = threading.Lock()

    @property
    def total(self) -> int:
        """How many images were counted."""
        return self.counted[1]

    @property
    def accuracy(self) -> Accuracy | None:
        """The accuracy so far; None before the first batch."""
        correct, total = self.counted
        return Accuracy(correct, total) if total else None

    def advance(self, until: int, between: Callable[[], None] = lambda: None) -> None:
        """Count the images up to the first `until`, if nobody has yet.

        `between` is called before each batch; what it raises ends the counting, nothing is lost.
        """
        with self._lock:
            while self.total < until:
                between()
                correct, total = self.counted
                stop = min(until, total + BATCH)
                correct += self._count(total, stop)
                self.counted = (correct, stop)


#: Images counted in one go: a fraction of a second, for a page may be waiting for the processor.
BATCH = 100
#: Images are counted in steps that start small, so that a first figure comes soon.
FIRST_STEPS = (50, 100, 250, 500)
STEP = 500


def milestones(total: int) -> list[int]:
    """Where a run reports: 50, 100, 250, 500, then every 500 images, and the last one."""
    later = range(FIRST_STEPS[-1] + STEP, total, STEP)
    return [*(step for step in FIRST_STEPS if step < total), *later, total]


def measuring(tallies: Callable[[Job], dict[str, Tally]], say: Texts = ENGLISH) -> Job:
    """A job that brings tallies to the end of their images, all at the same pace.

    `tallies` is called in the worker, for reading the images may take a while; what it returns is
    the job's result at once, to be watched as it grows.
    """

    def work(job: Job) -> dict[str, Tally]:
        job.result = racing = tallies(job)
        first = next(iter(racing.values()))
        check_classes(first.module, first.images)
        total = len(first.images)
        for until in milestones(total):
            for name, tally in racing.items():
                counted = min(one.total for one in racing.values())
                told = say("accuracy.progress", counted=counted, total=total, name=name)
                job.report(counted / total, told)
                job.leave_if_unseen()
                tally.advance(until, job.hold)
        job.report(1.0, say("accuracy.all", total=total))
        return racing

    return Job(work)


class Several:
    """Jobs that are watched as one: it runs while any of them does."""

    def __init__(self, jobs: Sequence[Job]) -> None:
        self.jobs = jobs

    @property
    def running(self) -> bool:
        return any(job.running for job in self.jobs)

    def look(self) -> None:
        """A page draws these jobs: somebody is there."""
        for job in self.jobs:
            job.look()
