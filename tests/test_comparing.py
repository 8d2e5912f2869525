"""What the page Sweep compares: few lines a panel, nothing measured twice, no images mixed."""

from __future__ import annotations

import pytest

from app import link
from app.language import ENGLISH
from app.parts.comparing import comparison, gains
from core import sweep
from core.evaluate import Accuracy
from core.recipe import Recipe, plain

CHOICE = Recipe(groups=(3,), sparsity=0.5)
SHARES = len(sweep.SPARSITIES)


def counted(recipes, total: int = 100, right: int = 50) -> dict[Recipe, Accuracy]:
    return {one: Accuracy(right, total) for one in recipes}


def test_the_choice_alone_is_two_lines_of_its_group():
    compared = comparison(CHOICE, "digits")
    assert compared.panels == [(3, "l1")]
    assert len(compared.recipes()) == 1 + 2 * SHARES
    lines = compared.lines(counted(compared.recipes()), 3, "l1")
    assert [(one.name, one.pruned) for one in lines] == [("", True), ("", False)]
    assert list(lines[1].spots) == list(sweep.SPARSITIES)


def test_solvers_are_drawn_for_the_chosen_rule_alone():
    compared = comparison(
        CHOICE, "digits", groups=[0, 3, 7], rules=["average", "best"], solvers=["sinkhorn"]
    )
    assert compared.panels == [(7, "l1"), (3, "l1"), (0, "l1")], "from the input on, none twice"
    assert list(compared.fusions(0, "l1")) == [
        ("released", "exact"), ("average", "exact"), ("best", "exact"), ("released", "sinkhorn"),
    ]  # fmt: skip
    lines = compared.lines(counted(compared.recipes()), 0, "l1")
    assert [one.name for one in lines] == ["", "released", "average", "best", "sinkhorn"]


def test_a_rule_without_a_plan_has_no_solvers():
    compared = comparison(CHOICE.replace(rule="best"), "digits", solvers=["sinkhorn"])
    assert list(compared.fusions(3, "l1")) == [("best", "exact")]


def test_images_are_named_where_they_are_looked_at_and_nowhere_else():
    compared = comparison(CHOICE, "digits", importances=["taylor"], rules=["calibrated"])
    for one in compared.recipes()[1:]:
        looks = one.importance == "taylor" or one.rule == "calibrated"
        assert one.data == ("digits" if looks else ""), one


def test_seeds_are_counted_only_where_something_is_drawn():
    compared = comparison(CHOICE.replace(seed=4), "digits", importances=["random"], seeds=3)
    assert {one.seed for one in compared.recipes() if one.importance == "random"} == {4, 5, 6}
    assert {one.seed for one in compared.recipes()[1:] if one.importance == "l1"} == {4}
    found = counted(compared.recipes())
    pruned, fused = compared.lines(found, 3, "random")
    assert {len(spot.seeds) for one in (pruned, fused) for spot in one.spots.values()} == {3}


def test_only_what_is_not_recorded_is_missing():
    compared = comparison(CHOICE, "digits", rules=["average"])
    known = counted(one for one in compared.recipes() if one.rule != "average")
    assert compared.missing(counted(compared.recipes()), 100) == []
    assert {one.rule for one in compared.missing(known, 100)} == {"average"}
    # Counted on other images, plain pruning is counted along to be compared with.
    along = compared.missing(known, 50)
    assert along[0] == sweep.DENSE and len(along) == 1 + 2 * SHARES
    assert all(plain(one) in along for one in along[1:])
    assert set(compared.missing({}, 100)) == set(compared.recipes())


def test_a_line_without_a_point_is_not_drawn():
    compared = comparison(CHOICE, "digits")
    assert compared.lines({}, 3, "l1") == []
    some = counted([compared.pruning(3, "l1").replace(sparsity=0.3)])
    (line,) = compared.lines(some, 3, "l1")
    assert list(line.spots) == [0.3]


def test_a_map_never_mixes_numbers_of_images():
    fused = [CHOICE.replace(sparsity=share) for share in (0.3, 0.5)]
    pruned = [plain(one) for one in fused]
    record = counted([sweep.DENSE, *pruned, fused[0]], 100, 60)
    own = counted([sweep.DENSE, *pruned, *fused], 50, 40)
    found = gains([record, own], CHOICE)
    assert set(found.cells) == {(3, 0.3), (3, 0.5)}
    totals = {one.total for cell in found.cells.values() for one in (cell.pruned, cell.fused)}
    assert totals == {50} and found.dense.total == 50
    # On the same number of images a record and what was measured here make one map.
    rest = counted([fused[1]], 100, 70)
    joined = gains([record, rest], CHOICE)
    assert joined.cells[3, 0.5].points == pytest.approx(10) and joined.cells[3, 0.3].points == 0
    assert gains([{}, {}], CHOICE) is None


def test_titles_tell_what_differs():
    one = comparison(CHOICE, "digits")
    assert one.title("l1", ("released", "exact")) == "released"
    many = comparison(CHOICE, "digits", importances=["lamp"], solvers=["sinkhorn"], rules=["best"])
    assert many.title("lamp", ("released", "sinkhorn")) == "released · sinkhorn · lamp"
    assert many.title("lamp", ("best", "exact")) == "best · lamp"


def test_a_link_holds_what_stands_beside_the_choice():
    def read(**given: str) -> tuple[dict, list[str]]:
        given |= {"network": "vgg11_bn-digits"}
        return link.read(given, "vgg11_bn-digits", lambda name: (16,) * 8, ENGLISH)

    told, notes = read(groups="0,7,3", rules="best,average", solvers="", seeds="3")
    assert not notes and told["seeds"] == "3" and told["solvers"] == []
    assert told["groups"] == ["0", "7", "3"] and told["rules"] == ["best", "average"]
    views = {name: ",".join(told[name]) for name in link.BESIDE}
    written = link.write(link.choice_of(told), views)
    assert written["groups"] == "0,7,3" and "solvers" not in written
    # What does not exist, is named twice, or is one too many is left out and told.
    told, notes = read(groups="0,8,-1,0", importances="l2,linf,lamp", rules="select")
    assert told["groups"] == ["0"] and told["importances"] == ["l2", "linf"] and not told["rules"]
    assert len(notes) == 3 and all("does not exist" in note for note in notes)
