"""The panel of one channel on the page: its share of the error, checked formulas, its tables."""

from __future__ import annotations

import time
from types import SimpleNamespace

import pytest
import streamlit as st
from streamlit.testing.v1 import AppTest
from test_app import charts, fine, link, opened, said

import core
from app import cache, controls, values
from app.parts import channel as part
from core.unexplained import unexplained


@pytest.fixture(autouse=True)
def no_images(isolated_home):
    cache.clear()
    yield
    cache.clear()


def looked(network="vgg11_bn-digits", **choices) -> AppTest:
    """The page once the closer look is done."""
    at = opened(network=network, **choices)
    end = time.monotonic() + 90
    while "examining" not in at.session_state or at.session_state["examining"].running:
        assert time.monotonic() < end, "the closer look did not end"
        time.sleep(0.1)
        at.run()
    at.run()
    fine(at)
    return at


def test_it_tells_the_share_of_the_error_and_checks_its_formula():
    at = looked(group="6", channel="3", rule="preserving")
    net = core.load("vgg11_bn-digits")
    graph = core.trace(net)
    recipe = core.Recipe((6,), 0.5, rule="preserving")
    step = core.compress(net, graph, recipe).steps[6]
    known = unexplained(core.Prepared(net, graph), 6, step, recipe)
    assert f"Its share is **{100 * float(known.shares[3]):.2f} %**" in said(at)
    assert f"In all, {100 * known.total:.1f} % of how the next layers" in said(at)
    assert any(alt.startswith("Share of the error by channel") for alt in charts(at))
    assert "Checked against the smaller network's own weights" in said(at) and not at.error
    assert len(at.latex) == 2 and "w' =" in at.latex[0].value and "v' =" in at.latex[1].value


def test_a_formula_that_does_not_hold_is_loud(monkeypatch):
    monkeypatch.setattr(part.channel, "differences", lambda *_: {"features.4": 0.5})
    at = looked(group="6", channel="3")
    assert "does not hold: in features.4" in at.error[0].value
    assert "Checked against" not in said(at)


def test_a_discarded_channel_shows_its_heirs_sum_and_what_is_read_instead():
    at = looked(group="6", channel="1", rule="preserving")
    assert "It is **discarded**" in said(at) and "Nearest targets" in said(at)
    assert "Checked against the smaller network's own weights" in said(at)
    assert "in the place of its main heir" in said(at)
    assert at.latex[1].value.strip("$\n").startswith("x_{1} \\approx")


def test_what_cannot_be_told_is_said():
    at = looked(network="resnet18-digits", group="6", channel="1", rule="repaired")
    assert "3 layers add up to its channels" in said(at)
    assert "Checked against" in said(at), "the formula is checked all the same"
    at = looked(group="3", channel="1", rule="repaired", rounds="2")
    assert "there is no single formula" in said(at) and len(at.latex) == 1


def test_all_channels_are_listed_on_demand():
    at = opened(network="vgg11_bn-digits", group="7")
    fine(at)
    assert "examining" not in at.session_state, "nobody asked for a closer look"
    assert not at.dataframe
    at.session_state["all_channels"] = True
    at.run()
    end = time.monotonic() + 60
    while at.session_state["examining"].running and time.monotonic() < end:
        time.sleep(0.1)
    at.run()
    fine(at)
    (table,) = at.dataframe
    assert len(table.value) == 16 and list(table.value["channel"]) == list(range(16))
    assert table.value["share of error (%)"].sum() == pytest.approx(100)
    assert (table.value["fate"] == "stays").sum() == 8
    assert "channel" not in link(at)


@pytest.mark.parametrize(
    ("rows", "chosen"), [([1], 9), ([0], 4), ([], 3), ([2], 3), ([-1], 3)], ids=str
)
def test_a_row_chooses_its_channel_and_the_last_row_none(monkeypatch, rows, chosen):
    state = {
        "opened": {"channel": 3}, "channel_of": ("made", 0), "table": {"selection": {"rows": rows}},
    }  # fmt: skip
    for place in (st, controls.st):
        monkeypatch.setattr(place, "session_state", state)
    groups = [SimpleNamespace(width=16)]
    loaded = SimpleNamespace(name="made", graph=SimpleNamespace(groups=groups))
    page = SimpleNamespace(loaded=loaded, choice=SimpleNamespace(group=0))
    part.choose(page, "table", [4, 9])
    assert values.get("channel") == chosen
