"""Distances are those of the logits; layer by layer a variant is compared where it can be."""

from __future__ import annotations

import copy
import json

import pytest
import torch
from test_prefix import Overwriting
from torch import nn

import core
from core import cli
from core.divergence import Divergence, began, divergences, layer_by_layer

NET = "vgg11_bn-digits"


@pytest.fixture(scope="module")
def bench():
    net = core.load(NET)
    graph = core.trace(net)
    prepared = core.Prepared(net, graph)
    variants = {
        rule: core.compress(net, graph, core.Recipe(groups=(2,), rule=rule), prepared)
        for rule in ("select", "released")
    }
    return net, graph, variants, core.images("digits")


@pytest.fixture(scope="module")
def known(bench):
    net, _, variants, images = bench
    modules = {name: one.module for name, one in variants.items()} | {"same": net}
    *_, last = divergences(net, modules, images, 70, batch=40)
    return last


def test_distances_are_those_of_the_logits(bench, known):
    net, _, variants, images = bench
    with torch.inference_mode():
        pixels = images.normalised(images.images[:70])
        dense = net(pixels)
        for name, one in variants.items():
            logits = one.module(pixels)
            wanted = (logits - dense).norm(dim=1).double()
            torch.testing.assert_close(known.of(name), wanted, rtol=1e-3, atol=1e-3)
            agreed = float((logits.argmax(1) == dense.argmax(1)).double().mean())
            assert known.agreement(name) == pytest.approx(agreed)
    assert float(known.of("same").max()) < 1e-3 and known.agreement("same") == 1
    assert known.beyond("same") == 0
    torch.testing.assert_close(known.norms, dense.norm(dim=1).double(), rtol=1e-3, atol=1e-3)


def test_batches_add_up_and_report(bench):
    net, _, variants, images = bench
    told: list[int] = []
    modules = {name: one.module for name, one in variants.items()}
    seen = list(divergences(net, modules, images, 50, batch=20, between=told.append))
    assert told == [0, 20, 40] and [one.done for one in seen] == [20, 40, 50]
    assert all(one.total == 50 for one in seen)
    torch.testing.assert_close(seen[0].distances, seen[-1].distances[:, :20])


def made(distances: list[list[float]], labels: list[int], margins=None) -> Divergence:
    count = len(labels)
    return Divergence(
        ("pruned", "fused")[: len(distances)], torch.tensor(distances).double(),
        torch.ones(count).double(), torch.tensor(margins or [1.0] * count).double(),
        torch.ones(len(distances), count, dtype=torch.bool), torch.tensor(labels),
        ("a", "b", "c"), count,
    )  # fmt: skip


def test_means_quantiles_and_classes():
    one = made([[1.0, 2.0, 3.0, 6.0]], [0, 0, 1, 1])
    mean = one.mean("pruned")
    assert mean.mean == 3 and mean.total == 4
    assert mean.low == pytest.approx(3 - 1.96 * (14 / 3) ** 0.5 / 2, abs=1e-3)
    assert one.quantiles("pruned", [0, 0.5, 1]) == [1, 2.5, 6]
    first, second, third = one.by_class("pruned")
    assert (first.mean, second.mean, third) == (1.5, 4.5, None)


def test_every_image_is_in_one_bin():
    one = made([[0.0, 0.1, 0.5, 1.0], [0.3, 0.99, 1.0, 1.0]], [0, 0, 1, 1])
    edges, counts = one.histogram(4)
    assert edges.tolist() == [0, 0.25, 0.5, 0.75, 1]
    assert counts.tolist() == [[2, 0, 1, 1], [0, 1, 0, 3]]
    edges, counts = made([[0.0, 0.0]], [0, 1]).histogram(3)
    assert counts.tolist() == [[2, 0, 0]] and edges[-1] == 1


def test_an_image_below_its_margin_keeps_its_class(known):
    for place, name in enumerate(known.names):
        safe = known.of(name) * 2**0.5 < known.margins
        assert bool(known.same[place][safe].all())
    assert 0 < known.beyond("select") < 1
    assert made([[0.70, 0.71, 0.72]], [0, 0, 0]).beyond("pruned") == pytest.approx(2 / 3)


# Layer by layer


def test_nothing_differs_before_the_first_change_and_the_last_is_the_logits(bench):
    net, graph, variants, images = bench
    *_, operations = layer_by_layer(net, graph, variants, images, 40, batch=25)
    names = [one.name for one in operations]
    start = names.index("features.18")
    assert names[0] == "features.0" and names[-1] == "classifier"
    assert all(one.distances["released"] == 0 for one in operations[:start])
    assert operations[start].distances["select"] == pytest.approx(0, abs=1e-5)  # what is kept
    assert operations[start].kept == ("select", "released")
    assert operations[start].distances["released"] > 0.1
    after = operations[names.index("features.22")]
    assert after.kept == () and after.distances["select"] > 0.1
    assert began(operations, "select") is began(operations, "released") is after
    assert began(operations, "select", 100.0) is None
    with torch.inference_mode():
        pixels = images.normalised(images.images[:40])
        dense = net(pixels)
        for name, one in variants.items():
            wanted = float((one.module(pixels) - dense).norm() / dense.norm())
            assert operations[-1].distances[name] == pytest.approx(wanted, rel=1e-3)


def test_a_residual_stream_is_compared_on_kept_channels():
    net = core.load("resnet18-digits")
    graph, images = core.trace(net), core.images("digits")
    out = core.compress(net, graph, core.Recipe(groups=(6,), rule="select"))
    before = copy.deepcopy(net.state_dict())
    *_, operations = layer_by_layer(net, graph, {"pruned": out}, images, 12)
    found = {one.name: one for one in operations}
    assert "layer2.0 add" in found and "layer2.0.relu (2)" in found
    # The stream's first block only selects: what stays is as it was, to its end.
    for name in ("layer2.0.downsample.0", "layer2.0.conv2", "layer2.0 add", "layer2.0.relu (2)"):
        assert found[name].kept == ("pruned",)
        assert found[name].distances["pruned"] == pytest.approx(0, abs=1e-5)
    assert found["layer2.1.conv1"].distances["pruned"] > 0.1 and not found["layer2.1.conv1"].kept
    assert all(torch.equal(before[key], tensor) for key, tensor in net.state_dict().items())


class Joined(nn.Module):
    """A concatenation, one part of which shrinks, a norm of it, and writing in place."""

    def __init__(self) -> None:
        super().__init__()
        self.left, self.right = nn.Conv2d(3, 6, 1), nn.Conv2d(3, 4, 1)
        self.relu, self.norm = nn.ReLU(inplace=True), nn.BatchNorm2d(10)
        self.head = nn.Linear(10, 10)

    def forward(self, x):
        x = torch.cat([self.left(x), self.relu(self.right(x))], 1)
        return self.head(self.norm(x).mean((2, 3)))


def test_a_concatenation_is_compared_on_what_stays():
    torch.manual_seed(0)
    net = Joined().eval()
    graph, images = core.trace(net, (3, 32, 32)), core.images("digits")
    right = next(g.index for g in graph.groups if g.producers == ("right",))
    out = core.compress(net, graph, core.Recipe(groups=(right,), rule="select"))
    *_, operations = layer_by_layer(net, graph, {"pruned": out}, images, 8)
    found = {one.kind: one for one in operations}
    for kind in ("concat", "norm", "pool"):
        assert found[kind].kept and found[kind].distances["pruned"] == pytest.approx(0, abs=1e-6)
    assert operations[-1].distances["pruned"] > 1e-3


def test_what_writes_in_place_is_compared_as_it_was_put_out():
    torch.manual_seed(0)
    net = Overwriting(10).eval()
    net.relu = nn.LeakyReLU(0.1, inplace=True)  # done twice, it is seen
    graph, images = core.trace(net, (3, 32, 32)), core.images("digits")
    index = next(g.index for g in graph.groups if g.producers == ("inner",))
    out = core.compress(net, graph, core.Recipe(groups=(index,), rule="released"))
    *_, operations = layer_by_layer(net, graph, {"fused": out}, images, 6)
    with torch.inference_mode():
        pixels = images.normalised(images.images[:6])
        dense, other = net(pixels.clone()), out.module(pixels.clone())
    wanted = float((other - dense).norm() / dense.norm())
    assert operations[-1].distances["fused"] == pytest.approx(wanted, rel=1e-3)


def test_stopping_and_nothing_to_compare(bench):
    net, graph, variants, images = bench

    def stop(done: int) -> None:
        raise core.Cancelled("Stopped.")

    with pytest.raises(core.Cancelled):
        next(layer_by_layer(net, graph, variants, images, 4, between=stop))
    with pytest.raises(core.DataError, match="no images"):
        next(divergences(net, {"same": net}, images, 0))
    with pytest.raises(core.DataError, match="nothing to compare"):
        next(divergences(net, {}, images, 4))


# The commands


@pytest.fixture
def run(capsys):
    def run(*arguments: object) -> tuple[int, str, str]:
        code = cli.main([str(one) for one in arguments])
        out, err = capsys.readouterr()
        assert "Traceback" not in err + out
        return code, out, err

    return run


def test_the_command_tells_what_the_library_finds(run, bench, tmp_path):
    net, _, variants, images = bench
    file = tmp_path / "d.json"
    code, out, err = run(
        "divergence", NET, "--groups", "2", "--limit", 30, "--layers", 6, "--out", file, "--json"
    )
    assert code == 0, err
    told = json.loads(out)
    assert json.loads(file.read_text()) == told
    modules = {name: one.module for name, one in variants.items()}
    *_, wanted = divergences(net, modules, images, 30)
    for name in modules:
        assert told["variants"][name]["mean"]["mean"] == pytest.approx(wanted.mean(name).mean)
        assert sum(told["variants"][name]["histogram"]) == 30
    assert told["layers"][0]["name"] == "features.0"
    assert told["runs"][0]["command"].startswith(f"python -m core divergence {NET}")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--rules", "select,sorted"), "no rule called 'sorted'"),
        (("--rules", "select,select"), "twice"), (("--limit", "0"), "no images"),
    ],
)  # fmt: skip
def test_what_cannot_be_compared_is_a_sentence(run, arguments, said):
    code, _, err = run("divergence", NET, *arguments)
    assert code == 1 and said in err


def test_the_landscape_goes_on_where_it_was_stopped(run, tmp_path, monkeypatch):
    from core import landscape

    file = tmp_path / "l.json"
    command = ("landscape", NET, "--groups", "2", "--sparsity", "0.7", "--limit", 8, "--between",
               1, "--out", file)  # fmt: skip
    measured: list[tuple[float, float]] = []
    measure = landscape.Surface.measure

    def counted(self, x, y, between=lambda done: None):
        if len(measured) == 9:
            raise KeyboardInterrupt
        measured.append((x, y))
        return measure(self, x, y, between)

    monkeypatch.setattr(landscape.Surface, "measure", counted)
    assert run(*command, "--points", 3)[0] == 130
    held = json.loads(file.read_text())
    # Three networks, three middles, three points: what is done is kept.
    assert len(held["walked"]) == 9 and len(held["points"]) == 3
    measured[:] = []
    code, out, err = run(*command, "--points", 3, "--json")
    assert code == 0, err
    told = json.loads(out)
    assert len(told["points"]) == 9 and len(measured) == 6
    assert told["points"][:3] == held["points"] and len(told["runs"]) == 2
    assert set(told["barriers"]) == {"dense-pruned", "dense-fused", "pruned-fused"}
    code, _, err = run(*command, "--points", 3, "--seed", 1)
    assert code == 1 and "another network, recipe" in err
    file.write_text('{"points": 3}')
    code, _, err = run(*command, "--points", 3)
    assert code == 1 and "does not hold a landscape" in err
    code, _, err = run("landscape", NET, "--rules", "select", "--out", file)
    assert code == 1 and "name two rules" in err
