"""Figures of divergence are the numbers they were given, told apart by more than colour."""

from __future__ import annotations

import pytest
import torch

from app.figures import divergence as figures
from app.language import LANGUAGES, texts
from core.divergence import Divergence, Operation

SPACE = "\N{NO-BREAK SPACE}"


def made(*names: str) -> Divergence:
    generator = torch.Generator().manual_seed(0)
    far = torch.tensor([[6.0], [2.0], [1.0]][: len(names)]).double()
    distances = far + torch.rand(len(names), 60, generator=generator).double()
    return Divergence(
        names, distances, torch.full((60,), 9.0).double(), torch.ones(60).double(),
        torch.rand(len(names), 60, generator=generator) < 0.5, torch.arange(60) % 3,
        ("cat", "dog", "owl", "yak"), 100,
    )  # fmt: skip


KNOWN = made("pruned", "fused")
OPERATIONS = [
    Operation("stem", "stem", "conv", 1, {"pruned": 0.0, "fused": 0.0}),
    Operation("conv", "conv", "conv", 0, {"pruned": 0.0, "fused": 1.2}, ("pruned", "fused")),
    Operation("odd", "odd", "multiply", 0, {"pruned": None, "fused": None}, ("pruned", "fused")),
    Operation("head", "head", "linear", None, {"pruned": 0.8, "fused": 0.05}),
]


def named(chart, name):
    (trace,) = [one for one in chart.data if name in (one.name, one.meta)]
    return trace


@pytest.mark.parametrize("mode", ["light", "dark"])
def test_bars_count_every_image_and_lines_stand_at_the_means(mode):
    chart = figures.histogram(KNOWN, mode)
    shared = list(named(chart, "pruned").x)
    for name in KNOWN.names:
        bars, line = named(chart, name), named(chart, f"mean {name}")
        assert sum(bars.y) == 60 and list(bars.x) == shared
        inside = sum(x * y for x, y in zip(bars.x, bars.y, strict=True)) / 60
        assert inside == pytest.approx(KNOWN.mean(name).mean, abs=bars.width)
        assert set(line.x) == {KNOWN.mean(name).mean}
    notes = [note.text for note in chart.layout.annotations]
    for name in KNOWN.names:
        assert f"<b>{name}: {KNOWN.mean(name).mean:.2f}</b>" in notes
    heights = [note.y for note in chart.layout.annotations]
    assert len(set(heights)) == 2 and max(heights) <= chart.layout.yaxis.range[1]


def test_pruned_and_fused_differ_by_more_than_colour_and_any_rule_has_its_own_look():
    chart = figures.histogram(KNOWN, "light")
    patterns = {named(chart, name).marker.pattern.shape for name in KNOWN.names}
    dashes = {named(chart, f"mean {name}").line.dash for name in KNOWN.names}
    assert len(patterns) == len(dashes) == 2
    many = made("pruned", "repaired", "fused")
    chart = figures.by_class(many, "light")
    looks = {(one.marker.color, one.marker.symbol) for one in chart.data}
    assert len({colour for colour, _ in looks}) == len({symbol for _, symbol in looks}) == 3


def test_by_class_shows_means_with_their_intervals_and_no_class_without_images():
    chart = figures.by_class(KNOWN, "dark")
    for name in KNOWN.names:
        trace, found = named(chart, name), KNOWN.by_class(name)
        assert list(trace.y) == ["cat", "dog", "owl"] and found[3] is None
        assert list(trace.x) == [one.mean for one in found[:3]]
        ends = [x + half for x, half in zip(trace.x, trace.error_x.array, strict=True)]
        assert ends == pytest.approx([one.high for one in found[:3]])
    assert tuple(chart.layout.yaxis.categoryarray) == ("yak", "owl", "dog", "cat")


def test_layers_come_in_their_order_and_kept_channels_are_hollow():
    chart = figures.layers(OPERATIONS, "light")
    for name in ("pruned", "fused"):
        trace = named(chart, name)
        assert list(trace.y) == [one.distances[name] for one in OPERATIONS]
        hollow = [symbol.endswith("-open") for symbol in trace.marker.symbol]
        assert hollow == [False, True, True, False] and not trace.connectgaps
    assert "stays" not in named(chart, "pruned").hovertemplate[0]
    assert "on the channels that stay" in named(chart, "pruned").hovertemplate[1]
    many = [Operation(f"n{i}", "", "conv", None, {"pruned": 0.1}) for i in range(60)]
    axis = figures.layers(many, "light").layout.xaxis
    assert len(axis.ticktext) <= figures.MOST_NAMES and axis.ticktext[0] == "n0"
    assert not figures.layers([], "light").data


def test_alts_tell_the_findings():
    told = figures.alt(KNOWN).replace(SPACE, " ")
    assert "60 of 100" in told
    for name in KNOWN.names:
        assert f"{name}: {KNOWN.mean(name).mean:.2f} on average" in told
    assert f"{100 * KNOWN.agreement('fused'):.1f} % of the images keep" in told
    told = figures.alt_layers(OPERATIONS).replace(SPACE, " ")
    assert "pruned: first more than 10 % off after head, 80 % at the output" in told
    # What differs on the channels that stay is meant to.
    assert "fused: nowhere 10 % off where all channels are left, 5.0 % at the output" in told
    told = figures.alt_by_class(KNOWN)
    least = min((one.mean, label) for one, label in zip(KNOWN.by_class("fused"),
                KNOWN.classes, strict=True) if one)  # fmt: skip
    assert f"least for {least[1]} ({least[0]:.2f})" in told.partition("fused")[2]


@pytest.mark.parametrize("language", LANGUAGES)
def test_captions_say_what_is_shown_and_what_is_not(language):
    say = texts(language)
    for shown, caution in (
        figures.caption(KNOWN, say), figures.caption_by_class(say), figures.caption_layers(say)
    ):  # fmt: skip
        assert shown.endswith(".") and caution.endswith(".") and shown != caution
