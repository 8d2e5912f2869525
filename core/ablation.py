"""The paper's ablations and open questions, on any network: what is counted, and what it says.

masses      uniform against importance-informed masses (Theus et al. 2024, Figure 19, Table 4)
random      scores drawn at random (Table 5)
solvers     solver against solver: accuracy, cost, marginals, time
quality     the importance known of fewer and fewer channels, down to a random order
corruption  test images with noise, blur, less contrast, JPEG
spoiled     networks trained with wrong labels or unequal classes

The first four shrink one group at a time, the last two all that are named together.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from core.book import Entry, Wanted
from core.compress import Compressed, plan_group
from core.corruption import CORRUPTIONS, STRENGTHS, corrupted
from core.errors import RecipeError
from core.experiments import Bench
from core.recipe import Recipe, plain
from core.siblings import sibling
from core.spoiled import spoiled

#: What `python -m core ablation` can do: name → a line.
ABLATIONS = {
    "masses": "uniform against importance-informed masses",
    "random": "scores drawn at random, with several seeds",
    "solvers": "solver against solver: accuracy, cost, marginals, time",
    "quality": "the importance known of fewer and fewer channels, down to a random order",
    "corruption": "test images with noise, blur, less contrast, JPEG",
    "spoiled": "networks trained with wrong labels or unequal classes",
}
#: The solvers that are compared, with their settings.
SOLVERS: dict[str, dict] = {
    "exact": {"solver": "exact"},
    "sinkhorn ε 0.01": {"solver": "sinkhorn", "epsilon": 0.01},
    "sinkhorn ε 0.05": {"solver": "sinkhorn", "epsilon": 0.05},
    "sinkhorn ε 0.2": {"solver": "sinkhorn", "epsilon": 0.2},
    "unbalanced": {"solver": "unbalanced"},
    "partial 0.9": {"solver": "partial", "share": 0.9},
    "semi-relaxed": {"solver": "semi-relaxed"},
}
QUALITIES = (0.0, 0.25, 0.5, 0.75, 1.0)
SEEDS = (0, 1, 2)
#: How training images are spoiled: (a key of `core.spoiled.SPOILS`, how much).
SPOILED = (("clean", 0.0), ("labels", 0.2), ("labels", 0.4), ("imbalance", 10.0), ("fewer", 10.0))
#: Times a group is planned to see how long that takes; the median is told.
TIMES = 3


@dataclass(frozen=True)
class Spread:
    """The mean of some accuracies, with a 95 % interval.

    Of one accuracy it is the Wilson interval over the images. Of several (seeds, networks) it is
    Student's interval of their mean: what another draw would change.
    """

    mean: float
    low: float
    high: float
    count: int


@dataclass(frozen=True)
class Test:
    """Kruskal & Wallis' test (1952) of accuracies under importance-informed and uniform masses.

    What is compared is `samples` accuracies a side, of as many networks at one group, or of as many
    groups of one network. difference : informed − uniform, the mean, as a share. p : how likely at
    least as large a statistic is if masses make no difference and all samples are independent.
    """

    __test__ = False  # not one of pytest's

    sparsity: float
    group: int | None
    network: str | None
    samples: int
    difference: float
    statistic: float
    p: float


def spread(entries: Iterable[Entry]) -> Spread:
    """The mean accuracy of entries and its interval.

    Raises
    ------
    ValueError
        If there is none.
    """
    from scipy import stats  # here: it takes a while, and few need it

    found = [entry.accuracy for entry in entries]
    if len(found) == 1:
        return Spread(found[0].mean, found[0].low, found[0].high, 1)
    means = [one.mean for one in found]
    mean = statistics.fmean(means)
    error = statistics.stdev(means) / len(means) ** 0.5
    half = float(stats.t.ppf(0.975, len(means) - 1)) * error
    return Spread(mean, max(0.0, mean - half), min(1.0, mean + half), len(means))


def grouped(entries: Iterable[Entry], by: Callable[[Entry], object]) -> dict[object, list[Entry]]:
    """Entries by what a function tells of them, in the order in which that first comes."""
    found: dict[object, list[Entry]] = {}
    for entry in entries:
        found.setdefault(by(entry), []).append(entry)
    return found


def _singly(bench: Bench, recipe: Recipe, sparsities: Sequence[float]) -> list[Recipe]:
    """One recipe for each group of `recipe` alone and each sparsity."""
    recipe = bench.named(recipe)
    return [
        recipe.replace(groups=(index,), sparsity=sparsity)
        for index in recipe.replace(sparsity=0.0).chosen(bench.graph)
        for sparsity in sparsities
    ]


def _dense(bench: Bench) -> Wanted:
    return Wanted(bench, "", "dense", None)


def masses(benches: Sequence[Bench], recipe: Recipe, sparsities: Sequence[float]) -> list[Wanted]:
    """Both masses uniform, or both in proportion to importance; for each network."""
    found = []
    for bench in benches:
        found.append(_dense(bench))
        for one in _singly(bench, recipe, sparsities):
            found.append(Wanted(bench, "", "pruned", plain(one)))
            for name in ("uniform", "importance"):
                found.append(Wanted(bench, name, "fused", one.replace(source=name, target=name)))
    return found


def kruskal(entries: Iterable[Entry], over: str = "networks") -> list[Test]:
    """Whether importance-informed masses make a difference, by entries of `masses`.

    Parameters
    ----------
    over : `networks`, a test for each group and sparsity; or `groups`, one for each network and
        sparsity. Groups of one network are no independent draws: a small p then says that the
        groups differ, not that other networks would.

    Returns tests of at least two samples a side only.
    """
    from scipy import stats

    fused = [entry for entry in entries if entry.kind == "fused"]
    if over == "networks":
        parts = grouped(fused, lambda e: (e.recipe.sparsity, e.recipe.groups[0], None))
    elif over == "groups":
        parts = grouped(fused, lambda e: (e.recipe.sparsity, None, e.network))
    else:
        raise ValueError(f"over must be 'networks' or 'groups'; got {over!r}")
    found = []
    for (sparsity, group, network), held in parts.items():
        sides = [
            [entry.accuracy.mean for entry in held if entry.variant == name]
            for name in ("importance", "uniform")
        ]
        if min(map(len, sides)) < 2:
            continue
        statistic, p = 0.0, 1.0
        if len({*sides[0], *sides[1]}) > 1:  # of equal numbers the statistic is 0 / 0
            statistic, p = (float(number) for number in stats.kruskal(*sides))
        difference = statistics.fmean(sides[0]) - statistics.fmean(sides[1])
        found.append(Test(sparsity, group, network, len(sides[0]), difference, statistic, p))
    return found


def random(
    bench: Bench, recipe: Recipe, sparsities: Sequence[float], seeds: Sequence[int] = SEEDS
) -> list[Wanted]:
    """Pruned and fused with scores drawn at random, and with the recipe's own for comparison."""
    found = [_dense(bench)]
    for one in _singly(bench, recipe, sparsities):
        found += _pair(bench, one.importance, one)
        for seed in seeds:
            found += _pair(bench, "random", one.replace(importance="random", seed=seed))
    return found


def _pair(bench: Bench, variant: str, recipe: Recipe, **more) -> list[Wanted]:
    """Pruned and fused."""
    return [
        Wanted(bench, variant, "pruned", plain(recipe), **more),
        Wanted(bench, variant, "fused", recipe, **more),
    ]


def solvers(bench: Bench, recipe: Recipe, sparsities: Sequence[float]) -> list[Wanted]:
    """Fused by every solver of `SOLVERS`; more: cost, marginal errors, iterations, seconds.

    Seconds are those of planning a group once scores and distances are known, in this process.

    Raises
    ------
    RecipeError
        If the rule transports nothing.
    """
    found = [_dense(bench)]
    for one in _singly(bench, recipe, sparsities):
        found.append(Wanted(bench, "", "pruned", plain(one)))
        for name, settings in SOLVERS.items():
            solved = one.replace(**settings)
            found.append(Wanted(bench, name, "fused", solved, more=_solved(bench, solved)))
    return found


def _solved(bench: Bench, recipe: Recipe) -> Callable[[Compressed], Mapping[str, float]]:
    def more(out: Compressed) -> Mapping[str, float]:
        index = recipe.groups[0]
        plan = out.plans.get(index)
        if plan is None:
            raise RecipeError(
                f"The rule {recipe.rule!r} transports nothing, so solvers can't differ. Choose one "
                'that does: "released".'
            )
        asked, seen = bench.looking(recipe)
        spent = []
        for _ in range(TIMES):
            begun = time.perf_counter()
            plan_group(bench.prepared, index, asked, seen)
            spent.append(time.perf_counter() - begun)
        return {
            "cost": plan.cost, "source_error": plan.source_error,
            "target_error": plan.target_error, "iterations": plan.iterations or 0,
            "converged": float(plan.converged), "seconds": statistics.median(spent),
        }  # fmt: skip

    return more


def quality(
    bench: Bench,
    recipe: Recipe,
    sparsities: Sequence[float],
    qualities: Sequence[float] = QUALITIES,
    seeds: Sequence[int] = SEEDS,
) -> list[Wanted]:
    """Pruned and fused with the importance of a share of the channels known, for each share.

    more: the rank correlation (Spearman) of the scores used with the scores known in full.
    """
    found = [_dense(bench)]
    for one in _singly(bench, recipe, sparsities):
        for share in qualities:
            # What is known in full draws nothing: one seed says it all.
            for seed in seeds if share < 1 else seeds[:1]:
                worse = one.replace(quality=share, seed=seed)
                found += _pair(bench, f"{share:g}", worse, more=_correlated(bench, worse))
    return found


def _correlated(bench: Bench, recipe: Recipe) -> Callable[[Compressed], Mapping[str, float]]:
    def more(out: Compressed) -> Mapping[str, float]:
        from scipy import stats

        asked, seen = bench.looking(recipe)
        index = recipe.groups[0]
        known = bench.prepared.scores(index, asked.replace(quality=1.0), seen)
        used = bench.prepared.scores(index, asked, seen)
        return {"correlation": float(stats.spearmanr(known, used).statistic)}

    return more


def corruption(bench: Bench, recipe: Recipe, sparsity: float) -> list[Wanted]:
    """Dense, pruned and fused on the test images as they are and by every corruption.

    The variant is `clean`, or the corruption and its strength: `noise 3`.
    """
    fused = bench.named(recipe).replace(sparsity=sparsity)
    three = (("dense", None), ("pruned", plain(fused)), ("fused", fused))
    found = [Wanted(bench, "clean", kind, one) for kind, one in three]
    for name in CORRUPTIONS:
        for strength in STRENGTHS:

            def images(name=name, strength=strength):
                return corrupted(bench.tested, name, strength, bench.seed, bench.limit)

            found += [Wanted(bench, f"{name} {strength}", kind, one, images) for kind, one in three]
    return found


def trained(
    bench: Bench,
    count: int,
    epochs: int | None = None,
    kinds: Sequence[tuple[str, float]] = (("clean", 0.0),),
    folder: Path | None = None,
    report: Callable[[float, str], None] = lambda share, line: None,
) -> list[tuple[str, Bench]]:
    """Networks like the bench's, trained here with the seeds 1 to `count`: (how, bench).

    Parameters
    ----------
    kinds : how their training images are spoiled, and how much; `how` names it, as `labels 0.2`.
    folder : where they are kept (the cache folder).

    Raises as `core.siblings.sibling` does.
    """
    found = []
    todo = [(kind, amount, seed) for kind, amount in kinds for seed in range(1, count + 1)]
    for done, (kind, amount, seed) in enumerate(todo):
        how = f"{kind} {amount:g}" if kind != "clean" else kind
        name = f"{bench.name}, seed {seed}" + (f", {how}" if kind != "clean" else "")
        share = done / len(todo)
        report(share, f"training {name}")
        images = spoiled(bench.training, kind, amount, seed)
        module = sibling(
            bench.name, images, seed, epochs, folder,
            lambda line, share=share, name=name: report(share, f"training {name}: {line}"),
        )  # fmt: skip
        one = Bench.of(name, module, bench.tested, bench.input_shape, bench.limit, bench.seed)
        one.keep_training(images)
        found.append((how, one))
    return found


def of_spoiled(
    benches: Sequence[tuple[str, Bench]], recipe: Recipe, sparsity: float
) -> list[Wanted]:
    """Dense, pruned and fused of networks that `trained` made; the variant is how."""
    found = []
    for how, bench in benches:
        fused = bench.named(recipe).replace(sparsity=sparsity)
        found += [Wanted(bench, how, "dense", None), *_pair(bench, how, fused)]
    return found
