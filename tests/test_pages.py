"""Pages of the experiments: they open from a link, measure, stop, and lose nothing."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
from streamlit.testing.v1 import AppTest

from app import runs
from core import store, sweep

ROOT = Path(__file__).resolve().parent.parent
PAGES = ("sweep", "whole", "tuning", "divergence", "landscape", "ablations")
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
        assert len(at.subheader) == 1 and button(at, "Measure here", "Hier messen")


def test_what_a_page_is_asked_for_stands_in_the_link(opened):
    at = opened("whole", spread="budget", images="all")
    # Pages change what the link says of the network, and keep what they were asked for.
    assert {"spread": "budget", "images": "all", "group": "0"}.items() <= link(at).items()
    at = opened("ablations", ablation="nonsense")
    assert not at.exception and "ablation" not in link(at)


def test_a_sweep_is_measured_and_found_again_after_a_restart(opened):
    at = opened("sweep")
    button(at, "Measure here").click().run()
    until(at, whole)
    (file,) = runs.folder().glob("*.csv")
    rows = list(store.read(file).values())
    assert len(rows) == 1 + 2 * len(sweep.SPARSITIES)
    kept = {row.recipe.sparsity: row.right for row in rows if row.recipe.rule == "released"}
    assert kept[0.1].mean > 0.9 and {row.right.total for row in rows} == {597}

    for key in list(runs._known):
        runs.forget(key)  # as after a restart: nobody remembers the run
    again = opened("sweep")
    assert whole(again) and not button(again, "Measure here", "Go on")


def test_a_cancelled_sweep_goes_on_where_it_stood(opened):
    at = opened("sweep", scope="all")
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
