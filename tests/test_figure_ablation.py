"""Figures and tables of the ablations are the entries they were given."""

import pytest

from app.figures import ablation, ablation_table
from app.language import texts
from core.ablation import ABLATIONS, Test, spread
from core.book import Entry
from core.corruption import CORRUPTIONS, STRENGTHS
from core.evaluate import Accuracy
from core.recipe import Recipe

RECIPE = Recipe(groups=(6,), sparsity=0.5)
SOLVED = {
    "cost": 2.5, "source_error": 0.0, "target_error": 1e-9, "iterations": 3, "converged": 1.0,
    "seconds": 0.5,
}  # fmt: skip


def entry(variant, kind, right, network="n", recipe=RECIPE, **more) -> Entry:
    recipe = None if kind == "dense" else recipe
    return Entry(network, variant, kind, recipe, Accuracy(right, 100), more)


def three(variant: str, *right: int, network: str = "n") -> list[Entry]:
    kinds = ("dense", "pruned", "fused")
    return [entry(variant, k, r, network) for k, r in zip(kinds, right, strict=True)]


def entries(kind: str) -> list[Entry]:
    """A few entries such as the ablation would make."""
    first = [entry("", "dense", 99), entry("", "pruned", 40)]
    if kind == "masses":
        rest = [("uniform", 80), ("importance", 95)]
        return first + [entry(v, "fused", r) for v, r in rest]
    if kind == "random":
        return first[:1] + [
            entry("l1", "pruned", 40), entry("l1", "fused", 80),
            *(entry("random", "pruned", right) for right in (20, 30)),
            *(entry("random", "fused", right) for right in (50, 60)),
        ]  # fmt: skip
    if kind == "solvers":
        solved = [("exact", 80), ("sinkhorn ε 0.05", 90)]
        return first + [entry(v, "fused", r, **SOLVED) for v, r in solved]
    if kind == "quality":
        shares = {0.0: (20, 30), 1.0: (40, 90)}
        return first[:1] + [
            entry(f"{q:g}", k, r, recipe=RECIPE.replace(quality=q))
            for q, both in shares.items()
            for k, r in zip(("pruned", "fused"), both, strict=True)
        ]
    if kind == "corruption":
        return three("clean", 99, 40, 90) + [
            one
            for name in CORRUPTIONS
            for s in STRENGTHS
            for one in three(f"{name} {s}", 99 - s, 40 - s, 90 - s)
        ]
    return [
        one
        for how, r in (("clean", 99), ("labels 0.2", 90), ("imbalance 10", 80), ("fewer 10", 95))
        for seed in (1, 2)
        for one in three(how, r, r - 50, r - 10 * seed, network=f"n{seed}")
    ]


def plain(text: str) -> str:
    return text.replace("\N{NO-BREAK SPACE}", " ")


def named(chart, name):
    return [trace for trace in chart.data if trace.name == name]


@pytest.mark.parametrize("language", ["en", "de"])
@pytest.mark.parametrize("mode", ["light", "dark"])
@pytest.mark.parametrize("kind", ABLATIONS)
def test_every_ablation_is_drawn_and_told_in_every_language(kind, mode, language):
    say, found = texts(language), entries(kind)
    chart = ablation.figure(kind, found, mode, say)
    shown = [trace for trace in chart.data if trace.name != "band"]
    assert {"pruned", "fused"} <= {trace.name for trace in shown}
    # Nothing by colour alone.
    looks = {(t.name, t.marker.symbol) for t in shown}
    assert len({symbol for _, symbol in looks}) == len({name for name, _ in looks})
    told = ablation.alt(kind, found, say)
    assert told.startswith(say(f"ablation.title.{kind}")) and len(told) > 80
    shows, caution = ablation.caption(kind, found, "x", say)
    assert "(x)" in shows and caution
    assert ablation.alt(kind, [], say) == say("ablation.unknown")


@pytest.mark.parametrize("kind", [k for k in ABLATIONS if k not in ablation.CURVES])
def test_each_point_is_its_mean_with_its_interval(kind):
    found = entries(kind)
    rows, chart = ablation.rows(kind, found), ablation.figure(kind, found, "light")
    for key in ablation.LOOKS:
        known = [row.found[key] for row in rows if key in row.found]
        for trace in named(chart, key):
            assert list(trace.x) == [100 * one.mean for one in known]
            for at, one in enumerate(known):
                assert trace.x[at] + trace.error_x.array[at] == pytest.approx(100 * one.high)
                assert trace.x[at] - trace.error_x.arrayminus[at] == pytest.approx(100 * one.low)
    heights = [y for trace in chart.data for y in trace.y]
    assert len(set(heights)) == len(heights)  # no point hides another


def test_rows_of_seeds_are_their_spread():
    (own, drawn) = ablation.rows("random", entries("random"))
    assert own.title == "l1" and drawn.title == "random scores"
    some = [e for e in entries("random") if (e.variant, e.kind) == ("random", "fused")]
    assert drawn.found["fused"] == spread(some) and drawn.found["fused"].count == 2
    assert own.found["pruned"].count == 1


def test_corruptions_have_a_panel_each_that_begins_with_clean_images():
    chart = ablation.figure("corruption", entries("corruption"), "light")
    assert len(named(chart, "fused")) == len(CORRUPTIONS)
    for trace in named(chart, "fused"):
        assert list(trace.x) == [0, 1, 2, 3, 4, 5]
        assert list(trace.y) == [90, 89, 88, 87, 86, 85]


def test_quality_rises_from_left_to_right():
    chart = ablation.figure("quality", entries("quality"), "light")
    assert [list(t.x) for t in named(chart, "fused")] == [[0, 1]]
    assert [list(t.y) for t in named(chart, "fused")] == [[30, 90]]


def test_the_headline_counts_what_intervals_can_tell():
    assert "In 1 of 1 comparison “fused, masses by importance” lies clearly above" in plain(
        ablation.headline("masses", entries("masses"))
    )
    near = [
        entry("", "pruned", 40),
        entry("uniform", "fused", 80),
        entry("importance", "fused", 82),
    ]
    assert "In 0 of 1" in ablation.headline("masses", near)
    assert "In 2 of 2" in ablation.headline("solvers", entries("solvers"))
    assert "In 21 of 21" in ablation.headline("corruption", entries("corruption"))


def test_solvers_stand_in_a_table():
    table = ablation_table.solvers(entries("solvers"))
    assert list(table["solver"]) == ["pruned", "exact", "sinkhorn ε 0.05"]
    assert list(table["accuracy"]) == [0.4, 0.8, 0.9]
    assert table["transport cost"].isna().tolist() == [True, False, False]
    assert table["seconds"][1] == 0.5 and table["converged"][2]


def test_tests_stand_in_a_table_and_chance_is_told():
    found = [
        Test(0.5, 0, None, 5, 0.02, 4.0, 0.04), Test(0.5, 1, None, 5, -0.03, 0.1, 0.7),
    ]  # fmt: skip
    table = ablation_table.kruskal(found)
    assert list(table["p"]) == [0.04, 0.7] and list(table["group"]) == ["0", "1"]
    told = ablation_table.kruskal_headline(found)
    assert "1 of 2 tests gives p below 5 %" in told and "about 0.1" in told and "3.0 points" in told
    assert "nothing to test" in ablation_table.kruskal_headline([])


def test_tables_are_written_in_the_language_and_keep_their_numbers():
    say = texts("de")
    table = ablation_table.solvers(entries("solvers"), say)
    told = ablation_table.written(table, say)
    assert told.data is table and table[say("ablation.column.accuracy")].dtype == float
    first = table[say("ablation.column.accuracy")].iloc[0]
    html = told.to_html()
    assert say.number(first, ".1%") in html and "," in say.number(first, ".1%")
    assert f"{first:.4f}" not in html
