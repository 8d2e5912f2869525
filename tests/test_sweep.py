"""A sweep measures what the library computes, once, however often it is killed and restarted."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from itertools import pairwise
from pathlib import Path

import pytest

import core
from core import cli, gains, prefix, provenance, recipe, results, store, sweep, zoo
from core.commands import sweep as command
from core.errors import DataError, PackageMissing, RecipeError
from core.evaluate import Accuracy
from core.experiments import Bench
from core.recipe import Recipe

NAME = "vgg11_bn-digits"
ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def bench() -> Bench:
    return Bench(NAME, 150)


@pytest.fixture
def batches(monkeypatch):
    """Every batch that goes through the networks from now on: how many networks see it."""
    seen: list[int] = []
    real = prefix.Together.__call__

    def watched(together, images):
        seen.append(len(together))
        return real(together, images)

    monkeypatch.setattr(prefix.Together, "__call__", watched)
    return seen


def measured(path: Path) -> dict[Recipe, Accuracy]:
    return {row.recipe: row.right for row in store.read(path).values()}


# What is asked for


def test_entries_are_every_combination_once():
    found = sweep.entries(
        [0, 2, "all"], (0.3, 0.5), ("l1", "taylor"), ("select", "released"),
        ("exact", "sinkhorn"), (0, 1), "digits",
    )  # fmt: skip
    assert found[0] == sweep.DENSE and len(set(found)) == len(found)
    pruned = [one for one in found[1:] if one.rule == "select"]
    fused = [one for one in found if one.rule == "released"]
    assert len(pruned) == 3 * 2 * 2 * 2 and len(fused) == 3 * 2 * 2 * 2 * 2
    assert {one.groups for one in fused} == {(0,), (2,), "all"}
    assert {one.solver for one in pruned} == {"exact"}
    assert all((one.data == "digits") == (one.importance == "taylor") for one in found)


def test_rules_without_a_plan_are_there_once_not_once_a_solver():
    for rule in ("select", "best", "regressed"):
        assert len(sweep.entries([0], (0.5,), rules=(rule,), solvers=("exact", "sinkhorn"))) == 2


def test_plain_pruning_is_one_for_all_ways_to_fuse():
    fused = Recipe(groups=(3,), solver="sinkhorn", epsilon=0.2, source="importance", cost="l2")
    assert recipe.plain(fused) == Recipe(groups=(3,), rule="select")
    looking = Recipe(importance="taylor", data="digits", samples=64, seed=2)
    assert recipe.plain(looking) == looking.replace(rule="select")


def test_chunks_share_a_group_and_stay_within_memory(bench):
    found = sweep.entries(
        range(len(bench.graph.groups)), importances=("l1", "l2"), rules=("select", "best")
    )
    for memory in (sweep.MEMORY, 500_000, 1):
        lots = sweep.chunks(bench, found, memory=memory)
        assert [one for lot in lots for one in lot] == found  # in order, none lost, none twice
        assert all(len({one.groups for one in lot if one != sweep.DENSE}) == 1 for lot in lots)
    assert len(lots) == len(found) - 1  # DENSE goes with the first
    assert len(sweep.chunks(bench, found)) == len(bench.graph.groups)
    assert sweep.chunks(bench, [sweep.DENSE]) == [[sweep.DENSE]]


# What is measured


def test_what_is_measured_is_what_the_library_computes(bench, tmp_path):
    path = tmp_path / "new" / "measured.parquet"
    asked = sweep.entries(
        [0, 6], (0.5, 0.7), ("l1", "taylor"), ("select", "released"), data="digits"
    )
    events = list(sweep.run(bench, asked, path, command="python -m something"))
    found = measured(path)
    assert set(found) == set(asked)
    training = core.images("digits", "train")
    for one in (asked[0], asked[3], asked[-1]):  # the network, fused, and with images
        out = core.compress(bench.module, bench.graph, one, images=training)
        assert found[one] == core.accuracy(out.module, bench.tested, 150), one
    note = provenance.read(path)
    assert (note.network, note.weights, note.images, note.command) == (
        NAME, bench.weights, bench.tested.fingerprint, "python -m something",
    )  # fmt: skip
    assert {row.weights for row in store.read(path).values()} == {bench.weights}

    # The events tell of every network and every image, and add up.
    told = [row.recipe for event in events for row in event.stored]
    assert sorted(map(repr, told)) == sorted(map(repr, asked))
    assert all(event.entries == len(asked) and event.done <= len(asked) for event in events)
    assert all(one.done <= other.done for one, other in pairwise(events))
    assert {event.phase for event in events} == {"making", "counting", "stored"}
    assert [e.step for e in events if e.phase == "counting"] == [100, 150] * 2
    assert events[-1].left == 0 and events[0].left is None
    assert all(event.left > 0 for event in events if event.phase == "counting" and event.done == 0)


def test_what_stands_in_the_file_is_not_measured_again(bench, tmp_path, batches):
    path = tmp_path / "measured.csv"
    first = sweep.entries([0], (0.5,))
    list(sweep.run(bench, first, path))
    assert batches == [3, 3]  # the network, pruned, fused
    assert list(sweep.run(bench, first, path)) == [] and len(batches) == 2
    list(sweep.run(bench, sweep.entries([0, 1], (0.5,)), path))
    assert batches[2:] == [2, 2]
    list(sweep.run(bench, first, path, "bfloat16"))  # other numbers are other rows
    assert len(store.read(path)) == 5 + 3


def test_networks_that_come_out_equal_are_counted_once(bench, tmp_path, batches):
    asked = sweep.entries([0], (0.5,), seeds=(0, 1, 2))  # nothing here is drawn
    list(sweep.run(bench, asked, tmp_path / "measured.csv"))
    assert batches == [3, 3]
    found = measured(tmp_path / "measured.csv")
    assert len(found) == len(asked) == 7
    assert len({found[one] for one in asked if one.rule == "released"}) == 1


def test_the_distances_of_a_group_are_computed_once(tmp_path, monkeypatch):
    bench, seen = Bench(NAME, 20), []
    from core import prepared

    real = prepared.pairwise
    monkeypatch.setattr(prepared, "pairwise", lambda *all_: seen.append(1) or real(*all_))
    list(sweep.run(bench, sweep.entries([0, 3], (0.2, 0.5, 0.7)), tmp_path / "a.csv"))
    assert len(seen) == 2


# Stopping and going on


def test_a_sweep_that_is_stopped_goes_on_from_its_counts(bench, tmp_path, batches):
    asked = sweep.entries([0, 6], (0.5, 0.7))
    whole, path = tmp_path / "whole.csv", tmp_path / "stopped.csv"
    list(sweep.run(bench, asked, whole))
    alone, batches[:] = len(batches), []
    for _ in range(alone):  # stopped after every batch, and started again
        before, running = len(batches), sweep.run(bench, asked, path)
        while len(batches) == before:
            next(running)
        running.close()
    assert len(store.read(path)) == 5 and list(path.parent.glob(".stopped.csv.*.counts"))
    list(sweep.run(bench, asked, path))
    assert measured(path) == measured(whole)
    assert len(batches) == alone == 4, "a batch was counted twice"
    assert not list(path.parent.glob(".*.counts"))


def test_counts_of_other_networks_are_not_gone_on_from(bench, tmp_path, monkeypatch):
    asked, aside = sweep.entries([6], (0.7,)), tmp_path / "a.counts"
    right = list(sweep.count(bench, asked, "float32"))[-1].right
    step = sweep.count(bench, asked, "float32", aside, 0.0)
    while not next(step).counted:
        pass
    step.close()
    told = json.loads(aside.read_text())
    assert told["done"] == 100
    aside.write_text(json.dumps(told | {"right": [0, 0, 0]}))
    went_on = list(sweep.count(bench, asked, "float32", aside))
    assert went_on[-1].right < right and sum(one.fresh for one in went_on) == 50
    # The same recipes, but the code makes other networks of them now.
    small = Bench.small
    monkeypatch.setattr(Bench, "small", lambda b, r: small(b, r.replace(sparsity=0.6)))
    again = list(sweep.count(bench, asked, "float32", aside))
    assert sum(one.fresh for one in again) == 150
    aside.write_text("{")
    with pytest.raises(DataError, match="Remove it"):
        list(sweep.count(bench, asked, "float32", aside))


#: A sweep in a process of its own that tells every batch in a file, and never stops by itself.
ALONE = """
import sys, time
from pathlib import Path
from core import prefix, sweep
from core.experiments import Bench

real = prefix.Together.__call__
def watched(together, images):
    with open(sys.argv[2], "a") as told:
        told.write(f"{len(together)}\\n")
    time.sleep(0.2)
    return real(together, images)

prefix.Together.__call__ = watched
bench = Bench("vgg11_bn-digits")
for _ in sweep.run(bench, sweep.entries([0, 6], (0.5, 0.7)), Path(sys.argv[1]), every=0.0):
    pass
"""


@pytest.mark.slow
def test_killed_in_the_middle_and_started_again(tmp_path, batches):
    path, told = tmp_path / "killed.parquet", tmp_path / "told"
    words = [sys.executable, "-c", ALONE, str(path), str(told)]
    process = subprocess.Popen(words, cwd=ROOT, env=os.environ | {"PYTHONPATH": str(ROOT)})
    try:
        until = time.monotonic() + 120
        # Six batches a group: it dies in the second group, with two of its batches kept.
        while time.monotonic() < until and process.poll() is None:
            kept = [json.loads(one.read_text()) for one in tmp_path.glob(".*.counts")]
            if path.exists() and any(200 <= one["done"] <= 400 for one in kept):
                break
            time.sleep(0.01)
    finally:
        process.send_signal(signal.SIGKILL)
        assert process.wait() == -signal.SIGKILL
    before = told.read_text().splitlines()
    assert len(store.read(path)) == 5, "the first group and the network itself"
    asked = sweep.entries([0, 6], (0.5, 0.7))
    here = Bench(NAME)
    list(sweep.run(here, asked, path))
    whole = tmp_path / "whole.parquet"
    after, batches[:] = list(batches), []
    list(sweep.run(here, asked, whole))
    assert measured(path) == measured(whole) and len(measured(path)) == len(asked)
    twice = len(before) + len(after) - len(batches)
    assert 0 <= twice <= 2, f"{twice} of {len(batches)} batches were counted twice"
    assert 0 < len(after) < len(batches) / 2
    assert not list(tmp_path.glob(".*.counts"))


# What is refused


def test_two_sweeps_on_one_file_are_refused(bench, tmp_path):
    path = tmp_path / "a.csv"
    first = sweep.run(bench, sweep.entries([0], (0.5,)), path)
    next(first)
    with pytest.raises(DataError, match="Another sweep"):
        next(sweep.run(bench, sweep.entries([1], (0.5,)), path))
    first.close()
    list(sweep.run(bench, sweep.entries([1], (0.5,)), path))


def test_a_file_of_other_weights_or_images_is_refused_before_the_work(bench, tmp_path):
    path = tmp_path / "a.csv"
    provenance.add(path, NAME, "f" * 64, "python -m something")
    with pytest.raises(DataError, match="Name another file"):
        next(sweep.run(bench, sweep.entries([0]), path))
    provenance.beside(path).unlink()
    provenance.add(path, NAME, bench.weights, "python -m something", "0123456789abcdef")
    with pytest.raises(DataError, match="other test images"):
        next(sweep.run(bench, sweep.entries([0]), path))


def test_a_group_that_is_not_there_is_refused_before_the_work(bench, tmp_path):
    with pytest.raises(RecipeError, match="no group 99"):
        next(sweep.run(bench, sweep.entries([0, 99]), tmp_path / "a.csv"))
    assert not (tmp_path / "a.csv").exists()


# What it says of groups


def test_the_gain_map_is_arithmetic():
    def right(percent: float) -> Accuracy:
        return Accuracy(round(10 * percent), 1000)

    found = {sweep.DENSE: right(90)}
    for group, pruned in ((0, (90, 88)), (1, (80, 40)), (2, (87, 82))):
        for sparsity, kept in zip((0.3, 0.7), pruned, strict=True):
            one = Recipe(groups=(group,), sparsity=sparsity)
            found |= {one: right(85), one.replace(rule="select"): right(kept)}
    found[Recipe(groups=(1,), sparsity=0.9)] = right(1)  # without plain pruning: no gain
    found[Recipe(groups=(1,), sparsity=0.1)] = right(89)
    found[Recipe(groups=(1,), sparsity=0.1, rule="select")] = right(89)  # in one group only
    found[Recipe(groups="all", sparsity=0.3)] = right(20)
    told = gains.gain_map(found, Recipe(), found[sweep.DENSE])
    assert told.groups == (0, 1, 2) and told.sparsities == (0.1, 0.3, 0.7)
    assert told.cells[1, 0.7].points == pytest.approx(45)
    assert told.cells[0, 0.3].points == pytest.approx(-5)
    assert 3 < told.cells[1, 0.7].allowance < 5
    assert told.common == (0.3, 0.7)
    assert told.losses == pytest.approx({0: 1, 1: 30, 2: 5.5})
    assert [told.kind(group) for group in told.groups] == ["resilient", "volatile", "between"]
    with pytest.raises(DataError, match="Nothing is recorded"):
        gains.gain_map(found, Recipe(rule="best"), found[sweep.DENSE])


# The commands


@pytest.fixture
def run(capsys):
    def run(*arguments: object) -> tuple[int, str, str]:
        code = cli.main([str(one) for one in arguments])
        out, err = capsys.readouterr()
        assert "Traceback" not in err + out
        return code, out, err

    return run


SMALL = ("--groups", "0,6", "--sparsities", "0.3,0.7", "--limit", 40)


@pytest.mark.parametrize("suffix", [".parquet", ".csv", ".json"])
def test_the_command_fills_a_file_and_tells_it(run, tmp_path, suffix):
    out = tmp_path / f"results{suffix}"
    words = ("sweep", "--network", NAME, *SMALL, "--rules", "select,released", "--out", out)
    code, said, err = run(*words, "--json")
    assert code == 0, err
    told = json.loads(said)
    assert told["entries"] == told["measured"] == 9 and len(told["rows"]) == 9
    rows = store.read(out)
    assert {one["key"]: one["right"] for one in told["rows"]} == {
        key: row.right.correct for key, row in rows.items()
    }
    assert "9 of 9 entries" in err
    assert provenance.read(out).command.startswith("python -m core ")
    code, said, _ = run(*words)
    assert code == 0 and "9 entries" in said and "0 of them measured now" in said
    assert "released − select, points" in said and "which is" in said


@pytest.mark.slow
def test_reproduce_measures_what_ships(run, tmp_path):
    words = ("--network", NAME, "--groups", "6", "--sparsities", "0.5", "--importances", "l1")
    code, said, err = run("reproduce", *words, "--out", tmp_path / "new", "--json")
    assert code == 0, err
    (told,) = json.loads(said)
    assert told["entries"] == 1 + 3 and told["file"].endswith(f"{NAME}.parquet")
    found = measured(tmp_path / "new" / f"{NAME}.parquet")
    recorded = results.read(NAME).found
    both = found.keys() & recorded.keys()
    assert {one.rule for one in both} == {"select", "released", "best"}
    for one in both:  # sums differ between processors
        assert abs(found[one].correct - recorded[one].correct) <= 1, one


def test_reproduce_covers_the_tables_that_are_to_ship():
    chosen = cli.parser().parse_args(["reproduce", "--out", "folder"])
    assert chosen.network is None and chosen.groups == ["each"]
    assert chosen.sparsities == (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7)
    assert set(chosen.importances) == {"l1", "taylor", "lamp"}
    assert set(chosen.rules) == {"select", "released", "best"} and chosen.limit is None


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("--groups", "99"), "no group 99"),
        (("--sparsities", "1.5"), "sparsity"),
        (("--rules", "magic"), "no rule called 'magic'"),
        (("--solvers", "magic"), "no solver called 'magic'"),
        (("--seeds", "-1"), "seed"),
        (("--limit", "0"), "limit is 0"),
        (("--out", "results.txt"), ".parquet"),
        (("--out", "there.csv"), "does not hold"),
        (("--out", "there.csv/below.csv"), "there.csv/below.csv"),
    ],
)
def test_bad_input_ends_with_1_and_one_sentence(run, tmp_path, monkeypatch, words, says):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "there.csv").write_text("a,b\n1,2\n")
    code, out, err = run("sweep", "--network", NAME, "--limit", 10, "--out", "a.csv", *words)
    assert code == 1 and out == ""
    sentence = err.splitlines()[-1]
    assert says in sentence and sentence.endswith(".")
    left = {one.name for one in tmp_path.iterdir() if not one.name.startswith(".")}
    assert left == {"there.csv"}


@pytest.mark.parametrize(
    "words",
    [
        (), ("--network", "nobody", "--out", "a.csv"), ("--network", NAME),
        ("--network", NAME, "--out", "a.csv", "--groups", "some"),
        ("--network", NAME, "--out", "a.csv", "--sparsities", "half"),
        ("--network", NAME, "--out", "a.csv", "--rules", ","),
        ("--network", NAME, "--out", "a.csv", "--numbers", "float8"),
    ],
)  # fmt: skip
def test_what_is_not_understood_ends_with_2(run, words):
    code, out, err = run("sweep", *words)
    assert code == 2 and out == "" and err.startswith("usage: python -m core sweep")


def test_without_dask_a_scheduler_is_a_sentence(bench, run, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "distributed", None)
    words = ("sweep", "--network", NAME, *SMALL, "--out", tmp_path / "a.csv")
    code, _, err = run(*words, "--scheduler", "tcp://127.0.0.1:1")
    assert code == 1 and "requirements-dask.txt" in err
    with pytest.raises(PackageMissing):
        list(sweep.run(bench, sweep.entries([0]), tmp_path / "a.csv", scheduler="tcp://x:1"))


def test_durations_are_as_exact_as_they_are_known():
    told = [command.duration(seconds) for seconds in (4.4, 89, 91, 1800, 12_000)]
    assert told == ["4 s", "89 s", "2 min", "30 min", "3 h 20 min"]


def test_the_networks_that_ship_can_be_named():
    for name in zoo.shipped():
        cli.parser().parse_args(["sweep", "--network", name, "--out", "a.csv"])
