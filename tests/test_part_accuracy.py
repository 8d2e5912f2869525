"""Accuracy on the page: recorded at once, marked as such, then live; hidden until it is guessed."""

from __future__ import annotations

import json
import re

import pytest
from test_app import charts, fine, finish, link, opened, said  # noqa: F401
from widgets import drawn

import core
from app import cache
from app.language import texts
from app.parts import predict
from core import provenance, results, store, zoo
from core.evaluate import Accuracy

DIGITS = dict(network="vgg11_bn-digits", group="6", sparsity="0.5")


def alt(at, word: str) -> str:
    return next((a for a in charts(at) if word in a), "").replace("\N{NO-BREAK SPACE}", " ")


@pytest.fixture
def cifar_results(tmp_path, monkeypatch):
    """Results of a network whose images are not here, with numbers that stand nowhere else."""
    name, rows = "resnet20-cifar10", []
    for sparsity, pruned, fused in ((0.3, 6123, 8345), (0.5, 3217, 7654), (0.7, 1432, 4567)):
        for rule, right in (("select", pruned), ("released", fused)):
            recipe = core.Recipe(groups=(2,), sparsity=sparsity, rule=rule)
            sha = zoo.card(name).sha256
            rows.append(store.Row(name, recipe, Accuracy(right, 10_000), sha, "cifar10"))
    store.append(tmp_path / f"{name}.parquet", rows)
    provenance.add(tmp_path / f"{name}.parquet", name, sha, "python -m x y")
    monkeypatch.setattr(results, "FOLDER", tmp_path)
    return dict(network=name, group="2", sparsity="0.5")


#: What none but the recorded accuracies says.
SECRET = re.compile(r"32\.2|76\.5|61\.2|83\.5|14\.3|45\.7|55 points|11 points")


def test_without_images_what_was_recorded_is_shown_and_called_so(no_images, cifar_results):  # noqa: F811
    at = finish(opened(**cifar_results))
    fine(at)
    assert "pruned 32.2 % (recorded), fused 76.5 % (recorded)" in alt(at, "Top-1")
    assert "Plain pruning loses 55 points here; fusion loses 11." in said(at)
    assert "Recorded on" in said(at) and "10,000 test images" in said(at)
    help_ = next(c.proto.help for c in at.caption if c.value.startswith("Recorded on"))
    assert "python -m x y" in help_ and "commit" in help_ and "PyTorch" in help_
    curves = alt(at, "Recorded accuracy against")
    assert "61.2 % at a sparsity of 30 %, 14.3 % at 70 %" in curves


def test_what_is_not_recorded_is_not_made_up(no_images, cifar_results):  # noqa: F811
    at = finish(opened(**cifar_results | {"sparsity": "0.55"}))
    fine(at)
    assert alt(at, "Top-1") == "" and "Plain pruning loses" not in said(at)
    assert "Recorded for the dense network" in said(at)
    assert "55 % is chosen" in alt(at, "Recorded accuracy against"), "the group's curves are"
    at = finish(opened(**cifar_results | {"cost": "l2"}))
    assert not any("recorded" in a.lower() for a in charts(at))


def test_recorded_turns_into_live(no_images):  # noqa: F811
    at = finish(opened(**DIGITS))
    fine(at)
    told = alt(at, "Top-1")
    assert "recorded" not in told and "Live: all 597 test images" in said(at)
    recipe = core.Recipe(groups=(6,), sparsity=0.5)
    shipped = results.read("vgg11_bn-digits").found[recipe]
    live = at.session_state["run"].result["fused"].accuracy
    assert abs(live.correct - shipped.correct) <= 1


def test_a_damaged_file_of_results_is_a_sentence_and_counting_goes_on(
    no_images, tmp_path, monkeypatch  # noqa: F811
):  # fmt: skip
    monkeypatch.setattr(results, "FOLDER", tmp_path)
    (tmp_path / "vgg11_bn-digits.csv").write_text("a,b\n1,2\n")
    at = finish(opened(**DIGITS))
    fine(at)
    assert "does not hold recorded accuracies" in said(at) and "Live: all 597" in said(at)


def everything(at) -> str:
    """All that the browser is sent of the page, but for the sidebar's network (dense only)."""
    drawn = [part.proto.bytes.decode() for part in at.get("bidi_component") if part.proto.bytes]
    told = [m.value for m in at.metric] + [m.delta for m in at.metric]
    sent = json.dumps([said(at), *told, *(json.dumps(json.loads(one)) for one in drawn)])
    return sent.replace("\N{NO-BREAK SPACE}", " ").replace("\\u00a0", " ")


@pytest.mark.parametrize("more", [{}, {"pin": "network=resnet20-cifar10&group=2&sparsity=0.7"}])
def test_nothing_leaks_before_the_guess(no_images, cifar_results, more):  # noqa: F811
    shown = finish(opened(**cifar_results, **more))
    assert SECRET.search(everything(shown)), "the test knows what to look for"
    at = finish(opened(**cifar_results, **more, predict="yes"))
    fine(at)
    assert not SECRET.search(said(at)), SECRET.search(said(at))
    assert not any("Top-1" in a or "Recorded accuracy" in a for a in charts(at))
    assert not any("loses" in m.value and "points" in m.value for m in at.markdown)
    at.slider(key="guess_pruned").set_value(70).run()
    at.slider(key="guess_fused").set_value(75).run()
    assert not any("Top-1" in a for a in charts(at)), "setting a guess reveals nothing"
    at.button(key="reveal").click().run()
    fine(at)
    assert "pruned" in alt(at, "Top-1")
    assert "You expected 70 % after pruning: 38 points too high." in said(at)
    assert "75 % after fusion: 1.5 points too low" in said(at)
    assert "Expected at 50 %: 70 % pruned, 75 % fused" in alt(at, "Recorded accuracy against")
    assert link(at)["predict"] == "yes"
    drawn(at, "slider", "percent").set_value(70).run()
    fine(at)
    assert not any("Top-1" in a for a in charts(at)), "a new choice hides again"


def test_a_live_accuracy_does_not_leak_either(no_images):  # noqa: F811
    at = finish(opened(**DIGITS, rule="average", predict="yes"))
    fine(at)
    assert at.session_state["run"].result["fused"].total == 597, "counted meanwhile"
    assert not any("Top-1" in a for a in charts(at))
    at.button(key="reveal").click().run()
    fused = at.session_state["run"].result["fused"].accuracy
    assert f"fused {100 * fused.mean:.1f} %" in alt(at, "Top-1")
    at.button(key="hide").click().run()
    assert not any("Top-1" in a for a in charts(at))


def test_the_whole_curve_can_be_guessed(no_images, cifar_results):  # noqa: F811
    at = finish(opened(**cifar_results, predict="yes"))
    at.session_state["guess_how"] = "curve"
    at.run()
    fine(at)
    assert "Your guess so far" in alt(at, "Your guess")
    at.slider(key="guess_pruned_0.3").set_value(61).run()
    at.button(key="reveal").click().run()
    fine(at)
    # |61 − 61.23|, |50 − 32.17|, |50 − 14.32|; |50 − 83.45|, |50 − 76.54|, |50 − 45.67|
    assert "Over 3 sparsities you were 18 points off for pruning on average, and 21" in said(at)


def test_nothing_is_asked_where_nothing_could_be_revealed(no_images):  # noqa: F811
    at = finish(opened(network="resnet20-cifar10", predict="yes"))
    fine(at)
    assert "reveal" not in [button.key for button in at.button]
    assert "Graph, plan, channels and sizes need no images" in said(at)


@pytest.mark.parametrize(
    ("expected", "told"),
    [(0.9, "10.0 points too high"), (0.7, "10 points too low"), (0.82, "right")],
)
def test_a_guess_is_right_within_the_interval(expected, told):
    real = Accuracy(800, 1000)
    said_ = predict.off((expected, 0.8), real, real, texts("en"))
    assert told.split()[0][:2] in said_ and told.split()[-1] in said_


def test_recorded_results_are_read_once(no_images):  # noqa: F811
    assert cache.recorded("vgg11_bn-digits") is cache.recorded("vgg11_bn-digits")
