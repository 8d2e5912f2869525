"""What the page says of a channel follows from what the library tells."""

from __future__ import annotations

import re

import pytest
import torch

import core
from app import channel_text
from app.language import texts
from core.channel import channel, fused, listed
from core.unexplained import Unexplained


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
    assert "\xa0%" in text and f"number {told.rank} of 32" in text and "**discarded**" in text
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
        assert (f"{float(told.ratio[0]):.3g}\\,\\left(" in text) == (rule == "repaired")


def test_the_table_of_nearest_targets_tells_what_goes_there_and_why(bench):
    net, graph, prepared = bench
    kinds = set()
    for number in range(32):
        told, step = looked_at(bench, number, sparsity=0.8)
        columns = channel_text.nearest(told)
        assert columns["channel"] == [str(tie.channel) for tie in told.nearest]
        row = dict(zip(step.measures.kept.tolist(), step.plan.mass[number].tolist(), strict=True))
        goes = [row[int(channel)] > 0 for channel in columns["channel"]]
        assert [text != "no" for text in columns["of its mass"]] == goes
        sentence = channel_text.why_not_nearest(told)
        cheapest = row[told.nearest[0].channel] / told.source
        kinds.add(sentence.split()[0])
        assert sentence.startswith("All" if cheapest > 0.995 else ("Only", "None"))
        assert ("None" in sentence) == (cheapest < 0.005)
        assert ("holds only its own mass" in sentence) == (cheapest < 0.995)
    assert kinds >= {"All", "None"}, "the plan does not take every channel's cheapest way"


def test_reading_is_the_row_or_the_column_of_unmerge(bench):
    told, step = looked_at(bench, 0, rule="preserving", solver="sinkhorn", epsilon=0.3)
    unmerge, kept = step.projection.unmerge, step.measures.kept.tolist()
    text = channel_text.reading(unmerge, kept, kept[0])
    numbers = [int(n) for n in re.findall(r"v_\{(\d+)\}", text)]
    column = unmerge[:, 0]
    assert numbers == column.argsort(descending=True, stable=True)[:4].tolist()
    assert f"{float(column[numbers[0]]):.3g}" in text
    gone = next(i for i in range(32) if i not in kept)
    text = channel_text.reading(unmerge, kept, gone)
    assert text.startswith(f"x_{{{gone}}} \\approx ")
    assert int(re.search(r"x'_\{(\d+)\}", text)[1]) == kept[int(unmerge[gone].argmax())]
    _, step = looked_at(bench, 0, rule="select")
    assert channel_text.reading(step.projection.unmerge, kept, gone) is None
    german = channel_text.reading(unmerge, kept, gone, texts("de"))
    assert "{,}" in german and "." not in german


def test_a_check_that_fails_is_loud_and_names_the_layer(bench):
    _, step = looked_at(bench, 0, rule="average")
    sums = fused(bench[2], 6, step, step.measures.kept.tolist()[0])
    (layer,) = sums
    assert channel_text.check(sums, {layer: 3e-8}) == (
        True, "Checked against the smaller network's own weights, batch norm folded in: largest "
        "difference 3e-08.",
    )  # fmt: skip
    for off in (0.01, float("nan")):
        held, sentence = channel_text.check(sums, {layer: off})
        assert not held and layer in sentence and "does not hold" in sentence


def test_a_share_of_the_error_is_told_beside_the_mean():
    known = Unexplained(0.3, torch.tensor([0.6, 0.5, -0.1, 0.0]))
    assert channel_text.error(known, 0) == (
        "Its share is **60.00\xa0%**; the mean channel has 25.00\xa0%."
    )
    assert "Below zero" in channel_text.error(known, 2)
    nothing = Unexplained(0.0, torch.zeros(4))
    assert "miss nothing" in channel_text.error(nothing, 0)


def test_the_table_of_all_channels(bench):
    _, step = looked_at(bench, 0)
    rows = listed(step)
    columns = channel_text.everyone(rows, None)
    assert list(columns) == [
        "channel", "fate", "rank", "score", "main heir", "heirs", "parents",
    ]  # fmt: skip
    assert columns["fate"].count("stays") == 16 and columns["channel"] == list(range(32))
    known = Unexplained(0.3, torch.full((32,), 1 / 32))
    assert channel_text.everyone(rows, known, texts("de"))["Anteil am Fehler (%)"] == [3.125] * 32
