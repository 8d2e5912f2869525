"""The channels on the page: points that stay, one UMAP for all rules, frames as the slider's."""

from __future__ import annotations

import base64
import json
import time

import numpy as np
import pytest
from test_app import fine, link, opened, said
from widgets import drawn as widget

from app import cache, pictures
from app.parts import scatter as part
from core import embedding


@pytest.fixture
def fitted(isolated_home, monkeypatch):
    """A machine without CIFAR-10 on which UMAP is at hand at once; what was fitted, in a list.

    In its place stands PCA turned about: what is tested is who asks for it, and how often.
    """
    asked, embed = [], embedding.embed

    def quick(prepared, index, recipe, method="pca"):
        asked.append((method, index))
        plain = embed(prepared, index, recipe, "pca")
        if method == "pca" or len(plain.before) < embedding.FEWEST:
            return plain
        fields = {name: getattr(plain, name) for name in ("box", "_prepared", "_index", "_bias")}
        return embedding.Embedding(
            method="umap", before=plain.before[:, ::-1], explained=None,
            place=lambda features: plain.place(features)[:, ::-1], **fields,
        )  # fmt: skip

    monkeypatch.setattr(embedding, "embed", quick)
    monkeypatch.setattr(embedding, "warm", lambda: None)
    monkeypatch.setattr(cache, "AFTER_THE_PAGE", 0.0)
    for one in (cache, pictures):
        one.clear()
    yield asked
    for one in (cache, pictures):
        one.clear()


def scatter(at) -> dict:
    """What the chart of the channels was sent."""
    drawn = [json.loads(p.proto.bytes) for p in at.get("bidi_component") if _is_chart(p)]
    (found,) = [one for one in drawn if any(t.get("meta") == "kept" for t in one["figure"]["data"])]
    return found


def _is_chart(part) -> bool:
    return part.proto.bytes.startswith(b"{")


def motion(at) -> tuple[dict, list[dict]]:
    """What the player was sent: words, and frames."""
    parts = [part.proto for part in at.get("bidi_component")]
    (found,) = [p.json for p in parts if "motion" in p.component_name]
    _, told, frames = json.loads(found).split("\n")
    return json.loads(told), json.loads(frames)


def places(figure: dict) -> dict[int, tuple[float, float]]:
    """Where each original channel is drawn."""
    found = {}
    for trace in figure["data"]:
        if trace.get("meta") in ("kept", "discarded"):
            at = zip(_numbers(trace["x"]), _numbers(trace["y"]), strict=True)
            found |= {channel: xy for (_, channel), xy in zip(trace["customdata"], at, strict=True)}
    return found


def _numbers(packed) -> list[float]:
    if isinstance(packed, dict):
        return np.frombuffer(base64.b64decode(packed["bdata"]), packed["dtype"]).tolist()
    return packed


def wait_for(at, true, seconds: float = 60):
    end = time.monotonic() + seconds
    while not true(at) and time.monotonic() < end:
        time.sleep(0.4)
        at.run()
    assert true(at)


def test_no_channel_moves_with_the_sparsity_or_the_rule_and_umap_is_fitted_once(fitted):
    at = opened(network="vgg11_bn-digits", group="6")
    wait_for(at, lambda at: scatter(at)["alt"].startswith("UMAP"))
    fine(at)
    first = places(scatter(at)["figure"])
    assert len(first) == 32
    fused = set()
    for key, value in (
        ("percent", 70), ("rule", "repaired"), ("rule", "average"), ("solver", "sinkhorn"),
        ("importance", "l2"), ("target", "importance"),
    ):  # fmt: skip
        kind = "slider" if key == "percent" else "selectbox"
        widget(at, kind, key).set_value(value).run()
        fine(at)
        assert scatter(at)["alt"].startswith("UMAP"), "the picture is there at once"
        assert places(scatter(at)["figure"]) == first, (key, value)
        fused.add(
            json.dumps([t["x"] for t in scatter(at)["figure"]["data"] if t["meta"] == "fused"])
        )
    assert len(fused) == 6, "fused channels do move"
    assert fitted.count(("umap", 6)) == 1 and fitted.count(("pca", 6)) == 1


def test_both_pictures_can_be_chosen_and_the_link_tells_which(fitted):
    at = opened(network="vgg11_bn-digits", group="6", picture="pca")
    fine(at)
    wait_for(at, lambda at: ", UMAP 0." in said(at))
    assert scatter(at)["alt"].startswith("PCA") and link(at)["picture"] == "pca"
    assert "until UMAP is ready" not in said(at)
    assert "Trustworthiness, of 1: PCA 0." in said(at) and "axes are the two" in said(at)
    widget(at, "segmented_control", "view_picture").set_value("umap").run()
    fine(at)
    assert scatter(at)["alt"].startswith("UMAP") and "picture" not in link(at)
    assert "Neighbourhoods mean something; sizes, gaps and axes don't" in said(at)


def test_pca_is_shown_until_umap_is_ready(fitted, monkeypatch):
    monkeypatch.setattr(cache, "AFTER_THE_PAGE", 30.0)
    at = opened(network="vgg11_bn-digits", group="6")
    fine(at)
    assert scatter(at)["alt"].startswith("PCA") and "PCA, until UMAP is ready." in said(at)
    assert "UMAP when it is ready" in said(at)
    cache.umap.clear()


@pytest.mark.parametrize(("least", "told"), [(33, True), (32, False)])
def test_small_groups_say_why_they_have_no_umap(fitted, monkeypatch, least, told):
    monkeypatch.setattr(embedding, "FEWEST", least)
    at = opened(network="vgg11_bn-digits", group="6")
    wait_for(at, lambda at: "until UMAP is ready" not in said(at))
    assert len(places(scatter(at)["figure"])) == 32
    assert (f"from fewer than {least} channels" in said(at)) == told
    assert scatter(at)["alt"].startswith("PCA" if told else "UMAP")


@pytest.mark.parametrize(
    "choices",
    [{}, dict(rule="repaired", channel="3", picture="pca"), dict(rule="best")],
    ids=["released", "repaired", "best"],
)  # fmt: skip
def test_what_is_played_is_what_the_slider_shows(fitted, monkeypatch, choices):
    assert part.PLAYED == tuple(percent / 100 for percent in range(10, 100, 10))
    monkeypatch.setattr(part, "PLAYED", (0.1, 0.5, 0.9))
    at = opened(network="vgg11_bn-digits", group="6", **choices)
    method = choices.get("picture", "umap").upper()
    wait_for(at, lambda at: len(_charts(at)) >= 4 and scatter(at)["alt"].startswith(method))
    told, frames = motion(at)
    assert frames == [] and not told["preparing"], "none is made before somebody asks"
    assert (told["story"] is None) == (choices.get("rule") == "best")
    state = at.session_state
    press(at, choices)
    wait_for(at, lambda at: motion(at)[1])
    frames = motion(at)[1]
    assert [frame["label"].replace("\xa0", " ") for frame in frames] == [
        "Sparsity 10 %",
        "Sparsity 50 %",
        "Sparsity 90 %",
    ]
    for place, percent in enumerate((10, 50, 90)):
        widget(at, "slider", "percent").set_value(percent).run()
        wait_for(at, lambda at: len(_charts(at)) >= 4)
        fine(at)
        shown, frame = scatter(at), motion(at)[1][place]
        for name in ("figure", "alt", "over"):
            assert frame[name] == shown[name], (percent, name)
        assert bool(frame["over"]) == ("channel" in choices)
    at.selectbox(key="importance").set_value("l2").run()
    wait_for(at, lambda at: len(_charts(at)) >= 4)
    assert motion(at)[1] == [] and "frames" not in state, "other choices have other frames"


def _charts(at) -> list:
    return [part for part in at.get("bidi_component") if part.proto.bytes and _is_chart(part)]


def press(at, choices: dict) -> None:
    """What pressing Play does, which AppTest can't: the page's own callback, with the page's state.

    The button itself is pressed in tests/test_browser_scatter.py.
    """
    recipe = at.session_state["run_for"][1].replace(sparsity=0.0)
    method = choices.get("picture", "umap")
    base = embedding.of_all(recipe, 6)
    picture = (
        cache.pca("vgg11_bn-digits", 6, base) if method == "pca"
        else cache.umap("vgg11_bn-digits", 6, base).result
    )  # fmt: skip
    wanted = (
        "vgg11_bn-digits", 6, recipe, part.PLAYED, method, "light", "en", None,
    )  # fmt: skip
    at.session_state["frames_for"] = wanted
    at.session_state["frames"] = pictures.frames(*wanted, picture)
    at.run()


def test_a_move_finds_both_pictures_that_were_drawn_ahead(fitted, monkeypatch):
    drawn = {"plan": [], "scatter": []}

    def spied(name: str, figure):
        def draw(*given):
            # Other tests may have left work behind: of this test's own network alone.
            if any(one is group for one in given):
                kept = next(len(one.measures.kept) for one in given if hasattr(one, "measures"))
                drawn[name].append(kept)
            return figure(*given)

        return draw

    group = cache.network("vgg11_bn-digits").graph.groups[6]
    for name, module in (("plan", pictures.plan_figure), ("scatter", pictures.scatter_figure)):
        monkeypatch.setattr(module, "figure", spied(name, module.figure))
    at = opened(network="vgg11_bn-digits", group="6", sparsity="0.5")
    end = time.monotonic() + 60
    while any(len(set(counts)) < 18 for counts in drawn.values()):  # 5 to 95 % of 32 channels
        assert time.monotonic() < end, drawn
        time.sleep(0.2)
        if len(drawn["scatter"]) < 3:
            at.run()  # as the browser does, once UMAP is fitted
    before = {name: list(counts) for name, counts in drawn.items()}
    widget(at, "slider", "percent").set_value(70).run()
    fine(at)
    assert link(at)["sparsity"] == "0.7"
    assert {name: counts[len(before[name]) :].count(9) for name, counts in drawn.items()} == {
        "plan": 0, "scatter": 0,
    }  # fmt: skip
