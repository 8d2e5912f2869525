"""The plan's picture shows every cell, in an order in which its structure can be seen."""

from __future__ import annotations

import base64
import json
import re
import time
from types import SimpleNamespace

import numpy as np
import pytest
import torch

import core
from app.figures import order as orders
from app.figures import plan, theme
from app.language import ENGLISH, texts
from app.link import VIEWS
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


def received(sent) -> np.ndarray:
    """Numbers as the browser gets them: a list, or the bytes of an array."""
    if isinstance(sent, dict):
        return np.frombuffer(base64.b64decode(sent["bdata"]), sent["dtype"])
    return np.array(sent)


def browsers(figure) -> SimpleNamespace:
    """What `chart.js` makes of a plan's JSON: z and cost (n, m), source and target channels."""
    data = json.loads(figure.to_json())["data"]
    meta = next(trace["meta"] for trace in data if trace["name"] == "plan")
    source, target = received(meta["rows"]), received(meta["columns"])
    cells = meta["cells"]
    z = np.full((len(source), len(target)), np.nan, np.float32)
    at = (received(cells["row"]), received(cells["column"])) if "row" in cells else ...
    z[at] = (
        received(cells["value"]) if "row" in cells else received(cells["value"]).reshape(z.shape)
    )
    cost = None
    if "cost" in cells:
        told = received(cells["cost"]) * cells["unit"]
        cost = np.zeros(z.shape)
        cost[at] = told if "row" in cells else told.reshape(z.shape)
    return SimpleNamespace(z=z, cost=cost, source=source, target=target, words=meta["words"])


def drawable(step) -> tuple[str, ...]:
    return orders.orders(step)


RECIPES = {
    "exact": dict(sparsity=0.7),
    "importance": dict(sparsity=0.4, source="importance", target="importance"),
    "sinkhorn": dict(solver="sinkhorn", epsilon=0.2),
    "select": dict(rule="select", sparsity=0.4),
    "all stay": dict(sparsity=0.0),
    "one stays": dict(sparsity=0.99),
}


@pytest.mark.parametrize("recipe", RECIPES.values(), ids=RECIPES)
def test_every_cell_is_the_share_of_its_channels_mass(digits, recipe):
    step, group = digits(**recipe)
    kept = step.measures.kept.numpy()
    share = np.zeros((group.width, len(kept)))
    for i in range(group.width):
        for j, target in enumerate(kept):
            if step.plan is None:
                share[i, j] = i == target
            else:
                share[i, j] = step.plan.mass[i, j] / step.measures.source[i]
    for order in drawable(step):
        got = browsers(plan.figure(step, group, "light", order))
        assert sorted(got.source) == list(range(group.width))
        assert sorted(got.target) == list(kept)
        columns = np.searchsorted(kept, got.target)
        wanted = share[got.source][:, columns]
        np.testing.assert_array_equal(np.isnan(got.z), wanted <= orders.DUST)
        np.testing.assert_allclose(np.nan_to_num(got.z), wanted, atol=1e-6)
        assert (got.cost is None) == (step.plan is None)
        if step.plan is not None:
            costs = step.plan.costs.numpy()[got.source][:, columns]
            full = wanted > orders.DUST
            np.testing.assert_allclose(got.cost[full], costs[full], atol=1e-5 * costs.max())


def test_orders_are_those_of_the_link():
    assert orders.ORDERS == VIEWS["order"]


def test_by_cost_rows_fall_in_what_moving_them_costs(digits):
    step, _ = digits(sparsity=0.7)
    rows, columns = orders.arrangement(step, "cost")
    cost = (step.plan.mass * step.plan.costs).sum(1).numpy()[rows]
    assert (np.diff(cost) <= 1e-12).all() and cost[0] > 0
    np.testing.assert_array_equal(columns, orders.arrangement(step, "structure")[1])
    with pytest.raises(ValueError, match="cost"):
        orders.arrangement(digits(rule="select")[0], "cost")


@pytest.mark.parametrize("recipe", ["exact", "importance", "sinkhorn"])
def test_a_neighbourhood_is_whom_a_channel_gives_to_and_who_gives_there_too(digits, recipe):
    step, group = digits(**RECIPES[recipe])
    share, kept = orders.shares(step), step.measures.kept.tolist()
    for channel in range(group.width):
        rows, columns, whole = orders.neighbourhood(step, channel)
        heirs = set(np.flatnonzero(share[channel] >= orders.FAINT)) | (
            {kept.index(channel)} if channel in kept else set()
        )
        near = {i for i in range(group.width) if share[i, list(heirs)].sum() >= orders.FAINT}
        near |= {channel}
        assert rows[channel]
        assert rows.sum() <= orders.MOST_NEAR and columns.sum() <= orders.MOST_HEIRS
        if whole:
            assert set(np.flatnonzero(rows)) == near
            assert heirs <= set(np.flatnonzero(columns))
            if channel in kept:  # what is drawn of each of its sources is all of its mass
                np.testing.assert_allclose(share[rows][:, columns].sum(1), 1, atol=0.02)
        got = browsers(plan.figure(step, group, "light", "structure", channel))
        assert set(got.source) == set(np.flatnonzero(rows))
        assert set(got.target) == {kept[j] for j in np.flatnonzero(columns)}
        at = [kept.index(target) for target in got.target]
        np.testing.assert_allclose(np.nan_to_num(got.z), share[got.source][:, at], atol=1e-6)


def test_a_neighbourhood_has_a_number_at_every_row(digits):
    step, group = digits(sparsity=0.7)
    chart = plan.figure(step, group, "light", "structure", 5)
    got = browsers(chart)
    plain = [re.sub("</?b>", "", text) for text in chart.layout.yaxis.ticktext]
    assert plain == [str(channel) for channel in got.source]
    assert part(chart, "plan").xgap == 1
    (frame,) = plan.marks(step, 5, "light", "structure", 5)
    row = list(got.source).index(5)
    assert (min(frame.y[:5]), max(frame.y[:5])) == (row - 0.5, row + 0.5)
    assert "neighbourhood of channel 5" in plan.caption(step, group, near=5)[0]


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


@pytest.mark.parametrize("language", ["en", "de"])
def test_the_browser_is_told_what_to_say_of_a_cell(digits, language):
    say = texts(language)
    holes = {"source": "3", "target": "7", "value": "50", "cost": "1.5"}
    moved, stays = digits(sparsity=0.7), digits(rule="select")
    for step, group in (moved, stays):
        words = browsers(plan.figure(step, group, "light", "structure", None, say)).words
        assert words["kind"] == "share" and words["language"] == language
        told = words["moved"].format(**holes)
        assert "3 → 7" in told and "50\xa0%" in told and told.endswith("1.5")
        assert "3" in words["own"].format(**holes) and "7" not in words["own"].format(**holes)
    assert "{value}" in plan.words(moved[0], ENGLISH)["own"]
    assert "{value}" not in plan.words(stays[0], ENGLISH)["own"]  # it keeps all it has


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


@pytest.mark.parametrize("solver, most", [("exact", 8e4), ("sinkhorn", 1.4e6)])
def test_wide_groups_stay_light(solver, most):
    step, group = wide(solver)
    plan.figure(step, group, "light")  # the first figure of a process imports validators
    begun = time.process_time()
    chart = plan.figure(step, group, "light")
    assert time.process_time() - begun < 0.5  # 0.02 s here
    assert len(chart.to_json()) < most
    z = browsers(chart).z
    if solver == "exact":
        # Rows are thinner than a pixel or two: dots are seen, and answer.
        dots = part(chart, "cells")
        assert dots.marker.size >= plan.THINNEST and dots.hoverinfo == "text"
        assert part(chart, "plan").hoverinfo == "skip"
        assert set(zip(dots.y, dots.x, strict=True)) == set(zip(*np.where(z > 1e-3), strict=True))
    else:
        assert part(chart, "plan").hoverinfo == "text"
        assert not [trace for trace in chart.data if trace.name == "cells"]


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
    z = browsers(chart).z
    wanted = step.projection.unmerge.numpy()[rows][:, columns]
    np.testing.assert_allclose(np.nan_to_num(z), wanted, rtol=1e-6, atol=orders.DUST)
    assert (z < 0).any() and (part(chart, "plan").zmin, part(chart, "plan").zmax) == (-1, 1)
    words = browsers(chart).words
    assert words["kind"] == "coefficient" and words["own"] == words["moved"]
    assert "guessed" in words["own"] and "{value}" in words["own"]
    lost = np.setdiff1d(np.arange(group.width), step.measures.kept.numpy())
    largest = np.abs(step.projection.unmerge.numpy()[lost]).max()
    assert f"coefficient of a discarded one is {largest:.2f}" in plan.alt(step, group)
    shares = plan.shares(step)
    np.testing.assert_allclose(shares.sum(1), 1)
    assert not any("deleted" in note.text for note in chart.layout.annotations)


@pytest.mark.parametrize("order", orders.ORDERS)
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
