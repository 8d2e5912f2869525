"""A group's channels as points in the plane, before and after: PCA, and UMAP when it is ready.

A channel is its normalised feature vector (`core.cost`), a fused channel the vector it has in the
smaller network. A picture is fitted once for a group, whatever its sparsity, rule, solver or
importance, so that nothing but the fused channels moves when one of them changes. Pictures lie:
what is said in numbers comes from the features themselves.
"""

from __future__ import annotations

import hashlib
import threading
import warnings
from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache

import numpy as np
import torch
from scipy.spatial.distance import cdist
from torch import Tensor

from core import surgery
from core.compress import Step, plan_group
from core.cost import channel_features, with_bias
from core.errors import RecipeError, Unsupported
from core.prepared import Prepared
from core.recipe import Recipe

#: The two pictures there are, in one line each.
METHODS: dict[str, str] = {
    "pca": "the two directions of most variance: linear, at once, a mean lies between its parents",
    "umap": "neighbours stay neighbours: shows clusters, bends everything else",
}
#: The sparsities whose fused channels, by the plainest recipe, UMAP sees while it is fitted.
SPARSITIES = tuple(tenth / 10 for tenth in range(1, 10))
#: UMAP draws nothing sensible from fewer channels (and fails below four): they get PCA.
FEWEST = 15
#: A fused channel that UMAP has not seen is put at the mean place of as many points, the nearest.
#: UMAP's own `transform` moves a point with the others it comes with, and is no nearer to the
#: parents (over rules, solvers and importances, in groups of 64 and 512 channels).
NEAREST = 5
#: Places of fused channels that a picture remembers, at most: one for each step.
MOST_KNOWN = 256
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


def of_all(recipe: Recipe, index: int) -> Recipe:
    """The recipe of the picture that all recipes of a group share: features and seed are left.

    Features `by-rule` are drawn as those of the weights, which all rules have in common.
    """
    features = "weights+bias" if recipe.features == "weights+bias" else "weights"
    return Recipe(groups=(index,), sparsity=0.0, features=features, seed=recipe.seed)


@dataclass(frozen=True, eq=False)
class Embedding:
    """A group's channels in the plane; `after` adds the fused ones of any step.

    method : the key of `METHODS` that was used; small groups get PCA whatever was asked for.
    before : (n, 2) float32, the original channels.
    box : ((left, right), (bottom, top)), the same for every step. It holds all channels for UMAP;
        for PCA the original ones with a margin, which fused ones rarely leave.
    explained : for PCA, the share of the variance along each of the two axes.
    place : where features of the group lie, (k, d) → (k, 2).
    """

    method: str
    before: np.ndarray
    box: Box
    explained: tuple[float, float] | None
    place: Callable[[Tensor], np.ndarray]
    _prepared: Prepared
    _index: int
    _bias: bool
    _known: OrderedDict[bytes, np.ndarray] = field(default_factory=OrderedDict)
    _trusted: dict[tuple[str, bool], float | None] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def after(self, step: Step) -> np.ndarray:
        """Where the m channels of a step of the same group lie: (m, 2) float32.

        Any step can be asked for, and none moves anything that another one has drawn.
        """
        if step.plan is None:  # plain pruning leaves every channel where it is
            return self.before[step.measures.kept.numpy()]
        key = _fingerprint(step)
        with self._lock:
            if key in self._known:
                self._known.move_to_end(key)
                return self._known[key]
        placed = self.place(fused_features(self._prepared, self._index, step, self._bias))
        with self._lock:
            placed = self._known.setdefault(key, placed)
            while len(self._known) > MOST_KNOWN:
                self._known.popitem(last=False)
        return placed

    def trustworthiness(self, recipe: Recipe) -> float | None:
        """Whether neighbours in `before` are neighbours by a recipe's cost as well: 0 to 1.

        None for fewer than three channels.
        """
        nearest = min(5, (len(self.before) - 1) // 2)
        if not nearest:
            return None
        key = recipe.cost, with_bias(recipe.features, recipe.rule)
        if key not in self._trusted:
            costs = self._prepared.costs(self._index, *key).numpy()
            self._trusted[key] = trustworthiness(costs, self.before, nearest)
        return self._trusted[key]


def embed(prepared: Prepared, index: int, recipe: Recipe, method: str = "pca") -> Embedding:
    """Draw the channels of a group. Of the recipe only what `of_all` leaves has any influence.

    PCA is fitted to the original channels alone, and places a mean exactly. UMAP is fitted to the
    original channels and, for each of `SPARSITIES`, to what the default recipe fuses them into:
    that is where fused channels of all recipes lie, and it puts them beside their parents. Fitted
    without them, it puts later ones 1.3 standard deviations from their parents' weighted mean.

    Parameters
    ----------
    prepared, index : the network and its group.
    recipe : its features, and for UMAP its seed, are the picture's.
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
    recipe = of_all(recipe, index)
    bias = with_bias(recipe.features, recipe.rule)
    features = prepared.features(index, bias)
    width = prepared.graph.groups[index].width
    explained = None
    if method == "umap" and width >= FEWEST:
        plane = _Plane(features, COMPONENTS)
        parts = [plane(features)]
        for sparsity in SPARSITIES:  # one by one: all features together take 300 MB
            step = plan_group(prepared, index, recipe.replace(sparsity=sparsity))
            parts.append(plane(fused_features(prepared, index, step, bias)))
        place = _Manifold(plane, np.concatenate(parts), min(15, width - 1), recipe.seed)
        before = place.picture[:width]
        box = _box(place.picture, 0.04)
    else:
        method = "pca"
        place = _Plane(features, 2)
        before, explained = place(features), place.explained
        box = _box(before, 0.25)
    return Embedding(method, before, box, explained, place, prepared, index, bias)


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
    """UMAP of points (k, c) of a plane, as a map from features (j, d) → (j, 2).

    What it was fitted with lies where it was put; anything else at the mean place of the `NEAREST`
    points, weighted by the inverse squares of their distances. So each place depends on its own
    features alone, and lies among the others.
    """

    def __init__(self, plane: _Plane, points: np.ndarray, neighbours: int, seed: int) -> None:
        from sklearn.metrics import euclidean_distances  # here, as UMAP: it takes a second

        self.plane, self.points = plane, points
        # Distances are made here: UMAP's own take ten times as long.
        distances = euclidean_distances(points)
        with _umap() as UMAP:
            self.picture = (
                UMAP(n_neighbors=neighbours, metric="precomputed", random_state=seed, n_jobs=1)
                .fit(distances)
                .embedding_
            )

    def __call__(self, features: Tensor) -> np.ndarray:
        apart = cdist(self.plane(features), self.points, "sqeuclidean")  # (j, k)
        near = apart.argpartition(NEAREST - 1, 1)[:, :NEAREST]
        apart = np.take_along_axis(apart, near, 1)
        # A point at no distance, up to rounding, is the only one that counts.
        weights = 1 / np.maximum(apart, 1e-9)
        weights /= weights.sum(1, keepdims=True)
        return np.einsum("jk,jkc->jc", weights, self.picture[near]).astype(np.float32)


@contextmanager
def _umap() -> Iterator[type]:
    """UMAP's class, for one thread at a time."""
    with _ONE_AT_A_TIME, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about distances that are given, and clusters far apart
        from umap import UMAP  # takes seconds: numba

        _keep_what_is_compiled()
        yield UMAP


@cache
def _keep_what_is_compiled() -> None:
    """Have numba write what it compiles of UMAP beside UMAP's files, for all later processes.

    UMAP asks for that in few places only. Code that fits the files and the processor no longer is
    compiled anew by numba.
    """
    from numba.extending import is_jitted
    from umap import layouts, umap_, utils

    for module in (layouts, umap_, utils):
        for function in filter(is_jitted, vars(module).values()):
            try:
                function.enable_caching()
            except RuntimeError:
                return  # no folder that may be written to: each process compiles for itself


def warm() -> None:
    """Import UMAP and have numba compile it, for a thread at the server's start.

    15 to 30 s on two cores the first time, 2 s in later processes.
    """
    points = torch.from_numpy(np.random.default_rng(0).normal(size=(20, 3)))
    plane = _Plane(points, 2)
    _Manifold(plane, plane(points), 5, 0)
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
