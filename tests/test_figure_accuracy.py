"""The bars of accuracy say what was measured, and no more than the images can tell."""

import pytest

from app.figures import accuracy
from core.evaluate import Accuracy

FAR = {"dense": Accuracy(950, 1000), "pruned": Accuracy(440, 1000), "fused": Accuracy(800, 1000)}
NEAR = {"dense": Accuracy(95, 100), "pruned": Accuracy(88, 100), "fused": Accuracy(90, 100)}


@pytest.mark.parametrize("mode", ["light", "dark"])
def test_each_bar_is_its_mean_with_its_interval(mode):
    chart = accuracy.figure(FAR, mode)
    for bar in chart.data:
        known = FAR[bar.y[0]]
        assert bar.x[0] == pytest.approx(100 * known.mean)
        assert bar.x[0] + bar.error_x.array[0] == pytest.approx(100 * known.high)
        assert bar.x[0] - bar.error_x.arrayminus[0] == pytest.approx(100 * known.low)
    assert [bar.y[0] for bar in chart.data] == ["dense", "pruned", "fused"]
    assert {note.text for note in chart.layout.annotations} == {
        "<b>95.0 %</b>", "<b>44.0 %</b>", "<b>80.0 %</b>"
    }  # fmt: skip


def test_networks_differ_by_more_than_colour():
    bars = accuracy.figure(FAR, "light").data
    assert len({(bar.marker.color, bar.marker.pattern.shape) for bar in bars}) == 3
    assert {bar.marker.pattern.shape for bar in bars} == {"", "/"}


def test_a_gap_beyond_the_intervals_is_a_finding():
    assert accuracy.finding(FAR) == "Fusion keeps 36.0 points that plain pruning loses."
    turned = {"pruned": FAR["fused"], "fused": FAR["pruned"]}
    assert accuracy.finding(turned) == "Fusion is 36.0 points below plain pruning here."


def test_a_gap_within_the_intervals_is_none():
    said = accuracy.finding(NEAR)
    assert "2.0 points" in said and "can't tell" in said and "100 images" in said


def test_nothing_known_yet_is_said():
    unknown = {"dense": None, "pruned": None, "fused": None}
    assert accuracy.finding(unknown) == ""
    assert "not measured" in accuracy.alt(unknown, "images")
    assert [bar.text[0] for bar in accuracy.figure(unknown, "dark").data] == ["…"] * 3


def test_alt_tells_numbers_and_finding():
    said = accuracy.alt(FAR, "ten cats")
    for part in ("ten cats", "dense 95.0 %", "pruned 44.0 %", "fused 80.0 %", "36.0 points"):
        assert part in said
