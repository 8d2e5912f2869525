"""Bars of shares: each channel has its own, in order, and the chosen one is framed."""

from __future__ import annotations

import pytest
import torch

from app.figures import blame
from app.language import texts
from core.unexplained import Unexplained

KNOWN = Unexplained(0.4, torch.tensor([0.1, 0.6, -0.1, 0.4]).double())


@pytest.mark.parametrize("mode", ["light", "dark"])
def test_every_channel_has_its_bar_and_the_chosen_one_a_frame(mode):
    chart = blame.figure(KNOWN, frozenset({0, 2}), 3, mode)
    bars = {
        channel: (trace.name, x, y)
        for trace in chart.data
        if trace.type == "bar"
        for (channel,), x, y in zip(trace.customdata, trace.x, trace.y, strict=True)
    }
    assert {channel: y for channel, (_, _, y) in bars.items()} == pytest.approx(
        dict(enumerate(KNOWN.shares.tolist()))
    )
    assert sorted(bars, key=lambda channel: bars[channel][1]) == [1, 3, 0, 2]
    assert {c for c, (name, _, _) in bars.items() if name == "stays"} == {0, 2}
    patterns = [t.marker.pattern.shape for t in chart.data if t.type == "bar"]
    assert len(set(patterns)) == 2, "never colour alone"
    (frame,) = chart.layout.shapes
    assert frame.x0 < bars[3][1] < frame.x1 and frame.y1 == pytest.approx(0.4)
    line = next(trace for trace in chart.data if trace.type == "scatter")
    assert set(line.y) == {0.25}
    assert not blame.figure(KNOWN, frozenset({0, 2}), None, mode).layout.shapes


def test_it_is_told_in_words():
    told = blame.alt(KNOWN, frozenset({0, 2}), 3).replace("\xa0", " ")
    assert "channel 1 has 60.00 %" in told and "2 of 4 channels stay and have 0.0 %" in told
    assert told.endswith("Channel 3 has 40.00 %, place 2.")
    assert "60,00" in blame.alt(KNOWN, frozenset({0, 2}), None, texts("de"))
