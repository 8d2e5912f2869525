"""Split-data training on other machines: its tasks on the workers of a Dask cluster.

A worker gets a task with the networks it takes and sends back what comes of it. A training is sent
an epoch at a time, with its checkpoint, and the checkpoint comes back into the run's folder: a
worker that dies costs the epoch it was at, whichever worker goes on, and no folder need be shared.
Workers read the images themselves, by name. They have to find this project: start the scheduler and
the workers in its folder, `PYTHONPATH=.`.
"""

from __future__ import annotations

import itertools
import tempfile
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import safetensors.torch

from core import cluster, split_store
from core.errors import Cancelled
from core.split_task import Task, opened, perform
from core.split_workers import Report, threads
from core.training import read_checkpoint

if TYPE_CHECKING:
    from core.split_training import Staff

#: A task at a time in a process: PyTorch has threads of its own.
_ONE = threading.Lock()
#: Tasks have names of their own: a name that is still known would not be done again.
_numbers = itertools.count()


def hired(address: str, stages: Path, images: str | None, who: Staff) -> tuple[Staff, list[Remote]]:
    """The workers of a cluster, as `core.split_training.worked` takes them.

    Parameters
    ----------
    stages : of the run's folder, on this machine. images : folder of images, on the workers.
    who : how many threads each worker's task has.

    Raises
    ------
    PackageMissing
        If Dask is not installed.
    ClusterError
        If there is no scheduler at that address, or no worker.
    """
    client = cluster.connected(address)
    import dask

    # Networks travel with tasks: a worker that dies must not take them with it.
    dask.config.set({"distributed.admin.large-graph-warning-threshold": "1 GB"})
    count = max(1, len(client.scheduler_info(n_workers=-1)["workers"]))
    shared = _Shared(client, address, count)
    staffed = type(who)("cluster", count, who.threads)
    return staffed, [Remote(shared, stages, images, who.threads) for _ in range(count)]


class _Shared:
    """The client that all who wait for the cluster use; the last one to stop closes it."""

    def __init__(self, client, address: str, count: int) -> None:
        self.client, self.address, self.left = client, address, count
        self.lock = threading.Lock()

    def leave(self) -> None:
        with self.lock:
            self.left -= 1
            if not self.left:
                self.client.close()


class Remote:
    """Has a task at a time done by whichever worker the scheduler chooses."""

    pid: int | None = None

    def __init__(self, shared: _Shared, stages: Path, images: str | None, count: int) -> None:
        self.shared, self.stages, self.images, self.count = shared, stages, images, count
        self._stopped = threading.Event()

    def do(self, task: Task, report: Report) -> None:
        given = [
            (split_store.told(self.stages, key), split_store.tensors(self.stages, key))
            for key in task.inputs
        ]
        file = split_store.checkpoint(self.stages, task)
        while True:
            saved = file.read_bytes() if file.exists() else None
            what, told, content = self._result(task.as_dict(), given, saved)
            if what == "done":
                split_store.keep(self.stages, task, told, content)
                return
            split_store.write(file, content)
            report(f"epoch {told}/{task.epochs} done", told / task.epochs)

    def _result(self, *asked):
        """What a worker has made of it.

        Raises
        ------
        Cancelled
            If the run was stopped meanwhile.
        """
        if self._stopped.is_set():
            raise Cancelled("The run was stopped.")
        future = self.shared.client.submit(
            step, *asked, self.images, self.count, pure=False, key=f"splits-{next(_numbers)}-"
            f"{time.time_ns()}",
        )  # fmt: skip
        while not future.done():
            if self._stopped.wait(0.05):
                future.cancel()
                raise Cancelled("The run was stopped.")
        try:
            return cluster.result(future, self.shared.address)
        finally:
            future.release()

    def stop(self) -> None:
        if not self._stopped.is_set():
            self._stopped.set()
            self.shared.leave()


def step(
    told: dict,
    given: Sequence[tuple[dict, bytes]],
    saved: bytes | None,
    images: str | None,
    count: int,
) -> tuple[str, dict | int, bytes]:
    """On a worker: a task, or an epoch of it.

    Parameters
    ----------
    told : the task as plain values. given : of each network it takes, what was told and tensors.
    saved : the checkpoint of a training that has begun. count : threads.

    Returns ("done", what is told, tensors) or ("epoch", how many are done, the checkpoint).

    Raises
    ------
    ClusterError
        If images here are not those of who asked.
    """
    task = Task.from_dict(told)
    with _ONE, threads(count), tempfile.TemporaryDirectory() as place:
        networks = [
            opened(task.network, known, safetensors.torch.load(tensors)) for known, tensors in given
        ]
        checkpoint = Path(place) / "checkpoint.pt"
        done = 0
        if saved is not None:
            checkpoint.write_bytes(saved)
            done = read_checkpoint(checkpoint)["epoch"]
        came = perform(task, networks, images, checkpoint, done + 1)
        if came is None:
            return "epoch", done + 1, checkpoint.read_bytes()
        return "done", came.told, split_store.packed(came.network)
