"""Which channels stay, and how much mass each channel carries before and after.

The source measure lies on all n channels of a group, the target measure on the m that stay (Theus
et al. 2024, section 3.3); both are probability vectors.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Mass:
    """A row of `MASSES`: what it is in one line, and scores (k,) → masses (k,), not yet normed."""

    about: str
    of: Callable[[Tensor], Tensor]


def _proportional(scores: Tensor) -> Tensor:
    # A channel without any weight still has to go somewhere: a mass of exactly zero would leave it
    # without a row in the plan.
    return scores.clamp_min(1e-6 * float(scores.max()) or 1.0)


MASSES: dict[str, Mass] = {
    "uniform": Mass("every channel carries the same mass", torch.ones_like),
    "importance": Mass("mass in proportion to importance", _proportional),
}


@dataclass(frozen=True)
class Measures:
    """The channels that stay and both measures of a group.

    kept : (m,) int64, rising. source : (n,) float64, sums to 1. target : (m,) float64, sums to 1.
    """

    kept: Tensor
    source: Tensor
    target: Tensor


def kept_count(width: int, sparsity: float) -> int:
    """How many of `width` channels stay: max(1, ⌊n(1−s) + 1e-9⌋)."""
    return max(1, math.floor(width * (1 - sparsity) + 1e-9))


def most_important(scores: Tensor, count: int) -> Tensor:
    """Indices of the `count` largest scores, rising; of equal ones the first stay. (m,) int64."""
    order = torch.argsort(scores, descending=True, stable=True)
    return order[:count].sort().values


def measures(
    scores: Tensor, sparsity: float, source: str = "uniform", target: str = "uniform"
) -> Measures:
    """The most important channels, and both measures.

    Parameters
    ----------
    scores : (n,) importance of each channel.
    sparsity : share to discard, 0 ≤ sparsity < 1.
    source, target : keys of `MASSES`.
    """
    kept = most_important(scores, kept_count(len(scores), sparsity))
    mu = MASSES[source].of(scores).double()
    nu = MASSES[target].of(scores[kept]).double()
    return Measures(kept, mu / mu.sum(), nu / nu.sum())
