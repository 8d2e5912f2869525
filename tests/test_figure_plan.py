"""The plan's picture shows every cell, in an order in which its structure can be seen."""

from __future__ import annotations

import json
import re
import time
from types import SimpleNamespace

import numpy as np
import pytest
import torch

import core
from app.figures import plan, theme
from core.compress import Step, plan_group
from core.groups import Group
from core.measures import measures
from core.projection import select
from core.transport import transport


@pytest.fixture(scope="module")
def digits():
    """(group index, recipe) → step and group of a trained network."""
    module = core.load("vgg11_bn-digits")
    prepared = core.Prepared(module, core.trace(module))

    def make(index=6, **recipe) -> tuple[Step, Group]:
        step = plan_group(prepared, index, core.Recipe(groups=(index,), **recipe))
        return step, prepared.graph.groups[index]

    return make


def wide(solver: str) -> tuple[Step, Group]:
    """512 channels onto 256, costs at random: as large as plans of the zoo get."""
    noise = torch.Generator().manual_seed(0)
    scores = torch.rand(512, generator=noise, dtype=torch.float64)
    known = measures(scores, 0.5)
    costs = 1 + torch.rand(512, 256, generator=noise, dtype=torch.float64)
    found = transport(known.source, known.target, costs, solver, 0.5)
    return Step(scores, known, found, select(known.kept, 512), {}), Group(0, 512, ())


def part(figure, name: str):
    (trace,) = (trace for trace in figure.data if trace.name == name)
    return trace


RECIPES = {
    "exact": dict(sparsity=0.7),
    "importance": dict(sparsity=0.4, source="importance", target="importance"),
    "sinkhorn": dict(solver="sinkhorn", epsilon=0.2),
    "select": dict(rule="select", sparsity=0.4),
    "all stay": dict(sparsity=0.0),
    "one stays": dict(sparsity=0.99),
}


@pytest.mark.parametrize("order", plan.ORDERS)
@pytest.mark.parametrize("recipe", RECIPES.values(), ids=RECIPES)
def test_every_cell_is_the_share_of_its_channels_mass(digits, recipe, order):
    step, group = digits(**recipe)
    kept = step.measures.kept.numpy()
    share = np.zeros((group.width, len(kept)))
    for i in range(group.width):
        for j, target in enumerate(kept):
            if step.plan is None:
                share[i, j] = i == target
            else:
                share[i, j] = step.plan.mass[i, j] / step.measures.source[i]
    rows, columns = plan.arrangement(step, order)
    assert sorted(rows) == list(range(group.width))
    assert sorted(columns) == list(range(len(kept)))
    z = part(plan.figure(step, group, "light", order), "plan").z
    assert z.dtype == np.float32
    wanted = share[rows][:, columns]
    np.testing.assert_array_equal(np.isnan(z), wanted <= plan.DUST)
    np.testing.assert_allclose(np.nan_to_num(z), wanted, atol=1e-6)


@pytest.mark.parametrize("recipe", RECIPES.values(), ids=RECIPES)
def test_rows_make_a_staircase(digits, recipe):
    step, group = digits(**recipe)
    rows, columns = plan.arrangement(step, "structure")
    score = step.scores.numpy()
    kept = step.measures.kept.numpy()[columns]
    assert (np.diff(score[kept]) <= 0).all()
    drawn = plan.shares(step)[rows][:, columns]
    full = drawn.max(1) > 0
    main = drawn[full].argmax(1)
    assert (np.diff(main) >= 0).all()  # never back to the left
    assert not drawn[full.sum() :].any()  # rows of deleted channels come last
    assert full.all() == (step.plan is not None or len(kept) == group.width)
    for target in set(main):  # in a stair: those that stay first, then by share
        stair = np.flatnonzero(full)[main == target]
        stays = np.isin(rows[stair], kept)
        assert (np.diff(stays.astype(int)) <= 0).all()
        discarded = drawn[stair, target][~stays]
        assert (np.diff(discarded) <= 1e-8).all()


def test_by_number_channels_stand_as_they_are_stored(digits):
    step, group = digits()
    rows, columns = plan.arrangement(step, "channel")
    assert list(rows) == list(range(group.width))
    assert (np.diff(step.measures.kept.numpy()[columns]) > 0).all()


@pytest.mark.parametrize("order", plan.ORDERS)
@pytest.mark.parametrize("recipe", RECIPES.values(), ids=RECIPES)
def test_cells_answer_with_their_channels(digits, recipe, order):
    step, group = digits(**recipe)
    chart = plan.figure(step, group, "dark", order)
    cells, z = part(chart, "cells"), part(chart, "plan").z
    rows, columns = plan.arrangement(step, order)
    kept = step.measures.kept.numpy()
    assert cells.hoverinfo != "skip"
    # As SVG a move of the slider is drawn sooner, up to a point.
    assert cells.type == ("scatter" if len(cells.x) <= plan.MANY_CELLS else "scattergl")
    told = json.loads(chart.to_json())["data"][list(chart.data).index(cells)]["customdata"]
    assert all(type(one) is list and [type(n) for n in one] == [int, int] for one in told)
    assert len(told) == (np.nan_to_num(z) >= plan.FAINT).sum() == len(cells.hovertext)
    for x, y, (source, target), words in zip(cells.x, cells.y, told, cells.hovertext, strict=True):
        assert rows[y] == source and kept[columns[x]] == target
        if step.plan is None:
            assert words == f"channel {source} stays as it is"
            continue
        place = list(kept).index(target)
        percent = float(re.search(r"([\d.e+-]+) % of its mass", words)[1])
        assert percent == pytest.approx(100 * z[y, x], rel=5e-3)
        if source == target:
            assert words.startswith(f"channel {source} stays<br>")
        else:
            assert words.startswith(f"channel {source} → {target}<br>")
            cost = float(step.plan.costs[source, place])
            assert float(words.rpartition("cost ")[2]) == pytest.approx(cost, rel=5e-3)


def test_channels_that_stay_are_marked(digits):
    step, group = digits(sparsity=0.6)
    chart = plan.figure(step, group, "light")
    marks = part(chart, "kept")
    rows, _ = plan.arrangement(step, "structure")
    left = [y for x, y in zip(marks.x, marks.y, strict=True) if x is not None and x < -0.5]
    at = {round((a + b) / 2) for a, b in zip(left[::2], left[1::2], strict=True)}
    assert {int(rows[y]) for y in at} == set(step.measures.kept.tolist())
    above = [x for x, y in zip(marks.x, marks.y, strict=True) if x is not None and y < -0.5]
    assert len(above) == 2 * len(step.measures.kept)
    (left_end, _), (_, top_end) = chart.layout.xaxis.range, chart.layout.yaxis.range
    assert left_end < min(x for x in marks.x if x is not None)
    assert top_end < min(y for y in marks.y if y is not None)


def test_what_is_deleted_is_said(digits):
    step, group = digits(rule="select", sparsity=0.4)
    (said,) = plan.figure(step, group, "light").layout.annotations
    gone = group.width - len(step.measures.kept)
    assert said.text == f"<b>{gone} channels deleted</b>"
    assert said.font.color == theme.PRUNED["light"]
    rows, _ = plan.arrangement(step, "structure")
    assert not plan.shares(step)[rows[round(said.y)]].any()
    assert not plan.figure(*digits(rule="select", sparsity=0.0), "light").layout.annotations


def test_colours_mean_the_same_at_every_sparsity(digits):
    for sparsity in (0.1, 0.5, 0.9):
        drawn = part(plan.figure(*digits(sparsity=sparsity), "light"), "plan")
        assert (drawn.zmin, drawn.zmax) == (0, 1)


@pytest.mark.parametrize("solver, most", [("exact", 1.2e6), ("sinkhorn", 3e6)])
def test_wide_groups_stay_light(solver, most):
    step, group = wide(solver)
    plan.figure(step, group, "light")  # the first figure of a process imports validators
    begun = time.process_time()
    chart = plan.figure(step, group, "light")
    assert time.process_time() - begun < 1.5  # 0.06 and 0.3 s here
    cells = part(chart, "cells")
    text = chart.to_json()
    assert len(text) < most
    if solver == "exact":
        assert len(cells.x) < 512 + 256
        # Rows are thinner than a pixel or two: the cells themselves are seen.
        assert cells.marker.opacity is None and cells.marker.size >= plan.THINNEST
        np.testing.assert_allclose(
            cells.marker.color, part(chart, "plan").z[cells.y, cells.x], atol=1e-6
        )
    else:
        assert len(cells.x) == plan.MOST_CELLS
        z = part(chart, "plan").z
        assert z[cells.y, cells.x].min() >= np.sort(z, axis=None)[-plan.MOST_CELLS]
        assert cells.marker.opacity < 0.05


@pytest.mark.parametrize("recipe", RECIPES.values(), ids=RECIPES)
def test_words_state_the_numbers(digits, recipe):
    step, group = digits(**recipe)
    said = plan.alt(step, group)
    count, stay = group.width, len(step.measures.kept)
    gone = {0: "none is", 1: "1 is"}.get(count - stay, f"{count - stay} are")
    if step.plan is None:
        assert said.startswith(f"Plain pruning of {count} channels to {stay}: {gone} deleted")
    else:
        mass = step.plan.mass / step.measures.source[:, None]
        most = max(int((mass[:, j] >= 1e-3).sum()) for j in range(stay))
        assert f"of {count} channels onto {stay}: {gone} discarded" in said
        assert f"has {most} source" in said
        cost = float((step.plan.mass * step.plan.costs).sum())
        assert float(re.search(r"cost is ([\d.e+-]+)\.", said)[1]) == pytest.approx(cost, rel=1e-3)
        assert ("did not converge" in said) == (not step.plan.converged)
    for sentence in plan.caption(step, group):
        assert sentence.endswith(".") and sentence[0].isupper()


def test_a_solver_that_gave_up_is_told(digits):
    step, group = digits()
    gave_up = SimpleNamespace(**vars(step.plan) | {"converged": False})
    broken = Step(step.scores, step.measures, gave_up, step.projection, {})
    assert "did not converge" in plan.alt(broken, group)


def test_coefficients_are_drawn_with_their_signs(digits):
    _, group = digits()
    module = core.load("resnet18-digits")
    graph = core.trace(module)
    recipe = core.Recipe(groups=(6,), sparsity=0.5, rule="best", samples=32)
    step, group = core.compress(module, graph, recipe).steps[6], graph.groups[6]
    chart = plan.figure(step, group, "light")
    rows, columns = plan.arrangement(step, "structure")
    z = part(chart, "plan").z
    np.testing.assert_allclose(z, step.projection.unmerge.numpy()[rows][:, columns], rtol=1e-6)
    assert (z < 0).any() and (part(chart, "plan").zmin, part(chart, "plan").zmax) == (-1, 1)
    cells = part(chart, "cells")
    for y, x, words in zip(cells.y, cells.x, cells.hovertext, strict=True):
        value = float(re.search(r"with ([+-][\d.e+-]+) times", words)[1])
        assert value == pytest.approx(z[y, x], rel=5e-3)
    lost = np.setdiff1d(np.arange(group.width), step.measures.kept.numpy())
    largest = np.abs(step.projection.unmerge.numpy()[lost]).max()
    assert f"coefficient of a discarded one is {largest:.2f}" in plan.alt(step, group)
    shares = plan.shares(step)
    np.testing.assert_allclose(shares.sum(1), 1)
    assert not any("deleted" in note.text for note in chart.layout.annotations)


@pytest.mark.parametrize("order", plan.ORDERS)
def test_a_chosen_channel_is_framed_where_its_row_and_column_are(order):
    net = core.load("vgg11_bn-digits")
    prepared = core.Prepared(net, core.trace(net))
    step = plan_group(prepared, 6, core.Recipe((6,), 0.6))
    rows, columns = plan.arrangement(step, order)
    kept = step.measures.kept.numpy()[columns].tolist()
    for channel in range(32):
        (frame,) = plan.marks(step, channel, "light", order)
        middle = rows.tolist().index(channel)
        x, y = frame.x, frame.y
        assert (min(y[:5]), max(y[:5])) == (middle - 0.5, middle + 0.5)
        assert (min(x[:5]), max(x[:5])) == (-0.5, len(kept) - 0.5)
        assert (len(x) == 12) == (channel in kept)
        if channel in kept:
            column = kept.index(channel)
            assert (min(x[6:11]), max(x[6:11])) == (column - 0.5, column + 0.5)
            assert (min(y[6:11]), max(y[6:11])) == (-0.5, 31.5)
