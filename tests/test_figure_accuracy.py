"""The bars of accuracy say what was measured, and no more than the images can tell."""

from dataclasses import replace

import pytest

from app.figures import accuracy
from app.figures.accuracy import Bar
from app.language import texts
from core.evaluate import Accuracy

FAR = {"dense": Accuracy(950, 1000), "pruned": Accuracy(440, 1000), "fused": Accuracy(800, 1000)}
NEAR = {"dense": Accuracy(95, 100), "pruned": Accuracy(86, 100), "fused": Accuracy(88, 100)}
BARS = [Bar(name, live=known) for name, known in FAR.items()]
RECORDED = [Bar(name, recorded=known) for name, known in FAR.items()]


def plain(text: str) -> str:
    return text.replace("\N{NO-BREAK SPACE}", " ")


@pytest.mark.parametrize("mode", ["light", "dark"])
def test_each_bar_is_its_mean_with_its_interval(mode):
    chart = accuracy.figure(BARS, mode)
    for bar in chart.data:
        known = FAR[bar.y[0]]
        assert bar.x[0] == pytest.approx(100 * known.mean)
        assert bar.x[0] + bar.error_x.array[0] == pytest.approx(100 * known.high)
        assert bar.x[0] - bar.error_x.arrayminus[0] == pytest.approx(100 * known.low)
    assert [bar.y[0] for bar in chart.data] == ["dense", "pruned", "fused"]
    assert {plain(note.text) for note in chart.layout.annotations} == {
        "<b>95.0 %</b>", "<b>44.0 %</b>", "<b>80.0 %</b>"
    }  # fmt: skip


def test_networks_differ_by_more_than_colour():
    bars = accuracy.figure(BARS, "light").data
    assert len({(bar.marker.color, bar.marker.pattern.shape) for bar in bars}) == 3
    assert {bar.marker.pattern.shape for bar in bars} == {"", "/"}


def test_recorded_bars_are_pale_with_an_outline_and_the_word():
    chart = accuracy.figure(RECORDED, "light")
    for live, told in zip(accuracy.figure(BARS, "light").data, chart.data, strict=True):
        assert told.x == live.x and told.marker.color != live.marker.color
        assert told.marker.line.width > live.marker.line.width
        assert "recorded" in told.hovertemplate and "recorded" not in live.hovertemplate
    assert all("recorded" in note.text for note in chart.layout.annotations)


def test_the_outline_of_what_was_recorded_stays_until_as_many_images_are_counted():
    early = [replace(bar, live=Accuracy(9, 10)) for bar in RECORDED]
    drawn = accuracy.figure(early, "light").data
    outlines = [bar for bar in drawn if bar.name == "recorded"]
    assert [bar.x[0] for bar in outlines] == [100 * known.mean for known in FAR.values()]
    late = [replace(bar, live=bar.recorded) for bar in RECORDED]
    assert not any(bar.name == "recorded" for bar in accuracy.figure(late, "light").data)


def test_the_finding_rests_on_most_images_and_never_mixes():
    assert accuracy.telling(RECORDED) == (FAR, True)
    early = [replace(bar, live=Accuracy(9, 10)) for bar in RECORDED]
    assert accuracy.telling(early) == (FAR, True)
    late = [replace(bar, live=Accuracy(1, 1000)) for bar in RECORDED]
    assert accuracy.telling(late) == (dict.fromkeys(FAR, Accuracy(1, 1000)), False)
    assert accuracy.telling(BARS) == (FAR, False)
    assert accuracy.telling([BARS[0], BARS[1], RECORDED[2]]) == ({}, False)


@pytest.mark.parametrize(
    ("dense", "pruned", "fused", "told"),
    [
        (950, 440, 800, "Plain pruning loses 51 points here; fusion loses 15."),
        (950, 440, 900, "Plain pruning loses 51 points here; fusion loses 5.0."),
        (950, 440, 945, "Plain pruning loses 51 points here; fusion loses none that 1,000 images "
         "can show."),
        (950, 800, 440, "Fusion loses 51 points here, more than plain pruning, which loses 15."),
        (950, 960, 440, "Fusion loses 51 points here; plain pruning loses none that 1,000 images "
         "can show."),
        (950, 800, 810, "Plain pruning loses 15 points here, fusion 14: their intervals overlap, "
         "so 1,000 images can't tell which loses less."),
        (950, 945, 955, "Neither plain pruning nor fusion loses anything here that 1,000 images "
         "can show."),
    ],
)  # fmt: skip
def test_the_headline_says_what_the_images_can_tell(dense, pruned, fused, told):
    counts = {"dense": dense, "pruned": pruned, "fused": fused}
    known = {name: Accuracy(count, 1000) for name, count in counts.items()}
    assert accuracy.headline(known) == told


def test_there_is_no_headline_before_all_three_are_known():
    assert accuracy.headline({"dense": FAR["dense"], "pruned": FAR["pruned"]}) == ""
    assert accuracy.headline({}) == ""


def test_two_settings_share_the_axes_and_are_told_apart_by_their_letters():
    both = [Bar(name, FAR[name], setting=letter) for name in FAR for letter in "AB"]
    chart = accuracy.figure(both, "light")
    assert [bar.name for bar in chart.data] == [
        "dense A", "dense B", "pruned A", "pruned B", "fused A", "fused B"
    ]  # fmt: skip
    assert list(chart.layout.yaxis.categoryarray) == [bar.name for bar in chart.data][::-1]
    a, b = chart.data[4:]
    assert a.marker.color != b.marker.color
    assert accuracy.against(FAR["fused"], FAR["pruned"]) == (
        "After fusion, B is 36 points below A."
    )
    assert "above" in accuracy.against(FAR["pruned"], FAR["fused"])
    assert "can't tell" in accuracy.against(NEAR["pruned"], NEAR["fused"])


def test_what_was_expected_is_a_diamond_in_its_bar_even_at_nothing():
    guessed = [BARS[0], replace(BARS[1], expected=0.0), replace(BARS[2], expected=0.7)]
    mark = accuracy.figure(guessed, "light").data[-1]
    assert mark.name == "expected" and mark.marker.symbol == "diamond"
    assert list(zip(mark.y, mark.x, strict=True)) == [("pruned", 0.0), ("fused", 70.0)]


def test_nothing_known_yet_is_said():
    unknown = [Bar(name) for name in FAR]
    assert "not measured" in accuracy.alt(unknown, "images")
    assert [bar.text[0] for bar in accuracy.figure(unknown, "dark").data] == ["…"] * 3


def test_alt_tells_numbers_and_finding():
    said = plain(accuracy.alt(BARS, "ten cats"))
    for part in ("ten cats", "dense 95.0 %", "pruned 44.0 %", "fused 80.0 %", "51 points"):
        assert part in said
    assert "recorded" not in said
    assert "fused 80.0 % (recorded)" in plain(accuracy.alt(RECORDED, "ten cats"))


def test_german_has_its_own_words_and_commas():
    said = plain(accuracy.alt(RECORDED, "Bildern", texts("de")))
    assert "geprunt 44,0 % (aufgezeichnet)" in said and "verliert hier 51 Punkte" in said
