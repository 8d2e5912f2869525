"""What split-data training tells: timelines of stages with times and accuracies, as JSON.

    {"format": "intra-fusion splits", "version": 1,
     "plan":      `core.split_plan.Plan.as_dict`,
     "images":    title of the test images, "classes": how many there are,
     "runs":      [{"seed": 0,
                    "split": `core.splits.Splits.written`: numbers, size and hash of each part,
                    "timelines": {"whole": TIMELINE, "fap": TIMELINE, "paf": TIMELINE},
                    "speedups": {"fap": {"training": 1.9, "overall": 1.4}, "paf": {…}}}, …],
     "workers":   {"kind": "processes", "count": 2, "threads": 1},
     "provenance": [`core.provenance.this_run`, …]}

    TIMELINE = {"method": "fap", "parallel": s, "total": s, "measured": s, "stages": [STAGE, …]}

    STAGE    = {"key", "name", "network", "after", "images", "epochs", "rate", "sparsity",
                "parameters", "start", "seconds", "spans", "threads", "accuracy": [right, total],
                "losses", "beside": {"average": [right, total], "ensemble": …}, "weights"}

A timeline is there as soon as all its stages are done. What is told twice for the reader's sake
(start, parallel, total, measured, speedups) is computed from the rest when the file is read.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property

from core.errors import DataError
from core.evaluate import Accuracy
from core.split_plan import Plan

FORMAT, VERSION = "intra-fusion splits", 1


@dataclass(frozen=True)
class Stage:
    """One thing done to one network, and what the network is worth after it.

    Attributes
    ----------
    key : of the work done. Stages of two methods with the same key are the same piece of work, done
        once: FaP and PaF begin with the same networks.
    name : `train`, `prune`, `fuse` or `fine-tune`.
    network : `whole`, `part 1`, `part 2`, …, `fused`.
    after : places, in the timeline's stages, of those it builds on.
    images : training images gone through in an epoch; 0 where there is no training.
    epochs, rate : of training; the rate is the largest one of its cycle. 0 without training.
    sparsity : share of each group's channels that is gone after it.
    parameters : of the network after it.
    seconds : that the work itself took on one worker of `threads` threads: epochs, compression,
        fusion. Starting the worker, reading and writing files and counting test images aren't in
        it, nor is an epoch that was lost because a worker died.
    spans : when it went on, [(began, ended), …] in seconds since 1970, as many as epochs where it
        is training; the pauses of a run that was interrupted lie between them.
    accuracy : on the test images, counted once, after the stage. It chooses nothing.
    losses : the mean training loss of each epoch.
    beside : for `fuse`, what else becomes of the same networks: `average` of their weights channel
        by channel without transport, and their `ensemble`.
    weights : the SHA-256 of the network after it (`core.shape.state_hash`).
    """

    key: str
    name: str
    network: str
    after: tuple[int, ...]
    images: int
    epochs: int
    rate: float
    sparsity: float
    parameters: int
    seconds: float
    spans: tuple[tuple[float, float], ...]
    threads: int
    accuracy: Accuracy
    losses: tuple[float, ...] = ()
    beside: Mapping[str, Accuracy] = field(default_factory=dict)
    weights: str = ""

    def as_dict(self) -> dict:
        """Plain values, as JSON keeps them."""
        return {
            "key": self.key, "name": self.name, "network": self.network, "after": list(self.after),
            "images": self.images, "epochs": self.epochs, "rate": self.rate,
            "sparsity": self.sparsity, "parameters": self.parameters, "seconds": self.seconds,
            "spans": [list(span) for span in self.spans], "threads": self.threads,
            "accuracy": _pair(self.accuracy), "losses": list(self.losses),
            "beside": {name: _pair(one) for name, one in self.beside.items()},
            "weights": self.weights,
        }  # fmt: skip

    @classmethod
    def from_dict(cls, told: Mapping) -> Stage:
        """The stage of `as_dict`."""
        return cls(
            told["key"], told["name"], told["network"], tuple(told["after"]), told["images"],
            told["epochs"], told["rate"], told["sparsity"], told["parameters"], told["seconds"],
            tuple((began, ended) for began, ended in told["spans"]), told["threads"],
            Accuracy(*told["accuracy"]), tuple(told["losses"]),
            {name: Accuracy(*one) for name, one in told["beside"].items()}, told["weights"],
        )  # fmt: skip


@dataclass(frozen=True)
class Timeline:
    """The stages of one method, in an order in which they can be done; the last makes its network.

    method : a key of `core.split_plan.METHODS`.
    """

    method: str
    stages: tuple[Stage, ...]

    @cached_property
    def starts(self) -> tuple[float, ...]:
        """When each stage begins, in seconds, with a worker for each network.

        A stage begins when the last of those it builds on has ended. Computed from `seconds`, which
        were measured; nothing waits for a free worker here.
        """
        ends: list[float] = []
        for stage in self.stages:
            ends.append(max((ends[place] for place in stage.after), default=0.0) + stage.seconds)
        return tuple(end - stage.seconds for end, stage in zip(ends, self.stages, strict=True))

    @property
    def parallel(self) -> float:
        """Seconds from the first stage to the last with a worker for each network."""
        return self.starts[-1] + self.stages[-1].seconds

    @property
    def total(self) -> float:
        """Seconds of work: all stages one after the other, on one worker."""
        return sum(stage.seconds for stage in self.stages)

    @property
    def measured(self) -> float:
        """Seconds of the clock during which this machine was at work on any of the stages.

        At most about `total`, if one worker did everything; about `parallel`, if there was a free
        worker for every network. Counting test images is not in it.
        """
        whole, until = 0.0, float("-inf")
        for began, ended in sorted(span for stage in self.stages for span in stage.spans):
            whole += max(0.0, ended - max(began, until))
            until = max(until, ended)
        return whole

    @property
    def training(self) -> float:
        """Seconds until the first training is done, with a worker for each network."""
        return max(
            start + stage.seconds
            for start, stage in zip(self.starts, self.stages, strict=True)
            if stage.name == "train"
        )

    @property
    def accuracy(self) -> Accuracy:
        """Of the network that the method ends with."""
        return self.stages[-1].accuracy

    @property
    def fused(self) -> Stage | None:
        """The stage that fuses: what fusion alone gives. None for whole-data training."""
        return next((stage for stage in self.stages if stage.name == "fuse"), None)

    def of(self, name: str) -> tuple[Stage, ...]:
        """The stages of that name, in order."""
        return tuple(stage for stage in self.stages if stage.name == name)

    def as_dict(self) -> dict:
        """Plain values, as JSON keeps them."""
        stages = [
            stage.as_dict() | {"start": start}
            for stage, start in zip(self.stages, self.starts, strict=True)
        ]
        return {
            "method": self.method, "parallel": self.parallel, "total": self.total,
            "measured": self.measured, "stages": stages,
        }  # fmt: skip

    @classmethod
    def from_dict(cls, told: Mapping) -> Timeline:
        """The timeline of `as_dict`."""
        return cls(told["method"], tuple(Stage.from_dict(one) for one in told["stages"]))


@dataclass(frozen=True)
class Run:
    """All methods with one seed. split : what `core.splits.Splits.written` says of the parts.

    timelines : by method; those that are done.
    """

    seed: int
    split: Mapping
    timelines: Mapping[str, Timeline]

    def speedup(self, method: str) -> float | None:
        """How many times faster than whole-data training, with a worker for each network."""
        if method not in self.timelines or "whole" not in self.timelines:
            return None
        return self.timelines["whole"].parallel / self.timelines[method].parallel

    def training_speedup(self, method: str) -> float | None:
        """The same of the first training alone."""
        if method not in self.timelines or "whole" not in self.timelines:
            return None
        return self.timelines["whole"].training / self.timelines[method].training

    def as_dict(self) -> dict:
        """Plain values, as JSON keeps them."""
        return {
            "seed": self.seed, "split": dict(self.split),
            "timelines": {name: one.as_dict() for name, one in self.timelines.items()},
            "speedups": {
                name: {"training": self.training_speedup(name), "overall": self.speedup(name)}
                for name in self.timelines
                if name != "whole" and "whole" in self.timelines
            },
        }  # fmt: skip

    @classmethod
    def from_dict(cls, told: Mapping) -> Run:
        """The run of `as_dict`."""
        timelines = {name: Timeline.from_dict(one) for name, one in told["timelines"].items()}
        return cls(told["seed"], told["split"], timelines)


@dataclass(frozen=True)
class Result:
    """All that is known of a plan so far.

    images : the title of the test images. classes : how many they tell apart.
    workers : {"kind": "here", "processes" or "cluster", "count": how many networks at once,
        "threads": of each}.
    provenance : of each command that added to it, what `core.provenance.this_run` tells.
    """

    plan: Plan
    images: str
    classes: int
    runs: tuple[Run, ...]
    workers: Mapping
    provenance: tuple[Mapping, ...] = ()

    @property
    def done(self) -> bool:
        """Whether nothing of the plan is left to do."""
        there = {run.seed: set(run.timelines) for run in self.runs}
        return all(set(self.plan.methods) <= there.get(seed, set()) for seed in self.plan.seeds)

    def as_dict(self) -> dict:
        """Plain values, as JSON keeps them: the format above."""
        return {
            "format": FORMAT, "version": VERSION, "plan": self.plan.as_dict(),
            "images": self.images, "classes": self.classes,
            "runs": [run.as_dict() for run in self.runs], "workers": dict(self.workers),
            "provenance": [dict(one) for one in self.provenance],
        }  # fmt: skip

    @classmethod
    def from_dict(cls, told: Mapping) -> Result:
        """The result of `as_dict`.

        Raises
        ------
        DataError
            If it is something else.
        """
        try:
            if (told["format"], told["version"]) != (FORMAT, VERSION):
                raise DataError(
                    f"This is a result of the format {told['format']!r}, version "
                    f"{told['version']!r}, not of {FORMAT!r}, version {VERSION}."
                )
            return cls(
                Plan.from_dict(told["plan"]), told["images"], told["classes"],
                tuple(Run.from_dict(one) for one in told["runs"]), told["workers"],
                tuple(told["provenance"]),
            )  # fmt: skip
        except (LookupError, TypeError, ValueError, AttributeError) as error:
            raise DataError(
                f"This is no result of split-data training ({type(error).__name__}: {error})."
            ) from error


def _pair(one: Accuracy) -> list[int]:
    return [one.correct, one.total]
