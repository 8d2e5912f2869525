"""Latency counts what it says it counts, and leaves networks and settings alone."""

from __future__ import annotations

import time

import pytest
import torch
from torch import nn

import core
from core.latency import latencies, turns


class Sleeper(nn.Module):
    """Takes a given number of milliseconds, and remembers what it was fed."""

    def __init__(self, *milliseconds: float) -> None:
        super().__init__()
        self.milliseconds = milliseconds
        self.fed: list[tuple] = []

    def forward(self, x):
        time.sleep(1e-3 * self.milliseconds[len(self.fed) % len(self.milliseconds)])
        self.fed.append((tuple(x.shape), torch.get_num_threads(), self.training))
        return x


def test_the_median_is_what_it_takes():
    found = core.latency(Sleeper(20).eval(), (3, 8, 8), runs=9, batch=4)
    assert 0.020 <= found.first_quartile <= found.median <= found.third_quartile
    assert found.median < 0.2 and found.spread == found.third_quartile - found.first_quartile
    assert (found.runs, found.batch, found.threads, found.warmup) == (9, 4, 1, 5)


def test_runs_warm_up_batch_and_threads_are_as_said():
    sleeper = Sleeper(0).eval()
    before = torch.get_num_threads()
    core.latency(sleeper, (3, 8, 8), runs=3, warmup=2, batch=7, threads=1)
    assert sleeper.fed == [((7, 3, 8, 8), 1, False)] * 5
    assert torch.get_num_threads() == before


def test_the_quartiles_enclose_half_of_the_runs():
    found = core.latency(Sleeper(1, 1, 1, 60).eval(), (1,), runs=40, warmup=0)
    assert found.median < 0.03 and found.third_quartile < 0.06
    found = core.latency(Sleeper(1, 60).eval(), (1,), runs=40, warmup=0)
    assert found.first_quartile < 0.03 < 0.06 <= found.third_quartile


def test_networks_take_turns():
    order = []

    class Noting(nn.Module):
        def __init__(self, name):
            super().__init__()
            self.name = name

        def forward(self, x):
            order.append(self.name)
            return x

    found = latencies([Noting("a").eval(), Noting("b").eval()], (1,), runs=3, warmup=1)
    assert order == ["a", "b"] * 4 and len(found) == 2


def test_a_network_in_training_mode_is_left_alone():
    net = nn.BatchNorm2d(3).train()
    core.latency(net, (3, 4, 4), runs=2)
    assert net.training and int(net.num_batches_tracked) == 0


@pytest.mark.parametrize(
    "options",
    [{"runs": 0}, {"batch": 0}, {"threads": 0}, {"warmup": -1}, {"runs": 1.5}, {"threads": 10**6}],
)
def test_numbers_that_make_no_sense_are_refused(options):
    with pytest.raises(core.RecipeError, match=next(iter(options))):
        core.latency(nn.Identity(), (1,), **options)


def test_a_network_that_fails_is_a_sentence_and_threads_are_put_back():
    before = torch.get_num_threads()
    with pytest.raises(core.Unsupported, match="can't be timed"):
        core.latency(nn.Linear(3, 4), (5,))
    assert torch.get_num_threads() == before


def test_a_latency_is_told_with_all_that_belongs_to_it():
    text = str(core.Latency(0.002, 0.001, 0.003, 50, 5, 8, 2))
    assert "2.00 ms" in text and "1.00 and 3.00" in text
    assert "50 runs" in text and "batch of 8" in text and "2 threads" in text


def test_ratios_are_taken_run_by_run_so_that_a_slow_machine_drops_out():
    # The machine slows down to a fifth halfway: medians apart would mix fast and slow runs.
    slower = (4, 4, 20, 20, 20)
    *_, known = turns(
        [Sleeper(*slower).eval(), Sleeper(*(one / 2 for one in slower)).eval()], (1,), runs=5,
        warmup=0,
    )  # fmt: skip
    found = known.ratio(1)
    assert known.ratio(0).median == known.ratio(0).third_quartile == 1
    assert 0.45 < found.first_quartile <= found.median <= found.third_quartile < 0.75
    assert f"{100 * found.median:.1f} %" in str(found)


def test_it_tells_after_every_round_and_stops_between_two():
    sleeper, rounds = Sleeper(0).eval(), []

    def between():
        rounds.append(len(sleeper.fed))
        if len(rounds) == 5:
            raise core.RecipeError("enough")

    told = turns([sleeper, sleeper], (1,), runs=9, warmup=1, between=between)
    with pytest.raises(core.RecipeError, match="enough"):
        for known in told:
            assert known.seconds.shape == (2, known.runs) and (known.seconds > 0).all()
    assert rounds == [0, 2, 4, 6, 8] and known.runs == 3
    assert known.latency(1).runs == 3 and known.latency(1).warmup == 1


def test_a_smaller_network_takes_less_time_for_many_images(one_thread):
    net = core.load("vgg11_bn-digits")
    graph = core.trace(net, (3, 32, 32))
    small = core.compress(net, graph, core.Recipe("all", 0.8, rule="select")).module
    *_, known = turns([net, small], runs=15, batch=16)
    assert known.ratio(1).median < 0.7, "a tenth of the operations"
