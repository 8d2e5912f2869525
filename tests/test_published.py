"""The paper's figures are read as its tables have them."""

from __future__ import annotations

import pytest

from core import published


def test_cells_of_the_tables():
    vgg = published.data_free("vgg11_bn-cifar10", "l1")
    assert len(vgg) == 8 * 9 or {g for g, _ in vgg} == set(range(8))
    pair = vgg[0, 0.1]
    assert (pair.pruned, pair.fused) == pytest.approx((0.8953, 0.8947))
    assert pair.gain == pytest.approx(-0.06)


def test_what_is_no_result_is_left_out():
    assert {4, 7}.isdisjoint(
        {group for group, _ in published.data_free("resnet18-cifar10", "taylor")}
    )
    assert {4, 7} <= {group for group, _ in published.data_free("resnet18-cifar10", "l1")}


def test_networks_and_scores_the_paper_has_not_are_empty():
    assert published.data_free("vgg11_bn-digits", "l1") == {}
    assert published.data_free("vgg11_bn-cifar10", "fpgm") == {}
    assert (
        published.fine_tuned("resnet18-digits") == {} and published.sizes("resnet20-cifar10") == []
    )


def test_fine_tuning_and_sizes():
    assert published.fine_tuned("vgg11_bn-cifar10")[0.64].fused == pytest.approx(0.8919)
    first, second = published.sizes("resnet18-cifar10")[:2]
    assert (first.channels, first.parameters, first.weights) == (0.0, 11_164_352, 0.0)
    assert second.weights == 0.64
