"""The page, run by Streamlit's AppTest: every network, links good and bad, no data, bad data."""

from __future__ import annotations

import json
import re
import time
import tomllib
from pathlib import Path

import pytest
from streamlit.testing.v1 import AppTest
from widgets import drawn

import core
from app import cache, jobs
from core import results, zoo

ROOT = Path(__file__).resolve().parent.parent


def opened(**link) -> AppTest:
    at = AppTest.from_file(str(ROOT / "app" / "main.py"), default_timeout=120)
    for name, value in link.items():
        at.query_params[name] = value
    return at.run()


def link(at: AppTest) -> dict[str, str]:
    return {k: v[0] if isinstance(v, list) else v for k, v in at.query_params.items()}


def said(at: AppTest) -> str:
    """All text of the page."""
    kinds = ("title", "subheader", "markdown", "caption", "info", "warning", "error", "success")
    told = (str(part.value) for kind in kinds for part in getattr(at, kind))
    return "\n".join(told).replace("\N{NO-BREAK SPACE}", " ")


def fine(at: AppTest) -> None:
    assert not at.exception, [e.value for e in at.exception]
    assert "Traceback" not in said(at)


def charts(at: AppTest) -> list[str]:
    drawn = [part.proto for part in at.get("bidi_component")]
    return [json.loads(chart.bytes)["alt"] for chart in drawn if chart.bytes]


def finish(at: AppTest, seconds: float = 60) -> AppTest:
    """Wait for the page's run to end, then draw it once more."""
    end = time.monotonic() + seconds
    while at.session_state["run"].running and time.monotonic() < end:
        at.session_state["run"].look()  # in a browser the page draws itself again
        time.sleep(0.05)
    assert not at.session_state["run"].running, "the run did not end"
    return at.run()


def test_without_cifar10_the_page_opens_on_digits_with_live_accuracy(no_images):
    at = finish(opened())
    fine(at)
    assert link(at)["network"] == "vgg11_bn-digits"
    assert "CIFAR-10 is not on this machine yet" in said(at)
    assert [b.label for b in at.button if b.label.startswith("Download")] == ["Download (170 MB)"]
    tallies = at.session_state["run"].result
    assert {name: t.total for name, t in tallies.items()} == {
        "dense": 597, "pruned": 597, "fused": 597,
    }  # fmt: skip
    net = core.load("vgg11_bn-digits")
    recipe = core.Recipe(groups=(6,), sparsity=0.5, rule="released")
    fused = core.compress(net, core.trace(net), recipe).module
    assert tallies["fused"].accuracy == core.accuracy(fused, core.images("digits"))
    accuracy = next(alt for alt in charts(at) if "Top-1" in alt).replace("\N{NO-BREAK SPACE}", " ")
    assert f"fused {100 * tallies['fused'].accuracy.mean:.1f} %" in accuracy


@pytest.mark.parametrize("name", zoo.shipped())
def test_every_network_shows_every_part_without_its_images(no_images, name):
    at = opened(network=name)
    fine(at)
    assert link(at)["network"] == name
    heads = [head.value for head in at.subheader]
    recorded = results.read(name)
    here = core.Recipe(groups=(6,), rule="released")  # what the page opens with
    known = bool(recorded and recorded.curve(here))
    assert heads == [
        "Layers that shrink together",
        "What it does to the accuracy",
        "The channels, before and after",
        "Where the mass goes",
        *(["At every sparsity"] if known else []),
    ]
    finish(at)
    fine(at)
    alts = charts(at)
    live = name.endswith("digits")
    assert len(alts) == 3 + (live or known) + known
    assert all(len(alt) > 40 for alt in alts), "every figure has an alt text"
    if not name.endswith("digits"):
        assert "Graph, plan, channels and sizes need no images" in said(at)
        told = said(at) + " ".join(alts).replace("\N{NO-BREAK SPACE}", " ")
        assert f"{100 * zoo.card(name).accuracy:.1f} %" in told
    assert [m.label for m in at.metric] == ["Parameters left", "Multiply-accumulates left"]


def test_a_link_restores_every_choice(no_images):
    choices = dict(
        network="resnet18-digits", group="6", sparsity="0.7", importance="l2", rule="repaired",
        solver="sinkhorn", epsilon="0.1", source="importance", target="importance", cost="l2",
        features="weights", seed="5",
    )  # fmt: skip
    at = opened(**choices)
    fine(at)
    assert not at.info
    assert link(at) == choices
    assert at.session_state["run_for"][1] == core.Recipe(
        groups=(6,), sparsity=0.7, importance="l2", rule="repaired", solver="sinkhorn",
        epsilon=0.1, source="importance", target="importance", cost="l2", features="weights",
        seed=5,
    )  # fmt: skip


@pytest.mark.parametrize(
    "choices",
    [
        dict(importance="taylor"),
        dict(keep="k-means", rule="preserving"),
        dict(keep="gaussian-mixture"),
        dict(solver="partial", share="0.5"),
        dict(solver="unbalanced", relaxation="0.5"),
        dict(solver="semi-relaxed"),
        dict(source="softmax", temperature="0.5", cost="cosine"),
    ],
    ids=lambda choices: " ".join(choices.values()),
)
def test_every_kind_of_choice_is_drawn_and_measured(no_images, choices):
    at = opened(network="resnet18-digits", group="7", **choices)
    fine(at)
    if cache.takes_long(
        core.Recipe(**{k: v for k, v in choices.items() if k in ("importance", "keep")})
    ):
        end = time.monotonic() + 120
        while len(charts(at)) < 4 and time.monotonic() < end:
            time.sleep(0.2)
            at.run()
    finish(at)
    fine(at)
    assert len(charts(at)) == 4
    assert {k: v for k, v in link(at).items() if k in choices} == choices
    assert at.session_state["run"].result["fused"].total == 597
    recipe = at.session_state["run_for"][1]
    assert all(f"{getattr(recipe, k)}" == v for k, v in choices.items())


@pytest.mark.parametrize(
    ("name", "value", "word"),
    [
        ("network", "evil", "network"),
        ("network", "../../etc/passwd", "network"),
        ("group", "99", "group"),
        ("group", "-1", "group"),
        ("group", "six", "group"),
        ("sparsity", "nan", "sparsity"),
        ("sparsity", "1.5", "sparsity"),
        ("sparsity", "inf", "sparsity"),
        ("sparsity", "", "sparsity"),
        ("sparsity", "0.512", "steps"),
        ("importance", "none", "importance"),
        ("rule", "select", "rule"),
        ("solver", "<script>alert(1)</script>", "solver"),
        ("epsilon", "0", "epsilon"),
        ("seed", "1e9", "seed"),
        ("rounds", "99", "rounds"),
        ("channel", "32", "channel"),
        ("channel", "first", "channel"),
        ("keep", "by-hand", "keep"),
        ("share", "2", "share"),
        ("colour", "blue", "means nothing"),
    ],
)
def test_nonsense_in_a_link_falls_back_with_a_note(no_images, name, value, word):
    at = opened(**{"network": "vgg11_bn-digits", name: value})
    fine(at)
    notes = [note.value for note in at.info if "link" in note.value]
    assert len(notes) == 1 and word in notes[0]
    assert "<script" not in said(at)
    now = link(at)
    assert now["network"] == "vgg11_bn-digits" and now["group"] == "6"
    assert now["sparsity"] == ("0.5" if value != "0.512" else "0.5")
    assert now["rule"] == "released" and now["solver"] == "exact"


def test_the_page_follows_its_widgets(no_images):
    at = opened()
    before = at.session_state["run"]
    drawn(at, "slider", "percent").set_value(70).run()
    fine(at)
    assert before.cancelled, "a new choice stops the old run"
    assert link(at)["sparsity"] == "0.7"
    plan = next(alt for alt in charts(at) if "plan" in alt.lower())
    assert "9" in plan, "32 channels at 70 % leave 9"
    drawn(at, "selectbox", "network").set_value("resnet18-digits").run()
    fine(at)
    assert link(at)["network"] == "resnet18-digits"
    drawn(at, "selectbox", "group").set_value(0).run()
    drawn(at, "selectbox", "solver").set_value("sinkhorn").run()
    fine(at)
    assert link(at)["group"] == "0" and link(at)["solver"] == "sinkhorn"


def test_a_network_with_fewer_groups_gets_a_group_it_has(no_images):
    at = opened(network="resnet18-digits", group="11")
    drawn(at, "selectbox", "network").set_value("vgg11_bn-digits").run()
    fine(at)
    assert link(at)["group"] == "6"


def test_rounds_are_made_off_the_page_and_drawn_as_one(no_images):
    at = opened(network="vgg11_bn-digits", group="3", sparsity="0.7", rounds="3")
    end = time.monotonic() + 60
    while len(charts(at)) < 4 and time.monotonic() < end:
        time.sleep(0.2)
        at.run()
    fine(at)
    assert at.number_input(key="rounds").value == 3 and link(at)["rounds"] == "3"
    plan = next(alt for alt in charts(at) if "ransport plan" in alt)
    assert "128" in plan and "38" in plan
    finish(at)
    pruned, fused = at.session_state["run_for"][1].replace(rule="select"), at.session_state["run"]
    net = core.load("vgg11_bn-digits")
    alone = core.compress(net, core.trace(net), pruned)
    assert pruned.rounds == 3, "plain pruning gets as many rounds"
    told = fused.result["pruned"].accuracy
    assert told == core.accuracy(alone.module, core.images("digits"), batch=jobs.BATCH)


def chosen_in(at: AppTest) -> list[str]:
    """The figures that mark a chosen channel, by the first word of their alt texts."""
    drawn = [json.loads(part.proto.bytes) for part in at.get("bidi_component") if part.proto.bytes]
    marked = [one for one in drawn if any(mark["name"] == "chosen" for mark in one["over"])]
    return [one["alt"].split()[0] for one in marked]


def test_a_channel_is_looked_at_in_every_view(no_images):
    at = opened(network="vgg11_bn-digits", group="6", sparsity="0.5", channel="3")
    fine(at)
    assert drawn(at, "number_input", "channel").value == 3 and link(at)["channel"] == "3"
    assert sorted(chosen_in(at)) == ["PCA", "Transport"]
    assert "Channel 3" in [part.value for part in at.subheader]
    assert re.search(r"number \d+ of 32 by importance", said(at))
    assert any(alt.startswith("Filters as pictures. channel 3: 16 inputs") for alt in charts(at))
    net = core.load("vgg11_bn-digits")
    graph = core.trace(net)
    plan = core.compress(net, graph, core.Recipe((6,))).plans[6]
    heirs = at.dataframe[0].value
    assert len(heirs) == int((plan.mass[3] > 0).sum())
    next(button for button in at.button if button.label == "Look at no channel").click().run()
    fine(at)
    assert "channel" not in link(at) and chosen_in(at) == [] and len(charts(at)) == 5


def test_another_group_forgets_the_channel(no_images):
    at = opened(network="vgg11_bn-digits", group="6", channel="31")
    drawn(at, "selectbox", "group").set_value(7).run()  # 16 channels
    fine(at)
    assert drawn(at, "number_input", "channel").value is None and "channel" not in link(at)
    drawn(at, "number_input", "channel").set_value(9).run()
    drawn(at, "slider", "percent").set_value(70).run()
    fine(at)
    assert link(at)["channel"] == "9", "the sparsity leaves the channel chosen"


@pytest.mark.parametrize("rule", ["best", "repaired"])
def test_a_channel_of_a_residual_stream_has_a_filter_of_every_producer(no_images, rule):
    at = opened(network="resnet18-digits", group="6", sparsity="0.7", rule=rule, channel="1")
    end = time.monotonic() + 60
    while len(charts(at)) < 7 and time.monotonic() < end:
        time.sleep(0.2)
        at.run()
    fine(at)
    assert sum(alt.startswith("Filters") for alt in charts(at)) == 3
    # A sum for each layer, for repair makes each louder by another factor; and what is read.
    assert len(at.latex) == (4 if rule == "repaired" else 1)


@pytest.mark.parametrize("rule", ["best", "regressed"])
def test_a_rule_without_a_plan_draws_what_the_next_layer_guesses(no_images, rule):
    at = opened(network="resnet18-digits", group="6", rule=rule, sparsity="0.7")
    end = time.monotonic() + 60
    while len(charts(at)) < 4 and time.monotonic() < end:
        time.sleep(0.2)
        at.run()
    fine(at)
    drawn = next(alt for alt in charts(at) if "Coefficients" in alt)
    assert drawn.startswith("Coefficients that guess 32 channels from the 9 that stay: 23 are")
    assert "What the next layer guesses" in said(at)
    assert "solver" not in [box.key for box in at.selectbox]  # nothing is transported
    finish(at)
    at.run()
    fused, pruned = (at.session_state["run"].result[name].accuracy for name in ("fused", "pruned"))
    assert fused.mean > pruned.mean + 0.1


def test_cancel_keeps_what_was_counted_and_go_on_finishes(no_images):
    at = opened()
    run = at.session_state["run"]
    run.cancel()
    at.run()
    fine(at)
    buttons = [b.label for b in at.button]
    assert "Go on" in buttons and "Cancel" not in buttons
    at.button(key="go_on").click().run()
    finish(at)
    fine(at)
    assert at.session_state["run"].result["fused"].total == 597


def test_a_folder_that_does_not_exist_is_a_sentence(no_images, monkeypatch):
    monkeypatch.setenv("INTRA_FUSION_DATA", "/no/such/folder")
    at = finish(opened())
    fine(at)
    assert "/no/such/folder" in said(at) and "does not exist" in said(at)
    assert at.session_state["run"].result["dense"].total == 597, "the digits still work"


def test_an_empty_class_folder_is_a_sentence(no_images, tmp_path, monkeypatch):
    from core.data import CIFAR10_CLASSES

    for name in CIFAR10_CLASSES:
        (tmp_path / "images" / "test" / name).mkdir(parents=True)
    monkeypatch.setenv("INTRA_FUSION_DATA", str(tmp_path / "images"))
    at = finish(opened())
    fine(at)
    assert "holds no image" in said(at) and "airplane" in said(at)


def test_damaged_weights_are_a_sentence_and_other_networks_go_on(no_images, tmp_path, monkeypatch):
    for file in zoo.WEIGHTS.glob("*-digits.*"):
        (tmp_path / file.name).write_bytes(file.read_bytes())
    broken = tmp_path / "vgg11_bn-digits.safetensors"
    broken.write_bytes(broken.read_bytes()[:1000])
    original = zoo.load
    monkeypatch.setattr(core, "load", lambda name: original(name, tmp_path))
    at = opened()
    fine(at)
    assert "damaged" in said(at) and "vgg11_bn-digits.safetensors" in said(at)
    drawn(at, "selectbox", "network").set_value("resnet18-digits").run()
    fine(at)
    assert "damaged" not in said(at) and len(charts(at)) >= 3


def test_the_settings_protect_the_person_and_hold_both_themes():
    told = tomllib.loads((ROOT / ".streamlit" / "config.toml").read_text())
    assert told["server"]["address"] == "127.0.0.1"
    assert told["server"]["enableXsrfProtection"] is True
    assert told["server"]["maxUploadSize"] <= 50
    assert told["browser"]["gatherUsageStats"] is False
    assert told["client"]["showErrorDetails"] == "none"
    for mode in ("light", "dark"):
        colours = told["theme"][mode]
        ink, paper = (_luminance(colours[key]) for key in ("textColor", "backgroundColor"))
        contrast = (max(ink, paper) + 0.05) / (min(ink, paper) + 0.05)
        assert contrast >= 7, f"{mode}: text {contrast:.1f}:1"


def _luminance(colour: str) -> float:
    """Relative luminance of #rrggbb (WCAG 2)."""
    parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


@pytest.mark.slow
def test_the_paper_gap_shows_in_the_page(cifar10):
    """Group 6 of VGG11-BN at 50 %, l1: pruning and `released` differ by tens of points."""
    from app import link

    net = core.load("vgg11_bn-cifar10")
    graph = core.trace(net)
    recipe = core.Recipe(groups=(6,), sparsity=0.5, importance="l1", rule="released")
    choice = link.Choice("vgg11_bn-cifar10", 6, recipe)
    pruned, fused = (
        core.accuracy(core.compress(net, graph, one).module, cifar10, limit=1000)
        for one in (choice.pruning, choice.recipe)
    )
    assert fused.low - pruned.high > 0.10
