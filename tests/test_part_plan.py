"""The plan's part of the page: each way of looking at it, in the link, with the channel chosen."""

from __future__ import annotations

import json
import re
import time

import pytest
import test_app
from streamlit.testing.v1 import AppTest
from test_app import link
from widgets import drawn as widget

from app import charts
from app.link import VIEWS


def opened(**given) -> AppTest:
    return test_app.opened(**({"network": "vgg11_bn-digits", "group": "6"} | given))


def drawn(at: AppTest) -> dict:
    """What the browser is sent of the plan, or nothing."""
    told = [json.loads(one.proto.bytes) for one in at.get("bidi_component") if one.proto.bytes]
    starts = ("Transport", "Coefficients", "Koeffizienten")
    return next((one for one in told if one["alt"].startswith(starts)), {})


def names(at: AppTest) -> list[str]:
    return [trace["name"] for trace in drawn(at)["figure"]["data"]]


def said(at: AppTest) -> str:
    return "\n".join(part.value for part in at.caption).replace("\N{NO-BREAK SPACE}", " ")


def view(at: AppTest, name: str):
    return widget(at, "segmented_control", f"view_{name}")


def test_the_plan_is_drawn_in_each_way_and_the_link_says_which(no_images):
    at = opened()
    assert names(at)[0] == "plan" and "plan" not in link(at)
    assert view(at, "plan").options and "view_zoom" not in [b.key for b in at.segmented_control]
    view(at, "plan").set_value("ribbons").run()
    assert not at.exception and names(at)[:3] == ["own", "given", "passed"]
    assert link(at)["plan"] == "ribbons" and "Each ribbon is mass" in said(at)
    view(at, "plan").set_value("table").run()
    assert not at.exception and not drawn(at)
    table = at.dataframe[0].value
    assert {"source", "target", "share", "mass", "cost"} <= set(table.columns)
    assert link(at)["plan"] == "table"


@pytest.mark.parametrize("order", VIEWS["order"])
@pytest.mark.parametrize("kind", VIEWS["plan"])
def test_a_link_opens_each_view_in_each_order_around_its_channel(no_images, kind, order):
    at = opened(plan=kind, order=order, zoom="yes", channel="3", lang="de")
    assert not at.exception
    told = link(at)
    assert told.get("plan", "heatmap") == kind and told.get("order", "structure") == order
    assert told["zoom"] == "yes" and told["channel"] == "3"
    assert "Nachbarschaft von Kanal 3" in said(at)
    if kind != "table":
        assert drawn(at)["over"][0]["name"] == "chosen"


def test_zoom_is_offered_with_a_channel_and_goes_back(no_images):
    at = opened(channel="3")
    whole = drawn(at)["figure"]["layout"]["xaxis"]["title"]["text"]
    view(at, "zoom").set_value("yes").run()
    near = drawn(at)["figure"]["layout"]["xaxis"]["title"]["text"]
    assert whole == "16 channels stay" and re.fullmatch(r"\d of 16 channels that stay", near)
    view(at, "zoom").set_value("no").run()
    assert drawn(at)["figure"]["layout"]["xaxis"]["title"]["text"] == whole
    assert "zoom" not in link(at)


def test_a_rule_without_a_plan_offers_what_makes_sense_and_says_why(no_images):
    at = opened(rule="best", plan="ribbons", order="cost", sparsity="0.7")
    end = time.monotonic() + 60
    while not drawn(at) and time.monotonic() < end:
        time.sleep(0.2)
        at.run()
    assert not at.exception and names(at)[0] == "plan"
    assert len(view(at, "plan").options) == 2 and len(view(at, "order").options) == 2
    assert "this rule moves none" in said(at)
    view(at, "order").set_value("channel").run()
    view(at, "plan").set_value("table").run()
    assert not at.exception and "coefficient" in at.dataframe[0].value.columns


def test_what_a_rule_does_not_offer_falls_back(no_images):
    at = opened(sparsity="0.7")
    view(at, "plan").set_value("ribbons").run()
    view(at, "order").set_value("cost").run()
    at.selectbox(key="rule").set_value("best").run()
    end = time.monotonic() + 60
    while not drawn(at) and time.monotonic() < end:
        time.sleep(0.2)
        at.run()
    assert not at.exception and names(at)[0] == "plan"
    at.selectbox(key="rule").set_value("preserving").run()
    assert not at.exception and len(view(at, "order").options) == 3


def test_a_figure_comes_back_as_svg_and_png_under_its_own_name(no_images):
    sent = drawn(opened(lang="de"))
    assert sent["save"]["name"] == "intra-fusion-plan"
    assert sent["save"]["as"] == {"svg": "Als SVG speichern", "png": "Als PNG speichern"}
    assert "Eingabetaste" in sent["keys"]
    assert sent["config"]["locales"]["de"]["format"] == {"decimal": ",", "thousands": "."}
    assert sent["config"]["locales"]["de"]["dictionary"]["Zoom in"] == "Vergrößern"
    assert set(charts.FORMATS) == {"svg", "png"}
