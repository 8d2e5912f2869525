"""The picture of channels: everything in its place, nothing that moves without a reason."""

from __future__ import annotations

import json

import numpy as np
import pytest

import core
from app.figures import scatter, theme
from app.language import texts
from core.compress import plan_group
from core.embedding import embed


@pytest.fixture(scope="module")
def drawn():
    """(group index, recipe) → embedding, step and group of a trained network."""
    module = core.load("vgg11_bn-digits")
    prepared = core.Prepared(module, core.trace(module))

    def make(index=5, **changes):
        recipe = core.Recipe(groups=(index,), **changes)
        group = prepared.graph.groups[index]
        return embed(prepared, index, recipe), plan_group(prepared, index, recipe), group

    return make


def points(figure) -> dict:
    """The clickable traces by their role."""
    return {trace.meta: trace for trace in figure.data if trace.mode == "markers"}


def at(trace) -> np.ndarray:
    return np.stack([trace.x, trace.y], 1)


RECIPES = {
    "fused": dict(sparsity=0.7),
    "repaired": dict(sparsity=0.5, rule="repaired", source="importance"),
    "sinkhorn": dict(sparsity=0.5, solver="sinkhorn", epsilon=0.3),
    "pruned": dict(sparsity=0.6, rule="select"),
    "all stay": dict(sparsity=0.0),
    "one stays": dict(sparsity=0.99),
}


@pytest.mark.parametrize("recipe", RECIPES.values(), ids=RECIPES)
def test_every_channel_is_there_once(drawn, recipe):
    picture, step, group = drawn(**recipe)
    chart = scatter.figure(picture, step, group, "light")
    traces = points(chart)
    kept = step.measures.kept.tolist()
    gone = [channel for channel in range(group.width) if channel not in kept]
    assert set(traces) == {"discarded", "kept"} | ({"fused"} if step.plan else set())
    wanted = {"discarded": (gone, picture.before[gone]), "kept": (kept, picture.before[kept])}
    if step.plan:
        wanted["fused"] = (kept, picture.after(step))
    told = {
        trace["meta"]: trace
        for trace in json.loads(chart.to_json())["data"]
        if trace["mode"] == "markers"
    }
    for role, (channels, places) in wanted.items():
        np.testing.assert_allclose(at(traces[role]), places.reshape(-1, 2))
        assert traces[role].name == f"{role} ({len(channels)})"
        assert told[role]["customdata"] == [[role, channel] for channel in channels]
        assert traces[role].hoverinfo == "text"
        assert len(traces[role].hovertext) == len(channels)


def test_roles_are_told_by_shape_and_by_colour(drawn):
    picture, step, group = drawn(sparsity=0.5)
    for mode in ("light", "dark"):
        markers = {
            role: trace.marker
            for role, trace in points(scatter.figure(picture, step, group, mode)).items()
        }
        assert markers["discarded"].symbol == "circle-open"
        assert markers["discarded"].color == theme.PRUNED[mode]
        assert markers["kept"].symbol == "circle" and markers["kept"].color == theme.DENSE[mode]
        assert markers["fused"].symbol == "diamond" and markers["fused"].color == theme.FUSED[mode]


def test_lines_lead_from_each_discarded_channel_to_where_its_mass_goes(drawn):
    for recipe in (RECIPES["fused"], RECIPES["repaired"], RECIPES["sinkhorn"]):
        picture, step, group = drawn(**recipe)
        kept, after = step.measures.kept.tolist(), picture.after(step)
        wanted = set()
        for channel in set(range(group.width)) - set(kept):
            share = step.plan.mass[channel] / step.measures.source[channel]
            targets = {j for j in range(len(kept)) if share[j] >= 0.1}
            for target in targets | {int(share.argmax())}:
                wanted.add((*picture.before[channel].tolist(), *after[target].tolist()))
        chart = scatter.figure(picture, step, group, "light")
        lines = [trace for trace in chart.data if trace.mode == "lines"]
        (dotted,) = (line for line in lines if line.line.dash == "dot")
        assert list(dotted.x[::3]) == picture.before[kept, 0].tolist()
        assert list(dotted.y[1::3]) == after[:, 1].tolist()
        lines.remove(dotted)
        found = []
        for line in lines:
            assert line.hoverinfo == "skip"
            assert np.isnan(line.x[2::3]).all()
            found += list(zip(line.x[::3], line.y[::3], line.x[1::3], line.y[1::3], strict=True))
        assert len(found) == len(wanted) and set(found) == wanted
        assert lines[0].line.width > lines[-1].line.width


def test_pruning_moves_nothing(drawn):
    picture, step, group = drawn(rule="select")
    chart = scatter.figure(picture, step, group, "light")
    assert {trace.mode for trace in chart.data} == {"markers"}


def test_diamonds_grow_with_the_mass_they_take_in(drawn):
    picture, step, group = drawn(sparsity=0.8, source="importance", target="importance")
    size = np.array(points(scatter.figure(picture, step, group, "light"))["fused"].marker.size)
    mass = step.plan.mass.numpy().sum(0)
    order = np.argsort(mass)
    assert (np.diff(size[order]) >= 0).all() and size.max() > size.min()


def test_axes_stay_while_the_sparsity_moves(drawn):
    picture, _, group = drawn()
    ranges = set()
    for sparsity in (0.0, 0.2, 0.4, 0.6):
        _, step, _ = drawn(sparsity=sparsity)
        layout = scatter.figure(picture, step, group, "light").layout
        ranges.add((layout.xaxis.range, layout.yaxis.range, layout.uirevision))
        assert layout.yaxis.scaleanchor == "x"
    assert len(ranges) == 1


def test_no_channel_lies_outside(drawn):
    for index in (0, 4, 7):
        for sparsity in (0.5, 0.8, 0.95):
            picture, step, group = drawn(index, sparsity=sparsity)
            chart = scatter.figure(picture, step, group, "dark")
            (left, right), (bottom, top) = chart.layout.xaxis.range, chart.layout.yaxis.range
            for trace in points(chart).values():
                assert (at(trace) > (left, bottom)).all() and (at(trace) < (right, top)).all()


def test_hover_says_role_importance_and_where_mass_goes(drawn):
    picture, step, group = drawn(sparsity=0.7)
    traces = points(scatter.figure(picture, step, group, "light"))
    kept = step.measures.kept.tolist()
    for role in ("kept", "discarded"):
        for (_, channel), words in zip(
            traces[role].customdata, traces[role].hovertext, strict=True
        ):
            lines = words.split("<br>")
            assert lines[0] == f"channel {channel}, {role}"
            assert lines[1] == f"importance {float(step.scores[channel]):.3g}"
            share = step.plan.mass[channel] / step.measures.source[channel]
            main = kept[int(share.argmax())]
            assert lines[2].startswith(
                "its mass: stays" if main == channel else f"its mass: to {main} "
            )
    for (_, channel), words in zip(
        traces["fused"].customdata, traces["fused"].hovertext, strict=True
    ):
        assert words.startswith(f"fused channel, in the place of {channel}<br>takes in ")
        arriving = step.plan.mass[:, kept.index(channel)]
        assert f" {int(arriving.argmax())} (" in words
    picture, step, group = drawn(sparsity=0.7, rule="select")
    traces = points(scatter.figure(picture, step, group, "light"))
    assert all("its mass: deleted" in words for words in traces["discarded"].hovertext)
    assert all("its mass: stays 100\xa0%" in words for words in traces["kept"].hovertext)


@pytest.mark.parametrize("recipe", RECIPES.values(), ids=RECIPES)
def test_words_state_the_numbers(drawn, recipe):
    picture, step, group = drawn(**recipe)
    said = scatter.alt(picture, step, group, 0.876)
    stay = len(step.measures.kept)
    gone = group.width - stay
    assert said.startswith(f"PCA picture of {group.width} channels")
    if step.plan is None:
        assert f"{stay} stay, {gone} are deleted" in said
    else:
        assert f"{gone} of them discarded, and of what they are fused into: {stay}." in said
        lost = [i for i in range(group.width) if i not in step.measures.kept.tolist()]
        share = step.plan.mass[lost] / step.measures.source[lost, None]
        if lost:
            mean = float((share >= 1e-3).sum() / len(lost))
            assert f"goes to {mean:.1f} of those on average" in said
        assert ("on average" in said) == bool(lost)
    assert "Trustworthiness 0.88 of 1." in said
    assert "Trustworthiness" not in scatter.alt(picture, step, group, None)
    shows, caution = scatter.caption(picture, step, group)
    assert shows.endswith(".") and caution.endswith(".")
    assert "most variance" in caution


def test_what_not_to_read_into_umap_is_said(drawn):
    picture, step, group = drawn()
    fields = {name: getattr(picture, name) for name in picture.__dataclass_fields__}
    umap = type(picture)(**fields | {"method": "umap", "explained": None})
    chart = scatter.figure(umap, step, group, "light")
    assert not chart.layout.xaxis.title.text and not chart.layout.yaxis.title.text
    _, caution = scatter.caption(umap, step, group)
    assert "sizes, gaps and axes don't" in caution and "original space" in caution
    assert "variance" not in scatter.alt(umap, step, group, 0.9)


def test_a_chosen_channel_has_a_ring_and_lines_to_heirs_and_from_parents():
    net = core.load("vgg11_bn-digits")
    prepared = core.Prepared(net, core.trace(net))
    recipe = core.Recipe((6,), 0.6)
    step, picture = plan_group(prepared, 6, recipe), embed(prepared, 6, recipe)
    kept, after = step.measures.kept.tolist(), picture.after(step)
    for channel in range(32):
        ring, lines = scatter.marks(picture, step, channel, "light")
        assert [ring.x[0], ring.y[0]] == picture.before[channel].tolist()
        pairs = {(channel, j) for j in range(len(kept)) if step.plan.mass[channel, j] > 1e-6}
        if channel in kept:
            place = kept.index(channel)
            pairs |= {(i, place) for i in range(32) if step.plan.mass[i, place] > 1e-6}
        wanted = {(*picture.before[i].tolist(), *after[j].tolist()) for i, j in pairs}
        x, y = np.reshape(lines.x, (-1, 3)), np.reshape(lines.y, (-1, 3))
        found = {tuple(map(float, (a[0], b[0], a[1], b[1]))) for a, b in zip(x, y, strict=True)}
        assert found == wanted


def test_the_story_counts_what_is_discarded_and_is_not_told_without_transport(drawn):
    _, step, group = drawn(sparsity=0.7)
    stay = len(step.measures.kept)
    assert scatter.story(step, group) == (
        f"{group.width - stay} of {group.width} channels are discarded; watch their mass move to "
        f"the {stay} that stay."
    )
    for name in ("pruned", "all stay"):
        _, step, group = drawn(**RECIPES[name])
        assert scatter.story(step, group) is None
    _, step, group = drawn(**RECIPES["one stays"])
    assert scatter.story(step, group).endswith("watch their mass move to the 1 that stays.")


def test_another_language_changes_words_and_nothing_else(drawn):
    picture, step, group = drawn(sparsity=0.7)
    german = texts("de")
    english = json.loads(scatter.figure(picture, step, group, "dark").to_json())
    other = json.loads(scatter.figure(picture, step, group, "dark", german).to_json())
    legend = {trace["meta"]: trace["name"] for trace in other["data"]}
    assert legend["fused"].startswith("fusioniert (") and legend["kept"].startswith("behalten (")
    words = " ".join(t for trace in other["data"] for t in trace.get("hovertext", []))
    for left_over in ("channel", "kept", "importance", "mass:", "takes in", " and ", "stays"):
        assert left_over not in words, left_over
    assert "Wichtigkeit" in words and "nimmt auf: " in words
    for figure in (english, other):
        for trace in figure["data"]:
            trace.pop("hovertext", None)
            trace.pop("name")
        for axis in ("xaxis", "yaxis"):
            figure["layout"][axis].pop("title")
    assert english == other
    assert "Kanälen" in scatter.alt(picture, step, group, 0.9, german)
    assert "Varianz" in scatter.caption(picture, step, group, german)[1]
