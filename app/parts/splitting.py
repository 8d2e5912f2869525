"""Split-data training off the page: what is asked for, the runs, and what they have left."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from app import runs
from app.figures import splits as figures
from app.jobs import Job
from app.language import Texts
from app.page import Page
from core import results, split_shares, split_store, split_training
from core.split_plan import PRESETS, Plan
from core.split_result import Result
from core.split_shares import ShareCurve
from core.split_training import Event
from core.splits import Splits

#: The k of the curve: each network is trained on a k-th of the data.
COUNTS = (2, 3, 4, 6, 8)
#: Runs of this server work in one folder, so that what is trained for one serves the others: one
#: after the other.
_turn = threading.Lock()
#: Seconds between two looks at whether it is one's turn.
PATIENCE = 0.3


def preset(network: str) -> Plan:
    """How a network is trained where nothing is said: its preset's plan, if there is one."""
    return next((one for one in PRESETS.values() if one.network == network), Plan(network=network))


def plan_of(page: Page, split: str, inside: str) -> Plan:
    """What the page is asked for: the preset's training, the choice's compression.

    Parameters
    ----------
    split, inside : keys of `app.link.VIEWS`.
    """
    kind, _, count = split.partition("-")
    choice = page.choice
    recipe = choice.recipe if inside == "fusion" else choice.pruning
    # A run has one seed for everything (`Plan.seeds`).
    return preset(page.loaded.name).replace(
        splits=Splits(kind, int(count)), recipe=recipe.replace(groups="all", seed=0),
        seeds=(choice.recipe.seed,),
    )  # fmt: skip


def curve_plan(page: Page) -> Plan:
    """What the curve over shares is measured with: nothing is pruned in it."""
    return preset(page.loaded.name).replace(seeds=(page.choice.recipe.seed,))


def folder() -> Path:
    """Where all runs of the page keep their stages."""
    return runs.folder() / "splits"


def stages() -> Path:
    """Where the networks of all runs are."""
    return folder() / split_store.STAGES


def saved(plan: Plan) -> Result | None:
    """What a former run of this plan has left; None if there was none."""
    return split_store.read_file(folder() / f"run-{plan.key}.json")


def saved_curve(plan: Plan) -> ShareCurve | None:
    """The curve that was measured here, else the recorded one; None if there is neither."""
    here = split_shares.read_file(folder() / f"shares-{plan.key}.json")
    return here or split_shares.read_file(results.FOLDER / f"shares-{plan.network}.json")


def recorded(network: str) -> Result | None:
    """The run of a network that ships; None if none does."""
    return split_store.read_file(results.FOLDER / f"splits-{network}.json")


def training(page: Page, plan: Plan) -> Callable[[Job], Result | None]:
    """The work of a run; its result grows as methods are done."""

    def work(job: Job) -> Result | None:
        def written() -> Result | None:
            return split_training.result_of(plan, folder())

        with _in_turn(job, page.say):
            going = split_training.run(
                plan, folder(), page.folder, command=page.say("splits.command")
            )
            return _follow(job, going, written, folder() / f"run-{plan.key}.json", page.say)

    return work


def curve(page: Page, plan: Plan) -> Callable[[Job], ShareCurve | None]:
    """The work of measuring the curve; its result grows point by point."""

    def work(job: Job) -> ShareCurve | None:
        def written() -> ShareCurve | None:
            return split_shares.curve_of(plan, COUNTS, folder())

        with _in_turn(job, page.say):
            going = split_shares.run(
                plan, COUNTS, folder(), page.folder, command=page.say("splits.command")
            )
            return _follow(job, going, written, folder() / f"shares-{plan.key}.json", page.say)

    return work


@contextmanager
def _in_turn(job: Job, say: Texts) -> Iterator[None]:
    """Wait until no other run of this server is at work, unless the job is cancelled meanwhile."""
    while not _turn.acquire(timeout=PATIENCE):
        job.report(0.0, say("splits.busy"))
    try:
        yield
    finally:
        _turn.release()


def _follow(job: Job, going: Iterator[Event], written: Callable, file: Path, say: Texts):
    """Report what each worker does until all is done; workers end if the job is cancelled."""
    busy: dict[str, str] = {}
    with closing(going):
        for event in going:
            if event.what in ("began", "report"):
                busy[event.key] = doing(event, say)
            elif event.what == "done":
                busy.pop(event.key, None)
            elif event.what == "written":
                job.result = _kept(written(), file)
            job.report(event.share, " · ".join(busy.values()))
    return _kept(written(), file)


def _kept(found: Result | ShareCurve | None, file: Path) -> Result | ShareCurve | None:
    """Keep a result under its plan's own name: the run's folder holds that of the last plan."""
    if found is not None:
        text = json.dumps(found.as_dict(), ensure_ascii=False) + "\n"
        split_store.write(file, text.encode())
    return found


def doing(event: Event, say: Texts) -> str:
    """What a worker does, in words."""
    placed = event.placed
    task = placed.task
    name = figures.network(placed, say)
    if task.splits is not None:
        name = say("splits.part_of", number=task.part + 1, count=len(task.splits))
    told = say("splits.doing", network=name, stage=figures.working(placed, say))
    if task.epochs:
        epoch = min(task.epochs, round(event.part * task.epochs) + 1)
        told += say("splits.doing_epoch", epoch=epoch, epochs=task.epochs)
    return told
