"""Recorded results that ship are what the code measures, and say where they come from."""

from __future__ import annotations

import json
import random

import pytest

import core
from core import provenance, results, store, zoo
from core.errors import DataError
from core.evaluate import Accuracy
from core.experiments import Bench

NAME = "vgg11_bn-digits"
RECIPE = core.Recipe(groups=(6,), sparsity=0.5, rule="released")
SHIPPED = sorted(file.stem for file in results.FOLDER.glob("*.parquet"))


def test_the_digits_networks_ship_with_results():
    assert {"vgg11_bn-digits", "resnet18-digits"} <= set(SHIPPED)


@pytest.mark.parametrize("name", SHIPPED)
def test_what_ships_is_of_the_weights_that_ship_and_says_where_it_was_measured(name):
    known = results.read(name)
    assert known is not None, "the note beside the file is missing, or speaks of other weights"
    # `core.recorded measure` is what sweeps were called; the commit beside it still has it.
    old, new = f"python -m core.recorded measure {name} ", "python -m core "
    assert known.note.command.startswith((old, new))
    for run in known.note.runs:
        assert len(run["commit"].rstrip("+")) == 40 and {"python", "torch"} <= set(run["versions"])
    assert {right.total for right in known.found.values()} == {zoo.card(name).tested}
    assert known.dense.mean == pytest.approx(zoo.card(name).accuracy)
    for recipe in known.found:
        assert known.curve(recipe)[recipe.sparsity] == known.found[recipe]
        assert list(known.curve(recipe)) == sorted(known.curve(recipe))


def test_a_recipe_that_was_not_recorded_has_no_curve():
    known = results.read(NAME)
    assert known.curve(core.Recipe(groups=(6,), cost="l2")) == {}
    assert core.Recipe(groups=(6,), sparsity=0.55) not in known.found


@pytest.mark.slow
def test_recorded_entries_are_what_the_code_measures_now():
    found = results.read(NAME).found
    bench = Bench(NAME, zoo.card(NAME).tested, zoo.WEIGHTS, 0)
    chance = random.Random(7)
    for rule in ("select", "released"):
        recipe = chance.choice([one for one in found if one.rule == rule])
        (now,) = bench.together([recipe])
        # Sums differ between processors: one image of 597 may tip over.
        assert abs(now.correct - found[recipe].correct) <= 1, recipe


@pytest.fixture
def folder(tmp_path):
    row = store.Row(NAME, RECIPE, Accuracy(500, 597), zoo.card(NAME).sha256, "digits")
    store.append(tmp_path / f"{NAME}.parquet", [row])
    provenance.add(tmp_path / f"{NAME}.parquet", NAME, row.weights, "python -m something")
    return tmp_path


def test_a_file_and_its_note_are_read_back(folder):
    known = results.read(NAME, folder)
    assert known.found == {RECIPE: Accuracy(500, 597)}
    assert known.note.command == "python -m something" and known.note.machine
    assert results.read("resnet18-digits", folder) is None


def test_csv_is_read_where_there_is_no_parquet(folder):
    file = folder / f"{NAME}.parquet"
    store.append(file.with_suffix(".csv"), store.read(file).values())
    file.unlink()
    assert results.read(NAME, folder).found == {RECIPE: Accuracy(500, 597)}


def test_float32_stands_before_other_numbers_and_more_images_before_fewer(folder):
    file, sha = folder / f"{NAME}.parquet", zoo.card(NAME).sha256
    store.append(
        file,
        [
            store.Row(NAME, RECIPE, Accuracy(1, 597), sha, "digits", "bfloat16"),
            store.Row(NAME, RECIPE, Accuracy(2, 100), sha, "digits"),
            store.Row(NAME, RECIPE.replace(seed=1), Accuracy(3, 597), sha, "digits", "bfloat16"),
            store.Row(NAME, RECIPE.replace(seed=2), Accuracy(4, 597), "0" * 64, "digits"),
        ],
    )
    assert results.read(NAME, folder).found == {
        RECIPE: Accuracy(500, 597), RECIPE.replace(seed=1): Accuracy(3, 597),
    }  # fmt: skip


def test_results_of_other_weights_are_left_out(folder):
    note = folder / f"{NAME}.json"
    note.write_text(json.dumps(json.loads(note.read_text()) | {"weights": "0" * 64}))
    assert results.read(NAME, folder) is None
    note.unlink()
    assert results.read(NAME, folder) is None


def test_the_same_run_is_noted_once_and_other_weights_are_refused(folder):
    file = folder / f"{NAME}.parquet"
    provenance.add(file, NAME, zoo.card(NAME).sha256, "python -m something")
    assert len(provenance.read(file).runs) == 1
    provenance.add(file, NAME, zoo.card(NAME).sha256, "python -m another")
    assert provenance.read(file).command == "python -m another"
    with pytest.raises(DataError, match="Name another file"):
        provenance.add(file, NAME, "f" * 64, "python -m something")


@pytest.mark.parametrize("text", ["", "{", "[]", '{"network": "a", "weights": "b", "runs": []}'])
def test_a_damaged_note_is_a_sentence(folder, text):
    (folder / f"{NAME}.json").write_text(text)
    with pytest.raises(DataError, match="Restore it"):
        results.read(NAME, folder)
