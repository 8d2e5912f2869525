"""Signatures name what passes their thresholds, with the numbers, and nothing else."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

import core
from app.figures.divergence import sign
from app.language import LANGUAGES, texts
from core import signatures
from core.divergence import Divergence
from core.evaluate import Accuracy
from core.signatures import SIGNATURES, Signature, of_curve, of_divergence, of_step, of_steps


def diverging(pruned: float, fused: float, margin: float = 2.0) -> Divergence:
    count = 50
    noise = torch.linspace(-0.01, 0.01, count).double()
    return Divergence(
        ("pruned", "fused"), torch.stack([pruned + noise, fused + noise]),
        torch.ones(count).double(), torch.full((count,), margin).double(),
        torch.ones(2, count, dtype=torch.bool), torch.zeros(count, dtype=torch.int64), ("a",),
        count,
    )  # fmt: skip


def test_outputs_that_may_name_another_class_are_a_divergence():
    assert of_divergence(diverging(1.0, 1.0), "pruned") == []
    (one,) = of_divergence(diverging(1.5, 1.0), "pruned", {"group": 6})
    assert (one.name, one.value, one.threshold) == ("divergence", 1.0, signatures.BEYOND)
    assert one.where == {"group": 6, "variant": "pruned"}


def test_fused_farther_than_pruned_is_worse():
    (one,) = of_divergence(diverging(0.5, 1.0), "pruned")
    assert one.name == "worse" and one.where == {"variant": "fused"}
    assert one.value == pytest.approx(2)
    assert of_divergence(diverging(1.0, 1.001), "pruned") == []  # the intervals overlap
    assert of_divergence(diverging(0.5, 1.0)) == []  # nothing to compare with


def test_a_sudden_drop_is_told_where_it_is_steepest():
    def curve(*shares):
        return {0.1 * (i + 3): Accuracy(round(1000 * s), 1000) for i, s in enumerate(shares)}

    assert of_curve(curve(0.9, 0.8, 0.7, 0.6)) == []
    (one,) = of_curve(curve(0.9, 0.85, 0.6, 0.2), {"group": 3})
    assert one.name == "drop" and one.value == pytest.approx(0.4) and one.where["group"] == 3
    assert (one.where["before"], one.where["after"]) == (pytest.approx(0.5), pytest.approx(0.6))
    # Twice the way may take twice the fall; few images tell nothing.
    assert of_curve({0.3: Accuracy(90, 100), 0.5: Accuracy(60, 100)}) == []
    assert of_curve({0.3: Accuracy(3, 4), 0.4: Accuracy(2, 4)}) == []


@pytest.fixture(scope="module")
def step():
    net = core.load("vgg11_bn-digits")
    return core.compress(net, core.trace(net), core.Recipe(groups=(6,), sparsity=0.5)).steps[6]


def moved(step, mass):
    return replace(step, plan=replace(step.plan, mass=mass))


def test_a_channel_that_takes_far_more_mass_is_named(step):
    assert of_step(step) == []  # an exact plan between uniform masses
    width, stay = step.plan.mass.shape
    mass = torch.zeros(width, stay).double()
    mass[torch.arange(width), torch.arange(width) % stay] = 1 / width
    assert of_step(moved(step, mass)) == []
    greedy = mass.clone()
    greedy[:8] = 0
    greedy[:8, 5] = 1 / width
    found = of_steps({6: moved(step, greedy)})
    # 8 of the first eight channels, and one more, where two are the mean
    assert [(one.name, one.value) for one in found] == [
        ("mass", pytest.approx(8.5 / 2, abs=0.3)), ("parents", pytest.approx(8.5 / 2, abs=0.3))
    ]  # fmt: skip
    assert all(one.where == {"group": 6, "channel": int(step.measures.kept[5])} for one in found)
    # How much mass a source has doesn't matter: it is counted before any rule norms it.
    assert of_step(moved(step, greedy * torch.rand(width, 1).double())) == of_step(
        moved(step, greedy)
    )


def test_plain_pruning_moves_nothing(step):
    assert of_step(replace(step, plan=None)) == []


@pytest.mark.parametrize("language", LANGUAGES)
def test_every_signature_is_a_sentence_with_its_numbers(language):
    where = {"group": 4, "variant": "fused", "channel": 17, "before": 0.5, "after": 0.6}
    for name in SIGNATURES:
        told = sign(Signature(name, where, 3.25, 3.0), texts(language))
        assert "4" in told and "{" not in told and "3" in told.partition(":")[2]
        assert texts(language)("accuracy.name.fused") in told


def test_rows_hold_the_numbers():
    head, row = signatures.rows([Signature("mass", {"channel": 3}, 4.5, 3.0)])
    assert len(head) == len(row) and row[:4] == ("mass", "channel 3", "4.50", "3.00")
