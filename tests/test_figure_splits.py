"""Figures of split-data training draw the stages, times and accuracies they are given."""

from __future__ import annotations

import dataclasses

import pytest
import split_sample
import torch

from app.figures import matching, shares, split_accuracy, splits
from app.language import texts
from core.alignment import Difference
from core.evaluate import Accuracy
from core.split_plan import PRESETS
from core.transport import transport

RUN = split_sample.run()
PLAN = PRESETS["digits-minute"]


def plain(text: str) -> str:
    return text.replace("\N{NO-BREAK SPACE}", " ")


def bars(chart):
    """Every bar as (lane, begin, end, trace)."""
    return [
        (y, base, base + x, trace.name)
        for trace in chart.data
        if trace.type == "bar"
        for y, base, x in zip(trace.y, trace.base, trace.x, strict=True)
    ]


@pytest.mark.parametrize("mode", ["light", "dark"])
def test_every_stage_is_a_bar_in_its_networks_lane(mode):
    chart = splits.timeline(RUN, mode)
    drawn = bars(chart)
    told = [
        (lane.y, told.starts[at], told.starts[at] + told.stages[at].seconds)
        for lane in splits.lanes(RUN)
        for told in [RUN.timelines[lane.method]]
        for at in lane.stages
    ]
    assert sorted(one[:3] for one in drawn) == sorted(told)
    assert len(told) == sum(len(one.stages) for one in RUN.timelines.values())
    lanes = {}
    for y, begin, end, _ in sorted(drawn):
        assert begin >= lanes.get(y, 0), "a network does one thing at a time"
        lanes[y] = end
    assert len(lanes) == 1 + 3 + 3, "whole data, and two parts and what they are fused to twice"


def test_what_networks_are_is_told_without_colour_too():
    chart = splits.timeline(RUN, "light")
    traces = {one.name: one for one in chart.data}
    assert traces.keys() == {"dense", "pruned", "fused", "fused pruned", "prune", "fuse"}
    hatched = {
        name for name, one in traces.items() if one.type == "bar" and one.marker.pattern.shape
    }
    assert hatched == {"pruned", "fused pruned"}
    assert traces["prune"].marker.symbol != traces["fuse"].marker.symbol
    assert list(traces["fuse"].x) == [10, 11], "fusion waits for the slower part"


def test_parallel_times_and_speed_ups_are_written_beside_the_published_ones():
    chart = splits.timeline(RUN, "light")
    written = {plain(one.text) for one in chart.layout.annotations}
    assert {"<b>30.0 s</b>", "<b>20.0 s</b>", "<b>15.0 s</b>"} <= written
    rows = [[plain(one) for one in row.values()] for row in splits.rows(RUN)]
    assert [row[1:6] for row in rows] == [
        ["30.0 s", "30.0 s", "24.0 s", "–", "–"], ["20.0 s", "29.0 s", "10.0 s", "1.50", "1.31"],
        ["15.0 s", "26.0 s", "10.0 s", "2.00", "1.42"],
    ]  # fmt: skip
    told = plain(splits.headline(RUN))
    assert told == (
        "FaP is 1.50 times as fast as all data; the test images can't tell their accuracies "
        "apart. PaF is 2.00 times as fast as all data and ends 28 points below it."
    )
    assert "1.50 times" in splits.alt(RUN) and "15.0" in splits.alt(RUN)


def test_without_whole_data_nothing_is_said_to_be_faster():
    alone = dataclasses.replace(RUN, timelines={"fap": RUN.timelines["fap"]})
    assert splits.headline(alone) == "" and "times" not in splits.alt(alone)
    assert len(splits.rows(alone)) == 1
    assert len(splits.timeline(alone, "light").layout.yaxis.tickvals) == 3


@pytest.mark.parametrize("language", ["en", "de"])
def test_points_stand_where_their_stages_end_with_their_intervals(language):
    say = texts(language)
    chart = split_accuracy.along(RUN, "light", say)
    points = {
        (x, y, y + up, y - down)
        for trace in chart.data
        if trace.mode == "markers"
        for x, y, up, down in zip(
            trace.x, trace.y, trace.error_y.array, trace.error_y.arrayminus, strict=True
        )
    }
    told = {
        (told.starts[at] + one.seconds, 100 * one.accuracy.mean, 100 * one.accuracy.high,
         100 * one.accuracy.low)
        for told in RUN.timelines.values()
        for at, one in enumerate(told.stages)
    }  # fmt: skip
    rounded = lambda some: {tuple(round(x, 6) for x in one) for one in some}  # noqa: E731
    assert rounded(points) == rounded(told)
    lines = [one for one in chart.data if one.mode == "lines"]
    assert [one.name for one in lines] == ["whole", "fap", "paf"]
    assert len({one.line.dash for one in lines}) == 3
    first, _ = chart.layout.xaxis.range
    assert first < 9, "the first training is over after 9 seconds, and drawn"
    assert "97" in split_accuracy.alt_along(RUN, say)


def test_fusion_alone_stands_beside_average_and_ensemble():
    chart = split_accuracy.alone(RUN, "dark")
    traces = {one.name: one for one in chart.data}
    assert traces.keys() == {"fap", "paf", "whole"}
    assert list(traces["fap"].x) == [90, 88, 20, 92, 80, 97]
    assert list(traces["paf"].x) == [40, 35, 20, 92, 60, 70]
    assert set(traces["whole"].x) == {98}
    rows = list(traces["fap"].y) + list(traces["paf"].y)
    assert len(set(rows)) == 12 and len(chart.layout.yaxis.ticktext) == 12
    assert "plain average 20.0 %, fused 80.0 %" in plain(split_accuracy.alt_alone(RUN))


def test_the_curve_says_down_to_which_share_it_works():
    curve = split_sample.curve(PLAN)
    chart = shares.figure(curve, 0, "light")
    traces = {one.name: one for one in chart.data}
    assert traces.keys() == {*shares.LINES, "parts", "whole"}
    assert list(traces["tuned"].y) == [95, 65] and list(traces["tuned"].x) == [1, 2]
    assert len(traces["parts"].y) == 2 + 4
    assert list(chart.layout.xaxis.ticktext) == ["1/2", "1/4"]
    assert len({(one.marker.symbol, one.line.dash) for one in chart.data}) == len(chart.data)
    some = shares.of_seed(curve, 0)
    assert shares.smallest(some, Accuracy(98, 100)).count == 2
    assert shares.smallest(some, Accuracy(50, 100)).count == 4, "what is better works, too"
    assert shares.smallest(some, Accuracy(1000, 1000)) is None
    assert "Down to 1/2" in shares.headline(curve, 0)
    worse = dataclasses.replace(curve, points=curve.points[1:])
    assert "Already with 1/4" in shares.headline(worse, 0)
    assert "the smallest share, 1/2" in shares.headline(
        dataclasses.replace(curve, points=curve.points[:1]), 0
    )
    assert shares.headline(dataclasses.replace(curve, whole=()), 0) == ""


def test_a_permutation_is_drawn_pair_by_pair():
    order = torch.tensor([2, 0, 1, 3])
    costs = torch.ones(4, 4, dtype=torch.float64)
    costs[torch.arange(4), order] = 0
    uniform = torch.full((4,), 0.25, dtype=torch.float64)
    plan = transport(uniform, uniform, costs, "exact")
    chart = matching.figure(plan, ("part 2", "part 1"), "light")
    pairs = next(one for one in chart.data if one.name == "plan")
    assert list(zip(pairs.y, pairs.x, strict=True)) == list(enumerate(order.tolist()))
    assert "part 2" in chart.layout.yaxis.title.text and "part 1" in chart.layout.xaxis.title.text
    told = plain(matching.alt(plan, Difference(0.9, 0.25)))
    assert "1 of them" in told and "90 %" in told and "25 %" in told
    assert "90" not in matching.alt(plan, Difference(None, 0.25))
