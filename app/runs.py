"""Experiments off the page: whoever asks for the same sees the same run.

A run goes on when its page is left, until it is done or somebody cancels it. What it has measured
is kept in files by its own engine (`core.store`, …), so that neither a cancelled run nor a restart
of the server loses anything.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable
from pathlib import Path

from app.jobs import Job
from core import data

#: Runs that are remembered; the oldest that is over gives way.
MOST = 24
_known: OrderedDict[Hashable, Job] = OrderedDict()
_lock = threading.Lock()


def found(key: Hashable) -> Job | None:
    """The run that was started for this, over or not; None if there is none."""
    with _lock:
        return _known.get(key)


def start(key: Hashable, work: Callable[[Job], object]) -> Job:
    """The run for this: one that is running already, else a new one."""
    with _lock:
        before = _known.pop(key, None)
        job = before if before is not None and before.running else Job(work).start("measure")
        _known[key] = job
        for old in [one for one, other in _known.items() if not other.running]:
            if len(_known) > MOST and old != key:
                del _known[old]
        return job


def forget(key: Hashable) -> None:
    """Cancel and forget the run for this, if there is one."""
    with _lock:
        job = _known.pop(key, None)
    if job is not None:
        job.cancel()


def folder() -> Path:
    """Where runs keep what they have measured."""
    return data.cache_folder() / "experiments"
