"""Which channels stay, and how much mass each channel carries before and after.

The source measure lies on all n channels of a group, the target measure on the m that stay (Theus
et al. 2024, section 3.3); both are probability vectors. What stays are channels, or centres of
clusters of channels (`core.clusters`), each with a channel that stands for it.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from core.clusters import gaussian_mixture, k_means
from core.errors import RecipeError


@dataclass(frozen=True)
class Mass:
    """A row of `MASSES`: what it is in one line, and scores (k,) and temperature → masses (k,).

    The masses are positive and not yet normed.
    """

    about: str
    of: Callable[[Tensor, float], Tensor]


#: A channel without any weight still has to go somewhere: a mass of exactly zero would leave it
#: without a row in the plan. This share of the largest mass is the least.
LEAST = 1e-6


def _uniform(scores: Tensor, temperature: float) -> Tensor:
    return torch.ones_like(scores)


def _proportional(scores: Tensor, temperature: float) -> Tensor:
    return scores.clamp_min(LEAST * float(scores.max()) or 1.0)


def _softmax(scores: Tensor, temperature: float) -> Tensor:
    spread = scores.std(correction=0)
    if not spread > 0:
        return torch.ones_like(scores)
    masses = torch.softmax((scores - scores.mean()) / (spread * temperature), 0)
    return masses.clamp_min(LEAST * float(masses.max()))


MASSES: dict[str, Mass] = {
    "uniform": Mass("every channel carries the same mass", _uniform),
    "importance": Mass("mass in proportion to importance", _proportional),
    "softmax": Mass(
        "mass rises exponentially with importance, in standard deviations over the temperature",
        _softmax,
    ),
}


@dataclass(frozen=True)
class Measures:
    """The channels that stay and both measures of a group.

    kept : (m,) int64, rising; the channels that stay, or that stand for what stays.
    source : (n,) float64, sums to 1. target : (m,) float64, sums to 1.
    centres : (m, d) float64, the features of what stays where these are not channels, else None.
    """

    kept: Tensor
    source: Tensor
    target: Tensor
    centres: Tensor | None = None


@dataclass(frozen=True)
class Keep:
    """A row of `KEEPS`: what it is in one line, and how it clusters.

    `cluster` takes features (n, d), a count m and a seed to centres (m, d) and their channels (m,);
    it is None where channels themselves stay.
    """

    about: str
    cluster: Callable[[Tensor, int, int], tuple[Tensor, Tensor]] | None = None


KEEPS: dict[str, Keep] = {
    "most-important": Keep("the channels of the highest importance stay"),
    "k-means": Keep("channels alike form clusters, their centres stay", k_means),
    "gaussian-mixture": Keep(
        "channels form round clouds of their own width, their centres stay", gaussian_mixture
    ),
    "by-hand": Keep("the channels that are listed stay, whatever the sparsity"),
}


def kept_count(width: int, sparsity: float) -> int:
    """How many of `width` channels stay: max(1, ⌊n(1−s) + 1e-9⌋)."""
    return max(1, math.floor(width * (1 - sparsity) + 1e-9))


def most_important(scores: Tensor, count: int) -> Tensor:
    """Indices of the `count` largest scores, rising; of equal ones the first stay. (m,) int64."""
    order = torch.argsort(scores, descending=True, stable=True)
    return order[:count].sort().values


def measures(
    scores: Tensor,
    sparsity: float,
    source: str = "uniform",
    target: str = "uniform",
    keep: str = "most-important",
    features: Tensor | None = None,
    kept: tuple[int, ...] = (),
    temperature: float = 1.0,
    seed: int = 0,
) -> Measures:
    """What stays, and both measures.

    Parameters
    ----------
    scores : (n,) importance of each channel.
    sparsity : share to discard, 0 ≤ sparsity < 1.
    source, target : keys of `MASSES`. A centre is as important as the channel that stands for it.
    keep : a key of `KEEPS`.
    features : (n, d) normalised features (`core.cost`), for the keys that cluster.
    kept : channels for `by-hand`, different ones below n (`core.Recipe.chosen` checks them).
    temperature : of `softmax`, in standard deviations of the scores; small is steep.
    seed : of what clustering draws.

    Raises
    ------
    RecipeError
        If channels are to be kept by hand and `kept` names none, or one there is not.
    """
    count = kept_count(len(scores), sparsity)
    centres = None
    if (cluster := KEEPS[keep].cluster) is not None:
        centres, stays = cluster(features, count, seed)
    elif keep == "by-hand":
        if not kept or max(kept) >= len(scores):
            raise RecipeError(
                f"The channels kept by hand must be some of 0 to {len(scores) - 1}; got "
                f"{tuple(kept)}. Correct the recipe's kept."
            )
        stays = torch.tensor(sorted(kept))
    else:
        stays = most_important(scores, count)
    return Measures(
        stays, mass(source, scores, temperature), mass(target, scores[stays], temperature), centres
    )


def mass(name: str, scores: Tensor, temperature: float = 1.0) -> Tensor:
    """The measure `name` (a key of `MASSES`) on channels of these scores: (n,), sums to 1."""
    masses = MASSES[name].of(scores, temperature).double()
    return masses / masses.sum()
