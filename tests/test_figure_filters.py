"""Filters as pictures: every weight has its place, a mosaic is cut up again to what it was."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from app.figures import filters
from app.language import texts


@pytest.mark.parametrize("shape", [(64, 3, 3), (5, 3, 3), (1, 5, 5), (12, 1, 1), (7,)])
def test_a_mosaic_holds_every_weight_in_the_order_of_the_inputs(shape):
    one = torch.arange(1, 1 + int(np.prod(shape))).reshape(shape).double()
    picture = filters.mosaic(one)
    height, width = shape[1:] if len(shape) == 3 else (1, 1)
    gap = int(height * width > 1)
    across = (picture.shape[1] + gap) // (width + gap)
    for place in range(shape[0]):
        y, x = (height + gap) * (place // across), (width + gap) * (place % across)
        tile = picture[y : y + height, x : x + width]
        assert np.array_equal(tile, one[place].numpy().reshape(height, width))
    assert np.isfinite(picture).sum() == one.numel()
    assert abs(picture.shape[0] - picture.shape[1]) <= max(height, width) + gap


def test_three_inputs_are_shown_in_colour_with_grey_for_zero():
    one = torch.zeros(3, 3, 3)
    one[0, 0, 0], one[2, 2, 2] = 2.0, -2.0
    chart = filters.figure({"channel 4": one}, "light")
    (image,) = chart.data
    assert image.type == "image"
    assert list(image.z[0][0]) == [255, 128, 128] and list(image.z[2][2]) == [128, 128, 0]


@pytest.mark.parametrize("mode", ["light", "dark"])
def test_filters_side_by_side_share_one_scale(mode):
    two = {"channel 4": torch.full((8, 3, 3), 0.5), "fused": torch.full((8, 3, 3), -2.0)}
    chart = filters.figure(two, mode)
    assert [trace.type for trace in chart.data] == ["heatmap"] * 2
    assert {(trace.zmin, trace.zmax) for trace in chart.data} == {(-2.0, 2.0)}
    assert [trace.showscale for trace in chart.data] == [True, False]
    assert [note.text for note in chart.layout.annotations] == list(two)
    numbers = chart.data[0].customdata
    assert numbers.shape == chart.data[0].z.shape and numbers[0][0] == 0 and numbers[-1][2] == 6
    assert "channel 4: 8 inputs, weights from 0.5 to 0.5" in filters.alt(two)
    assert "8 inputs" in filters.caption(two)[0]


def test_a_filter_of_zeros_is_drawn():
    chart = filters.figure({"channel 0": torch.zeros(4, 3, 3)}, "light")
    assert chart.data[0].zmax == 1.0
    assert "red, green and blue" in filters.caption({"a": torch.zeros(3, 3, 3)})[0]


def test_of_many_inputs_the_strongest_are_drawn_and_the_caption_says_what_they_hold():
    one = torch.full((512, 3, 3), 0.01)
    loud = torch.arange(7, 512, 8)  # 64 of them
    one[loud] = 1.0
    two = {"channel 4": one, "fused": 0.5 * one}
    assert torch.equal(filters.strongest(two), loud)
    chart = filters.figure(two, "light")
    drawn = chart.data[0].z
    assert np.isfinite(drawn).sum() == 64 * 9 and np.nanmin(drawn) == 1.0
    assert set(np.unique(chart.data[0].customdata[np.isfinite(drawn)])) == set(loud.tolist())
    said = filters.caption(two)[0]
    assert "64 strongest of 512 inputs" in said and "hold 100\xa0% of the squared" in said
    points = {"channel 4": torch.rand(512, 1, 1)}  # small enough for all
    assert len(filters.strongest(points)) == 512
    assert "Eingang, 512 im Ganzen" in filters.caption(points, texts("de"))[0]
