"""A group's channels as points in the plane, before and after: PCA, and UMAP when it is ready.

A channel is its normalised feature vector (`core.cost`), a fused channel the vector it has in the
smaller network. A picture is fitted once for all sparsities, so that nothing but the fused channels
moves with the slider. Pictures lie: what is said in numbers comes from the features themselves.
"""

from __future__ import annotations

import hashlib
import threading
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import torch
from scipy.spatial.distance import cdist
from torch import Tensor

from core import surgery
from core.compress import Step, plan_group
from core.cost import channel_features, with_bias
from core.errors import RecipeError, Unsupported
from core.prepared import Prepared
from core.projection import RULES
from core.recipe import Recipe

#: The two pictures there are, in one line each.
METHODS: dict[str, str] = {
    "pca": "the two directions of most variance: linear, at once, a mean lies between its parents",
    "umap": "neighbours stay neighbours: shows clusters, bends everything else",
}
#: The sparsities UMAP sees while it is fitted; others are placed afterwards.
SPARSITIES = tuple(tenth / 10 for tenth in range(1, 10))
#: UMAP draws nothing sensible from fewer channels (and fails below four): they get PCA.
FEWEST = 15
#: Principal components that UMAP reads. Its neighbours are the same, give or take, with all of
#: them (shares of 5 neighbours kept in the picture: 0.54 to 0.57 against 0.51 to 0.57), while the
#: features of ten versions of 512 channels would be 2,800 × 14,000 numbers.
COMPONENTS = 50

Box = tuple[tuple[float, float], tuple[float, float]]

# Numba's plainest threads, which it takes where it finds no others, end the process when two
# threads of Python use them at once.
_ONE_AT_A_TIME = threading.Lock()
_WARM = threading.Event()


def fused_features(prepared: Prepared, index: int, step: Step, bias: bool = True) -> Tensor:
    """The normalised features of a group's fused channels: (m, d) float64.

    They lie in the space of `prepared.features(index, bias)`: this group alone is shrunk. With
    `select` they are the kept channels' own.

    Parameters
    ----------
    step : what was decided for the group (`core.compress.plan_group`).
    bias : whether features hold the biases (`core.cost.with_bias`).

    Raises
    ------
    Unsupported
        If a weight both produces and consumes the group, so that fused channels have fewer
        features than original ones.
    """
    group, layers = prepared.graph.groups[index], prepared.graph.layers
    axes = {(coupling.tensor, coupling.axis) for coupling in group.couplings}
    tensors = [tensor for tensor, _ in axes]
    twice = next((tensor for tensor in tensors if tensors.count(tensor) > 1), None)
    if twice:
        raise Unsupported(
            f"{twice} both produces and consumes the channels of group {index}: before and after "
            "fusion they have different features, and no picture holds both."
        )
    state = surgery.shrink(prepared.folded, group, layers, step.projection, step.repairs)
    fused = surgery.shrunk_group(group, step.projection)
    return channel_features(state, fused, layers, bias)


@dataclass(frozen=True, eq=False)
class Embedding:
    """A group's channels in the plane; `after` adds the fused ones of any sparsity.

    method : the key of `METHODS` that was used; small groups get PCA whatever was asked for.
    before : (n, 2) float32, the original channels.
    box : ((left, right), (bottom, top)), the same for every sparsity. It holds all channels for
        UMAP; for PCA the original ones with a margin, which fused ones rarely leave.
    explained : for PCA, the share of the variance along each of the two axes.
    trustworthiness : of `before`, 0 to 1: whether neighbours in the picture are neighbours by the
        recipe's cost as well. None for fewer than three channels.
    place : where features of the group lie, (k, d) → (k, 2).
    """

    method: str
    before: np.ndarray
    box: Box
    explained: tuple[float, float] | None
    trustworthiness: float | None
    place: Callable[[Tensor], np.ndarray]
    _prepared: Prepared
    _index: int
    _bias: bool
    _known: dict[bytes, np.ndarray]  # grows by `settle` alone; what is in it never changes

    def after(self, step: Step) -> np.ndarray:
        """Where the m channels of a step of the same group lie: (m, 2) float32.

        Any step can be asked for. Those that UMAP was fitted with have their place; others are
        placed among them.
        """
        if step.plan is None:  # plain pruning leaves every channel where it is
            return self.before[step.measures.kept.numpy()]
        known = self._known.get(_fingerprint(step))
        if known is not None:
            return known
        return self.place(fused_features(self._prepared, self._index, step, self._bias))

    def settle(self, step: Step) -> None:
        """Place the fused channels of a step now, so that `after` knows them at once later."""
        if step.plan is not None:
            self._known.setdefault(_fingerprint(step), self.after(step))


def embed(prepared: Prepared, index: int, recipe: Recipe, method: str = "pca") -> Embedding:
    """Draw the channels of a group. The recipe's sparsity has no influence.

    PCA is fitted to the original channels alone: its plane then stays the same for all rules,
    solvers and sparsities, and one sparsity can be drawn without knowing the others. UMAP is
    fitted to the original channels and the fused ones of all `SPARSITIES` together, which puts
    fused channels beside their parents; adding them later does not (0.1 standard deviations from
    their parents' weighted mean, against 1.3).

    Parameters
    ----------
    prepared, index : the network and its group.
    recipe : how channels are fused; its seed is the picture's.
    method : a key of `METHODS`. Fewer than `FEWEST` channels are drawn with PCA.

    Raises
    ------
    RecipeError
        If there is no such method.
    TransportError
        If a transport problem has no usable solution.
    Unsupported
        See `fused_features`.
    WeightsError
        If weights of the group are not finite.
    """
    if method not in METHODS:
        raise RecipeError(f"There is no picture called {method!r}. Known: {', '.join(METHODS)}.")
    bias = with_bias(recipe.features, recipe.rule)
    features = prepared.features(index, bias)
    width = prepared.graph.groups[index].width
    known: dict[bytes, np.ndarray] = {}
    explained = None
    if method == "umap" and width >= FEWEST:
        plane = _Plane(features, COMPONENTS)
        steps = [] if RULES[recipe.rule].project is None else [
            plan_group(prepared, index, recipe.replace(sparsity=sparsity))
            for sparsity in SPARSITIES
        ]  # fmt: skip
        # One after the other: the features of all sparsities together take 300 MB.
        parts = [plane(features)]
        parts += [plane(fused_features(prepared, index, step, bias)) for step in steps]
        place = _Manifold(plane, np.concatenate(parts), min(15, width - 1), recipe.seed)
        before, *afters = np.split(place.picture, np.cumsum([len(part) for part in parts])[:-1])
        known = {_fingerprint(step): after for step, after in zip(steps, afters, strict=True)}
        box = _box(place.picture, 0.04)
    else:
        method = "pca"
        place = _Plane(features, 2)
        before, explained = place(features), place.explained
        box = _box(before, 0.25)
    trusted = None
    if nearest := min(5, (width - 1) // 2):
        costs = prepared.costs(index, recipe.cost, bias).numpy()
        trusted = trustworthiness(costs, before, nearest)
    return Embedding(
        method, before, box, explained, trusted, place, prepared, index, bias, known
    )  # fmt: skip


def trustworthiness(costs: np.ndarray, points: np.ndarray, nearest: int) -> float:
    """Whether the `nearest` neighbours of points (n, 2) are neighbours by costs (n, n): 0 to 1.

    1 − 2/(n·k·(2n − 3k − 1)) · Σ of how many ranks beyond k each neighbour in the picture lies by
    the costs (Venna & Kaski 2001). As scikit-learn's; to import that takes a second of the page's
    first view.
    """
    count, places = len(points), np.arange(len(points))
    ranks = np.empty((count, count), np.int64)
    by_cost = costs.copy()
    np.fill_diagonal(by_cost, np.inf)
    ranks[places[:, None], by_cost.argsort(1)] = places + 1
    apart = cdist(points, points)
    np.fill_diagonal(apart, np.inf)
    shown = apart.argsort(1)[:, :nearest]  # (n, k)
    beyond = (ranks[places[:, None], shown] - nearest).clip(0).sum()
    return float(1 - beyond * 2 / (count * nearest * (2 * count - 3 * nearest - 1)))


class _Plane:
    """The `count` directions of most variance of features (n, d), as a map (k, d) → (k, count).

    Exact, from the inner products of the n channels: for 512 channels of 14,000 features faster
    than a randomised search for 50 directions (0.5 s against 3 s), and nothing in it is random.
    """

    def __init__(self, features: Tensor, count: int) -> None:
        rows = features.numpy().astype(np.float32)
        self.centre = rows.mean(0)
        rows -= self.centre
        variances, weights = np.linalg.eigh(rows @ rows.T)  # rising
        variances, weights = variances[::-1][:count], weights[:, ::-1][:, :count]
        total = float(np.einsum("nd,nd->", rows, rows))
        # Fewer channels than axes, or channels that are alike: an axis without variance is zero.
        real = (variances > 1e-6 * total) & (variances > 0)
        weights = weights * np.sign(weights[np.abs(weights).argmax(0), range(weights.shape[1])])
        scale = np.where(real, 1 / np.sqrt(np.where(real, variances, 1)), 0)
        self.axes = np.zeros((rows.shape[1], count), np.float32)
        self.axes[:, : len(variances)] = rows.T @ (weights * scale)
        shares = np.zeros(count)
        shares[: len(variances)] = np.where(real, variances, 0) / (total or 1)
        self.explained = (float(shares[0]), float(shares[1]))

    def __call__(self, features: Tensor) -> np.ndarray:
        return features.numpy().astype(np.float32) @ self.axes - self.centre @ self.axes


class _Manifold:
    """UMAP of points (k, c) of a plane, as a map from features (j, d) → (j, 2)."""

    def __init__(self, plane: _Plane, points: np.ndarray, neighbours: int, seed: int) -> None:
        from sklearn.metrics import euclidean_distances  # here, as UMAP: it takes a second

        self.plane, self.points = plane, points
        # Distances are made here: UMAP's own take ten times as long.
        distances = euclidean_distances(points)
        with _umap() as UMAP:
            self.umap = UMAP(
                n_neighbors=neighbours, metric="precomputed", random_state=seed, n_jobs=1
            ).fit(distances)
        self.picture = self.umap.embedding_

    def __call__(self, features: Tensor) -> np.ndarray:
        from sklearn.metrics import euclidean_distances

        distances = euclidean_distances(self.plane(features), self.points)
        with _umap():
            return self.umap.transform(distances)


@contextmanager
def _umap() -> Iterator[type]:
    """UMAP's class, for one thread at a time."""
    with _ONE_AT_A_TIME, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about distances that are given, and clusters far apart
        from umap import UMAP  # takes seconds: numba

        yield UMAP


def warm() -> None:
    """Import UMAP and have numba compile it: 15 to 30 s, for a thread at the server's start."""
    points = torch.from_numpy(np.random.default_rng(0).normal(size=(20, 3)))
    plane = _Plane(points, 2)
    _Manifold(plane, plane(points), 5, 0)(points[:3] + 1)
    _WARM.set()


def is_warm() -> bool:
    """Whether UMAP is compiled in this process, so that a picture takes seconds."""
    return _WARM.is_set()


def _fingerprint(step: Step) -> bytes:
    """What tells the fused channels of one step from those of another."""
    digest = hashlib.blake2b(digest_size=16)
    for matrix in (step.projection.merge, step.projection.unmerge):
        digest.update(matrix.contiguous().numpy())
    for name, repair in step.repairs.items():
        digest.update(name.encode() + repair.ratio.numpy().tobytes())
    return digest.digest()


def _box(points: np.ndarray, margin: float) -> Box:
    """The ranges of points (k, 2), wider by a share of the longer one on each side."""
    low, high = points.min(0), points.max(0)
    room = margin * float((high - low).max()) or 1.0
    return tuple((float(a) - room, float(b) + room) for a, b in zip(low, high, strict=True))
