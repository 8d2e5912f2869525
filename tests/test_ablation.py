"""Ablations count what the library computes, go on where they stood, and test what they say."""

from __future__ import annotations

import json

import pytest
import torch
from scipy import stats

import core
from core import ablation, book, cli, siblings
from core.ablation import spread
from core.book import Book, Entry
from core.corruption import corrupted
from core.experiments import Bench
from core.importance import partly_known
from core.recipe import Recipe

NAME = "vgg11_bn-digits"
LIMIT = 30
RECIPE = Recipe(groups=(6,), sparsity=0.5)
pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def bench() -> Bench:
    return Bench.of(NAME, core.load(NAME), core.images("digits"), limit=LIMIT)


def counted(bench: Bench, wanted, path=None, kind="test", **more) -> list[Entry]:
    return Book(kind, bench, path).counted(wanted, **more)


def entry(network="n", variant="uniform", kind="fused", right=5, recipe=RECIPE, **more) -> Entry:
    return Entry(network, variant, kind, recipe, core.Accuracy(right, 10), more)


# Quality of the importance


def test_a_share_of_the_scores_stays_and_the_rest_changes_places():
    scores = torch.arange(1000, dtype=torch.float64)
    assert partly_known(scores, 1.0, 0, 6) is scores
    known = {q: partly_known(scores, q, 0, 6) == scores for q in (0.0, 0.25, 0.5, 0.75)}
    for quality, stays in known.items():
        worse = partly_known(scores, quality, 0, 6)
        assert torch.equal(worse.sort().values, scores)
        assert float(stays.double().mean()) == pytest.approx(quality, abs=0.02)
        correlation = stats.spearmanr(scores, worse).statistic
        assert correlation == pytest.approx(quality, abs=0.08)
    # What is known at a quality is known at every higher one, but for exchanges by chance.
    assert int((known[0.25] & ~known[0.75]).sum()) <= 3
    assert not torch.equal(partly_known(scores, 0.5, 0, 6), partly_known(scores, 0.5, 1, 6))
    assert not torch.equal(partly_known(scores, 0.5, 0, 6), partly_known(scores, 0.5, 0, 5))


@pytest.mark.parametrize("order", ["original", "sequential"])
def test_the_recipes_quality_decides_who_stays(bench, order):
    full = bench.small(RECIPE.replace(order=order, importance="l1"))
    worse = bench.small(RECIPE.replace(order=order, quality=0.0))
    scores = full.steps[6].scores
    assert torch.equal(worse.steps[6].scores, partly_known(scores, 0.0, 0, 6))
    assert not torch.equal(full.kept[6], worse.kept[6])
    top = partly_known(scores, 0.0, 0, 6).topk(len(worse.kept[6])).indices.sort().values
    assert torch.equal(worse.kept[6], top)


# What is counted


def test_every_entry_is_what_the_library_computes(bench):
    wanted = ablation.masses([bench], RECIPE, (0.3, 0.7))
    found = counted(bench, wanted)
    assert [(e.kind, e.variant) for e in found] == [
        ("dense", ""), *[("pruned", ""), ("fused", "uniform"), ("fused", "importance")] * 2,
    ]  # fmt: skip
    for one in found:
        module = bench.module if one.recipe is None else bench.small(one.recipe).module
        assert one.accuracy == core.accuracy(module, bench.tested, LIMIT)
    informed = [e.recipe for e in found if e.variant == "importance"]
    assert [(r.source, r.target, r.sparsity) for r in informed] == [
        ("importance", "importance", 0.3), ("importance", "importance", 0.7),
    ]  # fmt: skip


def test_a_file_goes_on_and_computes_nothing_twice(bench, tmp_path, monkeypatch):
    wanted = ablation.random(bench, RECIPE, (0.5,), seeds=(0, 1))
    whole = counted(bench, wanted)
    monkeypatch.setattr(book, "TOGETHER", 2)
    file, calls = tmp_path / "found.json", []

    class Stop(Exception):
        pass

    def report(share, line):
        calls.append(line)
        if len(calls) == 5:
            raise Stop

    with pytest.raises(Stop):
        counted(bench, wanted, file, report=report)
    assert len(book.read(file)[1]) == 4
    calls.clear()
    again = counted(bench, wanted, file, report=lambda share, line: calls.append(line))
    assert again == whole and len(calls) == len(wanted) - 4
    assert list(book.read(file)[1].values()) == whole
    assert len(json.loads(file.read_text())["runs"]) == 1
    monkeypatch.setattr(book, "accuracies", None)  # nothing is left to count
    assert counted(bench, wanted, file) == whole


def test_a_file_of_something_else_is_left_alone(bench, tmp_path):
    file = tmp_path / "found.json"
    counted(bench, ablation.masses([bench], RECIPE, (0.5,))[:1], file)
    before = file.read_text()
    with pytest.raises(core.DataError, match="not of 'other'"):
        Book("other", bench, file)
    file.write_text(before[:-20])
    with pytest.raises(core.DataError, match="holds no results"):
        Book("test", bench, file)


def test_a_bench_without_a_limit_counts_all_images(bench):
    few = Bench.of(NAME, bench.module, corrupted(bench.tested, "jpeg", 1, limit=7))
    (found,) = counted(few, ablation.masses([few], RECIPE, (0.5,))[:1])
    assert few.limit is None and found.accuracy.total == 7


def test_random_scores_are_drawn_with_each_seed(bench):
    found = counted(bench, ablation.random(bench, RECIPE, (0.5,), seeds=(3, 4)))
    drawn = [e.recipe for e in found if e.variant == "random" and e.kind == "pruned"]
    assert [(r.importance, r.seed, r.rule) for r in drawn] == [
        ("random", 3, "select"), ("random", 4, "select"),
    ]  # fmt: skip
    kept = [bench.small(recipe).kept[6].tolist() for recipe in drawn]
    assert kept[0] != kept[1]


def test_solvers_tell_cost_and_marginals_of_their_plans(bench):
    found = counted(bench, ablation.solvers(bench, RECIPE, (0.5,)))
    fused = {e.variant: e for e in found if e.kind == "fused"}
    assert list(fused) == list(ablation.SOLVERS)
    for one in fused.values():
        plan = bench.small(one.recipe).plans[6]
        assert one.more["cost"] == plan.cost and one.more["target_error"] == plan.target_error
        assert one.more["seconds"] > 0 and one.more["converged"] == plan.converged
    exact = fused["exact"].more
    assert exact["source_error"] < 1e-12
    # Of all plans with both marginals the exact one costs least; entropy costs the more of it.
    costs = [fused[f"sinkhorn ε {e}"].more["cost"] for e in ("0.01", "0.05", "0.2")]
    assert exact["cost"] < costs[0] < costs[1] < costs[2]
    with pytest.raises(core.RecipeError, match="solvers can't differ"):
        counted(bench, ablation.solvers(bench, RECIPE.replace(rule="best"), (0.5,)))


def test_quality_goes_from_a_random_order_to_the_importance(bench):
    wanted = ablation.quality(bench, RECIPE, (0.5,), qualities=(0.0, 1.0), seeds=(0, 1))
    found = [e for e in counted(bench, wanted) if e.kind == "fused"]
    assert [(e.recipe.quality, e.recipe.seed) for e in found] == [(0, 0), (0, 1), (1, 0)]
    assert found[-1].more["correlation"] == pytest.approx(1)
    assert all(abs(e.more["correlation"]) < 0.5 for e in found[:2])
    assert found[-1].accuracy == core.accuracy(bench.small(RECIPE).module, bench.tested, LIMIT)


def test_taylor_names_the_training_images(bench):
    wanted = ablation.quality(bench, RECIPE.replace(importance="taylor", samples=16), (0.5,))
    assert {w.recipe.data for w in wanted if w.recipe} == {"digits"}


def test_corrupted_images_are_counted_under_their_name(bench, monkeypatch):
    monkeypatch.setattr(ablation, "STRENGTHS", (5,))
    found = counted(bench, ablation.corruption(bench, RECIPE, 0.5))
    assert [e.variant for e in found[::3]] == ["clean", "noise 5", "blur 5", "contrast 5", "jpeg 5"]
    small = bench.small(RECIPE).module
    for one in found:
        kind, _, strength = one.variant.partition(" ")
        images = corrupted(bench.tested, kind, 5, 0, LIMIT) if strength else bench.tested
        module = {"dense": bench.module, "fused": small}.get(one.kind)
        if module is not None:
            assert one.accuracy == core.accuracy(module, images, LIMIT), one.variant


# What it says


def test_one_accuracy_has_wilsons_interval_and_several_have_students():
    one = spread([entry(right=5)])
    known = core.Accuracy(5, 10)
    assert (one.mean, one.low, one.high, one.count) == (0.5, known.low, known.high, 1)
    some = spread([entry(right=right) for right in (4, 6, 8)])
    low, high = stats.t.interval(0.95, 2, 0.6, stats.sem([0.4, 0.6, 0.8]))
    assert (some.mean, some.count) == (pytest.approx(0.6), 3)
    assert some.low == pytest.approx(low) and some.high == pytest.approx(min(1, high))


def of_masses(network: str, group: int, uniform: int, informed: int) -> list[Entry]:
    recipe = RECIPE.replace(groups=(group,))
    return [
        entry(network, "uniform", right=uniform, recipe=recipe),
        entry(network, "importance", right=informed, recipe=recipe),
    ]


def test_kruskal_and_wallis_over_networks_and_over_groups():
    entries = [
        *of_masses("a", 0, 1, 6), *of_masses("b", 0, 2, 7), *of_masses("c", 0, 3, 8),
        *of_masses("a", 1, 5, 5), *of_masses("b", 1, 5, 5), *of_masses("c", 1, 5, 5),
    ]  # fmt: skip
    first, second = ablation.kruskal(entries)
    told = stats.kruskal([0.6, 0.7, 0.8], [0.1, 0.2, 0.3])
    assert (first.group, first.network, first.samples) == (0, None, 3)
    assert (first.statistic, first.p) == (pytest.approx(told.statistic), pytest.approx(told.pvalue))
    assert first.difference == pytest.approx(0.5)
    assert (second.statistic, second.p, second.difference) == (0, 1, 0)
    over = ablation.kruskal(entries, "groups")
    assert [(one.network, one.group, one.samples) for one in over] == [
        ("a", None, 2), ("b", None, 2), ("c", None, 2)
    ]  # fmt: skip
    assert ablation.kruskal(of_masses("a", 0, 1, 6)) == []  # one network says nothing


# Networks trained here


def test_a_sibling_is_trained_once_and_its_name_changes_with_its_images(bench, tmp_path):
    lines: list[str] = []
    few = bench.training
    few = core.ImageSet(**{**vars(few), "images": few.images[:64], "labels": few.labels[:64],
                           "fingerprint": "few"})  # fmt: skip
    first = siblings.sibling(NAME, few, 1, 1, tmp_path, lines.append)
    assert lines and [file.suffix for file in tmp_path.iterdir()] == [".safetensors"]
    lines.clear()
    again = siblings.sibling(NAME, few, 1, 1, tmp_path, lines.append)
    assert not lines and not again.training
    for key, tensor in first.state_dict().items():
        assert torch.equal(tensor, again.state_dict()[key])
    other = core.ImageSet(**{**vars(few), "fingerprint": "other"})
    siblings.sibling(NAME, other, 1, 1, tmp_path, lines.append)
    assert lines and len(list(tmp_path.iterdir())) == 2


def test_training_that_takes_hours_has_to_be_meant():
    with pytest.raises(core.RecipeError, match="takes hours .* --train-epochs 33"):
        siblings.schedule("resnet18-cifar10")
    assert siblings.schedule("resnet18-cifar10", 2).epochs == 2
    with pytest.raises(core.RecipeError, match="isn't known how"):
        siblings.schedule("my:network", 2)


def test_networks_of_spoiled_images_are_told_by_how(bench, monkeypatch):
    seen = []

    def sibling(name, images, seed, epochs, folder, report):
        seen.append((images.title.rpartition(", ")[2], len(images), seed))
        return bench.module

    monkeypatch.setattr(ablation, "sibling", sibling)
    benches = ablation.trained(bench, 1, 1, (("clean", 0.0), ("imbalance", 10.0)))
    assert [how for how, _ in benches] == ["clean", "imbalance 10"]
    assert [s[1] for s in seen] == [1200, len(benches[1][1].training)] and seen[1][1] < 600
    assert [s[2] for s in seen] == [1, 1]
    found = counted(bench, ablation.of_spoiled(benches, RECIPE, 0.5))
    assert [e.network for e in found[::3]] == [
        f"{NAME}, seed 1", f"{NAME}, seed 1, imbalance 10",
    ]  # fmt: skip


# The command


def test_the_command_writes_tells_and_goes_on(capsys, tmp_path, bench):
    file = tmp_path / "solvers.json"
    words = [
        "ablation",
        "solvers",
        NAME,
        "--groups",
        "6",
        "--limit",
        str(LIMIT),
        "--out",
        str(file),
    ]
    assert cli.main([*words, "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    library = counted(bench, ablation.solvers(bench, RECIPE, (0.5,)), kind="solvers")
    for one, other in zip(told["entries"], library, strict=True):
        assert one["right"] == other.accuracy.correct and one["kind"] == other.kind
    before = file.read_text()
    assert cli.main(words) == 0
    text = capsys.readouterr().out
    assert "sinkhorn ε 0.05" in text and "95 %" in text
    assert json.loads(file.read_text())["entries"] == json.loads(before)["entries"]


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (["masses", NAME, "--networks", "0", "--groups", "5,6"], "no independent draws"),
        (["random", NAME, "--groups", "6", "--seeds", "2"], "random"),
        (["quality", NAME, "--groups", "6", "--seeds", "1", "--samples", "8"], "rank correlation"),
    ],
)
def test_each_command_tells_its_table(capsys, more, said):
    assert cli.main(["ablation", *more, "--limit", "20"]) == 0
    assert said in capsys.readouterr().out


def test_what_is_wrong_is_a_sentence(capsys):
    for words, said in (
        (["corruption", NAME, "--sparsities", "0.3,0.5"], "takes one sparsity"),
        (["random", NAME, "--seeds", "0"], "At least one seed"),
        (["masses", "resnet20-cifar10", "--networks", "2", "--images", "digits"], "takes hours"),
    ):
        assert cli.main(["ablation", *words]) == 1
        assert said in capsys.readouterr().err
    assert cli.main(["ablation", "magic", NAME]) == 2
