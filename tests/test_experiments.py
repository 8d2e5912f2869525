"""Tables of accuracies: every line is what the library computes for the recipe it names."""

from __future__ import annotations

import re

import pytest

import core
from core import experiments

NAME = "vgg11_bn-digits"


def told(capsys, *arguments: str) -> list[str]:
    assert experiments.main(list(arguments)) == 0
    return capsys.readouterr().out.splitlines()


@pytest.mark.parametrize(
    ("options", "choices", "said"),
    [
        ([], {}, "seed 0, scikit"),
        (["--rounds", "2"], {"rounds": 2}, "seed 0, 2 rounds, scikit"),
        (["--order", "sequential"], {"order": "sequential"}, "seed 0, order sequential, scikit"),
    ],
)
def test_all_groups(capsys, options, choices, said):
    lines = told(
        capsys, "all", NAME, "--sparsity", "0.2,0.4", "--rules", "released,repaired", "--images",
        "100", *options,
    )  # fmt: skip
    assert said in lines[0]
    net, images = core.load(NAME), core.images("digits")
    graph = core.trace(net)
    rows = [re.split(r" *\| *", line)[1:-1] for line in lines[5:]]
    assert [row[1] for row in rows] == ["released", "repaired"] * 2
    for row, sparsity in zip(rows, (0.2, 0.2, 0.4, 0.4), strict=True):
        recipe = core.Recipe("all", sparsity, rule=row[1], **choices)
        small = core.compress(net, graph, recipe).module
        assert row[0] == f"all groups, {100 * sparsity:g} % of the channels gone"
        share = core.size(small).parameters / core.size(net).parameters
        assert row[2] == f"{100 * share:.1f}"
        assert row[3] == str(core.accuracy(small, images, 100))


def test_one_group_at_a_time(capsys):
    lines = told(capsys, "single", NAME, "--rules", "select", "--images", "50")
    assert [line.split(",")[0] for line in lines[5:]] == [f"| group {index}" for index in range(8)]


def test_a_share_of_the_weights_uniform_and_explained(capsys):
    lines = told(
        capsys, "weights", NAME, "--keep", "0.4", "--rules", "released", "--images", "50",
        "--samples", "16",
    )  # fmt: skip
    assert [line.split("|")[1].strip() for line in lines[5:]] == [
        "40 % of the weights, explained", "40 % of the weights, uniform",
    ]  # fmt: skip
    assert all(float(line.split("|")[3]) <= 40.0 for line in lines[5:])


def test_rules_that_look_at_images_get_training_images(capsys):
    lines = told(capsys, "all", NAME, "--rules", "calibrated", "--images", "100", "--samples", "32")
    net = core.load(NAME)
    graph, recipe = (
        core.trace(net),
        core.Recipe("all", rule="calibrated", samples=32, data="digits"),
    )
    small = core.compress(net, graph, recipe, images=core.images("digits", "train")).module
    assert str(core.accuracy(small, core.images("digits"), 100)) in lines[-1]
    lines = told(
        capsys, "weights", NAME, "--rules", "calibrated", "--images", "100", "--samples", "16"
    )
    assert len(lines) == 7


def test_what_is_wrong_is_a_sentence(capsys):
    assert experiments.main(["all", NAME, "--rules", "magic", "--images", "20"]) == 1
    assert "no rule called 'magic'" in capsys.readouterr().err
