"""A channel's feature vector, and how far channels are apart.

A channel's features are its rows in all weights that produce it (with its bias) and its columns in
all weights that consume it, one after the other, divided by their ℓ2 norm (Theus et al. 2024,
section 3.3). The cost of moving mass from channel i to channel j is their features' distance.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from scipy.spatial.distance import cdist
from torch import Tensor

from core.errors import WeightsError
from core.groups import CONSUMES, FOLLOWS, PRODUCES, Group, Layer
from core.importance import State, channel_rows


@dataclass(frozen=True)
class Cost:
    """A row of `COSTS`: what it is in one line, and the distance, (n, d), (m, d) → (n, m)."""

    about: str
    of: Callable[[np.ndarray, np.ndarray], np.ndarray]


def _cosine(rows: np.ndarray, others: np.ndarray) -> np.ndarray:
    """1 − cos of the angle, 0 to 2. A row of zeros has no angle: 1 from others, 0 from its like."""
    units, unit_others = (normalised(torch.from_numpy(part)).numpy() for part in (rows, others))
    # Half the square of the distance of unit vectors: exactly 0 for twins, where 1 − cos is not.
    distances = cdist(units, unit_others, "sqeuclidean") / 2
    distances[rows.any(1)[:, None] != others.any(1)[None]] = 1
    return distances


COSTS: dict[str, Cost] = {
    "l1": Cost(
        "sum of absolute differences of the normalised features (the paper's)",
        partial(cdist, metric="cityblock"),
    ),
    "l2": Cost("Euclidean distance of the normalised features", partial(cdist, metric="euclidean")),
    "cosine": Cost("one minus the cosine of the angle between the features", _cosine),
}

FEATURES: dict[str, str] = {
    "by-rule": "without biases for the rule `released`, as its code has it; with them for others",
    "weights": "weights alone",
    "weights+bias": "weights and biases, as the paper's text has it",
}


def with_bias(features: str, rule: str) -> bool:
    """Whether a recipe's features hold the biases (`by-rule` asks the rule)."""
    return rule != "released" if features == "by-rule" else features == "weights+bias"


def channel_features(
    state: State, group: Group, layers: Mapping[str, Layer], bias: bool = True
) -> Tensor:
    """The normalised features of every channel of a group: (n, d) float64.

    A channel whose features are all zero keeps a feature of zero. `state` is folded
    (`core.surgery.fold`), so that a layer's bias stands in its batch norm where it has one.

    Raises
    ------
    WeightsError
        If a weight of the group is not a finite number: it would spread over all channels.
    """
    norms = {layer.norm for layer in layers.values() if layer.norm}
    parts = []
    for coupling in group.couplings:
        tensor = state[coupling.tensor]
        if coupling.role in (PRODUCES, CONSUMES) and tensor.ndim > 1:
            rows = channel_rows(state, coupling)
        elif bias and _is_bias(coupling, norms):
            rows = channel_rows(state, coupling)
        else:
            continue
        part = rows.new_zeros(group.width, rows.shape[1])
        part[coupling.first : coupling.first + coupling.count] = rows
        parts.append(part)
    rows = torch.cat(parts, 1)
    if not rows.isfinite().all():
        raise WeightsError(
            f"Weights of group {group.index} are not finite numbers. Load the network again."
        )
    return normalised(rows)


def _is_bias(coupling, norms: set[str]) -> bool:
    if coupling.role == FOLLOWS:
        return coupling.layer in norms and coupling.tensor.endswith(".bias")
    return coupling.role == PRODUCES


def normalised(rows: Tensor) -> Tensor:
    """Rows divided by their ℓ2 norms; rows of zeros stay zeros. (n, d) → (n, d)."""
    length = rows.norm(dim=1, keepdim=True)
    return torch.where(length > 0, rows / length.clamp_min(torch.finfo(rows.dtype).tiny), 0.0)


def pairwise(features: Tensor, cost: str = "l1") -> Tensor:
    """The distance of every channel to every other: (n, d) → (n, n) float64, symmetric.

    The cost for a set of kept channels is a choice of its columns, so one matrix a group serves
    every sparsity.
    """
    rows = features.numpy()
    distance = COSTS[cost].of
    count = len(rows)
    matrix = np.zeros((count, count))
    step = max(1, -(-count // 8))

    def fill(start: int) -> None:
        stop = min(start + step, count)
        block = distance(rows[start:stop], rows[start:])  # the upper triangle, in strips
        matrix[start:stop, start:] = block
        matrix[start:, start:stop] = block.T

    with ThreadPoolExecutor(2) as pool:  # scipy lets other threads run meanwhile
        list(pool.map(fill, range(0, count, step)))
    return torch.from_numpy(matrix)


def to_centres(features: Tensor, centres: Tensor, cost: str = "l1") -> Tensor:
    """The distance of every channel to every centre: (n, d) and (m, d) → (n, m) float64.

    For centres that are no channels (`core.clusters`); the others are columns of `pairwise`.
    """
    return torch.from_numpy(COSTS[cost].of(features.numpy(), centres.numpy()))
