"""Clusters of channels: centres of their features, and a channel that stands for each.

Clustering sees Euclidean distances alone, so it works on coordinates that keep them: n channels of
d features need n coordinates at most, however large d is.
"""

from __future__ import annotations

import numpy as np
import torch
from scipy.optimize import linear_sum_assignment
from scipy.spatial.distance import cdist
from torch import Tensor

#: Decimals that tell normalised features apart; twins differ by rounding at most.
DECIMALS = 9


# scikit-learn is imported where it is called: it takes a second, and few recipes cluster.


def k_means(features: Tensor, count: int, seed: int) -> tuple[Tensor, Tensor]:
    """The means of the clusters with the least sum of squared distances that k-means finds.

    Parameters
    ----------
    features : (n, d) float64. count : 1 ≤ m ≤ n. seed : of the starting points.

    Returns
    -------
    (m, d) float64 centres and (m,) int64 rising indices of different channels, one for each centre
    and near to it. Twins fall into one cluster unless there are more clusters than other channels.
    """

    from sklearn.cluster import KMeans

    def shares(places: np.ndarray, copies: np.ndarray) -> np.ndarray:
        found = KMeans(count, n_init=4, random_state=seed).fit(places, sample_weight=copies)
        return np.eye(count)[found.labels_]

    return _clustered(features, count, shares)


def gaussian_mixture(features: Tensor, count: int, seed: int) -> tuple[Tensor, Tensor]:
    """The means of a mixture of round Gaussians, each with a variance of its own.

    Full covariances would need more channels than features. As for `k_means`, with a channel's
    share in every cluster in place of its membership of one.
    """

    from sklearn.mixture import GaussianMixture

    def shares(places: np.ndarray, copies: np.ndarray) -> np.ndarray:
        variance = places.var(0).mean()
        mixture = GaussianMixture(
            count,
            covariance_type="spherical",
            reg_covar=1e-3 * variance,
            max_iter=1000,
            random_state=seed,
        )
        repeated = np.repeat(places, copies, axis=0)
        return mixture.fit(repeated).predict_proba(places)

    return _clustered(features, count, shares)


def _clustered(features: Tensor, count: int, shares) -> tuple[Tensor, Tensor]:
    """Centres from `shares`: (places (u, k), copies (u,)) → each place's share in each cluster."""
    rows = features.numpy()
    if count == len(rows):
        return features.clone(), torch.arange(count)
    _, first, copies = np.unique(
        rows.round(DECIMALS), axis=0, return_index=True, return_counts=True
    )
    order = np.argsort(first)  # as the channels stand, so that a seed means the same
    first, copies = first[order], copies[order]
    if count >= len(first):  # all that differ stay, and twins until there are enough
        others = np.setdiff1d(np.arange(len(rows)), first)
        stays = torch.from_numpy(np.sort(np.r_[first, others[: count - len(first)]]))
        return features[stays], stays
    weights = shares(_coordinates(rows[first]), copies) * copies[:, None]  # (u, m)
    total = weights.sum(0)
    centres = weights.T @ rows[first] / np.maximum(total, 1e-300)[:, None]  # (m, d)
    distances = cdist(centres, rows, "sqeuclidean")
    # A cluster nobody has a share in has no mean; any channel that is left may stand for it.
    distances[total <= 1e-12] = 0
    _, stays = linear_sum_assignment(distances)  # different channels, together the nearest
    centres[total <= 1e-12] = rows[stays[total <= 1e-12]]
    order = np.argsort(stays)
    return torch.from_numpy(centres[order]), torch.from_numpy(stays[order])


def _coordinates(rows: np.ndarray) -> np.ndarray:
    """Points (u, min(u, d)) that are as far from each other as the rows (u, d)."""
    if rows.shape[1] <= len(rows):
        return rows
    # From inner products (u, u): cheaper than an SVD of all features.
    centred = rows - rows.mean(0)
    squares, axes = np.linalg.eigh(centred @ centred.T)
    return axes * np.sqrt(np.maximum(squares, 0))
