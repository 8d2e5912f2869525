"""Pictures of channels keep their coordinates, and fused channels lie by their parents."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.spatial.distance import cdist
from sklearn.decomposition import PCA
from sklearn.manifold import trustworthiness
from torch import nn

import core
from core import embedding
from core.compress import plan_group
from core.embedding import SPARSITIES, embed, fused_features
from core.errors import RecipeError, Unsupported, WeightsError

RULES = ("released", "average", "preserving", "repaired")


@pytest.fixture(scope="module")
def digits():
    """A trained network and what is known of it."""
    module = core.load("vgg11_bn-digits")
    graph = core.trace(module)
    return module, core.Prepared(module, graph)


def small(width: int, seed: int = 0) -> core.Prepared:
    """A network with one group of `width` channels, weights at random."""
    torch.manual_seed(seed)
    module = nn.Sequential(
        nn.Conv2d(3, width, 3), nn.BatchNorm2d(width), nn.ReLU(), nn.Flatten(),
        nn.Linear(4 * width, 5),
    ).eval()  # fmt: skip
    return core.Prepared(module, core.trace(module, (3, 4, 4)))


def step_of(prepared, index=0, **recipe):
    return plan_group(prepared, index, core.Recipe(groups=(index,), **recipe))


# -- features -------------------------------------------------------------------------------------


def test_selected_channels_keep_their_features(digits):
    _, prepared = digits
    step = step_of(prepared, 3, rule="select", sparsity=0.6)
    for bias in (False, True):
        fused = fused_features(prepared, 3, step, bias)
        torch.testing.assert_close(fused, prepared.features(3, bias)[step.measures.kept])


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("index", [0, 4])
def test_fused_features_are_those_of_the_smaller_network(digits, rule, index):
    module, prepared = digits
    recipe = core.Recipe(groups=(index,), rule=rule, sparsity=0.7)
    smaller = core.compress(module, prepared.graph, recipe, prepared)
    again = core.Prepared(smaller.module, core.trace(smaller.module))
    fused = fused_features(prepared, index, smaller.steps[index])
    torch.testing.assert_close(fused, again.features(index, True), atol=1e-6, rtol=1e-4)


def test_a_weight_on_both_sides_is_refused():
    class Tied(nn.Module):
        def __init__(self):
            super().__init__()
            self.stem, self.mix = nn.Conv2d(3, 6, 1), nn.Conv2d(6, 6, 1)
            self.head = nn.Linear(6, 2)

        def forward(self, x):
            x = self.stem(x)
            x = torch.relu(x + self.mix(x))
            return self.head(x.mean((2, 3)))

    module = Tied().eval()
    prepared = core.Prepared(module, core.trace(module, (3, 4, 4)))
    picture = embed(prepared, 0, core.Recipe())
    assert picture.before.shape == (6, 2)
    with pytest.raises(Unsupported, match="mix.weight both produces and consumes"):
        picture.after(step_of(prepared))


# -- PCA ------------------------------------------------------------------------------------------


def test_pca_is_the_textbooks(digits):
    _, prepared = digits
    features = prepared.features(2, False).numpy()
    known = PCA(2, svd_solver="full").fit(features)
    picture = embed(prepared, 2, core.Recipe(groups=(2,)))
    assert picture.method == "pca"
    assert picture.before.dtype == np.float32
    np.testing.assert_allclose(picture.explained, known.explained_variance_ratio_, rtol=1e-3)
    theirs = known.transform(features)
    signs = np.sign((theirs * picture.before).sum(0))
    np.testing.assert_allclose(picture.before, theirs * signs, atol=1e-3)


def test_pca_places_a_weighted_mean_exactly(digits):
    _, prepared = digits
    picture = embed(prepared, 2, core.Recipe(groups=(2,), rule="repaired"))
    weights = np.random.default_rng(0).dirichlet(np.ones(128), 9)
    mean = torch.from_numpy(weights) @ prepared.features(2, True)
    np.testing.assert_allclose(picture.place(mean), weights @ picture.before, atol=1e-5)


@pytest.mark.parametrize("rule", ("select", *RULES))
def test_fused_channels_are_placed_by_their_features(digits, rule):
    _, prepared = digits
    picture = embed(prepared, 4, core.Recipe(groups=(4,), rule=rule, features="weights"))
    step = step_of(prepared, 4, rule=rule, sparsity=0.6, features="weights")
    after = picture.after(step)
    assert after.shape == (25, 2) and after.dtype == np.float32
    placed = picture.place(fused_features(prepared, 4, step, False))
    np.testing.assert_allclose(after, placed, atol=1e-5)
    if rule == "select":
        np.testing.assert_allclose(after, picture.before[step.measures.kept], atol=1e-5)


def test_pca_stays_for_all_sparsities_rules_and_solvers(digits):
    _, prepared = digits
    plain = core.Recipe(groups=(5,), features="weights")
    first = embed(prepared, 5, plain)
    for changes in (
        dict(sparsity=0.9), dict(rule="repaired"), dict(solver="sinkhorn"), dict(seed=7)
    ):  # fmt: skip
        other = embed(prepared, 5, plain.replace(**changes))
        np.testing.assert_array_equal(first.before, other.before)
        assert first.box == other.box


def test_trustworthiness_is_measured_with_the_cost(digits):
    _, prepared = digits
    for cost, metric in (("l1", "cityblock"), ("l2", "euclidean")):
        picture = embed(prepared, 4, core.Recipe(groups=(4,), cost=cost))
        features = prepared.features(4, False).numpy()
        far = cdist(features, features, metric)
        known = trustworthiness(far, picture.before, n_neighbors=5, metric="precomputed")
        assert picture.trustworthiness == pytest.approx(known)


@pytest.mark.parametrize("width", [1, 2, 3, 14, 15])
def test_small_groups_have_a_picture(width):
    prepared = small(width)
    method = "umap" if width < embedding.FEWEST else "pca"
    picture = embed(prepared, 0, core.Recipe(), method)
    assert picture.method == "pca"
    assert picture.before.shape == (width, 2)
    assert (picture.trustworthiness is None) == (width < 3)
    if width <= 2:  # one channel lies anywhere, two have one direction
        assert not picture.before[:, 1].any()
    for sparsity in (0.0, 0.5, 0.99):
        after = picture.after(step_of(prepared, sparsity=sparsity))
        assert np.isfinite(after).all() and len(after) == max(1, int(width * (1 - sparsity) + 1e-9))
    (left, right), (bottom, top) = picture.box
    assert left < right and bottom < top


def test_channels_that_are_all_alike_have_a_picture():
    prepared = small(6)
    for key, tensor in prepared.folded.items():
        if tensor.is_floating_point():
            prepared.folded[key] = torch.zeros_like(tensor)
    picture = embed(prepared, 0, core.Recipe())
    assert not picture.before.any() and picture.explained == (0, 0)
    assert not picture.after(step_of(prepared)).any()


def test_what_cannot_be_drawn_is_refused():
    prepared = small(4)
    with pytest.raises(RecipeError, match="no picture called 'tsne'. Known: pca, umap"):
        embed(prepared, 0, core.Recipe(), "tsne")
    prepared.folded["0.weight"][1] = torch.inf
    with pytest.raises(WeightsError, match="group 0 are not finite"):
        embed(prepared, 0, core.Recipe())


# -- UMAP -----------------------------------------------------------------------------------------


@pytest.mark.slow
def test_umap(digits):
    """One test: the first fit of a process compiles for half a minute."""
    embedding.warm()
    assert embedding.is_warm()
    _, prepared = digits
    index, width = 5, 64
    recipe = core.Recipe(groups=(index,))
    picture = embed(prepared, index, recipe, "umap")
    assert picture.method == "umap" and picture.explained is None
    assert picture.before.shape == (width, 2) and picture.before.dtype == np.float32

    # Nothing depends on the sparsity asked for, and a seed draws the same picture again.
    again = embed(prepared, index, recipe.replace(sparsity=0.8), "umap")
    np.testing.assert_array_equal(picture.before, again.before)

    spread = picture.before.std(0).mean()
    (left, right), (bottom, top) = picture.box
    for sparsity in (*SPARSITIES, 0.42):
        step = step_of(prepared, index, sparsity=sparsity)
        after = picture.after(step)
        np.testing.assert_array_equal(after, again.after(step))
        assert after.shape == (len(step.measures.kept), 2) and np.isfinite(after).all()
        if sparsity in SPARSITIES:
            assert (after > (left, bottom)).all() and (after < (right, top)).all()
        # Fused channels lie by their parents: much nearer than by another channel's.
        merge = step.projection.merge.numpy()
        parents = merge / merge.sum(1, keepdims=True) @ picture.before
        near = np.linalg.norm(parents - after, axis=1).mean() / spread
        wrong = np.linalg.norm(np.roll(parents, 1, axis=0) - after, axis=1).mean() / spread
        # Beyond that a channel has ten parents all over the picture, whose mean says little there.
        if sparsity <= 0.7:
            assert near < 0.7 and near < 0.5 * wrong, (sparsity, near, wrong)

    # What is settled is known afterwards, and lies where it would have been placed.
    step = step_of(prepared, index, sparsity=0.42)
    placed = picture.after(step)
    picture.settle(step)
    assert picture.after(step) is picture.after(step) is not placed
    np.testing.assert_array_equal(picture.after(step), placed)

    # Another rule's steps are placed, not taken for those the picture was fitted with.
    other = step_of(prepared, index, sparsity=0.5, rule="repaired", features="weights")
    assert not np.array_equal(
        picture.after(other), picture.after(step_of(prepared, index, sparsity=0.5))
    )

    # Plain pruning leaves channels where they are.
    pruned = recipe.replace(rule="select")
    step = step_of(prepared, index, rule="select", sparsity=0.3)
    drawn = embed(prepared, index, pruned, "umap")
    np.testing.assert_array_equal(drawn.after(step), drawn.before[step.measures.kept])

    # The smallest group there is.
    tiny = small(embedding.FEWEST)
    picture = embed(tiny, 0, core.Recipe(), "umap")
    assert picture.method == "umap"
    assert np.isfinite(picture.after(step_of(tiny, sparsity=0.45))).all()
