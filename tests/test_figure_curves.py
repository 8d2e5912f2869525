"""Curves of accuracy against sparsity are the numbers they were given, with their intervals."""

import pytest

from app.figures import curves
from app.figures.curves import Curves
from core.evaluate import Accuracy

DENSE = Accuracy(95, 100)
PRUNED = {0.1: Accuracy(90, 100), 0.5: Accuracy(40, 100), 0.7: Accuracy(20, 100)}
FUSED = {0.1: Accuracy(92, 100), 0.5: Accuracy(80, 100), 0.7: Accuracy(60, 100)}
BOTH = [Curves(PRUNED, FUSED)]


def named(chart, name):
    return [trace for trace in chart.data if trace.name == name]


@pytest.mark.parametrize("mode", ["light", "dark"])
def test_each_point_is_its_mean_inside_its_band(mode):
    chart = curves.figure(BOTH, DENSE, mode)
    for name, known, band in zip(
        ("pruned", "fused"), (PRUNED, FUSED), named(chart, "band"), strict=True
    ):
        (line,) = named(chart, name)
        assert list(line.x) == [10, 50, 70]
        assert list(line.y) == [100 * one.mean for one in known.values()]
        half = len(known)
        assert list(band.x[:half]) == list(band.x[half:][::-1]) == list(line.x)
        assert list(band.y[:half]) == [100 * one.high for one in known.values()]
        assert list(band.y[half:][::-1]) == [100 * one.low for one in known.values()]
    assert list(named(chart, "dense")[0].y) == [95, 95]


def test_pruned_and_fused_differ_by_more_than_colour_and_so_do_two_settings():
    chart = curves.figure([Curves(PRUNED, FUSED, "A"), Curves(PRUNED, FUSED, "B")], DENSE, "light")
    looks = {
        (line.marker.symbol, line.line.dash)
        for name in ("pruned A", "pruned B", "fused A", "fused B")
        for line in named(chart, name)
    }
    assert len(looks) == 4


def test_names_stand_clear_of_each_other():
    same = [Curves(PRUNED, PRUNED, "A"), Curves(PRUNED, PRUNED, "B")]
    notes = [n.y for n in curves.figure(same, None, "light").layout.annotations]
    assert len(notes) == 4
    assert min(a - b for a, b in zip(notes, notes[1:], strict=False)) >= 9


def test_guesses_and_the_present_sparsity_are_laid_over():
    first, second = curves.guesses({0.3: (0.6, 0.9), 0.5: (0.0, 0.8)}, "light")
    assert (first.name, list(first.x), list(first.y)) == ("expected pruned", [30, 50], [60, 0])
    assert (second.name, list(second.y)) == ("expected fused", [90, 80])
    assert first.marker.symbol != second.marker.symbol
    (now,) = curves.present(0.35, "light")
    assert set(now.x) == {35}


def test_alt_tells_where_curves_begin_and_end_and_what_was_expected():
    told = curves.alt(BOTH, 0.5, {0.5: (0.3, 0.9)}).replace("\N{NO-BREAK SPACE}", " ")
    for part in (
        "50 % is chosen", "pruned: 90.0 % at a sparsity of 10 %, 20.0 % at 70 %",
        "fused: 92.0 %", "Expected at 50 %: 30 % pruned, 90 % fused",
    ):  # fmt: skip
        assert part in told
