"""The graph on the page: folding is in the link, what a step takes is laid over it."""

from __future__ import annotations

import json

import pytest
from test_app import fine, link, opened, said  # noqa: F401
from widgets import drawn

NET = dict(network="resnet18-digits", group="6")


def sent(at) -> dict:
    """What the browser is sent for the graph."""
    drawn = [json.loads(part.proto.bytes) for part in at.get("bidi_component") if part.proto.bytes]
    (graph,) = [one for one in drawn if one["alt"].startswith(("Dependency", "Abhängigkeit"))]
    return graph


@pytest.mark.usefixtures("no_images")
def test_the_graph_is_folded_by_button_and_by_link():
    at = opened(**NET)
    fine(at)
    whole = sent(at)
    (buttons,) = [group for group in at.get("button_group") if group.key == "view_graph"]
    assert "graph" not in link(at) and "folded" not in whole["alt"]
    buttons.set_value("folded").run()
    fine(at)
    assert link(at)["graph"] == "folded"
    layers = [t for t in sent(at)["figure"]["data"] if t["name"] == "layers"][0]
    assert "are folded into" in sent(at)["alt"]
    assert len(layers["x"]) < len(
        [t for t in whole["figure"]["data"] if t["name"] == "layers"][0]["x"]
    )
    again = opened(**NET, graph="folded")
    fine(again)
    assert sent(again) == sent(at)
    wrong = opened(**NET, graph="origami")
    fine(wrong)
    assert "origami" in said(wrong) and sent(wrong) == whole


@pytest.mark.usefixtures("no_images")
def test_a_move_of_the_slider_changes_only_what_is_laid_over():
    at = opened(**NET, channel="3")
    before = sent(at)
    assert {t["name"] for t in before["over"]} >= {"taken", "left", "channel", "named"}
    assert before["config"]["scrollZoom"] and before["figure"]["layout"]["xaxis"]["fixedrange"]
    drawn(at, "slider", "percent").set_value(80).run()
    fine(at)
    after = sent(at)
    assert after["figure"] == before["figure"]
    assert after["over"] != before["over"] and after["alt"] != before["alt"]


@pytest.mark.usefixtures("no_images")
def test_the_graph_speaks_german():
    at = opened(**NET, lang="de")
    fine(at)
    graph = sent(at)
    assert graph["alt"].startswith("Abhängigkeitsgraph")
    assert "Faltung" in json.dumps(graph["figure"], ensure_ascii=False)
    assert "convolution" not in json.dumps(graph, ensure_ascii=False)
