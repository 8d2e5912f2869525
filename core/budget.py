"""How wide each group may stay when a share of the weights, or of the operations, is to be kept.

Removing a channel leaves a share of its consumers' output unexplained (`core.cover` knows it for
every width at once, without data) and saves weights in its producers and consumers. Channels go in
small lots, always from the group whose next lot costs least error per weight saved.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch

from core.cover import cover
from core.errors import RecipeError
from core.groups import DependencyGraph
from core.prepared import Prepared
from core.projection import RULES
from core.recipe import Recipe

#: What a budget counts, in plain words.
COUNTS: dict[str, str] = {
    "weights": "parameters: weights, biases, batch norm's scales and shifts",
    "operations": "multiply-accumulates for one image, in convolutions and linear layers",
}
#: How a budget is spread over the groups, in plain words.
SPREADS: dict[str, str] = {
    "explained": "where a lot of channels costs least unexplained output for each weight it saves",
    "uniform": "the same sparsity in every group",
}
#: A lot of channels is this share of its group.
LOT = 1 / 32


def cost_of(graph: DependencyGraph, prepared: Prepared, count: str) -> Callable[[dict], int]:
    """A function from the groups' widths (by index) to weights or operations."""
    places = {node.module: math.prod(node.shape[1:]) for node in graph.nodes if node.module}
    terms: dict[str, tuple[list[int], int]] = {}
    for layer in graph.layers.values():
        names = [(layer.weight, places.get(layer.name, 1))]
        if count == "weights":
            names = [(layer.weight, 1), (layer.bias, 1)]
            names += [(f"{layer.norm}.{kind}", 1) for kind in ("weight", "bias") if layer.norm]
        for name, factor in names:
            if name:
                terms[name] = list(prepared.original[name].shape), factor
    held = [(g.index, g.width, c) for g in graph.groups for c in g.couplings if c.tensor in terms]

    def cost(widths: dict[int, int]) -> int:
        shapes = {name: list(shape) for name, (shape, _) in terms.items()}
        for index, width, c in held:
            # Where a tensor holds a part of a group it is taken to shrink in proportion.
            gone = (width - widths.get(index, width)) * c.count * c.repeat / width
            shapes[c.tensor][c.axis] -= gone
        return round(sum(math.prod(shapes[name]) * factor for name, (_, factor) in terms.items()))

    return cost


def budgeted(
    prepared: Prepared,
    recipe: Recipe,
    keep: float,
    count: str = "weights",
    spread: str = "explained",
    images=None,
) -> Recipe:
    """The recipe with one sparsity a group, so that at most `keep` of the network stays.

    Parameters
    ----------
    keep : share of the network's `count` that may stay, 0 < keep ≤ 1.
    count, spread : keys of `COUNTS` and `SPREADS`.
    images : as for `compress`, where the recipe's rule looks at given images.

    Raises
    ------
    RecipeError
        If a choice does not exist, or no widths of the chosen groups are that small.
    """
    graph = prepared.graph
    if not isinstance(keep, (int, float)) or not 0 < keep <= 1:
        raise RecipeError(f"keep must be above 0 and at most 1; got {keep!r}.")
    for name, value, table in (("count", count, COUNTS), ("spread", spread, SPREADS)):
        if value not in table:
            raise RecipeError(f"There is no {name} called {value!r}. Known: {', '.join(table)}.")
    chosen = recipe.chosen(graph)
    cost = cost_of(graph, prepared, count)
    full = {index: graph.groups[index].width for index in chosen}
    limit = keep * cost({})
    if cost(dict.fromkeys(chosen, 1)) > limit:
        raise RecipeError(
            f"Even one channel a group leaves more than {100 * keep:g} % of the {count}. Choose "
            "more groups, or keep more."
        )
    if spread == "uniform":
        widths = _uniform(full, cost, limit)
    else:
        widths = _explained(full, cost, limit, _errors(prepared, recipe, chosen, images))
    return recipe.replace(sparsity=tuple(1 - widths[index] / full[index] for index in chosen))


def _uniform(full: dict[int, int], cost, limit: float) -> dict[int, int]:
    for step in range(1001):  # thousandths: no two sparsities a person would tell apart
        widths = {i: max(1, math.floor(n * (1 - step / 1000) + 1e-9)) for i, n in full.items()}
        if cost(widths) <= limit:
            break
    return widths


def _errors(prepared: Prepared, recipe: Recipe, chosen, images) -> dict[int, torch.Tensor]:
    """By group, (n + 1,): the output left unexplained with 0, 1, …, n channels."""
    if not RULES[recipe.rule].regressed:
        recipe = recipe.replace(rule="best")
    errors = {}
    for index in chosen:
        width = prepared.graph.groups[index].width
        consumers = prepared.consumers(index, recipe, images)
        _, added = cover(consumers, width)
        told = torch.cat([torch.zeros(1, dtype=torch.float64), added.cumsum(0)])
        errors[index] = told[-1] - told
    return errors


def _explained(full: dict[int, int], cost, limit: float, errors) -> dict[int, int]:
    widths, now = dict(full), cost(full)
    while now > limit:
        best = None
        for index, width in widths.items():
            fewer = max(1, width - max(1, round(full[index] * LOT)))
            saved = now - cost(widths | {index: fewer})
            if saved <= 0:
                continue
            price = float(errors[index][fewer] - errors[index][width]) / saved
            if best is None or price < best[0]:
                best = price, index, fewer
        widths[best[1]] = best[2]
        now = cost(widths)
    return widths
