"""Training images made worse: wrong labels, and classes of unequal size. Test images stay whole.

Wrong labels are symmetric: a share of the images gets another class, each as likely. Unequal
classes are long-tailed (Cui et al. 2019): class c of C keeps ratio^(−c/(C−1)) of the images of the
first. With fewer images a network is worse anyway, so the same number of images in equal classes
stands beside it.
"""

from __future__ import annotations

import dataclasses
import hashlib
import math

import torch
from torch import Tensor

from core.data import ImageSet
from core.errors import DataError
from core.importance import labelled_generator

#: What is done to the training images: name → what it is, in a line; {amount} is a number.
SPOILS = {
    "clean": "as they are",
    "labels": "a share of the labels is wrong",
    "imbalance": "the largest class has that many times the images of the smallest",
    "fewer": "as many images as with that imbalance, in equal classes",
}


def spoiled(images: ImageSet, kind: str, amount: float = 0.0, seed: int = 0) -> ImageSet:
    """Training images with wrong labels or unequal classes, drawn with the seed.

    Parameters
    ----------
    kind : a key of `SPOILS`. amount : for `labels` a share from 0 to 1, for `imbalance` and `fewer`
        a ratio of at least 1.

    Raises
    ------
    DataError
        If they are test images, or there is no such kind or amount.
    """
    if images.split == "test":
        raise DataError("Only training images are spoiled; what is tested on stays whole.")
    if kind not in SPOILS:
        raise DataError(f"Images can't be spoiled by {kind!r}. Known: {', '.join(SPOILS)}.")
    if kind == "clean":
        return images
    low, high = (0.0, 1.0) if kind == "labels" else (1.0, math.inf)
    if not low <= amount <= high or math.isinf(amount):
        raise DataError(f"{kind} must be at least {low:g} (at most {high:g}); got {amount!r}.")
    classes = len(images.classes)
    generator = labelled_generator(seed, f"spoiled images: {kind}")
    if kind == "labels":
        labels = images.labels.clone()
        count = round(amount * len(images))
        wrong = torch.randperm(len(images), generator=generator)[:count]
        labels[wrong] += torch.randint(1, classes, (count,), generator=generator)
        return _told(images, torch.arange(len(images)), labels % classes, kind, amount, seed)
    sizes = long_tail(images.labels, classes, amount)
    if kind == "fewer":
        total = sum(sizes)
        sizes = [total // classes + (c < total % classes) for c in range(classes)]
    # The order of the images stays; of each class the first ones do.
    place = torch.zeros(len(images), dtype=torch.int64)
    for c in range(classes):
        mine = (images.labels == c).nonzero()[:, 0]
        place[mine] = torch.arange(len(mine))
    stays = (place < torch.tensor(sizes)[images.labels]).nonzero()[:, 0]
    return _told(images, stays, images.labels[stays], kind, amount, seed)


def long_tail(labels: Tensor, classes: int, ratio: float) -> list[int]:
    """How many images of each class stay, falling from all of the smallest class's to 1/ratio."""
    most = int(torch.bincount(labels, minlength=classes).min())
    return [max(1, round(most * ratio ** (-c / max(1, classes - 1)))) for c in range(classes)]


def _told(
    images: ImageSet, chosen: Tensor, labels: Tensor, kind: str, amount: float, seed: int
) -> ImageSet:
    told = f"{images.fingerprint} {kind} {amount} {seed}"
    return dataclasses.replace(
        images,
        title=f"{images.title}, {kind} {amount:g}",
        images=images.images[chosen],
        labels=labels,
        fingerprint=hashlib.sha256(told.encode()).hexdigest()[:16],
    )
