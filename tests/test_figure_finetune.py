"""Curves of fine-tuning are the histories they were given."""

import pytest

from app.figures import finetune
from app.language import texts
from core.evaluate import Accuracy
from core.finetune import History


def history(*right: int, epochs: int = 3) -> History:
    losses = [(2, 2.0), (4, 1.5), (6, 1.0)]
    return History(4, epochs, losses, [Accuracy(one, 100) for one in right])


RUNS = {"select": history(10, 60, 70), "released": history(50, 90, 95)}
DENSE = Accuracy(97, 100)


def plain(text: str) -> str:
    return text.replace("\N{NO-BREAK SPACE}", " ")


@pytest.mark.parametrize("mode", ["light", "dark"])
def test_each_point_is_its_accuracy_with_its_interval(mode):
    shown = finetune.lines(RUNS)
    chart = finetune.accuracy(shown, DENSE, mode)
    assert [trace.name for trace in chart.data] == ["pruned", "fused", "dense"]
    for trace, run in zip(chart.data, RUNS.values(), strict=False):
        known = run.accuracies
        assert list(trace.x) == [0, 1, 2] and list(trace.y) == [100 * a.mean for a in known]
        assert trace.y[1] + trace.error_y.array[1] == pytest.approx(100 * known[1].high)
        assert trace.y[1] - trace.error_y.arrayminus[1] == pytest.approx(100 * known[1].low)
    assert set(chart.data[2].y) == {97}


def test_losses_stand_at_their_share_of_an_epoch():
    chart = finetune.loss(finetune.lines(RUNS), "light")
    for trace in chart.data:
        assert list(trace.x) == [0.5, 1.0, 1.5] and list(trace.y) == [2.0, 1.5, 1.0]


def test_several_fused_networks_differ_by_more_than_colour_and_carry_their_rule():
    shown = finetune.lines(RUNS | {"best": history(60, 92, 96)})
    chart = finetune.accuracy(shown, None, "light")
    assert [trace.name for trace in chart.data] == ["pruned", "fused released", "fused best"]
    assert len({(trace.marker.symbol, trace.line.dash) for trace in chart.data}) == 3
    assert any("best" in note.text for note in chart.layout.annotations)


def test_names_stand_clear_of_each_other():
    shown = finetune.lines({"select": history(90, 91), "released": history(90, 91)})
    heights = [n.y for n in finetune.accuracy(shown, None, "light").layout.annotations]
    assert len(heights) == 2 and abs(heights[0] - heights[1]) >= 9


@pytest.mark.parametrize("language", ["en", "de"])
def test_a_run_that_has_not_begun_is_drawn_and_told(language):
    say, shown = texts(language), finetune.lines({"select": History(4, 3), "best": History(4, 3)})
    assert len(finetune.accuracy(shown, None, "dark", say).data) == 2
    assert len(finetune.loss(shown, "dark", say).data) == 2
    assert finetune.alt(shown, None, say) == say("finetune.unknown")
    assert finetune.headline(shown, say) == ""


def test_words_say_where_each_stands_and_no_more_than_the_images_tell():
    told = plain(finetune.alt(finetune.lines(RUNS), DENSE))
    assert "pruned: 10.0 % before, 70.0 % after 2 epochs." in told
    assert "fused: 50.0 % before, 95.0 % after 2 epochs." in told and "dense: 97.0 %" in told
    assert "After 2 epochs the fused network is 25 points ahead" in told
    near = {"select": history(10, 90), "released": history(50, 92)}
    assert "can't tell them apart" in finetune.headline(finetune.lines(near))
    swapped = dict(zip(RUNS, reversed(RUNS.values()), strict=True))
    assert "the pruned network is 25 points ahead" in finetune.headline(finetune.lines(swapped))
    # Of a run that is going on, what both have reached is compared.
    going = {"select": history(10, 60, 70), "released": history(50)}
    assert "After 0 epochs" in finetune.headline(finetune.lines(going))
    shows, caution = finetune.caption(finetune.lines(RUNS), 5000, "recorded today")
    assert "5,000 training images" in shows and "100 test images" in shows
    assert "(recorded today)" in shows and caution
