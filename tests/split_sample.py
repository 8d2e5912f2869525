"""A small result of split-data training with times that can be checked in the head."""

from __future__ import annotations

from core.evaluate import Accuracy
from core.split_plan import Plan
from core.split_result import Result, Run, Stage, Timeline
from core.split_shares import ShareCurve, SharePoint, Whole


def stage(name, network, after, seconds, right, gone=0.0, epochs=0, **more) -> Stage:
    """A stage that was counted on 100 images."""
    key = f"{name}-{network}-{gone:g}-{seconds:g}-{right}"
    spans = ((0.0, seconds),)
    return Stage(
        key, name, network, after, 600 if epochs else 0, epochs, 0.1, gone, 1000, seconds, spans,
        1, Accuracy(right, 100), **more,
    )  # fmt: skip


def run(seed: int = 0) -> Run:
    """Whole data in 30 s, FaP in 20, PaF in 15."""
    parts = (
        stage("train", "part 1", (), 10, 90, epochs=8),
        stage("train", "part 2", (), 9, 88, epochs=8),
    )  # fmt: skip
    beside = {"average": Accuracy(20, 100), "ensemble": Accuracy(92, 100)}
    whole = (
        stage("train", "whole", (), 24, 99, epochs=8), stage("prune", "whole", (0,), 1, 40, 0.5),
        stage("fine-tune", "whole", (1,), 5, 98, 0.5, 2),
    )  # fmt: skip
    fap = (
        *parts, stage("fuse", "fused", (0, 1), 1, 80, beside=beside),
        stage("fine-tune", "fused", (2,), 5, 95, epochs=2),
        stage("prune", "fused", (3,), 1, 30, 0.5),
        stage("fine-tune", "fused", (4,), 3, 97, 0.5, 2),
    )  # fmt: skip
    paf = (
        *parts, stage("prune", "part 1", (0,), 1, 40, 0.5),
        stage("prune", "part 2", (1,), 2, 35, 0.5),
        stage("fuse", "fused", (2, 3), 1, 60, 0.5, beside=beside),
        stage("fine-tune", "fused", (4,), 3, 70, 0.5, 2),
    )  # fmt: skip
    told = {"whole": whole, "fap": fap, "paf": paf}
    return Run(seed, {}, {name: Timeline(name, stages) for name, stages in told.items()})


NOTE = {"command": "python -m core splits --out parts", "date": "2026-01-02", "machine": "a box"}


def result(plan: Plan) -> Result:
    """All of a plan's seeds, each with the same run."""
    runs = tuple(run(seed) for seed in plan.seeds)
    workers = {"kind": "processes", "count": 2, "threads": 1}
    return Result(plan, "digits", 10, runs, workers, (NOTE,))


def curve(plan: Plan) -> ShareCurve:
    """Halves do as well as all data, quarters don't."""
    points = tuple(
        SharePoint(
            0, count, 1200 // count, tuple(Accuracy(right - at, 100) for at in range(count)),
            *(Accuracy(one, 100) for one in (20, right, right - 10, right + 5, right + 2)),
            (9.0,) * count,
        )
        for count, right in ((2, 90), (4, 60))
    )  # fmt: skip
    workers = {"kind": "processes", "count": 2, "threads": 1}
    whole = (Whole(0, Accuracy(98, 100), 24.0),)
    return ShareCurve(plan, (2, 4), "digits", 10, points, whole, workers, (NOTE,))
