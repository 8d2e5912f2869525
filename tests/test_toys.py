"""The lessons' toys: what they compute, what they refuse, and how they answer on a page."""

from __future__ import annotations

import itertools
import json
import math
from dataclasses import replace

import pytest
import torch
from streamlit.testing.v1 import AppTest

import core
from app.figures import toys as figures
from app.figures import toys_puzzle
from app.language import texts
from app.toys import FACTS, FIELDS, TOYS, check, networks, norm, problem
from app.toys.transport import total
from core.errors import RecipeError

# -- transport ------------------------------------------------------------------------------------


@pytest.mark.parametrize("solver", ["exact", "sinkhorn"])
@pytest.mark.parametrize("normalise", ["no", "yes"])
def test_the_plan_keeps_both_marginals(solver, normalise):
    given = problem.scene({"normalise": normalise, "source": "1,2,3,1,5,0.5", "target": "2,1"})
    plan = given.problem.solve(solver, 0.1)
    mu, nu = torch.tensor([1, 2, 3, 1, 5, 0.5]) / 12.5, torch.tensor([2.0, 1.0]) / 3
    torch.testing.assert_close(plan.mass.sum(1).float(), mu, atol=1e-6, rtol=0)
    torch.testing.assert_close(plan.mass.sum(0).float(), nu, atol=1e-6, rtol=0)


def test_sinkhorn_approaches_the_exact_cost_as_epsilon_falls():
    given = problem.scene({}).problem
    exact, strengths = given.solve("exact"), (2.0, 0.5, 0.1, 0.02, 0.005)
    plans = [given.solve("sinkhorn", epsilon) for epsilon in strengths]
    costs = [plan.cost for plan in plans]
    assert costs == sorted(costs, reverse=True) and costs[0] > 1.2 * exact.cost
    for epsilon, plan in zip(strengths, plans, strict=True):
        # The entropy that spreading over m targets can win is at most log m.
        bound = epsilon * float(exact.costs.mean()) * math.log(len(given.stays))
        assert exact.cost - 1e-6 <= plan.cost <= exact.cost + bound + 1e-6


def test_costs_are_distances_to_those_that_stay():
    given = problem.scene({"points": "0,0; 3,0; 3,2", "stays": "1", "cost": "l1"}).problem
    assert given.solve("exact").costs.tolist() == [[3.0], [0.0], [2.0]]
    unit = problem.scene({"points": "2,0; 0,2; 4,0", "stays": "1", "normalise": "yes"}).problem
    wanted = torch.tensor([2.0, 0, 2], dtype=torch.float64).sqrt()
    torch.testing.assert_close(unit.solve("exact").costs[:, 0], wanted)


def test_moving_a_point_snaps_to_the_grid_inside_the_picture_and_changes_its_costs_alone():
    before = problem.scene({}).problem
    after = before.moved(2, 1.234, 99.0)
    assert after.points[2] == (1.2, problem.UP)
    a, b = before.solve("exact").costs, after.solve("exact").costs
    assert [row for row in range(6) if not torch.equal(a[row], b[row])] == [2]


def test_the_total_is_the_sum_of_the_products_it_is_written_as():
    plan = problem.scene({}).problem.solve("exact")
    told = total(texts("en"), plan)
    written = told.removeprefix("Total cost: ").split(" = ")[0]
    products = [float(a) * float(b) for a, b in (t.split(" × ") for t in written.split(" + "))]
    assert sum(products) == pytest.approx(plan.cost, abs=0.05) and f"**{plan.cost:.3f}**" in told


def test_the_board_draws_a_line_for_all_mass_that_moves_as_thick_as_it_is():
    given = problem.scene({}).problem
    plan = given.solve("exact")
    drawn = figures.board(given, plan, 0, "light")
    moved = sum(
        mass
        for i, row in enumerate(plan.mass.tolist())
        for j, mass in enumerate(row)
        if i != given.stays[j]
    )
    assert sum(line["width"] for line in drawn["lines"]) == pytest.approx(figures.LINE * moved)
    assert [p["stays"] for p in drawn["points"]] == [k in given.stays for k in range(6)]
    assert f"{plan.cost:.3g}" in drawn["alt"]


# -- the puzzle -----------------------------------------------------------------------------------

PUZZLES = [
    networks.Puzzle(name, layer, 4)
    for name in networks.NETWORKS
    for layer in networks.network(name).layers
    if networks.network(name).produced(layer) is not None
]
IDS = [f"{one.network}-{one.layer}" for one in PUZZLES]


@pytest.mark.parametrize("puzzle", PUZZLES, ids=IDS)
def test_what_tracing_says_is_right_is_what_runs_and_nothing_else_does(puzzle):
    if len(puzzle.choices) > 4:  # all but one, and one too many, stand for the rest
        some = [puzzle.answer, *(puzzle.answer ^ {one} for one in puzzle.choices)]
    else:
        some = [
            frozenset(picked)
            for count in range(len(puzzle.choices) + 1)
            for picked in itertools.combinations(puzzle.choices, count)
        ]
    for picked in some:
        missing, extra = networks.check(puzzle, picked)
        assert networks.attempt(puzzle, picked).runs is not bool(missing or extra), picked
    assert {one.layer for one in networks.check(puzzle, frozenset())[0]} == puzzle.answer


def test_a_residual_block_ties_its_ends_and_says_where_it_breaks():
    puzzle = networks.puzzle({"network": "residual", "layer": "stem"})
    assert puzzle.answer == {"block.conv1", "block.conv2", "fc"}
    tried = networks.attempt(puzzle, frozenset({"block.conv1"}))
    assert (tried.kind, tried.operation, tried.wants, tried.gets) == ("add", "add", 8, 4)
    assert networks.remark(puzzle, "block.conv2").where == "add"
    inner = networks.puzzle({"network": "residual", "layer": "block.conv1"})
    assert inner.answer == {"block.conv2"}


def test_a_shortcut_with_a_convolution_leaves_the_stem_alone():
    puzzle = networks.puzzle({"network": "projection", "layer": "block.conv2"})
    assert puzzle.answer == {"block.shortcut", "fc"}
    assert networks.remark(puzzle, "stem").kind == "other"


def test_the_right_answer_is_the_smaller_network_that_core_makes():
    puzzle = networks.puzzle({"network": "blocks", "layer": "stem", "remove": "3"})
    net = networks.network("blocks")
    smaller = networks.removed(puzzle, puzzle.answer)
    kept = torch.arange(5)
    state = core.surgery.shrink(
        net.module.state_dict(), puzzle.group, net.graph.layers, core.projection.select(kept, 8)
    )
    whole = core.surgery.rebuild(net.module, state)
    assert all(
        torch.equal(tensor, smaller.state_dict()[name])
        for name, tensor in whole.state_dict().items()
    )
    assert net.module.stem.out_channels == 8, "the puzzle's own network is not changed"


def test_classes_that_were_removed_are_no_success():
    puzzle = networks.puzzle({"network": "chain", "layer": "conv1", "remove": "2"})
    tried = networks.attempt(puzzle, frozenset({"conv2", "fc"}))
    assert tried.operation is None and tried.outputs == 2 and not tried.runs


def test_the_picture_tells_the_answer_only_once_it_is_checked():
    puzzle = networks.puzzle({})
    hidden = toys_puzzle.figure(puzzle, frozenset({"fc"}), False, None, "light")
    shown = toys_puzzle.figure(puzzle, frozenset({"fc"}), True, None, "light")

    def signs(figure):
        (trace,) = (t for t in figure.data if t.name == "layers")
        return dict(zip((c[0] for c in trace.customdata), trace.text, strict=True))

    assert signs(hidden)["block.conv2"].strip() == "" and signs(shown)["block.conv2"] == "?"
    assert signs(hidden)["fc"] == signs(shown)["fc"] == "✓"


# -- folding --------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["linear", "conv"])
def test_the_folded_layer_is_the_formula_and_puts_out_the_same(kind):
    layer = norm.layer({"layer": kind, "bias": "0.3,-1,2"})
    folded = norm.fold(layer)
    gamma, beta, b, mean, variance = (
        torch.tensor(getattr(layer, name), dtype=torch.float64)
        for name in ("gamma", "beta", "bias", "mean", "variance")
    )
    scale = gamma / (variance + layer.epsilon).sqrt()
    weights = torch.tensor(layer.weights, dtype=torch.float64)
    torch.testing.assert_close(folded.weight, scale[:, None] * weights, rtol=1e-6, atol=1e-9)
    torch.testing.assert_close(folded.bias, beta + (b - mean) * scale, rtol=1e-6, atol=1e-9)
    assert float(folded.difference.abs().max()) < 1e-12


def test_a_tiny_variance_needs_epsilon_and_a_mean_must_not_be_forgotten():
    layer = norm.layer({})
    off = norm.fold(layer, leave_out_epsilon=True).difference.abs()
    assert off[2] > 1e-3 and off[0] < 1e-3
    forgot = norm.fold(layer, forget_mean=True)
    shift = torch.tensor(layer.mean, dtype=torch.float64) * forgot.scale
    torch.testing.assert_close(forgot.difference, shift, rtol=1e-5, atol=1e-9)
    without = replace(layer, variance=(0.0, 1.0, 1.0))
    assert not norm.fold(without, leave_out_epsilon=True).after[0].isfinite()


# -- settings -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("toy", "settings", "told"),
    [
        ("juggling", {}, "There is no toy 'juggling'"),
        ("transport", {"colour": "red"}, "no setting 'colour'"),
        ("transport", {"points": "1,1; 2"}, "3 to 8 points"),
        ("transport", {"points": "1,1; 2,2; 9,9"}, "3 to 8 points"),
        ("transport", {"points": "1,nan; 2,2; 3,1"}, "3 to 8 points"),
        ("transport", {"stays": "7"}, "some of 0 to 5"),
        ("transport", {"stays": "0,1,2,3,4,5"}, "leave at least one out"),
        ("transport", {"source": "1,2"}, "6 are needed"),
        ("transport", {"epsilon": "0"}, "from 0.005 to 2"),
        ("transport", {"show": "plan,everything"}, "some of masses"),
        ("puzzle", {"network": "vgg"}, "It has chain"),
        ("puzzle", {"layer": "fc"}, "no layer 'fc'"),
        ("puzzle", {"remove": "7"}, "at most 6"),
        ("puzzle", {"remove": "two"}, "a whole number"),
        ("folding", {"weights": "1,2"}, "2 or 3 rows"),
        ("folding", {"gamma": "1,1"}, "3 channels"),
        ("folding", {"variance": "-1,1,1"}, "from 0 to 100"),
        ("folding", {"variance": "0,1,1", "epsilon": "0"}, "σ² \\+ ε = 0"),
        ("folding", {"input": "1"}, "reads 2"),
    ],
)  # fmt: skip
def test_settings_that_cannot_be_are_refused_in_a_sentence(toy, settings, told):
    with pytest.raises(RecipeError, match=told):
        check(toy, settings)


def test_every_toy_says_what_it_takes_and_what_it_tells():
    assert TOYS.keys() == FACTS.keys() == FIELDS.keys()
    for toy, facts in FACTS.items():
        check(toy, {})
        assert facts and all(fact.startswith(f"{toy}.") for fact in facts)


# -- on a page ------------------------------------------------------------------------------------


def _page():
    import streamlit as st

    from app.language import texts
    from app.toys import TOYS

    told = {**st.query_params}
    TOYS[told.pop("toy")](texts(told.pop("language", "en")), told)


def opened(toy: str, **settings: str) -> AppTest:
    at = AppTest.from_function(_page, default_timeout=60)
    at.query_params["toy"] = toy
    for name, setting in settings.items():
        at.query_params[name] = setting
    return fine(at.run())


def fine(at: AppTest) -> AppTest:
    assert not at.exception, [e.value for e in at.exception]
    return at


def named(parts, end: str):
    (found,) = (part for part in parts if part.key and part.key.endswith(end))
    return found


def drawn(at: AppTest) -> list[dict]:
    return [json.loads(p.proto.bytes) for p in at.get("bidi_component") if p.proto.bytes]


def facts(at: AppTest) -> set[str]:
    return set(at.session_state["facts"])


@pytest.mark.parametrize("language", ["en", "de"])
@pytest.mark.parametrize("toy", list(TOYS))
def test_every_toy_opens_in_every_language_with_nothing_achieved(toy, language):
    at = opened(toy, language=language)
    assert not facts(at) and all(one["alt"] for one in drawn(at))


def test_a_moved_point_a_changed_mass_and_both_solvers_are_told():
    at = opened("transport")
    before = drawn(at)
    fine(named(at.number_input, "x 0").set_value(3.5).run())
    after = drawn(at)
    assert facts(at) == {"transport.moved"}
    assert after[0]["points"][0]["x"] == 3.5 and after[0]["alt"] != before[0]["alt"]
    assert after[1]["figure"] != before[1]["figure"], "the cost matrix follows"
    fine(named(at.slider, "source 0").set_value(4.0).run())
    assert "transport.weighed" in facts(at)
    fine(named(at.segmented_control, "look").set_value("both").run())
    assert {"transport.sinkhorn", "transport.compared"} <= facts(at)
    fine(named(at.select_slider, "epsilon").set_value(0.02).run())
    assert "transport.epsilon" in facts(at)
    assert any("more than the exact plan" in m.value for m in at.markdown)


def test_a_puzzle_is_tried_until_it_is_solved():
    at = opened("puzzle", network="residual", layer="stem")
    fine(named(at.button, "try").click().run())
    assert facts(at) == {"puzzle.broken"} and "`block.conv1`" in at.error[0].value
    picks = named(at.multiselect, "picked")
    fine(picks.set_value(["block.conv1", "fc"]).run())
    assert not at.error, "a new choice has not been tried yet"
    fine(named(at.button, "check").click().run())
    assert any("block.conv2" in m.value and "`add`" in m.value for m in at.markdown)
    fine(named(at.multiselect, "picked").set_value(["block.conv1", "block.conv2", "fc"]).run())
    fine(named(at.button, "try").click().run())
    assert "puzzle.solved" in facts(at) and "parameters" in at.success[0].value


def test_folding_shows_the_mistake_and_what_it_costs():
    at = opened("folding")
    fine(named(at.number_input, "gamma 0").set_value(-2.0).run())
    assert facts(at) == {"folding.changed"} and any("-2" in one.value for one in at.latex)
    fine(named(at.button, "check").click().run())
    assert "folding.checked" in facts(at) and "the same" in at.success[0].value
    fine(named(at.toggle, "no_epsilon").set_value(True).run())
    assert "Channel 2 is off" in at.error[0].value and not at.success
    fine(named(at.toggle, "no_epsilon").set_value(False).run())
    assert at.success and not at.error


def test_another_scene_starts_anew_and_the_same_keeps_what_was_made_of_it():
    at = opened("transport")
    fine(named(at.number_input, "x 0").set_value(3.5).run())
    at.query_params["show"] = "plan"
    assert drawn(fine(at.run()))[0]["points"][0]["x"] == 3.5
    at.query_params["stays"] = "0,1"
    assert drawn(fine(at.run()))[0]["points"][0]["x"] == -3.0
