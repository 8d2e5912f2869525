"""Panels of a sweep: few lines told apart, intervals of all seeds, sudden falls named."""

from __future__ import annotations

import pytest

from app.figures import latency, panels
from app.figures.panels import Line, Spot
from app.language import texts
from core.evaluate import Accuracy
from core.latency import Latency, Ratio


def line(name: str, *right: int, pruned: bool = False, total: int = 100) -> Line:
    shares = (0.3, 0.5, 0.7)
    spots = {s: Spot((Accuracy(one, total),)) for s, one in zip(shares, right, strict=True)}
    return Line(name, spots, pruned)


LINES = [
    line("", 90, 30, 20, pruned=True), line("released", 92, 90, 88), line("best", 95, 95, 94),
    line("average", 92, 40, 38), line("sinkhorn", 91, 89, 80), line("partial", 90, 85, 70),
]  # fmt: skip


@pytest.mark.parametrize("mode", ["light", "dark"])
@pytest.mark.parametrize("small", [False, True])
def test_six_lines_differ_without_colour_and_their_names_stand_clear(mode, small):
    chart = panels.figure(LINES, Accuracy(95, 100), mode, small=small)
    drawn = [one for one in chart.data if one.mode == "lines+markers"]
    names = ["pruned", "released", "best", "average", "sinkhorn", "partial"]
    assert [one.name for one in drawn] == names
    assert len({(one.marker.symbol, one.line.dash) for one in drawn}) == len(LINES)
    assert len({one.line.color for one in drawn}) == len(LINES)
    assert list(drawn[1].y) == [92, 90, 88] and list(drawn[1].x) == [30, 50, 70]
    heights = sorted(one.y for one in chart.layout.annotations if one.xshift)
    assert len(heights) == len(LINES)
    assert min(b - a for a, b in zip(heights, heights[1:], strict=False)) >= 8.9
    (dense,) = (one for one in chart.data if one.name == "dense")
    assert max(dense.x) == 70, "the dense line ends where names begin"


def test_a_spot_of_several_seeds_spans_all_their_intervals():
    seeds = (Accuracy(50, 100), Accuracy(70, 100), Accuracy(60, 100))
    spot = Spot(seeds)
    assert spot.mean == pytest.approx(0.6) and spot.total == 100
    assert spot.low == seeds[0].low and spot.high == seeds[1].high
    chart = panels.figure([Line("", {0.5: spot, 0.7: spot}, False)], None, "light")
    (fused,) = (one for one in chart.data if one.name == "fused")
    told = fused.hovertemplate[0].replace("\N{NO-BREAK SPACE}", " ")
    assert "mean of 3 seeds, from 50.0 % to 70.0 %" in told


def test_sudden_falls_are_named_once_a_line_and_pruning_blames_no_fusion():
    found = panels.falls(LINES)
    assert [one.title(texts("en")) for one, _ in found] == ["pruned", "average"]
    pruned, fused = (panels.sign(*one).replace("\N{NO-BREAK SPACE}", " ") for one in found)
    assert "between 30 % and 50 %, by 30 points" in pruned and "volatile" in pruned
    assert "`average` falls" in fused and "unlike channels are put together" in fused
    assert "unlike" not in pruned
    assert panels.signs(LINES[1:3]) == ""
    short = panels.signs(LINES).replace("\N{NO-BREAK SPACE}", " ")
    assert short == "Sudden drop: pruned between 30 % and 50 %; average between 30 % and 50 %."


@pytest.mark.parametrize("language", ["en", "de"])
def test_a_caption_tells_of_seeds_and_of_unlike_numbers_of_images(language):
    say = texts(language)
    many = [line("", 90, 30, 20), line("x", 900, 800, 700, total=1000)]
    shown, doubt = panels.caption([many], "note", say)
    assert "note" in shown and say.number(1000, ",") in doubt
    assert say("panels.caption_seeds", count=2) not in shown
    alike = panels.caption([many[:1]], "", say)[1]
    assert say.number(1000, ",") not in alike


TIMED = [
    latency.Timed(0.0, 1.0, 0.0, Latency(0.1, 0.09, 0.12, 15, 5, 32, 1), Ratio(1.0, 1.0, 1.0)),
    latency.Timed(0.3, 0.49, 0.51, Latency(0.06, 0.05, 0.07, 15, 5, 32, 1), Ratio(0.6, 0.55, 0.7)),
    latency.Timed(0.8, 0.04, 0.96, Latency(0.01, 0.01, 0.02, 15, 5, 32, 1), Ratio(0.1, 0.08, 0.15)),
]  # fmt: skip


@pytest.mark.parametrize("mode", ["light", "dark"])
def test_time_stands_above_the_operations_that_are_left(mode):
    chart = latency.figure(TIMED, mode)
    (time,) = (one for one in chart.data if one.name == "time")
    assert list(time.x) == [100, 49, 4] and list(time.y) == [100, 60, 10]
    assert list(time.error_y.array) == pytest.approx([0, 10, 5])
    assert list(time.error_y.arrayminus) == pytest.approx([0, 5, 2])
    (even,) = (one for one in chart.data if one.name == "even")
    assert list(even.x) == list(even.y), "the line on which time shrinks as operations do"


@pytest.mark.parametrize("language", ["en", "de"])
def test_times_are_told_with_their_spread_and_in_the_language(language):
    say = texts(language)
    rows = latency.rows(TIMED, say)
    first, last = rows[0], rows[-1]
    assert say.number(100.0, ".2f") in first.values() and say.number(0.1, ".1%") in last.values()
    assert say("latency.spread", low=90.0, high=120.0) in first.values()
    assert say.number(3.125, ".3f") in first.values(), "a 32nd of a batch"
    head = latency.headline(TIMED, say)
    assert say.number(0.49, ".0%") in head and say.number(0.6, ".0%") in head
    assert say.number(10.0, ".2f") in latency.alt(TIMED, say)
    assert "15" in latency.caption(TIMED, say)[0] and "32" in latency.caption(TIMED, say)[0]
