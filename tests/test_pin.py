"""A pinned setting stands beside the present one in every figure, and in the link."""

from __future__ import annotations

import json
import time

import pytest
from test_app import charts, fine, finish, link, opened, said  # noqa: F401
from widgets import drawn

import core
from app.language import texts
from app.link import DEFAULT, Choice, from_query
from app.parts import pin
from core import zoo

EN = texts("en")
HERE = dict(network="vgg11_bn-digits", group="6", sparsity="0.5")


def choice(network="vgg11_bn-digits", group=6, **fields) -> Choice:
    return Choice(network, group, DEFAULT.replace(groups=(group,), **fields))


def titles(a: Choice, b: Choice) -> tuple[str, ...]:
    return tuple(t.replace("\N{NO-BREAK SPACE}", " ") for t in pin.titles(a, b, EN))


@pytest.mark.parametrize(
    ("a", "b", "told"),
    [
        (choice(), choice(), ("the same setting", "the same setting")),
        (choice(sparsity=0.7), choice(), ("70 %", "50 %")),
        (choice(rule="best", sparsity=0.7), choice(), ("70 %, rule best", "50 %, rule released")),
        (choice(group=3), choice(), ("group 3", "group 6")),
        (choice(seed=4), choice(), ("Seed: 4", "Seed: 0")),
        (choice("resnet18-digits"), choice(), ("resnet18-digits", "vgg11_bn-digits")),
        (choice(epsilon=0.1), choice(),
         ("ε, as a share of the mean cost: 0.1", "ε, as a share of the mean cost: 0.05")),
    ],
)  # fmt: skip
def test_headers_say_exactly_what_differs(a, b, told):
    assert titles(a, b) == (f"A (pinned): {told[0]}", f"B (now): {told[1]}")


def over(at) -> list[tuple[str, int]]:
    """Every plan and picture by its first word, with how many marks are laid over it."""
    drawn = [json.loads(part.proto.bytes) for part in at.get("bidi_component") if part.proto.bytes]
    first = [(one["alt"].split()[0], len(one["over"])) for one in drawn]
    return [(word, marks) for word, marks in first if word in ("Transport", "PCA", "UMAP")]


def test_pinning_draws_both_and_unpinning_one(no_images):  # noqa: F811
    at = opened(**HERE)
    before = len(charts(at))
    at.button(key="pin_now").click().run()
    drawn(at, "slider", "percent").set_value(70).run()
    fine(at)
    assert len(charts(at)) == before + 2, "the plan and the channels of A"
    text = said(at)
    assert "A (pinned): 50 %" in text and "B (now): 70 %" in text
    plans = [alt for alt in charts(at) if "ransport plan" in alt]
    assert {alt.split(":")[0] for alt in plans} == {
        "Transport plan of 32 channels onto 16", "Transport plan of 32 channels onto 9"
    }  # fmt: skip
    assert from_query(link(at)["pin"])["sparsity"] == "0.5" and link(at)["sparsity"] == "0.7"
    net = core.load("vgg11_bn-digits")
    recipes = [core.Recipe(groups=(6,), sparsity=s) for s in (0.5, 0.7)]
    sizes = [core.size(core.compress(net, core.trace(net), r).module) for r in recipes]
    fewer = sizes[1].parameters - sizes[0].parameters
    assert f"−{-fewer:,} against A" in [m.delta.replace("-", "−") for m in at.metric]
    finish(at)
    runs = [at.session_state[key] for key in ("run-a", "run")]
    end = time.monotonic() + 60
    while any(run.running for run in runs) and time.monotonic() < end:
        for run in runs:
            run.look()
        time.sleep(0.05)
    at.run()
    told = next(alt for alt in charts(at) if "Top-1" in alt).replace("\N{NO-BREAK SPACE}", " ")
    for run, letter in zip(runs, "AB", strict=True):
        assert f"fused {letter} {100 * run.result['fused'].accuracy.mean:.1f} %" in told
    assert told.count("dense") == 1, "one dense network for both"
    assert "After fusion, B is" in said(at) or "fused networks of A and B differ" in said(at)
    at.button(key="unpin").click().run()
    fine(at)
    assert len(charts(at)) == before and "pin" not in link(at)
    assert "run-a" not in at.session_state


def test_swapping_exchanges_both_and_twice_is_nothing(no_images):  # noqa: F811
    at = opened(**HERE, rule="repaired", solver="sinkhorn", epsilon="0.1", channel="3",
                pin="network=resnet18-digits&group=7&sparsity=0.3&rule=average")  # fmt: skip
    fine(at)
    first = link(at)
    at.button(key="pin_swap").click().run()
    fine(at)
    now = link(at)
    assert (now["network"], now["group"], now["sparsity"], now["rule"]) == (
        "resnet18-digits", "7", "0.3", "average"
    )  # fmt: skip
    other = from_query(now["pin"])
    assert (other["solver"], other["epsilon"], other["rule"]) == ("sinkhorn", "0.1", "repaired")
    at.button(key="pin_swap").click().run()
    fine(at)
    assert link(at) == {k: v for k, v in first.items() if k != "channel"}


def test_the_chosen_channel_is_marked_in_both_where_groups_are_the_same(no_images):  # noqa: F811
    at = opened(**HERE, channel="3", pin="network=vgg11_bn-digits&group=6&sparsity=0.7")
    fine(at)
    assert [marks > 0 for _, marks in over(at)] == [True] * 4
    at = opened(**HERE, channel="3", pin="network=vgg11_bn-digits&group=5&sparsity=0.7")
    fine(at)
    assert sorted(marks > 0 for _, marks in over(at)) == [False, False, True, True]
    assert "A is of another group" in said(at)


def test_a_click_in_the_pictures_of_another_group_chooses_nothing(no_images, monkeypatch):  # noqa: F811
    from app import cache, controls, values

    state = {"channel_of": ("vgg11_bn-digits", 6), "opened": {"channel": None}}
    monkeypatch.setattr(controls.st, "session_state", state)
    loaded = cache.network("vgg11_bn-digits")
    controls.choose_channel(loaded, 5, 3)
    assert values.get("channel") is None
    controls.choose_channel(loaded, 6, 3)
    assert values.get("channel") == 3


def test_a_pinned_network_that_is_damaged_can_be_unpinned(no_images, tmp_path, monkeypatch):  # noqa: F811
    for file in zoo.WEIGHTS.glob("*-digits.*"):
        (tmp_path / file.name).write_bytes(file.read_bytes())
    original = zoo.load
    monkeypatch.setattr(core, "load", lambda name: original(name, tmp_path))
    at = opened(**HERE)
    at.session_state["pin"] = choice("resnet18-digits")
    (tmp_path / "resnet18-digits.safetensors").write_bytes(b"no")
    at.run()
    fine(at)
    assert "A can't be shown" in said(at) and "Where the mass goes" in said(at)
    at.button(key="unpin").click().run()
    assert "A can't be shown" not in said(at)
