"""What the page says of a channel follows from what the library tells."""

from __future__ import annotations

import re

import pytest

import core
from app import channel_text
from core.channel import channel, fused


@pytest.fixture(scope="module")
def bench():
    net = core.load("vgg11_bn-digits")
    graph = core.trace(net)
    return net, graph, core.Prepared(net, graph)


def looked_at(bench, number: int, **choices):
    net, graph, prepared = bench
    recipe = core.Recipe((6,), samples=16, **choices)
    step = core.compress(net, graph, recipe, prepared).steps[6]
    return channel(prepared, recipe, 6, step, number), step


def test_its_fate_is_told(bench):
    told, step = looked_at(bench, 0)
    kept = step.measures.kept.tolist()
    gone = next(i for i in range(32) if i not in kept)
    told, _ = looked_at(bench, gone)
    text = channel_text.fate(told)
    assert f"number {told.rank} of 32" in text and "**discarded**" in text
    assert f"goes to channel {told.heirs[0].channel}" in text
    stays, _ = looked_at(bench, kept[0])
    text = channel_text.fate(stays)
    others = len([t for t in stays.parents if t.channel != kept[0]])
    assert "**stays**" in text
    assert (f"mass of {others} other" in text) == (others > 0)
    assert "deleted" in channel_text.fate(looked_at(bench, gone, rule="select")[0])
    assert "as it is" in channel_text.fate(looked_at(bench, kept[0], rule="select")[0])
    best, step = looked_at(bench, 0, rule="best")
    gone = next(i for i in range(32) if i not in step.measures.kept.tolist())
    text = channel_text.fate(looked_at(bench, gone, rule="best")[0])
    assert "guessed from 16 channels" in text


def test_tables_hold_the_strongest_ties_and_say_what_is_left_out(bench):
    told, step = looked_at(bench, 0, rule="best")
    gone = next(i for i in range(32) if i not in step.measures.kept.tolist())
    ties = looked_at(bench, gone, rule="best")[0].heirs
    columns = channel_text.table(ties)
    assert list(columns) == ["channel", "coefficient"]
    assert columns["channel"][-1] == f"and {len(ties) - channel_text.MOST_TIES} more"
    assert columns["channel"][:-1] == [str(t.channel) for t in ties[: channel_text.MOST_TIES]]
    ties = looked_at(bench, gone, solver="sinkhorn", epsilon=0.5)[0].heirs
    columns = channel_text.table(ties)
    assert list(columns) == ["channel", "share", "mass", "cost"]
    assert len({len(column) for column in columns.values()}) == 1


@pytest.mark.parametrize("rule", ["released", "repaired"])
def test_the_formula_names_the_terms_with_their_coefficients(bench, rule):
    _, step = looked_at(bench, 0, rule=rule, solver="sinkhorn", epsilon=0.3)
    number = step.measures.kept.tolist()[0]
    for told in fused(bench[2], 6, step, number).values():
        text = channel_text.formula(told)
        assert text.startswith("w' = ")
        numbers = [int(n) for n in re.findall(r"w_\{(\d+)\}", text)]
        assert numbers == [n for n, _, _ in told.terms[: channel_text.MOST_TERMS]]
        left = len(told.terms) - channel_text.MOST_TERMS
        assert f"({left} more)" in text if left > 0 else "more" not in text
        assert (f"{float(told.ratio[0]):.3g}\\,(" in text) == (rule == "repaired")
