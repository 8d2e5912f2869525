"""The map of the plane is what was measured, coarse where nothing finer is known yet."""

from __future__ import annotations

import math

import pytest

from app.figures import landscape as figures
from app.language import LANGUAGES, texts
from core.evaluate import Accuracy
from core.landscape import LINES, Frame, Height, grid

FRAME = Frame(-0.4, -0.4, 1.8)
SPOTS = {"dense": (0.0, 0.0), "pruned": (1.0, 0.0), "fused": (1.0, 1.0)}
SPACE = "\N{NO-BREAK SPACE}"


def height(s: float, t: float) -> Height:
    right = round(100 * (1 - s / 2 - t / 4))
    return Height(Accuracy(right, 100), 0.1 * math.exp(5 * s + t))


THREE = {place: height(*place) for place in grid(3)}
FIVE = {place: height(*place) for place in grid(5)}
WALKED = {
    (a, b, share): Height(Accuracy(50, 100), 1 + (share == 0.5))
    for a, b in LINES
    for share in (0.0, 0.5, 1.0)
}


def named(chart, name):
    (trace,) = [one for one in chart.data if name in (one.name, one.meta)]
    return trace


@pytest.mark.parametrize("mode", ["light", "dark"])
@pytest.mark.parametrize("points", [THREE, FIVE])
def test_a_whole_grid_is_drawn_as_it_was_measured(mode, points):
    plane = named(figures.figure(points, FRAME, SPOTS, mode), "plane")
    side = round(len(points) ** 0.5)
    for (s, t), one in points.items():
        column, row = round(s * (side - 1)), round(t * (side - 1))
        assert plane.z[row][column] == one.accuracy.mean
        assert plane.x[column] == pytest.approx(FRAME.at((s, t))[0])
        assert plane.y[row] == pytest.approx(FRAME.at((s, t))[1])


def test_an_incomplete_grid_shows_coarser_points_and_what_is_unknown_stays_empty():
    begun = dict(list(FIVE.items())[:12])  # 3 × 3 and three of those between
    table = figures.cells(begun)
    assert len(table) == 5 and figures.side_of(begun) == 5
    for (s, t), one in begun.items():
        assert table[round(4 * t)][round(4 * s)] is one
    assert all(one in THREE.values() for one in (table[3][3], table[4][4], table[2][2]))
    assert table[3][3] is begun[1.0, 1.0]  # the nearest, of equal ones the upper right
    few = figures.cells(dict(list(THREE.items())[:4]))
    assert [[one is not None for one in row] for row in few] == [
        [True] * 3, [True, False, False], [False] * 3
    ]  # fmt: skip
    for points in ({}, begun):
        chart = figures.figure(points, FRAME, SPOTS, "light")
        assert named(chart, "dense") and not [one for one in chart.data if one.name == "lines"]
    assert named(figures.figure(FIVE, FRAME, SPOTS, "light"), "lines")


def test_losses_are_drawn_by_their_logarithm_and_read_as_they_are():
    chart = figures.figure(FIVE, FRAME, SPOTS, "light", "loss")
    plane = named(chart, "plane")
    assert plane.z[0][0] == pytest.approx(math.log10(FIVE[0.0, 0.0].loss))
    assert f"loss {FIVE[0.0, 0.0].loss:.3g}" in plane.text[0][0]
    assert plane.colorbar.ticktext == ("0.1", "0.2", "0.5", "1", "2", "5", "10", "20")
    none = Height(Accuracy(1, 1), 0.0)
    assert named(
        figures.figure({(0.0, 0.0): none}, FRAME, SPOTS, "dark", "loss"), "plane"
    ).z[0][0] == pytest.approx(-3)  # fmt: skip


def test_the_three_networks_stand_in_their_places_with_shapes_of_their_own():
    chart = figures.figure(THREE, FRAME, SPOTS, "dark")
    marks = {name: named(chart, name) for name in SPOTS}
    assert {name: (one.x[0], one.y[0]) for name, one in marks.items()} == SPOTS
    assert len({one.marker.symbol for one in marks.values()}) == 3
    labels = {note.text: (note.x, note.y) for note in chart.layout.annotations}
    assert labels == {f"<b>{name}</b>": spot for name, spot in SPOTS.items()}
    assert chart.layout.yaxis.scaleanchor == "x"  # distances are true


def test_lines_hold_the_losses_and_differ_by_more_than_colour():
    chart = figures.lines(WALKED, "light")
    assert len({one.line.dash for one in chart.data}) == 3
    for a, b in LINES:
        trace = named(chart, f"{a} {b}")
        assert list(trace.x) == [0, 0.5, 1] and list(trace.y) == [1, 2, 1]


def test_alts_tell_the_findings():
    told = figures.alt(FIVE, SPOTS, WALKED).replace(SPACE, " ")
    assert "25 points" in told and "fused network lies at 1.00, 1.00: accuracy 50.0 %" in told
    bare = figures.alt(FIVE, SPOTS, {})
    assert "fused network lies at 1.00, 1.00." in bare
    assert "dense → fused: rises above the straight line between both losses by 1." in (
        figures.alt_lines(WALKED)
    )
    assert "→" not in figures.alt_lines({})


@pytest.mark.parametrize("language", LANGUAGES)
def test_captions_say_what_is_shown_and_what_is_not(language):
    for shown, caution in (
        figures.caption(500, texts(language)), figures.caption_lines(500, texts(language))
    ):  # fmt: skip
        assert "500" in shown and caution.endswith(".") and shown != caution
