"""Measured accuracies in a file: what goes in comes out, in every format, once, and whole."""

from __future__ import annotations

import json
import multiprocessing
import sys
from dataclasses import fields

import pytest

from core import provenance, store, zoo
from core.errors import DataError, PackageMissing
from core.evaluate import Accuracy
from core.recipe import Recipe
from core.store import Row

NAME = "vgg11_bn-digits"
SHA = "a" * 64
SUFFIXES = tuple(store.KINDS)


def row(right: int = 500, total: int = 597, network: str = NAME, **choices) -> Row:
    return Row(network, Recipe(**choices), Accuracy(right, total), SHA, "digits")


#: Recipes with all that a field can hold.
ALL_SORTS = [
    row(),
    row(groups="all", sparsity=0.3),
    row(groups=(3, 0), sparsity=(0.25, 0.5), rule="select"),
    row(groups=(6,), keep="by-hand", kept=((0, 3, 4),)),
    row(importance="taylor", data="digits", samples=64, seed=3, epsilon=0.125),
    row(solver="sinkhorn", total=100, right=7),
]


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_what_goes_in_comes_out(tmp_path, suffix):
    path = tmp_path / "new" / f"measured{suffix}"
    assert store.read(path) == {}
    assert store.append(path, ALL_SORTS) == len(ALL_SORTS)
    assert list(store.read(path).values()) == ALL_SORTS
    assert not list(path.parent.glob(".*.partial"))


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_a_row_that_is_there_is_not_doubled_and_stays_as_it_was(tmp_path, suffix):
    path = tmp_path / f"measured{suffix}"
    store.append(path, [row(500)])
    before = path.read_bytes()
    assert store.append(path, [row(400), row(300)]) == 0
    assert path.read_bytes() == before
    assert store.append(path, [row(400), row(300, sparsity=0.7), row(1, sparsity=0.7)]) == 1
    assert [one.right.correct for one in store.read(path).values()] == [500, 300]


def test_the_key_changes_with_everything_but_the_count():
    one = row()
    others = [
        row(total=598), row(network="resnet18-digits"), Row(NAME, one.recipe, one.right, "b" * 64),
        Row(NAME, one.recipe, one.right, SHA, "cifar10"),
        Row(NAME, one.recipe, one.right, SHA, "digits", "bfloat16"), *ALL_SORTS[1:],
    ]  # fmt: skip
    assert len({one.key, *(other.key for other in others)}) == 1 + len(others)
    assert row(3).key == one.key


def test_every_field_of_the_recipe_is_a_column():
    assert {field.name for field in fields(Recipe)} < set(store.COLUMNS)
    assert tuple(row().as_dict()) == store.COLUMNS


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_a_column_that_is_missing_means_the_default(tmp_path, suffix):
    path = tmp_path / f"measured{suffix}"
    told = dict(network=NAME, groups="[6]", sparsity=0.3, right=12, total=597)
    if suffix == ".parquet":
        import pandas

        pandas.DataFrame([told]).to_parquet(path)
    elif suffix == ".csv":
        path.write_text("network,groups,sparsity,right,total\n" + f"{NAME},[6],0.3,12,597\n")
    else:
        path.write_text(json.dumps(told) + "\n")
    (found,) = store.read(path).values()
    assert found == Row(NAME, Recipe(groups=(6,), sparsity=0.3), Accuracy(12, 597), "", "digits")


OLD = "network,group,sparsity,importance,rule,samples,seed,numbers,right,total\n"


@pytest.fixture
def old(tmp_path):
    """A file of the first kind, with its note."""
    path = tmp_path / "old" / "measured.csv"
    path.parent.mkdir()
    path.write_text(
        OLD + f"{NAME},0,0.1,l1,select,256,0,float32,594,597\n"
        f"{NAME},7,0.7,taylor,best,64,2,bfloat16,300,597\n"
    )
    provenance.add(path, NAME, SHA, "python -m old")
    return path


def test_old_files_are_read(old):
    first, second = store.read(old).values()
    assert first == row(594, groups=(0,), sparsity=0.1, rule="select")
    recipe = Recipe(
        groups=(7,), sparsity=0.7, importance="taylor", rule="best", samples=64, seed=2,
        data="digits",
    )  # fmt: skip
    assert second == Row(NAME, recipe, Accuracy(300, 597), SHA, "digits", "bfloat16")


def test_merging_brings_rows_and_where_they_are_from(old, tmp_path, capsys):
    into = tmp_path / "all.parquet"
    store.append(into, [row(1, groups=(0,), sparsity=0.1, rule="select")])
    provenance.add(into, NAME, SHA, "python -m new")
    assert store.main(["merge", str(into), str(old)]) == 0
    assert "1 rows are new" in capsys.readouterr().out
    assert [one.right.correct for one in store.read(into).values()] == [1, 300]
    commands = [run["command"] for run in provenance.read(into).runs]
    assert commands == ["python -m new", "python -m old"]
    assert store.merge(into, [old]) == 0 and len(provenance.read(into).runs) == 2


def test_merging_refuses_other_weights_and_unknown_ones(old, tmp_path, capsys):
    into = tmp_path / "all.csv"
    provenance.add(into, NAME, "b" * 64, "python -m new")
    assert store.main(["merge", str(into), str(old)]) == 1
    assert "Name another file" in capsys.readouterr().err and not into.exists()
    provenance.beside(old).unlink()
    with pytest.raises(DataError, match="with which weights"):
        store.merge(tmp_path / "other.csv", [old])
    with pytest.raises(DataError, match="no results"):
        store.merge(tmp_path / "other.csv", [tmp_path / "nowhere.csv"])


def test_the_note_of_json_lines_is_another_file(tmp_path):
    path = tmp_path / "measured.json"
    store.append(path, [row()])
    provenance.add(path, NAME, SHA, "python -m new")
    assert list(store.read(path).values()) == [row()]
    assert provenance.read(path).command == "python -m new"


def test_other_images_of_the_same_name_are_refused(tmp_path):
    path = tmp_path / "measured.csv"
    provenance.add(path, NAME, SHA, "one", "1234")
    provenance.add(path, NAME, SHA, "two")  # somebody who does not know
    assert provenance.read(path).images == "1234"
    with pytest.raises(DataError, match="other test images"):
        provenance.add(path, NAME, SHA, "three", "5678")


@pytest.mark.parametrize(
    ("name", "text", "says"),
    [
        ("a.csv", "a,b\n1,2\n", "does not hold recorded accuracies"),
        ("a.csv", OLD + f"{NAME},0,0.1,l1,best,256,0,float32,5", "Line 2 of .* is cut"),
        ("a.csv", OLD + f"{NAME},0,0.1,l1,best,256,0,float32,x,597\n", "Line 2 of .* is cut"),
        ("a.csv", OLD + f"{NAME},0,0.1,l1,best,256,0,float32,9,5\n", "9 of 5 images"),
        ("a.csv", OLD + f"{NAME},0,0.1,l1,magic,256,0,float32,5,9\n", "no rule called 'magic'"),
        ("a.csv", OLD + f"{NAME},0,0.1,l1,best,256,0,float32,5,9,7\n", "more values than"),
        ("a.csv", b"network,right,total\n\xff\xfe,1,2\n", "damaged"),
        ("a.csv", "network,right,total,mood\na,1,2,good\n", "'mood'"),
        ("a.json", '{"network": "a"\n', "damaged"),
        ("a.json", "[1]\n", "no object"),
        ("a.json", '{"network": "a", "right": 1.5, "total": 2}\n', "whole number"),
        ("a.parquet", "PAR1 and nothing else", "damaged"),
        ("a.txt", "", r"\.csv, \.parquet, \.json"),
    ],
)
def test_a_damaged_file_is_a_sentence_and_stays_as_it_is(tmp_path, name, text, says):
    path = tmp_path / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    before = path.read_bytes()
    for attempt in (lambda: store.read(path), lambda: store.append(path, [row()])):
        with pytest.raises(DataError, match=says) as caught:
            attempt()
        assert str(caught.value).endswith(".")
    assert path.read_bytes() == before


def test_a_missing_pyarrow_is_a_sentence(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(PackageMissing, match="name a .csv file"):
        store.append(tmp_path / "a.parquet", [row()])
    store.append(tmp_path / "a.csv", [row()])


def test_a_folder_that_can_not_be_is_a_sentence(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(DataError, match="can't be written"):
        store.append(tmp_path / "file" / "a.csv", [row()])


def test_a_write_that_fails_leaves_the_file_whole(tmp_path, monkeypatch):
    path = tmp_path / "a.csv"
    store.append(path, [row()])
    before = path.read_bytes()

    def half(place, rows):
        place.write_text("network,ri")
        raise OSError("the disk is full")

    monkeypatch.setitem(store.KINDS, ".csv", store.Kind(store.KINDS[".csv"].read, half))
    with pytest.raises(DataError, match="the disk is full"):
        store.append(path, [row(sparsity=0.7)])
    assert path.read_bytes() == before


def _write(path, seed: int) -> None:
    for right in range(10):
        store.append(path, [row(right, seed=seed, total=1000 + right), row(5, total=9)])


@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
def test_processes_append_at_the_same_time(tmp_path, suffix):
    """Each has rows of its own, and all have one row in common."""
    path = tmp_path / f"a{suffix}"
    context = multiprocessing.get_context("fork")
    writers = [context.Process(target=_write, args=(path, seed)) for seed in range(4)]
    for one in writers:
        one.start()
    for one in writers:
        one.join(60)
    assert [one.exitcode for one in writers] == [0] * 4
    found = list(store.read(path).values())
    assert len(found) == 4 * 10 + 1
    assert {(one.recipe.seed, one.right.correct) for one in found if one.right.total > 9} == {
        (seed, right) for seed in range(4) for right in range(10)
    }


def test_a_lock_that_stays_taken_is_a_sentence(tmp_path):
    path = tmp_path / "a.csv"
    with store.locked(path), pytest.raises(DataError, match="busy here"):
        with store.locked(path, wait=0, busy="It is busy here."):
            pass
    with store.locked(path, wait=0):  # free again
        pass


def test_the_networks_that_ship_fill_in_their_images(tmp_path):
    path = tmp_path / "a.csv"
    path.write_text("network,right,total\nresnet18-cifar10,1,2\nmy.net:make,1,2\n")
    assert [one.images for one in store.read(path).values()] == [
        zoo.network("resnet18-cifar10").images, "",
    ]  # fmt: skip
