"""How long networks take on this machine: measured in turns, with the spread beside the median."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import torch
from torch import nn

from core.errors import RecipeError, Unsupported
from core.evaluate import evaluating


@dataclass(frozen=True)
class Latency:
    """Seconds that one batch takes: the `median` of `runs` runs and the quartiles around it.

    `batch` images at once on `threads` threads of the processor, after `warmup` runs that don't
    count.
    """

    median: float
    first_quartile: float
    third_quartile: float
    runs: int
    warmup: int
    batch: int
    threads: int

    @property
    def spread(self) -> float:
        """The interquartile range, in seconds."""
        return self.third_quartile - self.first_quartile

    def __str__(self) -> str:
        return (
            f"{1e3 * self.median:.2f} ms (quartiles {1e3 * self.first_quartile:.2f} and "
            f"{1e3 * self.third_quartile:.2f} ms; {self.runs} runs, batch of {self.batch}, "
            f"{self.threads} thread{'s' if self.threads > 1 else ''})"
        )


@dataclass(frozen=True, eq=False)
class Turns:
    """What was timed so far: `seconds` (networks, runs) float64 that one batch took, run by run."""

    seconds: np.ndarray
    batch: int
    threads: int
    warmup: int

    @property
    def runs(self) -> int:
        return self.seconds.shape[1]

    def latency(self, place: int) -> Latency:
        """The latency of the network in this place."""
        row = _quartiles(self.seconds[place])
        return Latency(*row, self.runs, self.warmup, self.batch, self.threads)

    def ratio(self, place: int) -> Ratio:
        """How long a network takes as a share of the first one, run by run.

        What slows the machine down for a while slows both, and drops out.
        """
        return Ratio(*_quartiles(self.seconds[place] / self.seconds[0]))


@dataclass(frozen=True)
class Ratio:
    """A share of the time that another network takes: the median and the quartiles around it."""

    median: float
    first_quartile: float
    third_quartile: float

    def __str__(self) -> str:
        return (
            f"{100 * self.median:.1f} % ({100 * self.first_quartile:.1f} to "
            f"{100 * self.third_quartile:.1f})"
        )


def _quartiles(values: np.ndarray) -> tuple[float, ...]:
    """Median, first and third quartile."""
    return tuple(float(one) for one in np.quantile(values, (0.5, 0.25, 0.75)))


def turns(
    modules: Sequence[nn.Module],
    input_shape: tuple[int, ...] = (3, 32, 32),
    runs: int = 50,
    batch: int = 1,
    threads: int = 1,
    warmup: int = 5,
    between: Callable[[], None] = lambda: None,
) -> Iterator[Turns]:
    """Time several networks side by side, one run of each in turn; tell all of it after each round.

    In turns, because a machine's speed drifts: what slows one down slows the others down as well.
    The images are noise, laid out as `core.accuracy` feeds them.

    Parameters
    ----------
    runs : that count, for each network. warmup : runs before them that don't.
    batch : images at once.
    threads : of the processor. PyTorch's setting holds for the whole process; it is put back after
        every round.
    between : called before every round, untimed; what it raises ends the work.

    Raises
    ------
    RecipeError
        If a number is smaller than 1 (`warmup`: than 0), or there are fewer processors than
        `threads`.
    Unsupported
        If a network can't take such a batch.
    """
    for name, value, least in (
        ("runs", runs, 1), ("batch", batch, 1), ("threads", threads, 1), ("warmup", warmup, 0),
    ):  # fmt: skip
        if type(value) is not int or value < least:
            raise RecipeError(f"{name} must be a whole number of at least {least}; got {value!r}.")
    if threads > (os.cpu_count() or 1):
        raise RecipeError(
            f"threads must be at most {os.cpu_count()}, this machine's processors; got {threads}."
        )
    modules = [evaluating(module) for module in modules]
    with _told(batch, input_shape):
        images = torch.randn(batch, *input_shape, generator=torch.Generator().manual_seed(0))
        if images.ndim == 4:
            images = images.contiguous(memory_format=torch.channels_last)
    seconds: list[list[float]] = []
    for run in range(-warmup, runs):
        between()
        told = _round(modules, images, threads)
        if run >= 0:
            seconds.append(told)
            yield Turns(np.array(seconds).T, batch, threads, warmup)


@contextmanager
def _told(batch: int, shape: tuple[int, ...]) -> Iterator[None]:
    """Whatever goes wrong within it is told in a sentence: `Unsupported`."""
    try:
        yield
    except Exception as error:  # anything: the code that runs here is the user's
        first = (str(error).strip().splitlines() or [type(error).__name__])[0].rstrip(".")
        raise Unsupported(
            f"A batch of {batch} images of shape {tuple(shape)} can't be timed: {first}. Try a "
            "smaller batch or the network's own shape of image."
        ) from error


def _round(modules: Sequence[nn.Module], images: torch.Tensor, threads: int) -> list[float]:
    """Seconds that each network takes for the images, one after the other."""
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    seconds = []
    try:
        with _told(len(images), images.shape[1:]), torch.inference_mode():
            for module in modules:
                begun = time.perf_counter()
                module(images)
                seconds.append(time.perf_counter() - begun)
    finally:
        torch.set_num_threads(before)
    return seconds


def latencies(
    modules: Sequence[nn.Module], input_shape: tuple[int, ...] = (3, 32, 32), **options
) -> list[Latency]:
    """Measure several networks side by side; the options are those of `turns`."""
    *_, known = turns(modules, input_shape, **options)
    return [known.latency(place) for place in range(len(modules))]


def latency(module: nn.Module, input_shape: tuple[int, ...] = (3, 32, 32), **options) -> Latency:
    """Measure one network; the options are those of `turns`."""
    return latencies([module], input_shape, **options)[0]
