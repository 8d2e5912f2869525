"""A sweep on other processes gives a local run's results; a dead worker costs its task alone."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import pytest

from core import cluster, store, sweep
from core.errors import ClusterError
from core.experiments import Bench

distributed = pytest.importorskip("distributed", reason="needs Dask: requirements-dask.txt")

NAME = "vgg11_bn-digits"
ROOT = Path(__file__).parents[1]


@pytest.fixture
def workers(monkeypatch):
    """A scheduler in this process and two workers in their own; nannies raise what dies."""
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    monkeypatch.setattr(cluster, "PATIENCE", 60)
    with distributed.LocalCluster(
        n_workers=2, threads_per_worker=1, processes=True, dashboard_address=None
    ) as made:
        yield made


def finished(scheduler) -> list[str]:
    """The tasks that came to an end on a worker, each as often as it did."""
    return [
        entry[0]
        for entry in scheduler.transition_log
        if entry[1] == "processing" and entry[2] == "memory"
    ]


def at_work(scheduler):
    """A worker that has a task to do, and no result that nobody has fetched yet."""
    until = time.monotonic() + 5
    while time.monotonic() < until:
        for one in scheduler.workers.values():
            if one.processing and not one.has_what:
                return one
        time.sleep(0.01)
    return None


@pytest.mark.slow
def test_one_of_two_workers_is_killed(workers, tmp_path):
    bench = Bench(NAME, 200)
    asked = sweep.entries([0, 2, 4, 6], (0.3, 0.7), rules=("select", "best"))
    local, path = tmp_path / "local.csv", tmp_path / "cluster.csv"
    killed = lost = None
    running = sweep.run(bench, asked, path, scheduler=workers.scheduler_address)
    for event in running:
        # What is stored is in the file at once, not at the end.
        assert len(store.read(path)) == event.done
        if killed is None and (victim := at_work(workers.scheduler)):
            lost = {task.key for task in victim.processing}
            nannies = workers.workers.values()
            (killed,) = (one.pid for one in nannies if one.worker_address == victim.address)
            os.kill(killed, signal.SIGKILL)
    list(sweep.run(bench, asked, local))
    assert {k: row.right for k, row in store.read(path).items()} == {
        k: row.right for k, row in store.read(local).items()
    }
    ended = finished(workers.scheduler)
    assert killed and lost and lost <= set(ended)
    assert len(ended) == len(set(ended)) == 4, "what was done was not done again"
    assert list(sweep.run(bench, asked, path, scheduler=workers.scheduler_address)) == []


def test_no_scheduler_is_a_sentence(tmp_path, monkeypatch):
    monkeypatch.setattr(cluster, "PATIENCE", 1)
    bench = Bench(NAME, 20)
    with pytest.raises(ClusterError, match="no Dask scheduler at 'tcp://127.0.0.1:1'") as caught:
        list(
            sweep.run(bench, sweep.entries([0]), tmp_path / "a.csv", scheduler="tcp://127.0.0.1:1")
        )
    assert str(caught.value).endswith(".")
    assert not (tmp_path / "a.csv").exists()


@pytest.mark.parametrize("what", ["weights", "fingerprint"])
def test_a_worker_with_other_weights_or_images_is_a_sentence(what):
    bench = Bench(NAME, 20)
    told = {
        "network": NAME, "limit": 20, "folder": None, "numbers": "float32",
        "weights": bench.weights, "fingerprint": bench.tested.fingerprint,
        "recipes": [sweep.DENSE.as_dict()],
    }  # fmt: skip
    (right,) = cluster.count(told)
    assert 18 <= right <= 20
    with pytest.raises(ClusterError, match="A worker has other"):
        cluster.count(told | {what: "0" * 16})
