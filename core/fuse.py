"""Fuse networks of one architecture into one, by transport between their channels.

Singh & Jaggi (2020), "Model Fusion via Optimal Transport", as Theus et al. (2024) use it for
networks trained on parts of the data, with one plan a dependency group, so that residual streams
stay consistent:

1. fold batch norm into the layers, so that weights are what the networks compute (`core.kin`);
2. bring each network into the channels of the target, plan by plan (`core.alignment`);
3. mix the folded tensors by their shares;
4. take batch norm out of the mixture again: γ and β are the mixtures of |γ| and β, since a folded
   channel has had the mean β and the standard deviation |γ| on its training data; the stored mean
   and variance are chosen so that the layer computes the mixture. Scales that no output depends on
   are the target's: a network fused with copies of itself keeps its own tensors;
5. on images, if there are some, measure mean and variance anew. Averaging shrinks variances, and
   this gives every channel |γ| back (REPAIR, Jordan et al. 2023).

Why folded: with batch norm a weight's scale is arbitrary, so that means of raw weights would weigh
networks by chance.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from core import surgery
from core.alignment import Difference, align, aligned, distances, identity, observed
from core.errors import DataError, RecipeError
from core.groups import DependencyGraph
from core.kin import Kin, kin
from core.mixtures import mixture
from core.reestimate import re_estimated
from core.shape import tensors_of
from core.transport import TransportPlan, transport

#: What channels are compared by, in a line.
COSTS = {
    "weights": "the weights that produce them, with biases, batch norm folded in; no images",
    "activations": "what they put out for the same unlabelled images",
}
#: Solvers of `core.transport` that move all of the mass onto all of the target.
SOLVERS = ("exact", "sinkhorn")
#: Unlabelled images that are looked at where nothing is said.
IMAGES = 200
#: Rounds of comparing weights, at most (`core.alignment`).
ROUNDS = 10

Report = Callable[[float, str], None]


@dataclass(frozen=True, eq=False)
class Fused:
    """A network made of several.

    module : in evaluation mode, in the target's channels.
    plans : by group index, one plan (n, m) for each network that was given, in their order. The
        target's own is the identity.
    differences : by group index, for each network how far its channels are from the target's.
    shares : of each network in the mixture; they sum to 1.
    into : the index of the network whose channels the result has; None if it was none of them.
    seconds : what it took.
    """

    module: nn.Module
    plans: dict[int, list[TransportPlan]]
    differences: dict[int, list[Difference]]
    shares: tuple[float, ...]
    into: int | None
    seconds: float


def fuse(
    networks: Sequence[nn.Module],
    input_shape: tuple[int, ...] = (3, 32, 32),
    *,
    shares: Sequence[float] | None = None,
    cost: str = "weights",
    images: Tensor | None = None,
    solver: str = "exact",
    epsilon: float = 0.05,
    into: int | nn.Module = 0,
    statistics: bool = True,
    rounds: int = ROUNDS,
    report: Report | None = None,
) -> Fused:
    """Fuse two or more networks of one architecture; none of them is changed.

    Parameters
    ----------
    input_shape : (channels, height, width) of one image.
    shares : of each network in the mixture, none negative; they are divided by their sum. Equal if
        nothing is said.
    cost : a key of `COSTS`.
    images : (k, c, h, w), as the networks take them, unlabelled; the field takes 200.
    solver : one of `SOLVERS`. epsilon : as `core.transport.transport` has it.
    into : whose channels, in order and number, the fused network has: the index of a network, or
        another network, which is then no part of the mixture. Widths may differ.
    statistics : measure the batch norms' means and variances on `images`, if there are any.
    rounds : of comparing weights, at most; 1 is the method as published.
    report : told the share done and what is being done; what it raises ends the work.

    Raises
    ------
    RecipeError
        If the networks are of different architectures or classes, or a choice does not exist.
    Unsupported
        If a network can't be traced.
    WeightsError
        If a weight is not a finite number.
    DataError
        If images are missing or of another shape.
    TransportError
        If a transport problem has no usable solution.
    """
    begun = time.perf_counter()
    report = report or (lambda share, line: None)
    networks, input_shape = list(networks), tuple(input_shape)
    into, target_module = _target(networks, into)
    if len(networks) < 2 and into is not None:
        raise RecipeError(f"Two networks or more are needed to fuse; got {len(networks)}.")
    weights = mixture(shares, len(networks))
    _check(cost, solver, rounds, images, input_shape)
    report(0.0, "tracing the networks")
    named = [(f"Network {at + 1}", one) for at, one in enumerate(networks)]
    first = named.pop(into) if into is not None else ("The target", target_module)
    target, *others = kin([first, *named], input_shape)
    members = others if into is None else [*others[:into], target, *others[into:]]

    def solve(mu: Tensor, nu: Tensor, costs: Tensor) -> TransportPlan:
        return transport(mu, nu, costs, solver, epsilon)

    seen: dict[str, Mapping[int, Tensor]] = {}
    if cost == "activations":
        for at, one in enumerate([target, *others]):
            report(0.05 + 0.25 * at / len(members), f"{one.name}: looking at {len(images)} images")
            seen[one.name] = observed(one, images)
    plans: dict[int, list[TransportPlan]] = {g.index: [] for g in target.graph.groups}
    differences: dict[int, list[Difference]] = {g.index: [] for g in target.graph.groups}
    matrices = []
    for at, one in enumerate(members):
        if one is target:
            found, apart = _own(target, seen.get(target.name), solver)
            matrices.append(None)
        else:
            pair = (seen[one.name], seen[target.name]) if seen else None
            told = align(
                one, target, solve, rounds, pair,
                lambda share, line, at=at: report(0.3 + 0.6 * (at + share) / len(members), line),
            )  # fmt: skip
            found, apart = told.plans, told.differences
            matrices.append(told.matrices)
        for index in plans:
            plans[index].append(found[index])
            differences[index].append(apart[index])
    report(0.9, "mixing")
    module = surgery.rebuild(target_module, _mixed(members, target, matrices, weights))
    if statistics and images is not None:
        report(0.95, f"measuring batch norm on {len(images)} images")
        module = re_estimated(module, images)
    return Fused(module, plans, differences, weights, into, time.perf_counter() - begun)


def _target(networks: list[nn.Module], into: int | nn.Module) -> tuple[int | None, nn.Module]:
    if isinstance(into, nn.Module):
        place = next((at for at, one in enumerate(networks) if one is into), None)
        if place is None and not networks:
            raise RecipeError("There is no network to fuse.")
        return place, into
    if not 0 <= into < len(networks):
        raise RecipeError(
            f"There is no network {into} to fuse into; there are {len(networks)}, counted from 0."
        )
    return into, networks[into]


def _check(cost: str, solver: str, rounds: int, images: Tensor | None, shape) -> None:
    for name, value, known in (("cost", cost, COSTS), ("solver", solver, SOLVERS)):
        if value not in known:
            raise RecipeError(f"There is no {name} {value!r} to fuse by: {', '.join(known)}.")
    if rounds < 1:
        raise RecipeError(f"At least one round is needed; got {rounds}.")
    if images is None and cost == "activations":
        raise DataError(
            "Activations are compared on images: give some, unlabelled, or compare by weights."
        )
    if images is not None and (tuple(images.shape[1:]) != shape or len(images) < 2):
        raise DataError(
            f"Two images or more of shape {shape} are needed, as the networks take them; got "
            f"{tuple(images.shape)}."
        )


def _own(target: Kin, seen: Mapping[int, Tensor] | None, solver: str):
    """The plans of the target to itself."""
    plans = {}
    for group in target.graph.groups:
        if seen:
            costs = distances(seen[group.index], seen[group.index])
        else:
            costs = torch.zeros(group.width, group.width, dtype=torch.float64)
        plans[group.index] = identity(group, costs, solver)
    return plans, dict.fromkeys(plans, Difference(0.0, 0.0))


# -- mixing ---------------------------------------------------------------------------------------


def _mixed(members: list[Kin], target: Kin, matrices: list, shares) -> dict[str, Tensor]:
    """The tensors of the mixture, in the kinds of numbers the target has."""
    whole = {name: t for name, t in target.original.items() if not t.is_floating_point()}
    mixed = whole | _sum(members, target, matrices, shares, [one.state for one in members])
    moments = _sum(members, target, matrices, shares, [_moments(one) for one in members])
    state = unfolded(mixed, moments, target.original, target.graph)
    held = tensors_of(target.module)
    return {
        name: tensor.to(held[name].dtype) if held[name].is_floating_point() else held[name]
        for name, tensor in state.items()
    }


def _sum(members, target, matrices, shares, states) -> dict[str, Tensor]:
    """Σ share · aligned state, of floating tensors."""
    total: dict[str, Tensor] = {}
    for one, within, share, state in zip(members, matrices, shares, states, strict=True):
        if not share:
            continue
        state = {name: t for name, t in state.items() if t.is_floating_point()}
        if within is not None:
            state = aligned(one, target, within, state)
        for name, tensor in state.items():
            part = share * tensor
            total[name] = total[name] + part if name in total else part
    return total


def _moments(one: Kin) -> dict[str, Tensor]:
    """What a batch norm's channels have had on the training data, under names that move alike.

    A norm that was folded puts out the mean β and the standard deviation |γ|; one that was not
    reads the stored mean and the root of the stored variance.
    """
    found = {}
    for layer in one.graph.layers.values():
        if layer.norm:
            found[f"{layer.norm}.weight"] = one.original[f"{layer.norm}.weight"].abs()
            found[f"{layer.norm}.bias"] = one.original[f"{layer.norm}.bias"]
        elif layer.kind == "norm":
            found[f"{layer.name}.running_mean"] = one.original[f"{layer.name}.running_mean"]
            variance = one.original[f"{layer.name}.running_var"]
            found[f"{layer.name}.running_var"] = variance.clamp_min(0).sqrt()
    return found


def unfolded(
    state: Mapping[str, Tensor],
    moments: Mapping[str, Tensor],
    like: Mapping[str, Tensor],
    graph: DependencyGraph,
) -> dict[str, Tensor]:
    """A folded state with its batch norms taken out again; in evaluation mode it computes the same.

    Parameters
    ----------
    state : folded tensors w′, b′. moments : of what each batch norm puts out or reads (`_moments`).
    like : the tensors of a network that was never folded, with σ² and μ and the signs of γ; where
        it says the same as `state`, its own tensors come back.

    γ = ±|γ| and β from the moments, σ² from `like`, w = w′·√(σ²+ε)/γ, and the mean μ such that
    (b − μ)·γ/√(σ²+ε) + β = b′. Where γ is 0 the layer says nothing: it keeps `like`'s numbers.
    """
    ready = dict(state)
    for layer in graph.layers.values():
        if layer.kind == "norm":
            name = layer.name
            mean, deviation = moments[f"{name}.running_mean"], moments[f"{name}.running_var"]
            scale = state[f"{name}.weight"]
            variance = deviation.square()
            ready[f"{name}.running_mean"], ready[f"{name}.running_var"] = mean, variance
            ready[f"{name}.weight"] = scale * torch.sqrt(variance + layer.epsilon)
            ready[f"{name}.bias"] = state[f"{name}.bias"] + scale * mean
        if not layer.norm:
            continue
        gamma, beta, mean, variance = (f"{layer.norm}.{key}" for key in surgery.NORM)
        size, centre = moments[gamma], moments[beta]
        said = size > 0
        ready[gamma] = torch.where(like[gamma] < 0, -size, size)
        ready[beta] = torch.where(said, centre, state[beta])
        ready[variance] = like[variance]
        root = torch.sqrt(like[variance] + layer.epsilon)
        back = torch.where(said, root / torch.where(said, ready[gamma], 1.0), 0.0)  # √(σ²+ε)/γ
        ready[layer.weight] = surgery.scaled(state[layer.weight], layer, back) + surgery.scaled(
            like[layer.weight], layer, (~said).double()
        )
        before = torch.zeros_like(centre)
        if layer.bias:
            before = ready[layer.bias] = like[layer.bias]
        ready[mean] = torch.where(said, before - (state[beta] - centre) * back, like[mean])
    return ready
