"""Which channels of one network do what those of another do: a transport plan a group.

The source of a plan are the n channels of one network's group, its target the m channels of the
same group of the other, masses uniform, n and m may differ (Singh & Jaggi 2020, section 4). Groups
are met from the input to the output, so that what a layer reads is in the target's order before its
rows are compared. A residual stream is met at its first layer, before the layers inside its blocks;
further rounds compare everything with everything (below).

What channels are compared by, at a cost of the squared Euclidean distance:

weights      their rows in all tensors that produce or follow them after batch norm was folded, with
             biases. Folding is what makes rows comparable: w and c·w with variances σ² and c²σ²
             compute the same. Of least cost is then the permutation that brings both networks
             nearest in weight space.
activations  what they put out for the same images, after batch norm and before the nonlinearity.

In rounds after the first, weights are compared by the columns that consume the channels as well,
until no plan changes (weight matching, Ainsworth et al. 2023, from a start better than chance).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from core import surgery
from core.groups import CONSUMES, PRODUCES, Group
from core.importance import channel_rows, labelled_generator
from core.kin import Kin
from core.projection import Projection
from core.statistics import hooks
from core.transport import TransportPlan

#: Positions of images at which activations are compared.
POSITIONS = 8192
#: Images that run at once.
BATCH = 100
#: A round that moves no larger share of a channel's mass anywhere has changed nothing.
SETTLED = 1e-2

Solve = Callable[[Tensor, Tensor, Tensor], TransportPlan]


@dataclass(frozen=True)
class Difference:
    """How far the channels of a group are from the target's, relative to these.

    √(mean squared distance of the features) / √(mean squared length of the target's). `before`:
    channel i from channel i, None where widths differ. `after`: as the plan has it.
    """

    before: float | None
    after: float


def projected(plan: TransportPlan) -> Projection:
    """The matrices that bring n channels into the place of m.

    merge (m, n) = (P / ν)ᵀ: each channel is a mean. unmerge (n, m) = P / μ: what read a channel
    reads its heirs instead, all its weight. For n = m both are the plan alone; for others columns
    of P / ν (Singh & Jaggi 2020) would make sums over m inputs m / n times as large, and P / μ
    keeps them: it is exact where channels that are put together are alike.
    """
    leaving, arriving = plan.mass.sum(1, keepdim=True), plan.mass.sum(0, keepdim=True)
    return Projection((plan.mass / arriving).T, plan.mass / leaving)


def identity(group: Group, costs: Tensor, solver: str) -> TransportPlan:
    """The plan of a network to itself."""
    masses = torch.full((group.width,), 1 / group.width, dtype=torch.float64)
    return TransportPlan(masses.diag(), costs, masses, masses, solver, 0.0, 0.0, 0.0, None, True)


def aligned(
    source: Kin, target: Kin, matrices: Mapping[int, Projection], state: Mapping[str, Tensor]
) -> dict[str, Tensor]:
    """`state`, tensors with the names of the source's, in the target's channels."""
    return {name: _moved(source, target, matrices, state, name) for name in state}


def _moved(source: Kin, target: Kin, matrices, state, name: str, leave: int | None = None):
    """One tensor in the target's channels along all axes but `leave`; None if a plan is missing."""
    tensor = state[name]
    for axis, places in source.axes.get(name, {}).items():
        if axis == leave:
            continue
        stretches = []
        for place in places:
            if place[0] not in matrices:
                return None
            ours, theirs = source.coupling(place), target.coupling(place)
            one = matrices[place[0]]
            matrix = one.unmerge.T if ours.role == CONSUMES else one.merge
            rows = slice(theirs.first, theirs.first + theirs.count)
            stretches.append((ours, matrix[rows, ours.first : ours.first + ours.count]))
        tensor = surgery.contract(tensor, stretches)
    return tensor


def orders(one: Kin) -> list[int]:
    """Indices of the groups from the input to the output: by the first layer that produces each."""
    place = {name: at for at, name in enumerate(one.graph.layers)}  # as they run
    first = {
        group.index: min((place.get(c.layer, len(place)) for c in group.of(PRODUCES)), default=-1)
        for group in one.graph.groups
    }
    return sorted(first, key=first.get)


def _weights(
    source: Kin, target: Kin, index: int, matrices: Mapping[int, Projection], reading: bool
) -> tuple[Tensor, Tensor]:
    """Features of a group's channels, (n, d) of the source and (m, d) of the target.

    Tensors that read groups without a plan yet stay out. `reading`: consuming columns as well.
    """
    ours, theirs = source.graph.groups[index], target.graph.groups[index]
    sides: tuple[list[Tensor], list[Tensor]] = ([], [])
    for a, b in zip(ours.couplings, theirs.couplings, strict=True):
        if a.tensor not in source.state or (a.role == CONSUMES and not reading):
            continue
        tensor = _moved(source, target, matrices, source.state, a.tensor, leave=a.axis)
        if tensor is None:
            continue
        # Of a wide network many columns together do what one of a narrow network does.
        times = ours.width / theirs.width if a.role == CONSUMES else 1.0
        for side, group, c, rows in (
            (sides[0], ours, a, times * channel_rows({a.tensor: tensor}, a)),
            (sides[1], theirs, b, channel_rows(target.state, b)),
        ):
            part = rows.new_zeros(group.width, rows.shape[1])
            part[c.first : c.first + c.count] = rows
            side.append(part)
    return torch.cat(sides[0], 1), torch.cat(sides[1], 1)


@torch.no_grad()
def observed(one: Kin, images: Tensor) -> dict[int, Tensor]:
    """What each group's channels put out for images (k, c, h, w): group → (n, d) float64.

    Positions are drawn from the layer's name alone, hence the same for all kin. Rows of all layers
    that produce the group stand side by side, each divided by √positions.
    """
    seen: dict[str, list[Tensor]] = {}
    running = surgery.replica(one.module, {})
    batches = images.split(BATCH)
    layers = {c.layer for g in one.graph.groups for c in g.of(PRODUCES)} & set(one.graph.layers)
    called: set[str] = set()

    def produced(name: str):
        def hook(part: nn.Module, given, output: Tensor) -> None:
            if name not in layers or name in called:  # a layer called twice: its first call
                return
            called.add(name)
            linear = isinstance(running.get_submodule(name), nn.Linear)
            rows = output.flatten(0, -2) if linear else output.movedim(1, -1).flatten(0, -2)
            most = max(1, POSITIONS // len(batches))
            if len(rows) > most:
                generator = labelled_generator(len(seen.get(name, ())), f"positions of {name}")
                rows = rows[torch.randperm(len(rows), generator=generator)[:most]]
            seen.setdefault(name, []).append(rows.cpu().double())

        return hook

    first = next(iter(one.module.parameters()))
    with hooks(running, one.graph.layers, None, produced, ()):
        for batch in batches:
            called.clear()
            running(batch.to(first))
    outputs = {name: torch.cat(parts).T for name, parts in seen.items()}  # (channels, positions)
    features = {}
    for group in one.graph.groups:
        parts = []
        for c in group.of(PRODUCES):
            if c.layer in layers and c.tensor == one.graph.layers[c.layer].weight:
                rows = outputs[c.layer][c.start : c.stop]
                part = rows.new_zeros(group.width, c.repeat * rows.shape[1])
                part[c.first : c.first + c.count] = rows.reshape(c.count, -1) / rows.shape[1] ** 0.5
                parts.append(part)
        features[group.index] = torch.cat(parts, 1)
    return features


def distances(rows: Tensor, others: Tensor) -> Tensor:
    """Squared Euclidean distances: (n, d), (m, d) float64 → (n, m)."""
    squares = rows.square().sum(1)[:, None] + others.square().sum(1)[None]
    return (squares - 2 * rows @ others.T).clamp_min(0)


def _solved(source: Group, target: Group, costs: Tensor, solve: Solve) -> TransportPlan:
    """The plan (n, m) of uniform masses; block by block where not all channels may mix."""
    mu, nu = (torch.full((g.width,), 1 / g.width, dtype=torch.float64) for g in (source, target))
    if not source.blocks:
        return solve(mu, nu, costs)
    mass, plans = torch.zeros_like(costs), []
    for ours, theirs in zip(source.blocks, target.blocks, strict=True):
        rows, columns = torch.tensor(ours), torch.tensor(theirs)
        share = len(ours) / source.width
        even = [torch.full((len(part),), 1 / len(part)).double() for part in (rows, columns)]
        plan = solve(*even, costs[rows][:, columns])
        mass[rows[:, None], columns] = plan.mass * share
        plans.append(plan)
    target_mass = mass.sum(0)
    counts = [plan.iterations for plan in plans if plan.iterations is not None]
    return replace(
        plans[0], mass=mass, costs=costs, source=mu, target=target_mass,
        cost=float((mass * costs).sum()),
        source_error=max(plan.source_error for plan in plans),
        target_error=max(plan.target_error for plan in plans),
        iterations=max(counts, default=None), converged=all(plan.converged for plan in plans),
    )  # fmt: skip


@dataclass(frozen=True, eq=False)
class Aligned:
    """The plans of one network to the target by group, and how far apart they leave both."""

    plans: dict[int, TransportPlan]
    differences: dict[int, Difference]

    @property
    def matrices(self) -> dict[int, Projection]:
        return {index: projected(plan) for index, plan in self.plans.items()}


def align(
    source: Kin,
    target: Kin,
    solve: Solve,
    rounds: int = 1,
    seen: tuple[Mapping[int, Tensor], Mapping[int, Tensor]] | None = None,
    report: Callable[[float, str], None] = lambda share, line: None,
) -> Aligned:
    """Plan every group of `source` onto the same group of `target`, another network.

    Parameters
    ----------
    solve : source (n,), target (m,), costs (n, m) → the plan.
    rounds : at most so many; one is the method of Singh & Jaggi. Activations need no second.
    seen : `observed` of both, to compare activations; None: weights.
    report : told the share of a round that is done, and what comes next.
    """
    plans: dict[int, TransportPlan] = {}
    matrices: dict[int, Projection] = {}
    differences: dict[int, Difference] = {}
    order = orders(target)
    for round_ in range(1 if seen else rounds):
        changed = False
        for done, index in enumerate(order):
            again = f", round {round_ + 1}" if round_ else ""
            report(done / len(order), f"{source.name}: planning group {index}{again}")
            ours, theirs = source.graph.groups[index], target.graph.groups[index]
            if seen:
                rows, others = seen[0][index], seen[1][index]
            else:
                rows, others = _weights(source, target, index, matrices, reading=round_ > 0)
            costs = distances(rows, others)
            plan = _solved(ours, theirs, costs, solve)
            before = plans.get(index)
            changed |= before is None or not torch.allclose(
                before.mass, plan.mass, rtol=0, atol=SETTLED / ours.width
            )
            plans[index], matrices[index] = plan, projected(plan)
            differences[index] = _difference(plan, others)
        if not changed:
            break
    return Aligned(plans, differences)


def _difference(plan: TransportPlan, others: Tensor) -> Difference:
    length = float(others.square().sum(1).mean().sqrt()) or 1.0
    same = plan.costs.shape[0] == plan.costs.shape[1]
    before = float(plan.costs.diagonal().mean().sqrt()) / length if same else None
    return Difference(before, max(0.0, plan.cost) ** 0.5 / length)
