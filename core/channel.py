"""Everything there is to see of one channel: its score, its filters, where its mass goes.

A discarded channel has heirs: the channels its mass goes to. A channel that stays has parents:
those whose mass it receives, itself among them as a rule. A fused channel's filter is a sum over
its parents (Theus et al. 2024, section 3.3); `Sum` holds the terms, so that anybody can add them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from core.compress import Step
from core.errors import RecipeError
from core.groups import PRODUCES, Coupling, DependencyGraph, Group
from core.importance import State, side_by_side
from core.prepared import Prepared
from core.projection import stretch
from core.recipe import Recipe

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
    coefficient. ratio : of variance repair, 1 elsewhere, one for each row of the channel (repeat,).
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


def fused(prepared: Prepared, index: int, step: Step, number: int) -> dict[str, Sum]:
    """The filters of the fused channel in the place of channel `number`, by producing layer.

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
        ratio = _ratio(step, group, coupling, int(places[0]))
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


def _ratio(step: Step, group: Group, coupling: Coupling, place: int) -> Tensor:
    """How much louder variance repair makes each row of a fused channel: (repeat,) float64."""
    repair = step.repairs.get(coupling.layer)
    if repair is None:
        return torch.ones(coupling.repeat, dtype=torch.float64)
    start = place - stretch(group, step.projection, coupling).start
    for other in group.of(PRODUCES):  # a layer may hold the group in several stretches
        if other.tensor == coupling.tensor and other.start < coupling.start:
            part = stretch(group, step.projection, other)
            start += part.stop - part.start
    return repair.ratio[start * coupling.repeat : (start + 1) * coupling.repeat].double()


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
