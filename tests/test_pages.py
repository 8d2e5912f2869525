"""Pages of the experiments: they open from a link, measure, stop, and lose nothing."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
from streamlit.testing.v1 import AppTest
from widgets import drawn

from app import runs
from core import store, sweep

ROOT = Path(__file__).resolve().parent.parent
PAGES = ("sweep", "whole", "tuning", "divergence", "landscape", "ablations", "splits")
LINK = {"network": "vgg11_bn-digits", "group": "0", "sparsity": "0.7"}


@pytest.fixture
def opened(no_images):
    """Opens a page with a link; afterwards nothing runs any more."""

    def open_page(page: str, **link: str) -> AppTest:
        at = AppTest.from_file(str(ROOT / "app" / "main.py"), default_timeout=60)
        at.query_params.update(LINK | link)
        at.run()
        return at.switch_page(f"views/{page}.py").run()

    yield open_page
    for key in list(runs._known):
        runs.forget(key)


def link(at: AppTest) -> dict[str, str]:
    return {k: v[0] if isinstance(v, list) else v for k, v in at.query_params.items()}


def button(at: AppTest, *labels: str):
    return next((one for one in at.button if one.label in labels), None)


def until(at: AppTest, done, seconds: float = 60) -> AppTest:
    """Draw the page again and again, as the browser does, until something holds."""
    end = time.monotonic() + seconds
    while not done(at):
        assert time.monotonic() < end and not at.exception, [e.message for e in at.exception]
        time.sleep(0.3)
        at.run()
    return at


def whole(at: AppTest) -> bool:
    return any("measured on this machine" in one.value for one in at.caption)


@pytest.mark.parametrize("page", PAGES)
def test_a_page_opens_in_both_languages_and_says_what_to_do(opened, page):
    for lang in ("en", "de"):
        at = opened(page, lang=lang)
        assert not at.exception and not at.error
        assert len(at.subheader) == 1
        recorded = any("recorded" in c.value or "aufgezeichnet" in c.value for c in at.caption)
        assert button(at, "Measure here", "Hier messen") or (page == "sweep" and recorded)


def test_what_a_page_is_asked_for_stands_in_the_link(opened):
    at = opened("whole", spread="budget", images="all")
    # Pages change what the link says of the network, and keep what they were asked for.
    assert {"spread": "budget", "images": "all", "group": "0"}.items() <= link(at).items()
    at = opened("ablations", ablation="nonsense")
    assert not at.exception and "ablation" not in link(at)


def test_a_sweep_is_measured_and_found_again_after_a_restart(opened):
    at = opened("sweep", numbers="here")
    button(at, "Measure here").click().run()
    until(at, whole)
    (file,) = runs.folder().glob("*.csv")
    rows = list(store.read(file).values())
    assert len(rows) == 1 + 2 * len(sweep.SPARSITIES)
    kept = {row.recipe.sparsity: row.right for row in rows if row.recipe.rule == "released"}
    assert kept[0.1].mean > 0.9 and {row.right.total for row in rows} == {597}

    for key in list(runs._known):
        runs.forget(key)  # as after a restart: nobody remembers the run
    again = opened("sweep", numbers="here")
    assert whole(again) and not button(again, "Measure here", "Go on")


def test_a_cancelled_sweep_goes_on_where_it_stood(opened):
    at = opened("sweep", numbers="here", groups="1,2,3,4,5,6,7")
    button(at, "Measure here").click().run()
    (job,) = runs._known.values()
    until(at, lambda at: job.result)
    began = time.monotonic()
    button(at, "Cancel").click().run()
    assert not job.running
    job._done.wait(10)
    assert time.monotonic() - began < 5, "it stops between two networks, not after a group"
    held = dict(job.result)
    assert 0 < len(held) < 1 + 8 * 2 * len(sweep.SPARSITIES)
    at.run()
    button(at, "Go on").click().run()
    (again,) = runs._known.values()
    assert again is not job
    until(at, lambda at: again.result)
    assert held.items() <= dict(again.result).items(), "nothing is lost"


def small(at: AppTest) -> list[str]:
    """The titles of the panels side by side."""
    return [one.value for one in at.markdown if one.value.startswith("**Group")]


def test_what_is_recorded_is_drawn_at_once_and_only_the_rest_is_measured(opened):
    at = opened("sweep", group="6")
    assert any("All of it is recorded" in one.value for one in at.caption)
    assert not button(at, "Measure here") and not small(at)
    drawn(at, "multiselect", "beside_rules").select("average").run()
    assert link(at)["rules"] == "average" and button(at, "Measure here")
    button(at, "Measure here").click().run()
    until(at, whole)
    (job,) = runs._known.values()
    measured = {one.rule for one in job.result}
    assert measured == {"average"} and len(job.result) == len(sweep.SPARSITIES)
    assert any("`average` falls suddenly" in one.value for one in at.markdown)


def test_groups_stand_side_by_side_and_follow_the_link(opened):
    at = opened("sweep", group="6", groups="0,3,99", importances="lamp,nonsense")
    assert len(small(at)) == 3 * 2 and "lamp" in small(at)[1]
    assert {"groups": "0,3", "importances": "lamp"}.items() <= link(at).items()
    pills = next(one for one in at.button_group if one.key == "beside_groups")
    pills.select("1").run()
    assert link(at)["groups"] == "0,3,1" and len(small(at)) == 4 * 2
    # What becomes the choice itself stands beside it no longer.
    at.sidebar.selectbox(key="group").set_value(3).run()
    assert not at.exception and link(at)["groups"] == "0,1" and len(small(at)) == 3 * 2


def test_the_map_shows_the_way_that_is_picked(opened):
    at = opened("sweep", group="6", rules="best")
    shown = at.selectbox(key="map_of")
    assert shown.options == ["released", "best"]
    shown.set_value("best").run()
    assert any("Gain of `best`" in one.value for one in at.markdown)


def test_signs_of_failure_are_named_on_the_sweep(opened):
    at = opened("sweep", group="6", sparsity="0.95")
    told = [one.value for one in at.markdown if "troubleshoot" in one.value]
    assert any("Plain pruning falls suddenly between 40" in one for one in told)
    until(at, lambda at: any("fused outputs" in one.value for one in at.markdown))
    here = [one.value for one in at.markdown if "fused outputs" in one.value]
    assert "95" in here[0] and "200 images" in here[0]


@pytest.mark.parametrize("spread", ["even", "budget"])
def test_whole_networks_are_timed_and_found_again_after_a_restart(opened, monkeypatch, spread):
    from app.parts import timing

    monkeypatch.setattr(timing, "RUNS", {1: 3})
    at = opened("whole", spread=spread)
    assert not any("of the time" in one.value for one in at.markdown)
    button(at, "Take the time here").click().run()
    until(at, whole)
    (job,) = runs._known.values()
    rows = job.result.rows()
    assert rows[0].ratio.median == 1 and rows[0].macs == 1 and rows[0].latency.runs == 3
    assert [one.macs for one in rows] == sorted((one.macs for one in rows), reverse=True)
    (table,) = at.dataframe
    assert len(table.value) == 9 and table.value.iloc[0, 0] == "0\N{NO-BREAK SPACE}%"
    for key in list(runs._known):
        runs.forget(key)
    again = opened("whole", spread=spread)
    assert whole(again) and not button(again, "Take the time here")


def test_two_people_who_ask_for_the_same_see_one_run(opened):
    one, other = opened("divergence"), opened("divergence")
    button(one, "Measure here").click().run()
    (job,) = runs._known.values()
    other.run()
    assert button(other, "Cancel") or whole(other)
    until(other, whole)
    assert len(runs._known) == 1 and runs._known.popitem()[1] is job


def test_divergence_tells_what_the_library_computes(opened):
    at = opened("divergence")
    button(at, "Measure here").click().run()
    until(at, whole)
    told = next(one.value for one in at.markdown if "away from the dense ones" in one.value)
    (job,) = runs._known.values()
    distances, operations = job.result
    for name in ("pruned", "fused"):
        assert f"{distances.mean(name).mean:.2f}" in told
    assert distances.done == 597 and operations


def test_a_preset_leads_to_its_page_and_choice(opened):
    at = opened("ablations")
    button(at, "Masses on group 0 of ResNet18 at 30 %").click().run()
    assert not at.exception
    assert {"network": "resnet18-cifar10", "sparsity": "0.3"}.items() <= link(at).items()
