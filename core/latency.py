"""How long networks take on this machine: measured in turns, with the spread beside the median."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
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


def latencies(
    modules: Sequence[nn.Module],
    input_shape: tuple[int, ...] = (3, 32, 32),
    runs: int = 50,
    batch: int = 1,
    threads: int = 1,
    warmup: int = 5,
) -> list[Latency]:
    """Measure several networks side by side, one run of each in turn.

    In turns, because a machine's speed drifts: what slows one down slows the others down as well.
    The images are noise, laid out as `core.accuracy` feeds them.

    Parameters
    ----------
    runs : that count, for each network. warmup : runs before them that don't.
    batch : images at once.
    threads : of the processor. PyTorch's setting holds for the whole process; it is put back.

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
    seconds = np.empty((len(modules), runs))
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        images = torch.randn(batch, *input_shape, generator=torch.Generator().manual_seed(0))
        if images.ndim == 4:
            images = images.contiguous(memory_format=torch.channels_last)
        with torch.inference_mode():
            for run in range(-warmup, runs):
                for place, module in enumerate(modules):
                    begun = time.perf_counter()
                    module(images)
                    spent = time.perf_counter() - begun
                    if run >= 0:
                        seconds[place, run] = spent
    except Exception as error:  # anything: the code that runs here is the user's
        first = (str(error).strip().splitlines() or [type(error).__name__])[0].rstrip(".")
        raise Unsupported(
            f"A batch of {batch} images of shape {tuple(input_shape)} can't be timed: {first}. Try "
            "a smaller batch or the network's own shape of image."
        ) from error
    finally:
        torch.set_num_threads(before)
    return [
        Latency(
            *(float(q) for q in np.quantile(row, (0.5, 0.25, 0.75))), runs, warmup, batch, threads
        )
        for row in seconds
    ]


def latency(module: nn.Module, input_shape: tuple[int, ...] = (3, 32, 32), **options) -> Latency:
    """Measure one network; the options are those of `latencies`."""
    return latencies([module], input_shape, **options)[0]
