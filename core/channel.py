"""Everything there is to see of one channel: its score, its filters, where its mass goes.

A discarded channel has heirs: the channels its mass goes to. A channel that stays has parents:
those whose mass it receives, itself among them as a rule. A fused channel's filter is a sum over
its parents (Theus et al. 2024, section 3.3); `Sum` holds the terms, so that anybody can add them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from core import surgery
from core.compress import Step
from core.errors import RecipeError
from core.groups import CONSUMES, PRODUCES, Coupling, DependencyGraph, Group
from core.importance import State, side_by_side
from core.prepared import Prepared
from core.projection import RULES, stretch
from core.recipe import Recipe
from core.regression import Refit

#: The cheapest targets that are told of a channel, whether mass goes there or not.
NEAREST = 3


@dataclass(frozen=True)
class Tie:
    """Another channel, and what it has to do with this one.

    channel : its number in the group. mass : what moves between the two, of all mass 1. share : of
    the mass that leaves this channel (heirs) or arrives there (parents). cost : of moving one unit.
    Where nothing is transported `share` is the coefficient with which one channel is guessed from
    the other, `mass` and `cost` are None.
    """

    channel: int
    share: float
    mass: float | None
    cost: float | None


@dataclass(frozen=True, eq=False)
class Channel:
    """One channel of a group, before and after.

    index, width : its number, and how many there are. score, rank : its importance; rank 1 is the
    most important. place : its column in the plan, None if it is discarded. source, target : the
    mass it starts with, and the mass it ends with if it stays. heirs, parents : by falling share;
    parents only of one that stays. nearest : the cheapest targets. filters : by producing layer,
    what it is made with, batch norm folded in: (inputs, …) float64.
    """

    index: int
    width: int
    score: float
    rank: int
    place: int | None
    source: float
    target: float | None
    heirs: tuple[Tie, ...]
    parents: tuple[Tie, ...]
    nearest: tuple[Tie, ...]
    filters: dict[str, Tensor]


@dataclass(frozen=True, eq=False)
class Sum:
    """A fused filter as what it is: `ratio` · Σ coefficient · filter.

    layer : the producing layer. terms : (channel, coefficient, filter) by falling size of the
    coefficient. ratio : of variance repair or of regression, 1 elsewhere, one for each row of the
    channel (repeat,).
    total : the sum, (inputs, …) float64.
    """

    layer: str
    terms: tuple[tuple[int, float, Tensor], ...]
    ratio: Tensor
    total: Tensor


def channel(prepared: Prepared, recipe: Recipe, index: int, step: Step, number: int) -> Channel:
    """What there is to see of channel `number` of group `index`, for what was decided in `step`.

    Raises
    ------
    RecipeError
        If the group has no such channel.
    """
    graph = prepared.graph
    group = graph.groups[index]
    _check(number, group.width, index)
    measures, plan = step.measures, step.plan
    kept = measures.kept
    places = (kept == number).nonzero()[:, 0]
    place = int(places[0]) if len(places) else None
    order = torch.argsort(step.scores, descending=True, stable=True)
    heirs = parents = nearest = ()
    if plan is not None:
        heirs = _ties(plan.mass[number], kept, plan.costs[number])
        cheapest = plan.costs[number].argsort(stable=True)[:NEAREST]
        left = plan.mass[number].sum().clamp_min(1e-300)
        nearest = tuple(
            Tie(
                int(kept[j]), float(plan.mass[number, j] / left), float(plan.mass[number, j]),
                float(plan.costs[number, j]),
            )
            for j in cheapest.tolist()
        )  # fmt: skip
        if place is not None:
            everyone = torch.arange(group.width)
            parents = _ties(plan.mass[:, place], everyone, plan.costs[:, place])
    else:
        unmerge = step.projection.unmerge
        heirs = _guesses(unmerge[number], kept)
        if place is not None:
            parents = _guesses(unmerge[:, place], torch.arange(group.width))
    return Channel(
        number, group.width, float(step.scores[number]), int((order == number).nonzero()) + 1,
        place, float(measures.source[number]),
        None if place is None else float(measures.target[place]),
        heirs, parents, nearest, filters(prepared.folded, graph, index, number),
    )  # fmt: skip


def filters(state: State, graph: DependencyGraph, index: int, number: int) -> dict[str, Tensor]:
    """The weights that make a channel, by producing layer: (inputs, …) float64 each.

    A layer whose channels own several rows each has them side by side: (rows, inputs, …).
    """
    found = {}
    for coupling in _producers(graph, index, number):
        found[coupling.layer] = _alone(_rows(state, coupling)[number - coupling.first])
    return found


@dataclass(frozen=True, eq=False)
class Row:
    """One channel in a list of all of a group: what a line of a table tells.

    heir : where most of its mass goes, or what it is mostly guessed from; None of one that is
    deleted or that stays as it is. heirs, parents : how many it has, itself not counted.
    """

    index: int
    stays: bool
    score: float
    rank: int
    heir: int | None
    heirs: int
    parents: int


def listed(step: Step) -> list[Row]:
    """All channels of a group, in the order of their numbers."""
    kept = step.measures.kept.tolist()
    leaving = step.projection.unmerge if step.plan is None else step.plan.mass  # (n, m)
    used = leaving != 0
    heirs, parents = used.sum(1), used.sum(0)
    best = leaving.abs().argmax(1).tolist()
    order = torch.argsort(step.scores, descending=True, stable=True)
    ranks = torch.empty_like(order)
    ranks[order] = torch.arange(1, len(order) + 1)
    places = {number: place for place, number in enumerate(kept)}
    rows = []
    for number, (score, rank) in enumerate(zip(step.scores.tolist(), ranks.tolist(), strict=True)):
        place = places.get(number)
        own = place is not None and bool(used[number, place])
        heir = kept[best[number]] if heirs[number] and kept[best[number]] != number else None
        rows.append(
            Row(
                number, place is not None, score, rank, heir, int(heirs[number]) - own,
                0 if place is None else int(parents[place]) - own,
            )
        )  # fmt: skip
    return rows


def one_sum(recipe: Recipe) -> bool:
    """Whether fused weights are one sum each: several rounds that rescale are sums of sums."""
    rule = RULES[recipe.rule]
    return recipe.rounds == 1 or not (rule.repaired or rule.regressed)


def fused(
    prepared: Prepared,
    index: int,
    step: Step,
    number: int,
    refits: Mapping[str, Refit] | None = None,
) -> dict[str, Sum]:
    """The filters of the fused channel in the place of channel `number`, by producing layer.

    Only where `one_sum`. `refits` : `Compressed.refits`; regression makes its rows louder.

    Raises
    ------
    RecipeError
        If the channel does not stay.
    """
    graph = prepared.graph
    group = graph.groups[index]
    _check(number, group.width, index)
    places = (step.measures.kept == number).nonzero()[:, 0]
    if not len(places):
        raise RecipeError(
            f"Channel {number} of group {index} is discarded: choose one that stays, or look at "
            "its heirs."
        )
    coefficients = step.projection.merge[int(places[0])]  # (n,)
    sums = {}
    for coupling in _producers(graph, index, number):
        rows = _rows(prepared.folded, coupling)
        part = coefficients[coupling.first : coupling.first + coupling.count]
        used = part.abs().argsort(descending=True, stable=True)
        used = used[part[used] != 0].tolist()
        terms = tuple((coupling.first + i, float(part[i]), _alone(rows[i])) for i in used)
        ratio = _ratio(step, group, coupling, int(places[0]), refits or {})
        total = torch.einsum("n,nr...->r...", part, rows)
        total = total * ratio.view(-1, *[1] * (total.ndim - 1))
        sums[coupling.layer] = Sum(coupling.layer, terms, ratio, _alone(total))
    return sums


def _check(number: int, width: int, index: int) -> None:
    if type(number) is not int or not 0 <= number < width:
        raise RecipeError(
            f"Group {index} has no channel {number}: it has the channels 0 to {width - 1}."
        )


def _producers(graph: DependencyGraph, index: int, number: int) -> list[Coupling]:
    """The weights that produce a channel."""
    return [
        c
        for c in graph.groups[index].of(PRODUCES)
        if c.layer in graph.layers and c.tensor == graph.layers[c.layer].weight
        if c.first <= number < c.first + c.count
    ]


def _rows(state: Mapping[str, Tensor], coupling: Coupling) -> Tensor:
    """What a coupling holds of its channels: (count, repeat, inputs, …) float64."""
    tensor = side_by_side(state[coupling.tensor], coupling.axis, coupling.parts)
    rows = tensor[coupling.start : coupling.stop].double()
    return rows.unflatten(0, (coupling.count, coupling.repeat))


def _alone(rows: Tensor) -> Tensor:
    """(repeat, inputs, …), or (inputs, …) where a channel owns one row."""
    return rows[0] if len(rows) == 1 else rows


def _first(step: Step, group: Group, coupling: Coupling, place: int) -> int:
    """The row with which the channel in a place begins in the smaller network's tensor."""
    start = coupling.start + place * coupling.repeat
    start -= stretch(group, step.projection, coupling).start * coupling.repeat
    for other in group.of(PRODUCES):  # a layer may hold the group in several stretches
        if other.tensor == coupling.tensor and other.start < coupling.start:
            part = stretch(group, step.projection, other)
            start -= (other.count - (part.stop - part.start)) * other.repeat
    return start


def _ratio(
    step: Step, group: Group, coupling: Coupling, place: int, refits: Mapping[str, Refit]
) -> Tensor:
    """How much louder repair or regression makes each row of a fused channel: (repeat,) float64."""
    known = step.repairs.get(coupling.layer) or refits.get(coupling.layer)
    if known is None or known.ratio is None:
        return torch.ones(coupling.repeat, dtype=torch.float64)
    start = _first(step, group, coupling, place)
    return known.ratio[start : start + coupling.repeat].double()


def differences(
    prepared: Prepared,
    index: int,
    step: Step,
    number: int,
    sums: Mapping[str, Sum],
    smaller: State,
    refits: Mapping[str, Refit] | None = None,
) -> dict[str, float]:
    """How far the sums are from the smaller network's own weights, at most, by layer.

    Parameters
    ----------
    sums : `fused` of channel `number`, which stays.
    smaller : `folded(compressed.module, …)` of a recipe that shrinks this group alone.
    """
    group = prepared.graph.groups[index]
    place = int((step.measures.kept == number).nonzero()[0, 0])
    found = {}
    for coupling in _producers(prepared.graph, index, number):
        told = sums[coupling.layer].total
        told = told[None] if coupling.repeat == 1 else told  # (repeat, inputs, …)
        # A layer that reads the channels it adds to has fewer inputs, too.
        read = [c for c in group.of(CONSUMES) if c.tensor == coupling.tensor]
        refit = (refits or {}).get(coupling.layer)
        unmerge = step.projection.unmerge
        if refit is not None and refit.unmerge is not None:
            unmerge = refit.unmerge
        if read:
            told = surgery.contract(
                told,
                [
                    (c, unmerge.T[stretch(group, step.projection, c), c.first : c.first + c.count])
                    for c in read
                ],
            )
        start = _first(step, group, coupling, place)
        rows = side_by_side(smaller[coupling.tensor], coupling.axis, coupling.parts)
        own = rows[start : start + coupling.repeat].double()
        found[coupling.layer] = float((told - own).abs().max())
    return found


def folded(module: nn.Module, graph: DependencyGraph, index: int) -> dict[str, Tensor]:
    """The weights that produce a group in a network, batch norm folded in, by their names."""
    layers = {
        c.layer: graph.layers[c.layer]
        for c in graph.groups[index].of(PRODUCES)
        if c.layer in graph.layers and c.tensor == graph.layers[c.layer].weight
    }
    state = surgery.fold(module.state_dict(), layers)
    return {layer.weight: state[layer.weight] for layer in layers.values()}


def _ties(mass: Tensor, channels: Tensor, costs: Tensor) -> tuple[Tie, ...]:
    total = float(mass.sum()) or 1.0
    order = mass.argsort(descending=True, stable=True)
    return tuple(
        Tie(int(channels[i]), float(mass[i]) / total, float(mass[i]), float(costs[i]))
        for i in order[mass[order] > 0].tolist()
    )


def _guesses(coefficients: Tensor, channels: Tensor) -> tuple[Tie, ...]:
    order = coefficients.abs().argsort(descending=True, stable=True)
    return tuple(
        Tie(int(channels[i]), float(coefficients[i]), None, None)
        for i in order[coefficients[order] != 0].tolist()
    )
