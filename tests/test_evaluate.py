"""Accuracy counts what it should with an honest interval; sizes agree with counts by hand."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.optimize import brentq
from scipy.stats import norm
from torch import nn

import core
from core import zoo
from core.compress import outline
from core.evaluate import Z95, Accuracy, running_accuracy
from core.measures import kept_count

# The interval


def solved(correct: int, total: int) -> tuple[float, float]:
    """The two p with |correct/total − p| = z·√(p(1−p)/total), found by bisection."""
    share = correct / total

    def beyond(p: float) -> float:
        return (share - p) ** 2 - Z95**2 * p * (1 - p) / total

    low = 0.0 if correct == 0 else brentq(beyond, 0.0, share, xtol=1e-14)
    high = 1.0 if correct == total else brentq(beyond, share, 1.0, xtol=1e-14)
    return low, high


def test_the_quantile_is_that_of_a_two_sided_95_percent_interval():
    assert Z95 == pytest.approx(norm.ppf(0.975), abs=1e-12)


@pytest.mark.parametrize(
    ("correct", "total"),
    [(1, 2), (1, 10), (9, 10), (50, 100), (997, 1000), (8790, 10000), (1, 1000)],
)
def test_the_interval_solves_wilsons_equation(correct, total):
    low, high = solved(correct, total)
    found = Accuracy(correct, total)
    assert found.low == pytest.approx(low, abs=1e-10)
    assert found.high == pytest.approx(high, abs=1e-10)
    assert 0 < found.low < found.mean < found.high < 1


@pytest.mark.parametrize("total", [1, 7, 597, 10_000])
def test_the_interval_stays_inside_at_none_and_all(total):
    """At 0 of n the upper end is z²/(n+z²); at n of n the lower end is n/(n+z²)."""
    none, all_ = Accuracy(0, total), Accuracy(total, total)
    assert none.mean == 0 and none.low == pytest.approx(0, abs=1e-12) and none.low >= 0
    assert none.high == pytest.approx(Z95**2 / (total + Z95**2), rel=1e-9)
    assert all_.mean == 1 and all_.high == pytest.approx(1, abs=1e-12) and all_.high <= 1
    assert all_.low == pytest.approx(total / (total + Z95**2), rel=1e-9)


def test_more_images_narrow_the_interval():
    widths = [Accuracy(9 * n, 10 * n) for n in (1, 10, 100, 1000)]
    told = [a.high - a.low for a in widths]
    assert told == sorted(told, reverse=True)


def test_an_accuracy_is_told_with_its_interval_and_its_images():
    text = str(Accuracy(50, 100))
    assert text.startswith("50.0 %") and "40.4 to 59.6" in text and "100 images" in text


# Counting


class Reader(nn.Module):
    """Knows the answer, which is written in the red of the first pixel; tells `classes` apart."""

    def __init__(self, classes: int = 10) -> None:
        super().__init__()
        self.names = nn.Parameter(torch.arange(classes, dtype=torch.float32))

    def forward(self, x):
        return -(x[:, :1, 0, 0] * 255 - self.names).abs()


def written(answers, labels, classes: int = 10) -> core.ImageSet:
    """Images that say `answers` and are labelled `labels`."""
    pixels = torch.randint(0, 256, (len(answers), 3, 32, 32), dtype=torch.uint8)
    pixels[:, 0, 0, 0] = torch.tensor(answers, dtype=torch.uint8)
    names = tuple(f"class {i}" for i in range(classes))
    return core.ImageSet(
        "written", "written answers", pixels, torch.tensor(labels, dtype=torch.int64), names,
        (0.0,) * 3, (1.0,) * 3, "",
    )  # fmt: skip


ANSWERS = [i % 10 for i in range(23)]
#: Right but for the images 3, 8, 9, 15 and 22.
LABELS = [(a + (i in (3, 8, 9, 15, 22))) % 10 for i, a in enumerate(ANSWERS)]


@pytest.mark.parametrize("batch", [1, 4, 23, 250])
def test_right_answers_are_counted_whatever_the_batches(batch):
    found = core.accuracy(Reader(), written(ANSWERS, LABELS), batch=batch)
    assert (found.correct, found.total) == (18, 23)
    assert found.mean == pytest.approx(18 / 23)


@pytest.mark.parametrize(("limit", "correct"), [(1, 1), (4, 3), (10, 7), (22, 18), (23, 18)])
@pytest.mark.parametrize("batch", [3, 250])
def test_a_limit_takes_the_first_images(limit, correct, batch):
    found = core.accuracy(Reader(), written(ANSWERS, LABELS), limit=limit, batch=batch)
    assert (found.correct, found.total) == (correct, limit)


def test_a_limit_beyond_the_set_takes_all_of_it():
    found = core.accuracy(Reader(), written(ANSWERS, LABELS), limit=1000)
    assert found == core.accuracy(Reader(), written(ANSWERS, LABELS))


def test_running_accuracy_ends_in_the_accuracy():
    images = written(ANSWERS, LABELS)
    told = list(running_accuracy(Reader(), images, batch=4))
    assert [a.total for a in told] == [4, 8, 12, 16, 20, 23]
    assert [a.correct for a in told] == [3, 7, 9, 12, 16, 18] and told[-1] == core.accuracy(
        Reader(), images
    )


@pytest.mark.parametrize("classes", [2, 9, 11])
def test_a_network_with_other_classes_is_refused_with_both_numbers(classes):
    with pytest.raises(core.DataError) as caught:
        core.accuracy(Reader(classes), written(ANSWERS, LABELS))
    text = str(caught.value)
    assert f" {classes} classes" in text and "10" in text and "written answers" in text


@pytest.mark.parametrize(
    ("answers", "limit"), [([], None), (ANSWERS, 0)], ids=["no image", "limit"]
)
def test_no_images_is_an_error_with_a_sentence(answers, limit):
    with pytest.raises(core.DataError, match="no image"):
        core.accuracy(Reader(), written(answers, LABELS[: len(answers)]), limit=limit)


def test_the_accuracy_of_a_network_that_ships_is_the_one_on_its_card():
    name = "vgg11_bn-digits"
    found = core.accuracy(core.load(name), core.images("digits"))
    card = core.card(name)
    assert found.total == card.tested
    # Another processor may sum in another order: one image of 597 is allowed to tip over.
    assert abs(found.mean - card.accuracy) <= 1.5 / found.total


# Size


def conv_macs(inputs: int, outputs: int, side: int) -> int:
    return 3 * 3 * inputs * outputs * side * side


def test_macs_and_parameters_of_vgg11_by_hand():
    """Each convolution keeps its side, a max-pool halves it; the last picture is 1×1."""
    layers = [
        (3, 16, 32), (16, 32, 16), (32, 64, 8), (64, 64, 8), (64, 128, 4), (128, 128, 4),
        (128, 128, 2), (128, 128, 2),
    ]  # fmt: skip
    found = core.size(zoo.network("vgg11_bn-digits").build().eval())
    assert found.macs == sum(conv_macs(*layer) for layer in layers) + 128 * 10
    weights = sum(9 * inputs * outputs for inputs, outputs, _ in layers) + 128 * 10
    vectors = sum(3 * outputs for _, outputs, _ in layers) + 10  # bias, γ, β; the last bias
    assert found.parameters == weights + vectors


def test_macs_follow_the_input_shape():
    net = nn.Sequential(nn.Conv2d(3, 4, 3, padding=1, stride=2), nn.Flatten(), nn.Linear(64, 5))
    assert core.size(net.eval(), (3, 8, 8)).macs == 4 * 4 * 4 * 27 + 64 * 5
    linear = nn.Sequential(nn.Linear(7, 6), nn.ReLU(), nn.Linear(6, 2)).eval()
    assert core.size(linear, (7,)).macs == 42 + 12


@pytest.mark.parametrize("kind", [torch.float32, torch.float16])
def test_bytes_are_those_of_float32_however_it_is_held(kind):
    """Four bytes for every parameter and running statistic, eight for batch norm's counter."""

    class Held(nn.Sequential):
        def forward(self, x):
            return super().forward(x.to(kind))

    net = Held(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4)).eval().to(kind)
    assert core.size(net, (3, 8, 8)).bytes == 4 * (4 * 27 + 4 + 4 * 4) + 8


def test_a_group_of_half_the_width_halves_its_layers():
    net = core.load("vgg11_bn-digits")
    out = core.compress(net, core.trace(net), core.Recipe(groups=(3,), rule="select")).module
    saved = conv_macs(64, 128, 4) // 2 + conv_macs(128, 128, 4) // 2
    assert core.size(net).macs - core.size(out).macs == saved


def test_an_outline_has_the_size_of_the_network_it_outlines():
    net = core.load("resnet18-digits")
    graph = core.trace(net)
    for recipe in (core.Recipe(groups=(0, 5, 9), sparsity=0.3), core.Recipe(groups="all")):
        out = core.compress(net, graph, recipe)
        hollow = outline(net, graph, out.kept)
        assert core.size(hollow) == core.size(out.module)
        assert all(p.is_meta for p in hollow.parameters())
    assert not any(p.is_meta for p in net.parameters())


@pytest.mark.parametrize("measure", ["size", "accuracy"])
def test_measuring_leaves_a_network_in_training_mode_alone(measure):
    """Running it in that mode would move its batch norms' statistics."""
    net = zoo.network("vgg11_bn-digits").build().train()
    before = {key: t.clone() for key, t in net.state_dict().items()}
    try:
        if measure == "size":
            core.size(net)
        else:
            core.accuracy(net, core.images("digits"), limit=4)
    except core.ExplorerError:
        pass  # refusing such a network is as good
    assert net.training
    changed = [key for key, t in net.state_dict().items() if not torch.equal(t, before[key])]
    assert changed == []


# The paper's Table 9 (Theus et al. 2024, arXiv 2402.07839): share of channels discarded in all
# groups (per cent) → parameters left.
TABLE_9_VGG11 = {
    0: 9_753_674, 40: 3_505_301, 50: 2_441_770, 60: 1_551_390, 70: 871_988, 80: 388_770,
}  # fmt: skip
TABLE_9_RESNET18 = {
    0: 11_164_352, 40: 4_003_668, 50: 2_792_800, 60: 1_772_832, 70: 994_402, 80: 442_308,
}  # fmt: skip


def pruned(name: str, percent: int) -> nn.Module:
    """The network of the zoo with that share of all groups gone."""
    module = zoo.network(name).build().eval()
    if percent == 0:
        return module
    recipe = core.Recipe(groups="all", sparsity=percent / 100, rule="select")
    return core.compress(module, core.trace(module), recipe).module


@pytest.mark.parametrize("percent", [0, 40, 70])
def test_resnet18_has_the_papers_parameters_without_its_vectors(percent):
    """The paper counts its ResNet18 with batch norm folded away and without a last bias: what is
    left are the weights of convolutions and of the linear layer, to the last one.
    """
    module = pruned("resnet18-cifar10", percent)
    weights = sum(p.numel() for p in module.parameters() if p.ndim > 1)
    assert weights == TABLE_9_RESNET18[percent]
    channels = sum(len(b) for key, b in module.named_buffers() if key.endswith("running_mean"))
    assert core.size(module).parameters == weights + 2 * channels + 10  # γ and β, the last bias


@pytest.mark.parametrize("percent", [0, 40, 70])
def test_vgg11_has_the_papers_parameters_but_for_its_hidden_layers(percent):
    """Table 9 counts another VGG11 than the paper's code trains (and the zoo has): one with two
    hidden linear layers, as wide as the last convolution and pruned with it, and with two vectors a
    channel instead of three (batch norm's two and no bias before it). All six rows agree with that.
    """
    module = pruned("vgg11_bn-cifar10", percent)
    channels = sum(len(b) for key, b in module.named_buffers() if key.endswith("running_mean"))
    width = module.classifier.in_features
    hidden = 2 * (width * width + width)
    assert core.size(module).parameters + hidden - channels == TABLE_9_VGG11[percent]


def test_table_9_counts_kept_channels_as_we_do():
    """Its other rows, from the kept channels alone: the same rounding of n(1−s), downwards."""
    for percent in TABLE_9_VGG11:
        widths = [kept_count(w, percent / 100) for w in (64, 128, 256, 256, 512, 512, 512, 512)]
        convolutions = 9 * int(np.dot([3, *widths[:-1]], widths)) + 2 * sum(widths)
        linear = 2 * widths[-1] * (widths[-1] + 1) + 10 * (widths[-1] + 1)
        assert convolutions + linear == TABLE_9_VGG11[percent]
        stem, *widths = [kept_count(w, percent / 100) for w in (64, 64, 128, 256, 512)]
        total, inputs = 27 * stem, stem
        for stage, w in enumerate(widths):
            total += 9 * inputs * w + 27 * w * w + (inputs * w if stage else 0)
            inputs = w
        assert total + 10 * inputs == TABLE_9_RESNET18[percent]
