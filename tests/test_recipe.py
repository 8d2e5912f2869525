"""A recipe holds allowed values only, survives JSON, and its key names everything in it."""

from __future__ import annotations

import dataclasses
import functools
import json
import math
import os
import subprocess
import sys
from fractions import Fraction
from pathlib import Path

import pytest
import torch

import core
from core import zoo
from core.importance import labelled_generator
from core.measures import kept_count
from core.recipe import CHOICES, Recipe

REPOSITORY = Path(__file__).parents[1]

#: For every field a value that differs from the default.
OTHER = {
    "groups": (1, 3),
    "sparsity": 0.25,
    "importance": "l2",
    "rule": "repaired",
    "solver": "sinkhorn",
    "epsilon": 0.5,
    "source": "importance",
    "target": "importance",
    "synthetic": "white",
    "samples": 64,
    "order": "sequential",
    "rounds": 3,
    "cost": "l2",
    "features": "weights",
    "seed": 7,
    "keep": "k-means",
    "kept": ((0, 2), (1,)),
    "data": "digits",
    "relaxation": 2.0,
    "share": 0.5,
    "temperature": 0.25,
    "quality": 0.5,
}


@functools.cache
def graph() -> core.DependencyGraph:
    return core.trace(zoo.network("vgg11_bn-digits").build())


def refusal(**fields) -> str:
    """The sentence with which a recipe, or its check against a network, is refused."""
    with pytest.raises(core.RecipeError) as caught:
        Recipe(**fields).chosen(graph())
    text = str(caught.value)
    assert text.endswith(".") and "\n" not in text
    return text


# What is not allowed


@pytest.mark.parametrize(
    "sparsity", [math.nan, 1.0, 1, -0.1, 1.4, math.inf, "0.5", True, False, None, ["0.5"]]
)
def test_a_sparsity_that_cannot_be_is_refused(sparsity):
    text = refusal(sparsity=sparsity)
    assert "sparsity" in text and "between 0 and 1" in text
    assert repr(sparsity).strip("[]") in text


@pytest.mark.parametrize("groups", [(), [], "some", "", (True,), (0.0,), ("0",), 0, None, ([0],)])
def test_groups_that_are_no_indices_are_refused(groups):
    text = refusal(groups=groups)
    assert "groups" in text and "all" in text and "(0, 3)" in text


def test_a_group_named_twice_is_refused():
    text = refusal(groups=(0, 3, 0))
    assert "groups" in text and "twice" in text and "(0, 3, 0)" in text


@pytest.mark.parametrize("index", [99, 8, -1])
def test_a_group_the_network_does_not_have_is_refused(index):
    text = refusal(groups=(0, index))
    assert f"group {index}:" in text and "0 to 7" in text


def test_a_network_without_groups_says_so():
    empty = core.trace(torch.nn.Sequential(torch.nn.Linear(3, 2)), (3,))
    with pytest.raises(core.RecipeError, match="no group"):
        Recipe(groups=(0,)).chosen(empty)
    assert Recipe(groups="all").chosen(empty) == ()


@pytest.mark.parametrize("value", [0, 0.0, -1.0, math.nan, math.inf, "0.1", True, None])
@pytest.mark.parametrize("field", ["epsilon", "relaxation", "share", "temperature"])
def test_a_strength_that_cannot_be_is_refused(field, value):
    text = refusal(**{field: value})
    assert field in text and "positive" in text and repr(value) in text


def test_more_than_all_of_the_mass_is_refused():
    assert "share must be at most 1" in refusal(share=1.5)
    assert Recipe(share=1).share == 1.0


@pytest.mark.parametrize("samples", [0, -1, 1.5, True, "16", None])
def test_a_count_of_images_that_cannot_be_is_refused(samples):
    text = refusal(samples=samples)
    assert "samples" in text and "at least 1" in text


@pytest.mark.parametrize("data", [None, 3, ("digits",)])
def test_data_that_are_no_name_are_refused(data):
    assert "data must be the name" in refusal(data=data)


@pytest.mark.parametrize(
    "kept", [None, "0", 3, ((),), ((0, -1),), ((0.0,),), ((True,),), (0, 1), ({0},), (("0",),)]
)
def test_channels_kept_by_hand_that_are_no_indices_are_refused(kept):
    text = refusal(kept=kept)
    assert "kept" in text and "((0, 3, 4),)" in text and repr(kept) in text


def test_a_channel_kept_twice_is_refused():
    assert "names channel 3 of a group twice" in refusal(kept=((0, 3, 3),))


def test_channels_kept_by_hand_are_checked_against_the_network():
    width = graph().groups[0].width
    by_hand = functools.partial(Recipe, keep="by-hand", groups=(0, 2))
    assert by_hand(kept=((0, width - 1), (4,))).chosen(graph()) == (0, 2)
    cases = [
        ((), "lists channels of 0"),
        (((0,),), "lists channels of 1"),
        (((width,), (0,)), f"Group 0 has no channel {width}: it has the channels 0 to"),
    ]
    for kept, text in cases:
        with pytest.raises(core.RecipeError, match=text):
            by_hand(kept=kept).chosen(graph())
    # Only where they count.
    assert Recipe(kept=((width,),)).chosen(graph()) == (0,)


def test_channels_kept_by_hand_belong_to_the_groups_in_their_order():
    recipe = Recipe(groups=(2, 0), keep="by-hand", kept=((1,), (5, 6)))
    assert recipe.kept_in(2) == (1,) and recipe.kept_in(0) == (5, 6) and recipe.kept_in(1) == ()
    every = Recipe(groups="all", keep="by-hand", kept=tuple((i,) for i in range(8)))
    assert every.kept_in(5) == (5,) and every.chosen(graph()) == tuple(range(8))


@pytest.mark.parametrize("seed", [-1, 0.5, 1.0, True, "1", None])
def test_a_seed_that_cannot_be_is_refused(seed):
    text = refusal(seed=seed)
    assert "seed" in text and "at least 0" in text


@pytest.mark.parametrize("value", ["nonsense", "", None, 3, ["l1"], {"l1": 1}, ("l1",)])
@pytest.mark.parametrize("field", CHOICES)
def test_a_choice_that_does_not_exist_is_refused_with_those_that_do(field, value):
    text = refusal(**{field: value})
    assert field in text and repr(value) in text
    assert all(name in text for name in CHOICES[field])


def test_every_choice_is_allowed_and_says_what_it_is():
    assert set(CHOICES) <= {field.name for field in dataclasses.fields(Recipe)}
    for field, choices in CHOICES.items():
        for name, about in choices.items():
            assert getattr(Recipe(**{field: name}), field) == name
            assert len(about) > 10


def test_a_recipe_cannot_be_changed_afterwards():
    recipe = Recipe()
    with pytest.raises(dataclasses.FrozenInstanceError):
        recipe.sparsity = 2.0
    with pytest.raises(core.RecipeError):
        recipe.replace(sparsity=2.0)
    assert recipe.replace(sparsity=0.25).sparsity == 0.25 and recipe.sparsity == 0.5


# Groups


def test_all_means_every_group():
    assert Recipe(groups="all").chosen(graph()) == tuple(range(8))
    assert Recipe(groups=(5, 2)).chosen(graph()) == (5, 2)


def test_a_list_of_channels_is_the_same_as_a_tuple():
    one, other = Recipe(kept=[[0, 3], [1]]), Recipe(kept=((0, 3), (1,)))
    assert one == other and hash(one) == hash(other) and one.key == other.key


def test_a_list_of_groups_is_the_same_as_a_tuple():
    assert Recipe(groups=[0, 3]) == Recipe(groups=(0, 3))
    assert hash(Recipe(groups=[0, 3])) == hash(Recipe(groups=(0, 3)))


# To JSON and back


@pytest.mark.parametrize("groups", ["all", (0,), (3, 1)])
def test_a_recipe_survives_json(groups):
    recipe = Recipe(**(OTHER | {"groups": groups}))
    again = Recipe.from_dict(json.loads(json.dumps(recipe.as_dict())))
    assert again == recipe and again.key == recipe.key
    assert Recipe.from_dict(recipe.as_dict()) == recipe


def test_an_unknown_field_is_refused_by_name():
    with pytest.raises(core.RecipeError, match="sparsty") as caught:
        Recipe.from_dict({"sparsty": 0.5})
    assert "sparsity" in str(caught.value)


def test_missing_fields_take_their_defaults_and_wrong_values_are_refused():
    assert Recipe.from_dict({"sparsity": 0.25}) == Recipe(sparsity=0.25)
    # What was written before later fields came means the same as then.
    first = ["groups", "sparsity", "importance", "rule", "solver", "epsilon", "source", "target"]
    first += ["cost", "features", "seed"]
    told = {name: value for name, value in Recipe(**OTHER).as_dict().items() if name in first}
    assert Recipe.from_dict(told) == Recipe(**{name: OTHER[name] for name in first})
    with pytest.raises(core.RecipeError, match="sparsity"):
        Recipe.from_dict({"sparsity": "a lot"})


# The key


def test_the_key_changes_with_every_field():
    assert set(OTHER) == {field.name for field in dataclasses.fields(Recipe)}
    keys = {Recipe(**{field: value}).key for field, value in OTHER.items()} | {Recipe().key}
    assert len(keys) == len(OTHER) + 1
    assert all(len(key) == 16 and set(key) <= set("0123456789abcdef") for key in keys)


@pytest.mark.parametrize("fields", [{"sparsity": 0}, {"epsilon": 1}, {"sparsity": -0.0}], ids=str)
def test_equal_recipes_have_equal_keys(fields):
    """0 and 0.0 are the same sparsity: the same cache entry, link and line in a table."""
    other = {name: abs(float(value)) for name, value in fields.items()}
    assert Recipe(**fields) == Recipe(**other)
    assert Recipe(**fields).key == Recipe(**other).key


def test_keys_of_before_a_field_came_stay_what_they_were():
    """What was recorded by a key is found by it still; the new field changes it."""
    assert Recipe().key == "93b9854e5508b7c5"
    assert Recipe("all", 0.3, rule="best").key == "c21f930c06654be6"
    assert Recipe(quality=1).key == Recipe().key != Recipe(quality=0.9).key


@pytest.mark.parametrize("quality", [-0.1, 1.1, math.nan, True, "1", None])
def test_a_quality_that_cannot_be_is_refused(quality):
    assert "quality must lie between 0 and 1" in refusal(quality=quality)


@pytest.mark.slow
def test_keys_and_random_numbers_are_the_same_in_another_process():
    """Nothing hangs on the built-in `hash` of strings, which differs from process to process."""
    recipe = Recipe(**OTHER)
    code = (
        "import json, sys, torch\n"
        "from core.recipe import Recipe\n"
        "from core.importance import labelled_generator\n"
        "print(Recipe.from_dict(json.loads(sys.argv[1])).key)\n"
        "print(torch.rand(1, generator=labelled_generator(3, 'label')).item(), hash('label'))\n"
    )
    told = subprocess.run(
        [sys.executable, "-c", code, json.dumps(recipe.as_dict())],
        env=os.environ | {"PYTHONHASHSEED": "4711", "PYTHONPATH": str(REPOSITORY)},
        capture_output=True, text=True, check=True,
    ).stdout.split()  # fmt: skip
    assert told[0] == recipe.key
    assert float(told[1]) == torch.rand(1, generator=labelled_generator(3, "label")).item()
    assert int(told[2]) != hash("label")  # the two processes do hash differently


# How many channels stay

KEPT = [
    (10, 0.9, 1), (512, 0.7, 153), (3, 0.99, 1), (1, 0.5, 1), (1, 0.0, 1), (64, 0.0, 64),
    (10, 0.3, 7), (10, 0.1, 9), (5, 0.4, 3), (30, 0.9, 3), (100, 0.29, 71), (2, 0.5, 1),
    (3, 0.5, 1), (512, 0.999, 1), (512, 0.99, 5), (7, 1 / 7, 6), (3, 1 / 3, 2), (3, 2 / 3, 1),
]  # fmt: skip


@pytest.mark.parametrize(("width", "sparsity", "count"), KEPT)
def test_kept_channels_are_counted_down_but_one_stays(width, sparsity, count):
    assert kept_count(width, sparsity) == count


def test_kept_channels_do_not_suffer_from_binary_fractions():
    """0.9 is not quite 9/10 in binary; ⌊n(1−s)⌋ in fractions says what is meant."""
    for percent in range(100):
        for width in range(1, 600):
            meant = max(1, math.floor(width * (1 - Fraction(percent, 100))))
            assert kept_count(width, percent / 100) == meant


@pytest.mark.parametrize("sparsity", [0.0, 0.3, 0.7, 0.99])
@pytest.mark.parametrize("rule", ["select", "released"])
def test_every_group_shrinks_to_its_kept_count(sparsity, rule):
    module = core.load("vgg11_bn-digits")
    out = core.compress(module, graph(), Recipe(groups="all", sparsity=sparsity, rule=rule))
    again = core.trace(out.module)
    assert [g.width for g in again.groups] == [
        kept_count(g.width, sparsity) for g in graph().groups
    ]
    assert [len(out.kept[g.index]) for g in graph().groups] == [g.width for g in again.groups]


def test_where_nothing_is_drawn_every_seed_makes_the_same_network():
    from core.recipe import draws
    from core.shape import state_hash

    net = core.load("vgg11_bn-digits")
    known = core.trace(net, (3, 32, 32))
    prepared = core.Prepared(net, known)

    def made(recipe: Recipe) -> str:
        return state_hash(core.compress(net, known, recipe, prepared).module)

    some = Recipe(groups=(6,), sparsity=0.5, samples=32)
    ways = [some.replace(rule=rule) for rule in ("select", "released", "repaired", "regressed")]
    ways += [some.replace(importance=name) for name in ("lamp", "random", "fpgm")]
    ways += [some.replace(keep="k-means"), some.replace(solver="sinkhorn")]
    ways += [some.replace(quality=0.2)]
    drawn = {way: made(way) != made(way.replace(seed=1)) for way in ways}
    assert not any(drawn[way] for way in ways if not draws(way))
    assert drawn[some.replace(importance="random")] and drawn[some.replace(quality=0.2)]
    assert drawn[some.replace(rule="regressed")]
