"""What a network is worth: accuracy with its interval, parameters, multiply-accumulates, bytes."""

from __future__ import annotations

import copy
import math
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from core.data import ImageSet
from core.errors import DataError

#: 97.5 % quantile of the normal distribution: a two-sided 95 % interval.
Z95 = 1.959963984540054


@dataclass(frozen=True)
class Accuracy:
    """`correct` of `total` images named right, with the 95 % Wilson score interval.

    Wilson (1927); it stays inside [0, 1] and is honest near 0 and 1, where the usual
    mean ± 2·√(p(1−p)/n) is not.
    """

    correct: int
    total: int

    @property
    def mean(self) -> float:
        return self.correct / self.total

    def _bounds(self) -> tuple[float, float]:
        n, p, z = self.total, self.mean, Z95
        centre = (p + z * z / (2 * n)) / (1 + z * z / n)
        half = z / (1 + z * z / n) * math.sqrt(p * (1 - p) / n + z * z / (4 * n * n))
        return max(0.0, centre - half), min(1.0, centre + half)

    @property
    def low(self) -> float:
        return self._bounds()[0]

    @property
    def high(self) -> float:
        return self._bounds()[1]

    def __str__(self) -> str:
        return (
            f"{100 * self.mean:.1f} % ({100 * self.low:.1f} to {100 * self.high:.1f}, "
            f"{self.total} images)"
        )


def accuracy(
    module: nn.Module, images: ImageSet, limit: int | None = None, batch: int = 250
) -> Accuracy:
    """Top-1 accuracy of `module` on the first `limit` images, with its 95 % Wilson interval.

    Raises
    ------
    DataError
        If the set is empty, or the network tells another number of classes apart.
    """
    *_, last = running_accuracy(module, images, limit, batch)
    return last


def running_accuracy(
    module: nn.Module, images: ImageSet, limit: int | None = None, batch: int = 250
) -> Iterator[Accuracy]:
    """The accuracy after each batch; the last one is `accuracy`'s. Stop whenever you like.

    Raises
    ------
    DataError
        If the network tells another number of classes apart than the images have.
    """
    module = evaluating(module)
    check_classes(module, images)
    total = len(images) if limit is None else min(limit, len(images))
    if total < 1:
        raise DataError(f"There are no images to test on: the limit is {limit}.")
    correct = 0
    for start in range(0, total, batch):
        stop = min(start + batch, total)
        correct += count_right(module, images, start, stop)
        yield Accuracy(correct, stop)


def evaluating(module: nn.Module) -> nn.Module:
    """The module, or a copy in evaluation mode: running it otherwise would move its batch norms."""
    if not any(part.training for part in module.modules()):
        return module
    return copy.deepcopy(module).eval()


def device_of(module: nn.Module) -> torch.device:
    """Where a module's tensors are; the processor for a module without any."""
    held = chain(module.parameters(), module.buffers())
    return next((tensor.device for tensor in held), torch.device("cpu"))


def count_right(module: nn.Module, images: ImageSet, start: int, stop: int) -> int:
    """How many of the images `start` to `stop` the network names right."""
    device = device_of(module)
    with torch.inference_mode():
        logits = module(images.normalised(images.images[start:stop]).to(device))
    return int((logits.argmax(1).cpu() == images.labels[start:stop]).sum())


def check_classes(module: nn.Module, images: ImageSet) -> None:
    """Run one image through the network and compare what it tells apart with what there is.

    Raises
    ------
    DataError
        If there is no image, or the numbers of classes differ.
    """
    if not len(images):
        raise DataError(f"There are no images to test on in {images.title}.")
    device = device_of(module)
    with torch.inference_mode():
        told = module(images.normalised(images.images[:1]).to(device)).shape[1]
    if told != len(images.classes):
        raise DataError(
            f"The network tells {told} classes apart, the images of {images.title} have "
            f"{len(images.classes)}. Choose images it was trained for."
        )


@dataclass(frozen=True)
class Size:
    """What a network costs.

    parameters : how many numbers were learned. macs : multiply-accumulates for one image.
    bytes : of all its parameters and buffers, a float in 4 bytes (float32), whatever it is held in.
    """

    parameters: int
    macs: int
    bytes: int


def size(module: nn.Module, input_shape: tuple[int, ...] = (3, 32, 32)) -> Size:
    """Count a network's parameters, its multiply-accumulates for one image, and its bytes.

    Convolutions and linear layers count, as in the field; batch norm, activations and pooling
    don't. Counted by PyTorch's own flop counter (two flops a multiply-accumulate).
    """
    module = evaluating(module)
    counter = FlopCounterMode(display=False)
    device = device_of(module)
    with torch.no_grad(), counter:
        module(torch.zeros(1, *input_shape, device=device))
    return Size(
        sum(p.numel() for p in module.parameters()),
        counter.get_total_flops() // 2,
        sum(
            t.numel() * (4 if t.is_floating_point() else t.element_size())
            for t in (*module.parameters(), *module.buffers())
        ),
    )
