"""What is remembered changes no count, is bounded, and spares the network's beginning."""

from __future__ import annotations

import threading

import pytest
import torch
from torch import nn

import core
from core.data import ImageSet
from core.experiments import Bench
from core.replay import FIRST, Replay

SPARSITIES = (0.3, 0.7)
BATCHES = ((0, 20), (20, 40), (40, 50))


@pytest.fixture(scope="module", params=["vgg11_bn-digits", "resnet18-digits"])
def bench(request):
    return Bench(request.param)


def variants(bench, group: int) -> list[core.Compressed]:
    return [
        bench.small(core.Recipe(groups=(group,), sparsity=sparsity, rule=rule))
        for sparsity in SPARSITIES
        for rule in ("select", "released")
    ]


def counted(replay: Replay, variant) -> int:
    count = replay.counter(variant)
    return sum(count(*batch) for batch in BATCHES)


def test_the_counts_are_the_librarys_remembered_or_not(bench):
    replay = Replay(bench.module, bench.tested)
    last = len(bench.graph.groups) - 1
    for group in (0, last):
        for one in variants(bench, group):
            for given in (one, one.module):
                told = core.accuracy(one.module, bench.tested, BATCHES[-1][1], 50)
                assert counted(replay, given) == told.correct
    dense = core.accuracy(bench.module, bench.tested, BATCHES[-1][1], 50)
    assert counted(replay, bench.module) == dense.correct
    assert replay.found > replay.missed > 0


def test_the_beginning_runs_once():
    net = core.load("vgg11_bn-digits")
    runs: list[str] = []
    for name, part in net.named_modules():
        if isinstance(part, nn.Conv2d):
            part.register_forward_hook(lambda *_, name=name: runs.append(name))
    bench = Bench("vgg11_bn-digits")
    replay, convolutions = Replay(net, bench.tested), len([*variants(bench, 0)[0].merged])
    assert convolutions == 1
    for one in variants(bench, 0):
        counted(replay, one)
    layers = [name for name, part in net.named_modules() if isinstance(part, nn.Conv2d)]
    assert sorted(runs) == sorted(layers * len(BATCHES))
    assert replay.missed == len(BATCHES)


def test_what_is_remembered_is_bounded_and_makes_room(bench):
    whole = Replay(bench.module, bench.tested)
    ones = {group: variants(bench, group)[0] for group in (0, 1, 2)}
    needs = []
    for one in ones.values():
        before = whole.bytes
        counted(whole, one)
        needs.append(whole.bytes - before)
    assert all(need > 0 for need in needs)
    small = Replay(bench.module, bench.tested, memory=max(needs))
    for group in (0, 1, 2, 0, 0):
        told = counted(small, ones[group])
        assert told == counted(whole, ones[group])
        assert 0 < small.bytes <= max(needs)
    assert small.found == len(BATCHES)  # the last time alone the same group came again
    none = Replay(bench.module, bench.tested, memory=0)
    assert counted(none, ones[0]) == counted(whole, ones[0])
    assert none.bytes == 0 and none.found == 0


def test_only_the_first_images_are_remembered(bench):
    digits = bench.tested
    many = ImageSet(
        digits.name, digits.title, digits.images.repeat(2, 1, 1, 1), digits.labels.repeat(2),
        digits.classes, digits.mean, digits.std, digits.fingerprint, digits.split,
    )  # fmt: skip
    assert len(many) > FIRST
    replay = Replay(bench.module, many)
    count = replay.counter(variants(bench, 0)[0])
    count(0, 50)
    held = replay.bytes
    count(FIRST - 10, FIRST + 10)
    assert replay.bytes == held > 0


def test_many_threads_get_the_same_counts(bench):
    replay = Replay(bench.module, bench.tested)
    one = variants(bench, 0)[3]
    told: list[int] = []
    threads = [threading.Thread(target=lambda: told.append(counted(replay, one))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    expected = core.accuracy(one.module, bench.tested, BATCHES[-1][1], 50).correct
    assert told == [expected] * 4
    assert replay.bytes <= 256_000_000 and torch.is_inference_mode_enabled() is False
