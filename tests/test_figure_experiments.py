"""Figures of sweeps and whole networks draw what they are given, in both themes and languages."""

from __future__ import annotations

import pytest

from app.figures import gains, whole
from app.language import texts
from core.evaluate import Accuracy
from core.published import Pair

CELLS = {(0, 0.1): 0.04, (0, 0.5): -3.2, (6, 0.1): 12.3, (6, 0.5): 41.0}
POINTS = [
    whole.Point(0.3, 0.5, 100_000, 0.48, Accuracy(30, 100), Accuracy(80, 100)),
    whole.Point(0.8, 0.96, 9_000, 0.04, Accuracy(10, 100), Accuracy(10, 100)),
]


@pytest.mark.parametrize("mode", ["light", "dark"])
def test_a_map_has_a_number_in_every_cell_and_the_output_below(mode):
    chart = gains.figure({**CELLS, (3, 0.1): 1.0}, 6, mode)
    (cells,) = chart.data
    assert [row[0][0] for row in cells.customdata] == [6, 3, 0], "from the input to the output"
    assert chart.layout.yaxis.autorange == "reversed"
    written = {(one.x, one.y): one.text for one in chart.layout.annotations}
    assert written == {(0, 0): "+12", (1, 0): "+41", (0, 1): "+1.0", (0, 2): "+0.0", (1, 2): "−3.2"}
    assert chart.layout.yaxis.ticktext[0] == "<b>▸ group 6</b>"
    inks = {one.text: one.font.color for one in chart.layout.annotations}
    assert inks["+41"] != inks["+0.0"], "letters stand out from strong colours"


def test_the_finding_of_a_map_is_told():
    told = gains.alt(CELLS, "Ours").replace("\N{NO-BREAK SPACE}", " ")
    assert told == (
        "Ours: in 3 of 4 cells fusion is better than plain pruning. Best: +41.0 points, group 6 at "
        "50 %. Worst: −3.2 points, group 0 at 50 %."
    )


@pytest.mark.parametrize("language", ["en", "de"])
def test_whole_networks_stand_at_the_weights_that_are_gone(language):
    say = texts(language)
    paper = {0.64: Pair(0.88, 0.89)}
    chart = whole.figure(POINTS, Accuracy(99, 100), paper, "light", say)
    drawn = {trace.name: trace for trace in chart.data}
    assert drawn.keys() == {"pruned", "fused", "paper pruned", "paper fused", "dense"}
    assert list(drawn["fused"].x) == [50.0, 96.0] and list(drawn["fused"].y) == [80.0, 10.0]
    assert list(drawn["paper fused"].x) == [64.0]
    low, high = (100 * (0.8 - POINTS[0].fused.low), 100 * (POINTS[0].fused.high - 0.8))
    assert drawn["fused"].error_y.arrayminus[0] == pytest.approx(low)
    assert drawn["fused"].error_y.array[0] == pytest.approx(high)
    names = [one for one in chart.layout.annotations if one.xanchor == "left" and one.xshift]
    assert abs(names[0].y - names[1].y) >= 9, "names don't lie on each other"


def test_captions_speak_of_the_paper_only_where_it_is_drawn():
    assert "paper" in whole.caption(POINTS, True)[0]
    assert "paper" not in whole.caption(POINTS, False)[0]
    assert "100 test images" in whole.caption(POINTS, False)[0]


def test_names_at_the_bottom_stay_above_the_axis():
    import plotly.graph_objects as go

    from app.figures import ends

    chart = go.Figure()
    ends.name(chart, [(10.0, 90, "pruned", "#000000"), (9.9, 90, "fused", "#000000")])
    heights = {one.text: one.y for one in chart.layout.annotations}
    assert heights["<b>fused</b>"] == 4 and heights["<b>pruned</b>"] == 13, "9 apart, 4 above it"
    chart = go.Figure()
    ends.name(chart, [(99.0, 90, "a", "#000000"), (98.0, 90, "b", "#000000")])
    assert [one.y for one in chart.layout.annotations] == [99, 90]
