"""The page Splits: draws what is there, trains, pauses, and finds what it has left."""

from __future__ import annotations

import json
import re
import shutil
import time

import pytest
import split_sample
from test_pages import button, link, opened, until, whole  # noqa: F401

from app import runs
from app.parts import splitting
from core import results, split_store, split_training
from core.recipe import Recipe
from core.split_plan import PRESETS, Fusion
from core.split_workers import Process
from core.splits import Splits

#: What the page asks for with the link of these tests.
ASKED = PRESETS["digits-minute"].replace(recipe=Recipe(groups="all", sparsity=0.7))


def shown(at) -> str:
    return " ".join(one.value for one in (*at.markdown, *at.caption, *at.info))


def keep(result, file) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    split_store.write_result(file.parent, result)
    (file.parent / split_store.RESULT).rename(file)


@pytest.fixture
def shipped(tmp_path, monkeypatch):
    """A folder of recorded results that a test can write to; it holds what ships."""
    shutil.copytree(results.FOLDER, tmp_path / "results")
    monkeypatch.setattr(results, "FOLDER", tmp_path / "results")
    return tmp_path / "results"


def test_a_result_that_is_kept_is_drawn_at_once(opened):  # noqa: F811
    keep(split_sample.result(ASKED), splitting.folder() / f"run-{ASKED.key}.json")
    at = opened("splits")
    assert not at.exception and not at.error
    assert whole(at) and not button(at, "Measure here", "Go on")
    told = shown(at)
    assert "FaP is 1.50 times as fast" in told and "PaF is 2.00 times" in told
    (table,) = at.dataframe
    assert list(table.value["published"]) == ["–", "1.31", "1.42"]
    assert "not on this machine" in told, "plans need the networks"
    # Other choices ask for other runs.
    for other in ({"split": "folds-3"}, {"inside": "pruning"}, {"sparsity": "0.5"}, {"seed": "1"}):
        at = opened("splits", **other)
        assert button(at, "Measure here") and not at.dataframe, other


def test_choices_become_the_plan_that_is_run(opened, monkeypatch):  # noqa: F811
    asked = []
    monkeypatch.setattr(splitting, "saved", asked.append)
    given = {"split": "folds-4", "inside": "pruning", "sparsity": "0.3", "seed": "5"}
    at = opened("splits", **given)
    plan = asked[-1]
    assert plan.splits == Splits("folds", 4) and plan.seeds == (5,)
    assert plan.recipe == Recipe(groups="all", sparsity=0.3, rule="select")
    assert given.items() <= link(at).items()
    asked.clear()
    opened("splits", sparsity="0.5")
    assert asked[-1] == PRESETS["digits-minute"], "the command's own run"


def test_a_recorded_run_is_drawn_where_there_is_one(opened, shipped):  # noqa: F811
    name = "vgg11_bn-cifar10"
    (shipped / f"splits-{name}.json").unlink(missing_ok=True)
    at = opened("splits", network=name)
    (how,) = at.code
    assert "recorded yet" in shown(at) and f"core splits --network {name}" in how.value
    assert not at.dataframe and not button(at, "Measure here")
    button(at, "Digits: 2 halves, about a minute").click().run()
    assert link(at)["network"] == "vgg11_bn-digits" and button(at, "Measure here")

    keep(split_sample.result(PRESETS["cifar-hours"]), shipped / f"splits-{name}.json")
    at = opened("splits", network=name)
    assert not at.exception and not at.error and not at.code
    assert "FaP is 1.50 times as fast" in shown(at) and "Recorded on 2026-01-02" in shown(at)
    theirs = r"published are 84\.5.?% to 86\.1.?% and 89\.0.?% to 89\.5.?% \(300 epochs\)"
    assert re.search(theirs, shown(at))
    seeds = next(one for one in at.button_group if one.key == f"splits_seed_{name}")
    seeds.set_value([1]).run()
    assert not at.exception and "FaP is 1.50 times as fast" in shown(at)


def test_a_recorded_curve_is_drawn_where_there_is_one(opened, shipped):  # noqa: F811
    at = opened("splits")
    assert button(at, "Measure the curve") and "Down to" not in shown(at)
    curve = split_sample.curve(PRESETS["digits-minute"])
    split_store.write(shipped / "shares-vgg11_bn-digits.json", json.dumps(curve.as_dict()).encode())
    assert "Down to 1/2" in shown(opened("splits"))


def test_a_damaged_result_is_named(opened):  # noqa: F811
    file = splitting.folder() / f"run-{ASKED.key}.json"
    file.parent.mkdir(parents=True)
    file.write_text("{")
    at = opened("splits")
    (error,) = at.error
    assert file.name in error.value and not at.exception


def test_a_run_tells_what_its_workers_do_and_ends_them_when_paused(opened, monkeypatch):  # noqa: F811
    hired = []

    class Watched(Process):
        def _started(self):
            hired.append(super()._started())
            return hired[-1]

    monkeypatch.setattr(split_training, "Process", Watched)
    monkeypatch.setattr(split_training.os, "cpu_count", lambda: 2)
    at = opened("splits")
    button(at, "Measure here").click().run()
    (job,) = runs._known.values()
    until(at, lambda at: "part 2 of 2: training" in job.sentence and len(hired) == 2)
    assert "part 1 of 2: training, epoch 1 of 8" in job.sentence
    # The folder is one run's at a time: another one waits for its turn.
    button(at, "Measure the curve").click().run()
    other = next(one for one in runs._known.values() if one is not job)
    until(at, lambda at: "another run" in other.sentence)
    other.cancel()
    button(at, "Pause").click().run()
    assert job._done.wait(10) and other._done.wait(10)
    assert [one.poll() is not None for one in hired] == [True, True], "no process is left behind"
    assert button(at.run(), "Go on")


def test_a_preset_of_the_ablations_leads_here(opened):  # noqa: F811
    at = opened("ablations")
    button(at, "FaP with two folds of the digits").click().run()
    assert not at.exception
    assert {"network": "vgg11_bn-digits", "sparsity": "0.5"}.items() <= link(at).items()
    assert button(at, "Measure the curve"), "this is the page"


@pytest.mark.slow
def test_a_run_goes_on_where_it_was_paused_and_is_found_after_a_restart(opened, monkeypatch):  # noqa: F811
    small = PRESETS["digits-minute"].replace(
        methods=("fap",), crops=((2, 32),), pruned_epochs=0, fused_epochs=1, limit=100,
        fusion=Fusion(samples=20),
    )  # fmt: skip
    monkeypatch.setattr(splitting, "preset", lambda network: small)
    at = opened("splits")
    button(at, "Measure here").click().run()
    (job,) = runs._known.values()
    until(at, lambda at: job.share > 0.2)
    button(at, "Pause").click().run()
    assert job._done.wait(10) and not whole(at)
    at.run()
    button(at, "Go on").click().run()
    until(at, whole, 120)
    (again,) = runs._known.values()
    assert again is not job and again.seconds < 120
    (told,) = again.result.runs
    assert list(told.timelines) == ["fap"] and len(at.dataframe) == 1
    # The plan between the two networks is that of the run.
    until(at, lambda at: any("Outputs of channels" in one.value for one in at.markdown))
    for key in list(runs._known):
        runs.forget(key)
    began = time.monotonic()
    at = opened("splits")
    assert whole(at) and len(at.dataframe) == 1 and time.monotonic() - began < 30
