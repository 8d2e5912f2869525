"""Ribbons carry the plan's mass, none of it twice; the table lists its entries."""

from __future__ import annotations

import numpy as np
import pytest

import core
from app.figures import order as orders
from app.figures import plan_table, ribbons
from core.compress import plan_group


@pytest.fixture(scope="module")
def digits():
    module = core.load("vgg11_bn-digits")
    prepared = core.Prepared(module, core.trace(module))

    def make(**recipe):
        step = plan_group(prepared, 6, core.Recipe(groups=(6,), **recipe))
        return step, prepared.graph.groups[6]

    return make


RECIPES = {
    "exact": dict(sparsity=0.7),
    "importance": dict(sparsity=0.4, source="importance", target="importance"),
    "sinkhorn": dict(solver="sinkhorn", epsilon=0.2),
    "partial": dict(solver="partial", share=0.5),
    "one stays": dict(sparsity=0.99),
}


def polygons(trace) -> list[np.ndarray]:
    """The closed outlines of a trace, (points, 2) each."""
    points = np.stack([trace.x, trace.y], 1).astype(float)
    ends = np.flatnonzero(np.isnan(points[:, 1]))
    return [piece[~np.isnan(piece[:, 1])] for piece in np.split(points, ends + 1)[:-1]]


def part(figure, name):
    (trace,) = (trace for trace in figure.data if trace.name == name)
    return trace


@pytest.mark.parametrize("recipe", RECIPES.values(), ids=RECIPES)
@pytest.mark.parametrize("order", orders.ORDERS)
def test_a_ribbon_is_as_wide_as_its_mass(digits, recipe, order):
    step, group = digits(**recipe)
    chart = ribbons.figure(step, group, "light", order)
    mass, kept = step.plan.mass.numpy(), step.measures.kept.numpy()
    seen = orders.shares(step) >= orders.FAINT
    wanted = {"own": 0.0, "given": 0.0, "passed": 0.0}
    for i, j in zip(*np.nonzero(seen), strict=True):
        name = "own" if i == kept[j] else "passed" if i in kept else "given"
        wanted[name] += mass[i, j]
    for name, total in wanted.items():
        outlines = polygons(part(chart, name))
        at_left = sum(np.ptp(o[np.isclose(o[:, 0], ribbons.LEFT), 1]) for o in outlines)
        at_right = sum(np.ptp(o[np.isclose(o[:, 0], ribbons.RIGHT), 1]) for o in outlines)
        scale = (1 - ribbons.FREE) / mass.sum()
        assert at_left == pytest.approx(total * scale, abs=1e-4)
        assert at_right == pytest.approx(total * scale, abs=1e-4)


@pytest.mark.parametrize("recipe", RECIPES.values(), ids=RECIPES)
def test_ribbons_begin_at_their_source_and_end_at_their_target(digits, recipe):
    step, group = digits(**recipe)
    ties, left, right = ribbons._ties(step, "structure", None)
    for side, ends, channels in ((left, ties.left, ties.source), (right, ties.right, ties.target)):
        assert (side.top[1:] >= side.bottom[:-1] - 1e-9).all()  # bars never overlap
        for channel, top, bottom in zip(side.channel, side.top, side.bottom, strict=True):
            mine = ends[channels == channel]
            mine = mine[np.argsort(mine[:, 0])]
            assert (mine[:, 0] >= top - 1e-9).all() and (mine[:, 1] <= bottom + 1e-9).all()
            assert (mine[1:, 0] >= mine[:-1, 1] - 1e-9).all()  # nor do ribbons, side by side
    told = part(ribbons.figure(step, group, "dark"), "ties")
    assert len(told.x) == len(ribbons.ANSWERS) * len(ties.source)
    source, target, share, _ = told.meta["ties"]
    place = np.searchsorted(step.measures.kept.numpy(), target)
    np.testing.assert_allclose(share, orders.shares(step)[source, place], rtol=1e-5)


def test_a_neighbourhood_is_drawn_alone_and_its_channel_framed(digits):
    step, group = digits(sparsity=0.7)
    for channel in range(group.width):
        rows, columns, _ = orders.neighbourhood(step, channel)
        ties, left, right = ribbons._ties(step, "structure", channel)
        assert set(left.channel) == set(np.flatnonzero(rows))
        assert channel in left.channel
        (frame,) = ribbons.marks(step, channel, "light", "structure", channel)
        stays = channel in step.measures.kept.tolist()
        assert len(frame.x) == (12 if stays else 6)
        at = list(left.channel).index(channel)
        assert min(frame.y[:5]) == pytest.approx(left.top[at], abs=0.01)
        assert max(frame.y[:5]) == pytest.approx(left.bottom[at], abs=0.01)
    assert "neighbourhood of channel 3" in ribbons.caption(step, near=3)[0]


@pytest.mark.parametrize("recipe", RECIPES.values(), ids=RECIPES)
@pytest.mark.parametrize("order", orders.ORDERS)
def test_the_table_has_every_entry_of_the_plan(digits, recipe, order):
    step, _ = digits(**recipe)
    told = plan_table.table(step, order)
    rows, kept = told.rows, step.measures.kept.tolist()
    mass = step.plan.mass.numpy()
    assert told.entries == len(rows) == (orders.shares(step) > orders.DUST).sum()
    assert rows["mass"].sum() == pytest.approx(mass.sum())
    for row in rows.to_dict("records")[:: max(1, len(rows) // 20)]:
        i, j = int(row["source"]), kept.index(row["target"])
        assert row["mass"] == mass[i, j] and row["cost"] == step.plan.costs[i, j].item()
        assert row["share"] == pytest.approx(mass[i, j] / step.plan.source[i].item())
    assert list(told.source) == list(rows["source"])
    if order == "channel":
        assert (np.diff(rows["source"]) >= 0).all()
    if order == "cost":
        assert (np.diff(rows["mass"] * rows["cost"]) <= 1e-12).all()


def test_the_chosen_channel_comes_first(digits):
    step, _ = digits(sparsity=0.7)
    rows = plan_table.table(step, channel=5).rows
    of_it = (rows["source"] == 5) | (rows["target"] == 5)
    assert of_it.any() and of_it[: of_it.sum()].all()
    assert (rows["chosen"] == np.where(of_it, "●", "")).all()


def test_of_a_dense_plan_the_table_has_the_largest(digits, monkeypatch):
    monkeypatch.setattr(plan_table, "MOST", 50)
    step, _ = digits(**RECIPES["sinkhorn"])
    told = plan_table.table(step)
    share = np.sort(orders.shares(step), axis=None)
    assert len(told.rows) == 50 < told.entries
    assert told.rows["share"].min() == pytest.approx(share[-50])
