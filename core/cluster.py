"""A sweep on other machines: its chunks as tasks of a Dask cluster.

A worker loads the network and the images itself, by name, and sends back how many images were
right; who asked stores them. A worker that dies costs the task it was at, which another one does.
The scheduler and the workers have to find this project: start them in its folder, `PYTHONPATH=.`.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from functools import lru_cache

from core import sweep
from core.errors import ClusterError, PackageMissing
from core.experiments import Bench
from core.recipe import Recipe

#: Seconds to wait for the scheduler, and for the first worker.
PATIENCE = 15
#: A chunk at a time in a process: it takes memory, and PyTorch has threads of its own.
_ONE = threading.Lock()


def counted(
    address: str, bench: Bench, parts: Sequence[Sequence[Recipe]], numbers: str
) -> Iterator[tuple[int, tuple[int, ...]]]:
    """As they come in: the place of a part, and how many images each of its recipes names right.

    Raises
    ------
    PackageMissing
        If Dask is not installed.
    ClusterError
        If there is no scheduler at that address or no worker, if a task killed several workers, or
        if workers have other weights or images than this machine.
    """
    if not parts:
        return
    with connected(address) as client:
        tasks = {}
        for place, part in enumerate(parts):
            told = {
                "network": bench.name, "limit": bench.limit, "folder": bench.folder,
                "weights": bench.weights, "fingerprint": bench.tested.fingerprint,
                "numbers": numbers, "recipes": [one.as_dict() for one in part],
            }  # fmt: skip
            tasks[client.submit(count, told, pure=False, key=f"chunk-{place}-{id(told)}")] = place
        try:
            for future in _distributed().as_completed(list(tasks), loop=client.loop):
                right = result(future, address)
                place = tasks.pop(future)
                future.release()  # nobody need make it again when the worker that made it dies
                yield place, right
        finally:
            client.cancel(list(tasks))


def connected(address: str):
    """A client of the scheduler at that address, once it has a worker; close it, or use `with`.

    Raises
    ------
    PackageMissing
        If Dask is not installed.
    ClusterError
        If there is no scheduler at that address, or no worker.
    """
    dask = _distributed()
    try:
        client = dask.Client(address, timeout=PATIENCE, set_as_default=False)
    except (OSError, ValueError, TypeError) as error:
        raise ClusterError(
            f"There is no Dask scheduler at {address!r} ({_line(error)}). Start one with `dask "
            "scheduler` and name the address it prints, such as tcp://127.0.0.1:8786."
        ) from error
    try:
        client.wait_for_workers(1, timeout=PATIENCE)
    except TimeoutError as error:
        client.close()
        raise ClusterError(
            f"The Dask scheduler at {address} has no worker. Start some in this project's "
            f"folder: PYTHONPATH=. dask worker {address}"
        ) from error
    return client


def result(future, address: str):
    """What a task has come to.

    Raises
    ------
    ClusterError
        If the workers died of it, or have not got this project.
    """
    from distributed import KilledWorker

    try:
        return future.result()
    except KilledWorker as error:
        raise ClusterError(
            f"A task has killed several workers of {address}, perhaps for want of memory: what is "
            f"stored stays stored ({_line(error)}). Give workers more memory and start again."
        ) from error
    except (ImportError, RuntimeError) as error:
        raise ClusterError(
            f"The workers of {address} can't do the task ({_line(error)}). Start the scheduler and "
            "the workers in this project's folder, with PYTHONPATH=. and the same packages."
        ) from error


def count(told: dict) -> tuple[int, ...]:
    """The task, on a worker: how many images each recipe's network names right.

    Raises
    ------
    ClusterError
        If the weights or the images here are not those of who asked.
    """
    with _ONE:
        bench = _bench(told["network"], told["limit"], told["folder"])
        here = {"weights": bench.weights, "fingerprint": bench.tested.fingerprint}
        for what, name in (("weights", "weights"), ("fingerprint", "test images")):
            if here[what] != told[what]:
                raise ClusterError(
                    f"A worker has other {name} of {bench.name} than the machine that asked "
                    f"({here[what][:12]}… instead of {told[what][:12]}…). Give both the same."
                )
        recipes = [Recipe.from_dict(one) for one in told["recipes"]]
        *_, last = sweep.count(bench, recipes, told["numbers"])
        return last.right


@lru_cache(maxsize=1)
def _bench(network: str, limit: int | None, folder: str | None) -> Bench:
    """Loaded once by a worker, not once a task."""
    return Bench(network, limit, folder=folder)


def _distributed():
    try:
        import distributed
    except ImportError as error:
        raise PackageMissing(
            "Work on a cluster needs Dask, which is not installed: pip install -r "
            "requirements-dask.txt, or leave --scheduler out."
        ) from error
    return distributed


def _line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0].rstrip(".")
