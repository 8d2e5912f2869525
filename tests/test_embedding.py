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
from core.embedding import SPARSITIES, embed, fused_features, of_all
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
    picture = embed(prepared, 2, core.Recipe(groups=(2,), features="weights+bias"))
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


#: What may be chosen without any original channel moving.
CHANGES = (
    dict(sparsity=0.9), dict(rule="repaired"), dict(rule="best"), dict(solver="sinkhorn"),
    dict(importance="l2"), dict(keep="k-means"), dict(cost="cosine"), dict(target="importance"),
    dict(rounds=3), dict(features="weights"),
)  # fmt: skip


def test_one_picture_serves_all_sparsities_rules_and_solvers(digits):
    _, prepared = digits
    plain = core.Recipe(groups=(5,))
    first = embed(prepared, 5, plain)
    for changes in CHANGES:
        assert of_all(plain.replace(**changes), 5) == of_all(plain, 5), changes
        other = embed(prepared, 5, plain.replace(**changes))
        np.testing.assert_array_equal(first.before, other.before)
        assert first.box == other.box
    assert of_all(plain.replace(seed=7), 5) != of_all(plain, 5) != of_all(plain, 4)
    biased = plain.replace(features="weights+bias")
    assert of_all(biased, 5) != of_all(plain, 5)
    assert not np.array_equal(embed(prepared, 5, biased).before, first.before)


def test_what_is_placed_moves_nothing_else(digits):
    _, prepared = digits
    picture = embed(prepared, 5, core.Recipe(groups=(5,)))
    before, box = picture.before.copy(), picture.box
    half = step_of(prepared, 5)
    placed = picture.after(half).copy()
    for changes in CHANGES:
        if "rounds" not in changes and changes.get("rule") != "best":  # these see more than a group
            after = picture.after(step_of(prepared, 5, **changes))
            assert np.isfinite(after).all()
    np.testing.assert_array_equal(picture.before, before)
    np.testing.assert_array_equal(picture.after(half), placed)
    assert picture.box == box


def test_a_picture_remembers_places_and_not_without_end(digits, monkeypatch):
    _, prepared = digits
    picture = embed(prepared, 5, core.Recipe(groups=(5,)))
    monkeypatch.setattr(embedding, "MOST_KNOWN", 2)
    first, second, third = (step_of(prepared, 5, sparsity=s) for s in (0.2, 0.4, 0.6))
    placed = picture.after(first)
    again = step_of(prepared, 5, sparsity=0.2)
    assert picture.after(again) is placed, "known by what is decided, not by who decided it"
    picture.after(second)
    assert picture.after(first) is placed, "the one that was asked for last stays"
    picture.after(third)
    assert picture.after(first) is placed and len(picture._known) == 2
    # Another rule's step has other places, even where the same channels stay.
    other = picture.after(step_of(prepared, 5, sparsity=0.2, rule="repaired"))
    assert other.shape == placed.shape and not np.array_equal(other, placed)


def test_trustworthiness_is_measured_with_the_cost_that_transport_pays(digits):
    _, prepared = digits
    picture = embed(prepared, 4, core.Recipe(groups=(4,)))
    found = set()
    for cost, metric in (("l1", "cityblock"), ("l2", "euclidean")):
        for rule, bias in (("released", False), ("repaired", True)):
            features = prepared.features(4, bias).numpy()
            far = cdist(features, features, metric)
            known = trustworthiness(far, picture.before, n_neighbors=5, metric="precomputed")
            recipe = core.Recipe(groups=(4,), cost=cost, rule=rule)
            assert picture.trustworthiness(recipe) == pytest.approx(known)
            found.add(known)
    assert len(found) == 4


@pytest.mark.parametrize("width", [1, 2, 3, 14, 15])
def test_small_groups_have_a_picture(width):
    prepared = small(width)
    method = "umap" if width < embedding.FEWEST else "pca"
    picture = embed(prepared, 0, core.Recipe(), method)
    assert picture.method == "pca"
    assert picture.before.shape == (width, 2)
    assert (picture.trustworthiness(core.Recipe()) is None) == (width < 3)
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
    """One test: the first fit of all compiles for half a minute."""
    from umap import umap_

    embedding.warm()
    assert embedding.is_warm()
    kept = umap_.compute_membership_strengths.stats
    assert kept.cache_path and (kept.cache_hits or kept.cache_misses), "later processes find it"
    _, prepared = digits
    index, width = 5, 64
    recipe = core.Recipe(groups=(index,))
    picture = embed(prepared, index, recipe, "umap")
    assert picture.method == "umap" and picture.explained is None
    assert picture.before.shape == (width, 2) and picture.before.dtype == np.float32

    # Nothing depends on what is asked for, and a seed draws the same picture again.
    asked = recipe.replace(sparsity=0.8, rule="repaired", solver="sinkhorn", importance="l2")
    again = embed(prepared, index, asked, "umap")
    np.testing.assert_array_equal(picture.before, again.before)

    spread = picture.before.std(0).mean()
    (left, right), (bottom, top) = picture.box
    for changes in (dict(), dict(rule="repaired"), dict(rule="average"), dict(importance="l2")):
        for sparsity in (*SPARSITIES, 0.42):
            step = step_of(prepared, index, sparsity=sparsity, **changes)
            after = picture.after(step)
            np.testing.assert_array_equal(after, again.after(step))
            assert after.shape == (len(step.measures.kept), 2) and after.dtype == np.float32
            assert (after > (left, bottom)).all() and (after < (right, top)).all()
            # Fused channels lie by their parents: much nearer than by another channel's.
            merge = step.projection.merge.numpy()
            parents = merge / merge.sum(1, keepdims=True) @ picture.before
            near = np.linalg.norm(parents - after, axis=1).mean() / spread
            wrong = np.linalg.norm(np.roll(parents, 1, axis=0) - after, axis=1).mean() / spread
            # Beyond that a channel has ten parents all over the picture, whose mean says little.
            if sparsity <= 0.7:
                assert near < 0.7 and near < 0.5 * wrong, (changes, sparsity, near, wrong)

    # What UMAP has seen lies where it was put, and what it has not does not move the others.
    step = step_of(prepared, index, sparsity=0.42)
    features = fused_features(prepared, index, step, False)
    alone = np.concatenate([picture.place(features[i : i + 1]) for i in range(len(features))])
    np.testing.assert_allclose(alone, picture.place(features), atol=1e-4 * spread)
    seen = picture.place(prepared.features(index, False))
    np.testing.assert_allclose(seen, picture.before, atol=1e-3 * spread)

    # Plain pruning leaves channels where they are.
    step = step_of(prepared, index, rule="select", sparsity=0.3)
    np.testing.assert_array_equal(picture.after(step), picture.before[step.measures.kept])

    # The smallest group there is.
    tiny = small(embedding.FEWEST)
    picture = embed(tiny, 0, core.Recipe(), "umap")
    assert picture.method == "umap"
    assert np.isfinite(picture.after(step_of(tiny, sparsity=0.45))).all()
