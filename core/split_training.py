"""Split-data training: whole-data, FaP and PaF, run by workers side by side, resumable anywhere.

    for event in run(PRESETS["digits-minute"], Path("folder")):
        print(event.line)
    result = result_of(PRESETS["digits-minute"], Path("folder"))

Every stage that is done is in the folder, and a training is after each epoch. A run that was
stopped or killed, started again with the same plan and folder, goes on from there and ends with the
same networks bit for bit, if workers have as many threads as before.
"""

from __future__ import annotations

import os
import queue
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from core import provenance, split_store
from core.data import ImageSet, data_folder
from core.errors import RecipeError
from core.split_methods import Placed, in_order, timelines
from core.split_plan import Plan
from core.split_result import Result, Run, Stage, Timeline
from core.split_store import RESULT, STAGES
from core.split_task import Task, images_of
from core.split_workers import Here, Process, Worker
from core.store import locked

#: Seconds after which an event is told even if nothing has happened, so that one can stop.
PATIENCE = 0.5


@dataclass(frozen=True)
class Event:
    """Something has happened in a run.

    what : `began`, `report` (a line of progress), `done` (a stage), `written` (the result), or
    `waiting`. share : of the work that is done, between 0 and 1. line : what happened, in words.
    key : of the task. placed : the task in its timeline. part : the share of it that is
    done. pid : the process that does it, on this machine.
    """

    what: str
    share: float
    line: str = ""
    key: str = ""
    pid: int | None = None
    placed: Placed | None = None
    part: float = 0.0


@dataclass(frozen=True)
class Staff:
    """Who does the work: `kind` is `here`, `processes` or `cluster`; threads of each worker."""

    kind: str
    count: int
    threads: int

    def as_dict(self) -> dict:
        """Plain values, as JSON keeps them."""
        return {"kind": self.kind, "count": self.count, "threads": self.threads}


def staff(networks: int, workers: int | None = None, threads: int | None = None) -> Staff:
    """Workers for so many networks side by side, with the processor's threads shared out.

    Parameters
    ----------
    workers : how many; a worker for each network, as far as there are cores, if nothing is said. A
        single one works in this process. threads : of each.

    Raises
    ------
    RecipeError
        If one of them is below 1.
    """
    cores = os.cpu_count() or 1
    count = max(1, min(networks, cores)) if workers is None else workers
    each = max(1, cores // count) if threads is None and count > 0 else threads
    for name, value in (("workers", count), ("threads", each)):
        if type(value) is not int or value < 1:
            raise RecipeError(f"{name} must be a whole number of at least 1; got {value!r}.")
    return Staff("here" if count == 1 else "processes", count, each)


def run(
    plan: Plan,
    folder: Path,
    images: str | None = None,
    workers: int | None = None,
    threads: int | None = None,
    scheduler: str | None = None,
    command: str = "",
) -> Iterator[Event]:
    """Do what is left of a plan, telling what happens; the result is in the folder afterwards.

    Whoever stops iterating stops the run: workers end, and what they have written stays.

    Parameters
    ----------
    folder : of the run (`core.split_store`).
    images : the folder of images, as `core.images` takes it.
    workers, threads : as `staff` takes them.
    scheduler : address of a Dask scheduler, whose workers then do the work.
    command : for the note on where the result comes from.

    Raises
    ------
    RecipeError, DataError, WeightsError, ClusterError, …
        What is wrong, in a sentence; what is done stays done.
    """
    folder, images = Path(folder), absolute(images)
    training, testing = images_of(plan.network, images)
    plan.splits.parts(training.labels)  # before the work, not after it: whether it can be split
    ways = {seed: timelines(plan, seed, training, testing) for seed in plan.seeds}
    tasks = {
        placed.task.key: (seed, placed)
        for seed, of_seed in ways.items()
        for placed in in_order(of_seed)
    }
    before = split_store.read(folder)
    noted = runs_noted(before if before and before.plan.key == plan.key else None, command)

    def write(who: Staff) -> bool:
        nonlocal before
        runs = (_known(plan, seed, ways[seed], folder / STAGES, training) for seed in plan.seeds)
        found = Result(
            plan, testing.title, len(testing.classes), tuple(filter(None, runs)), who.as_dict(),
            noted,
        )  # fmt: skip
        if before and (before.plan, before.runs) == (plan, found.runs):
            return False
        split_store.write_result(folder, found)
        before = found
        return True

    who = staff(len(plan.splits), workers, threads)
    yield from worked(tasks, folder, images, who, scheduler, write)


def result_of(plan: Plan, folder: Path) -> Result | None:
    """The result of a plan in a folder, as far as it is known; None if there is none.

    Raises
    ------
    DataError
        If the folder holds the result of another plan, or it can't be read.
    """
    found = split_store.read(Path(folder))
    return found if found is not None and found.plan == plan else None


def absolute(images: str | None) -> str | None:
    """The folder of images by a name that holds in any process."""
    return str(data_folder(images)) if images else None


def runs_noted(before: Result | None, command: str) -> tuple[Mapping, ...]:
    """What is told of the runs that results come from, with this one; the same only once."""
    noted = list(before.provenance) if before else []
    now = provenance.this_run(command)
    return tuple(noted if now in noted else [*noted, now])


def _known(
    plan: Plan, seed: int, ways: Mapping[str, list[Placed]], stages: Path, training: ImageSet
) -> Run | None:
    """What is done of a run; None as long as no method is."""
    found = {}
    for method, way in ways.items():
        told = [split_store.told(stages, placed.task.key) for placed in way]
        if all(told):
            found[method] = Timeline(method, tuple(map(stage, way, told)))
    if not found:
        return None
    return Run(seed, plan.splits.reseeded(seed).written(training), found)


def stage(placed: Placed, told: Mapping) -> Stage:
    """A stage of a timeline, from its place there and what its task has come to."""
    schedule = placed.task.schedule
    return Stage.from_dict(
        {
            "key": placed.task.key, "name": placed.name, "network": placed.network,
            "after": placed.after, "epochs": placed.task.epochs,
            "rate": schedule.peak if schedule else 0.0, "sparsity": placed.sparsity,
        }
        | {
            name: told[name]
            for name in (
                "images", "parameters", "seconds", "spans", "threads", "accuracy", "losses",
                "beside", "weights",
            )
        }
    )  # fmt: skip


def worked(
    tasks: Mapping[str, tuple[int, Placed]],
    folder: Path,
    images: str | None,
    who: Staff,
    scheduler: str | None,
    write: Callable[[Staff], bool],
) -> Iterator[Event]:
    """Have tasks done in a folder by those who are to do it, telling what happens.

    Parameters
    ----------
    tasks : by key, each with the seed of its run; those earlier are begun earlier.
    write : writes the result if there is more to tell, and says whether there was.
    """
    busy = f"Another run is at work in {folder}. Wait for it, or name another folder."
    with locked(folder / RESULT, ".run", 0, busy):
        stages = folder / STAGES
        if scheduler:
            from core.split_cluster import hired  # it needs Dask

            who, hands = hired(scheduler, stages, images, who)
        else:
            make = Here if who.kind == "here" else Process
            hands = [make(stages, images, who.threads) for _ in range(who.count)]
        if write(who):
            yield Event("written", 0.0, f"wrote what {folder} holds already")
        for event in _worked(tasks, hands, stages):
            yield event
            if event.what == "done" and write(who):
                yield Event("written", event.share, f"wrote what is known to {folder}")


def _worked(
    tasks: Mapping[str, tuple[int, Placed]], hands: Sequence[Worker], stages: Path
) -> Iterator[Event]:
    """Have all tasks done, each as soon as those it builds on are and a worker is free."""
    size = {key: _size(placed.task) for key, (_, placed) in tasks.items()}
    shares = {key: 0.0 for key in tasks}
    done = {key for key in tasks if split_store.told(stages, key) is not None}
    shares |= dict.fromkeys(done, 1.0)
    waiting = [key for key in tasks if key not in done]
    free, told = list(hands), queue.Queue()

    def share() -> float:
        return sum(size[key] * shares[key] for key in tasks) / max(1e-9, sum(size.values()))

    def line(key: str, text: str) -> str:
        seed, placed = tasks[key]
        return f"seed {seed}, {placed.network}, {placed.name}: {text}"

    def work(worker: Worker, task: Task) -> None:
        try:
            worker.do(task, lambda text, part: told.put(("report", task.key, worker, text, part)))
            told.put(("done", task.key, worker, None, 1.0))
        except BaseException as error:  # raised again by who iterates
            told.put(("failed", task.key, worker, error, 0.0))

    with ThreadPoolExecutor(len(hands), "splits") as threads:
        try:
            while len(done) < len(tasks):
                for key in list(waiting):
                    task = tasks[key][1].task
                    if free and done.issuperset(task.inputs):
                        waiting.remove(key)
                        worker = free.pop(0)
                        threads.submit(work, worker, task)
                        yield Event(
                            "began", share(), line(key, "begins"), key, worker.pid, tasks[key][1]
                        )
                try:
                    what, key, worker, text, part = told.get(timeout=PATIENCE)
                except queue.Empty:
                    yield Event("waiting", share())
                    continue
                if what == "failed":
                    raise text
                shares[key] = max(shares[key], part if what == "done" else min(part, 0.99))
                if what == "done":
                    done.add(key)
                    free.append(worker)
                    text = "done"
                placed = tasks[key][1]
                yield Event(what, share(), line(key, text), key, worker.pid, placed, part)
        finally:
            for worker in hands:
                worker.stop()


def _size(task: Task) -> float:
    """About how long a task takes, in epochs on all images."""
    part = task.splits.fraction if task.part is not None else 1.0
    return task.epochs * part if task.kind == "train" else 0.1
