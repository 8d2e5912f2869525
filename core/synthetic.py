"""Images made of nothing: seeded pictures that set a network's channels in motion without data.

A network's stored batch-norm statistics say how far each channel moves on real images, not which
channels move together. Dead leaves (discs and rectangles that cover each other, with sizes as in
nature: Ruderman 1997; Lee, Mumford & Huang 2001) have edges, corners and flat regions, so that
they excite channels together much as photographs do (cf. Baradad et al. 2021, who learn to see
from them).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from core.errors import RecipeError
from core.importance import labelled_generator

#: Shapes thrown on one picture, and their radii as shares of its side: the largest ones are below.
LEAVES, SMALLEST, LARGEST = 60, 0.05, 0.67
#: How much of an image's colour is its own, against what all colours share, and fine texture.
COLOUR, TEXTURE = 0.45, 0.15


def white(shape: tuple[int, ...], generator: torch.Generator) -> Tensor:
    """Noise without any structure: (b, c, h, w)."""
    return torch.randn(shape, generator=generator)


def spectrum(shape: tuple[int, ...], generator: torch.Generator) -> Tensor:
    """Noise whose amplitudes fall as 1/frequency, as in photographs: (b, c, h, w)."""
    height, width = shape[-2:]
    rows, columns = torch.fft.fftfreq(height)[:, None], torch.fft.rfftfreq(width)[None]
    frequency = (rows.square() + columns.square()).sqrt()
    frequency[0, 0] = 1 / max(height, width)
    noise = torch.fft.rfft2(torch.randn(shape, generator=generator)) / frequency
    noise = torch.fft.irfft2(noise, s=(height, width))
    return _standard(0.8 * noise[:, :1] + 0.35 * noise)


def leaves(shape: tuple[int, ...], generator: torch.Generator) -> Tensor:
    """Dead leaves: shaded ellipses and rectangles, large ones first, and texture: (b, c, h, w)."""
    count, colours, height, width = shape
    side = max(height, width)

    def uniform(*size: int) -> Tensor:
        return torch.rand(count, LEAVES, *size, generator=generator)

    def normal(*size: int) -> Tensor:
        return torch.randn(count, LEAVES, *size, generator=generator)

    # Radii with a density of r⁻³: pictures look alike at every scale.
    small, large = (SMALLEST * side) ** -2, (LARGEST * side) ** -2
    radius = (small - uniform() * (small - large)).rsqrt().sort(1, descending=True).values
    y, x, angle = uniform() * height, uniform() * width, uniform() * math.pi
    flat, round_ = 0.4 + 0.6 * uniform(), uniform() < 0.5
    colour = 0.9 * normal(1) + COLOUR * normal(colours)
    slope = 0.5 * normal(2)
    rows = torch.arange(height)[:, None] + 0.5
    columns = torch.arange(width)[None] + 0.5
    picture = colour[:, 0, :, None, None].expand(shape)
    for k in range(LEAVES):

        def each(value: Tensor, k: int = k) -> Tensor:
            return value[:, k, None, None]

        down, right = rows - each(y), columns - each(x)  # (b, h, w)
        cos, sin = each(angle).cos(), each(angle).sin()
        along = (right * cos + down * sin) / each(radius)
        across = (down * cos - right * sin) / (each(radius) * each(flat))
        ellipse = along.square() + across.square() < 1
        rectangle = (along.abs() < 1) & (across.abs() < 1)
        inside = torch.where(each(round_), ellipse, rectangle)
        shade = each(slope[..., 0]) * along + each(slope[..., 1]) * across
        leaf = colour[:, k, :, None, None] + shade[:, None]  # (b, c, h, w)
        picture = torch.where(inside[:, None], leaf, picture)
    return _standard(picture + TEXTURE * spectrum(shape, generator))


def _standard(images: Tensor) -> Tensor:
    return (images - images.mean()) / images.std().clamp_min(1e-12)


@dataclass(frozen=True)
class Synthetic:
    """A row of `SYNTHETIC`: what it is in one line, and (shape, generator) → images."""

    about: str
    draw: Callable[[tuple[int, ...], torch.Generator], Tensor]


SYNTHETIC: dict[str, Synthetic] = {
    "leaves": Synthetic("dead leaves: shapes that cover each other, with edges and shades", leaves),
    "spectrum": Synthetic("noise with the spectrum of photographs", spectrum),
    "white": Synthetic("noise without structure", white),
}


def synthetic_images(kind: str, count: int, shape: tuple[int, ...], seed: int) -> Tensor:
    """`count` images of mean 0 and variance 1: (count, *shape) float32, the same for a seed.

    Parameters
    ----------
    kind : a key of `SYNTHETIC`. shape : (channels, height, width); any for `white`.

    Raises
    ------
    RecipeError
        If pictures are to be drawn for a network that takes none.
    """
    if len(shape) != 3 and kind != "white":
        raise RecipeError(
            f"The synthetic images {kind!r} are pictures (channels, height, width), but the "
            f'network takes the shape {tuple(shape)}. Choose synthetic="white".'
        )
    generator = labelled_generator(seed, f"{kind} images")
    return SYNTHETIC[kind].draw((count, *shape), generator)
