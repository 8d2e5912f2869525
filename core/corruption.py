"""Test images made worse: noise, blur, contrast and JPEG at five strengths.

In the manner of Hendrycks & Dietterich (2019), "Benchmarking neural network robustness to common
corruptions and perturbations"; made here, with parameters of our own for images of 32×32 pixels.
Not their CIFAR-10-C: numbers can't be compared with those of papers that use it.
"""

from __future__ import annotations

import dataclasses
import hashlib
import io
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from core.data import ImageSet
from core.errors import DataError
from core.importance import labelled_generator

#: Images that are worked on at once; noise is drawn for so many, so that the first k images are
#: always the same ones.
BLOCK = 500


def _noise(pixels: Tensor, deviation: float, generator: torch.Generator) -> Tensor:
    noise = torch.randn((BLOCK, *pixels.shape[1:]), generator=generator)[: len(pixels)]
    return pixels + 255 * deviation * noise


def _blur(pixels: Tensor, deviation: float, generator: torch.Generator) -> Tensor:
    from core.compat import torchvision  # here: it takes a second, and not everybody has these

    side = 2 * int(np.ceil(3 * deviation)) + 1  # the kernel's: three deviations to either side
    return torchvision.transforms.functional.gaussian_blur(pixels, [side, side], [deviation] * 2)


def _contrast(pixels: Tensor, share: float, generator: torch.Generator) -> Tensor:
    mean = pixels.mean((2, 3), keepdim=True)  # of each image and colour, as theirs
    return mean + share * (pixels - mean)


def _jpeg(pixels: Tensor, quality: float, generator: torch.Generator) -> Tensor:
    from PIL import Image

    found = np.empty(tuple(pixels.shape), np.uint8)
    for place, image in enumerate(pixels.to(torch.uint8).permute(0, 2, 3, 1).numpy()):
        packed = io.BytesIO()
        Image.fromarray(image).save(packed, "JPEG", quality=int(quality))
        with Image.open(packed) as read:
            found[place] = np.asarray(read).transpose(2, 0, 1)
    return torch.from_numpy(found).float()


@dataclass(frozen=True)
class Corruption:
    """A row of `CORRUPTIONS`: what it is, what its parameter means, its value at each strength.

    `of` takes pixels (b, 3, h, w) float32 between 0 and 255, the parameter and a generator.
    """

    about: str
    parameter: str
    values: tuple[float, float, float, float, float]
    of: Callable[[Tensor, float, torch.Generator], Tensor]


CORRUPTIONS: dict[str, Corruption] = {
    "noise": Corruption(
        "Gaussian noise in every pixel and colour",
        "standard deviation, as a share of the full range",
        (0.04, 0.08, 0.12, 0.16, 0.20), _noise,
    ),
    "blur": Corruption(
        "blurred by a Gaussian", "standard deviation in pixels", (0.5, 0.75, 1.0, 1.5, 2.0), _blur
    ),
    "contrast": Corruption(
        "less contrast around each image's mean", "share of the contrast that is left",
        (0.75, 0.5, 0.35, 0.25, 0.15), _contrast,
    ),
    "jpeg": Corruption(
        "compressed as JPEG and read again", "Pillow's quality", (80, 60, 40, 20, 10), _jpeg
    ),
}  # fmt: skip
STRENGTHS = (1, 2, 3, 4, 5)


def corrupted(
    images: ImageSet, kind: str, strength: int, seed: int = 0, limit: int | None = None
) -> ImageSet:
    """The first `limit` images, made worse; the same for the same seed in every process.

    Parameters
    ----------
    kind : a key of `CORRUPTIONS`. strength : 1 to 5.
    seed : of noise; the other kinds draw nothing.

    Raises
    ------
    DataError
        If there is no such kind or strength, or no image.
    """
    if kind not in CORRUPTIONS or strength not in STRENGTHS:
        raise DataError(
            f"Images can't be corrupted by {kind!r} at the strength {strength!r}. Known: "
            f"{', '.join(CORRUPTIONS)}, each at 1 to 5."
        )
    count = len(images) if limit is None else min(limit, len(images))
    if count < 1:
        raise DataError(f"There are no images to corrupt: the limit is {limit}.")
    row = CORRUPTIONS[kind]
    parts = []
    for start in range(0, count, BLOCK):
        # One seed for all strengths: stronger noise is the same noise, made larger.
        generator = labelled_generator(seed, f"{kind} from image {start}")
        pixels = images.images[start : min(start + BLOCK, count)].float()
        worse = row.of(pixels, row.values[strength - 1], generator)
        parts.append(worse.round().clamp(0, 255).to(torch.uint8))
    told = f"{images.fingerprint} {kind} {row.values[strength - 1]} {seed} {count}"
    return dataclasses.replace(
        images,
        title=f"{images.title}, {kind} {strength}",
        images=torch.cat(parts),
        labels=images.labels[:count],
        fingerprint=hashlib.sha256(told.encode()).hexdigest()[:16],
    )
