"""Fold batch norm into the weights, contract axes with projections, rebuild a smaller module.

Nothing here changes what it is given: states are dictionaries of new tensors, modules are copies.
"""

from __future__ import annotations

import copy
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import replace

import torch
from torch import Tensor, nn

from core.groups import CONSUMES, Coupling, DependencyGraph, Group, Layer
from core.importance import State, side_by_side
from core.projection import Projection, stretch
from core.repair import Repair

#: A batch norm's tensors: γ, β, μ, σ².
NORM = ("weight", "bias", "running_mean", "running_var")


def fold(state: State, layers: Mapping[str, Layer]) -> dict[str, Tensor]:
    """Fold every batch norm into the layer it normalises; the network's outputs stay the same.

    w′ = w·γ/√(σ²+ε), b′ = (b−μ)·γ/√(σ²+ε)+β. The batch norm stays in place and from then on adds
    b′ alone (γ = 1, μ = 0, σ² = 1−ε), so that a layer without a bias of its own needs no new
    tensor; a bias before it becomes 0. ε counts: with variances near 0 leaving it out, as the
    paper's formula does, doubles outputs or makes them NaN. A batch norm without a layer of its own
    keeps γ/√(σ²+ε) as its scale.
    """
    folded = dict(state)
    for layer in layers.values():
        name = layer.name if layer.kind == "norm" else layer.norm
        if name is None:
            continue
        gamma, beta, mean, variance = (state[f"{name}.{key}"].double() for key in NORM)
        kind = state[f"{name}.bias"].dtype
        scale = gamma / torch.sqrt(variance + layer.epsilon)  # (n,)
        before = torch.zeros_like(mean)
        if layer.norm:
            folded[layer.weight] = scaled(state[layer.weight], layer, scale)
            if layer.bias:
                before = state[layer.bias].double()
                folded[layer.bias] = torch.zeros_like(state[layer.bias])
            folded[f"{name}.weight"] = torch.ones_like(gamma, dtype=kind)
        else:
            folded[f"{name}.weight"] = scale.to(kind)
        folded[f"{name}.bias"] = ((before - mean) * scale + beta).to(kind)
        folded[f"{name}.running_mean"] = torch.zeros_like(mean, dtype=kind)
        folded[f"{name}.running_var"] = torch.full_like(mean, 1 - layer.epsilon, dtype=kind)
    return folded


def scaled(weight: Tensor, layer: Layer, by: Tensor) -> Tensor:
    """A layer's weight with what makes each of its outputs multiplied: `by` (outputs,)."""
    rows = side_by_side(weight.double(), layer.axis, layer.parts)  # (outputs, …)
    rows = rows * by.view((-1,) + (1,) * (rows.ndim - 1))
    return _back(rows, layer.axis, layer.parts).contiguous().to(weight.dtype)


def _back(rows: Tensor, axis: int, parts: int) -> Tensor:
    """The inverse of `side_by_side`."""
    if parts == 1:
        return rows.movedim(0, axis)
    return rows.unflatten(0, (parts, -1)).movedim(1, axis + 1).flatten(1 - axis, 2 - axis)


def shrink(
    state: State,
    group: Group,
    layers: Mapping[str, Layer],
    projection: Projection,
    repairs: Mapping[str, Repair] | None = None,
) -> dict[str, Tensor]:
    """The state with a group's n channels turned into m; the other groups stay.

    Parameters
    ----------
    state : folded (`fold`), or not if the projection only selects.
    projection : merge (m, n) and unmerge (n, m).
    repairs : from `core.repair.repairs`, by the producing layer's name.
    """
    return _shrunk(state, [(group, projection)], layers, repairs or {})


def contract_all(
    state: State,
    graph: DependencyGraph,
    projections: Mapping[int, Projection],
    repairs: Mapping[str, Repair] | None = None,
) -> dict[str, Tensor]:
    """The state with several groups shrunk at once, by their index: see `shrink`."""
    pairs = [(graph.groups[index], projection) for index, projection in projections.items()]
    return _shrunk(state, pairs, graph.layers, repairs or {})


def _shrunk(
    state: State,
    pairs: Iterable[tuple[Group, Projection]],
    layers: Mapping[str, Layer],
    repairs: Mapping[str, Repair],
) -> dict[str, Tensor]:
    """Each tensor's axis is contracted once, whatever groups have stretches of it."""
    smaller = dict(state)
    held: dict[tuple[str, int], list[tuple[Coupling, Tensor]]] = defaultdict(list)
    for group, projection in pairs:
        # Which channels stay, where none is merged: they are taken, bit for bit, not multiplied.
        merge = projection.merge
        taken = merge.argmax(1) if not merge.is_meta and projection.selects else None
        # A folded scale, a slope or a gate multiplies channels: it takes their mean.
        sums = projection.merge.sum(1, keepdim=True)
        mean = torch.where(sums.abs() > 1e-12, projection.merge / sums, projection.merge)
        for coupling in group.couplings:
            if coupling.tensor not in state:
                continue
            if coupling.role == CONSUMES:
                matrix = projection.unmerge.T
            else:
                matrix = mean if coupling.scales else projection.merge
            part = stretch(group, projection, coupling)
            columns = slice(coupling.first, coupling.first + coupling.count)
            told = matrix[part, columns] if taken is None else taken[part] - coupling.first
            held[coupling.tensor, coupling.axis].append((coupling, told))
    for (name, _), stretches in held.items():
        smaller[name] = contract(smaller[name], stretches)
    for name, repair in repairs.items():
        layer = layers[name]
        smaller[layer.weight] = scaled(smaller[layer.weight], layer, repair.ratio)
        bias = f"{layer.norm}.bias" if layer.norm else layer.bias
        if bias:  # b″ = r(b′ − β′) + β′: louder around the same mean
            value = smaller[bias].double()
            louder = repair.ratio * (value - repair.centre) + repair.centre
            smaller[bias] = louder.to(smaller[bias].dtype)
    return smaller


def contract(tensor: Tensor, stretches: Iterable[tuple[Coupling, Tensor]]) -> Tensor:
    """Replace stretches of one axis of `tensor`, each by its matrix (m, count) times it.

    In the place of a matrix that only selects stand the (m,) entries that it takes.
    """
    stretches = sorted(stretches, key=lambda one: one[0].start)
    axis, parts = stretches[0][0].axis, stretches[0][0].parts
    moved = side_by_side(tensor, axis, parts)
    pieces, done = [], 0
    for coupling, matrix in stretches:
        rows = moved[coupling.start : coupling.stop].reshape(coupling.count, -1)
        matrix = matrix.to(rows.device)
        if matrix.dim() == 1:
            mixed = rows.index_select(0, matrix)
        else:
            mixed = (matrix @ rows.double()).to(tensor.dtype)
        # (m, count) @ (count, repeat·rest) -> (m·repeat, rest)
        mixed = mixed.reshape(-1, *moved.shape[1:])
        pieces += [moved[done : coupling.start], mixed]
        done = coupling.stop
    return _back(torch.cat([*pieces, moved[done:]]), axis, parts).contiguous()


def take(tensor: Tensor, axis: int, parts: int, entries: Tensor) -> Tensor:
    """The named entries of an axis, counted as in `side_by_side`."""
    rows = side_by_side(tensor, axis, parts).index_select(0, entries.to(tensor.device))
    return _back(rows, axis, parts)


def put(tensor: Tensor, axis: int, parts: int, entries: Tensor, into: Tensor) -> Tensor:
    """`tensor` put into the named entries of an axis of `into`; the inverse of `take`.

    `into` is as long along the axis as the result, and like `tensor` along all others.
    """
    rows = side_by_side(into, axis, parts).clone()
    rows[entries.to(tensor.device)] = side_by_side(tensor, axis, parts)
    return _back(rows, axis, parts).contiguous()


def shrunk_group(group: Group, projection: Projection) -> Group:
    """The couplings of a group in the state that `shrink` returns; the other groups stay."""
    couplings, done = [], defaultdict(int)  # (tensor, axis) → how much shorter it is up to here
    for coupling in sorted(group.couplings, key=lambda one: one.start):
        part = stretch(group, projection, coupling)
        key, count = (coupling.tensor, coupling.axis), part.stop - part.start
        start = coupling.start - done[key]
        done[key] += (coupling.count - count) * coupling.repeat
        couplings.append(replace(coupling, count=count, first=part.start, start=start))
    places = {coupling: place for place, coupling in enumerate(group.couplings)}
    before = sorted(group.couplings, key=lambda one: one.start)
    found = dict(zip(before, couplings, strict=True))
    ordered = tuple(found[coupling] for coupling in sorted(places, key=places.get))
    return Group(group.index, len(projection.merge), ordered)


def moved(group: Group, graph: DependencyGraph, projections: Mapping[int, Projection]) -> Group:
    """The couplings of a group in a state in which other groups have shrunk already."""
    shorter: dict[tuple[str, int], list[tuple[int, int]]] = defaultdict(list)
    for index, projection in projections.items():
        for c in graph.groups[index].couplings:
            part = stretch(graph.groups[index], projection, c)
            gone = (c.count - (part.stop - part.start)) * c.repeat
            shorter[c.tensor, c.axis].append((c.start, gone))
    couplings = tuple(
        replace(c, start=c.start - sum(n for at, n in shorter[c.tensor, c.axis] if at < c.start))
        for c in group.couplings
    )
    return group if couplings == group.couplings else replace(group, couplings=couplings)


def trainable(
    state: State,
    folded: State,
    original: State,
    graph: DependencyGraph,
    projections: Mapping[int, Projection],
) -> dict[str, Tensor]:
    """The shrunken state with statistics in its batch norms from which training can go on.

    Layers of which nothing changed get back the tensors of before folding, bit for bit.

    A folded batch norm adds b alone. In training mode it would normalise what it gets, to another
    size than before. So it gets the mean m and the standard deviation s its inputs are expected to
    have, and γ′ = γ·√(s²+ε), β′ = b + γ·m, which leaves what it does in evaluation mode as it is.
    Where it was folded, its outputs have had the mean β and the standard deviation |γ| of the
    original; elsewhere its inputs had the running statistics. Both are merged as channels are.

    Parameters
    ----------
    state : shrunken, from `folded`, whose tensors it still holds where nothing changed.
    original : before folding.
    """
    norms: dict[str, float] = {}
    ready = dict(state)
    moments: dict[str, Tensor] = {}  # stored under the names of tensors that are merged alike
    for layer in graph.layers.values():
        name = layer.name if layer.kind == "norm" else layer.norm
        if name is None:
            continue
        own = {layer.weight, layer.bias, *(f"{name}.{key}" for key in NORM)} - {None}
        if all(state[key] is folded[key] for key in own):
            ready |= {key: original[key] for key in own}
            continue
        norms[name] = layer.epsilon
        weight, bias, mean, variance = (original[f"{name}.{key}"].double() for key in NORM)
        moments[f"{name}.bias"] = mean if layer.kind == "norm" else bias
        spread = variance.clamp_min(0).sqrt() if layer.kind == "norm" else weight.abs()
        moments[f"{name}.running_mean"] = spread
    folded = {layer.norm for layer in graph.layers.values() if layer.norm}
    moments = contract_all(moments, graph, projections)
    for name, epsilon in norms.items():
        scale, shift = state[f"{name}.weight"].double(), state[f"{name}.bias"].double()
        mean = moments[f"{name}.bias"] - (shift if name in folded else 0)
        kind = state[f"{name}.bias"].dtype
        variance = moments[f"{name}.running_mean"].square().to(kind)
        mean = mean.to(kind)
        ready[f"{name}.running_mean"], ready[f"{name}.running_var"] = mean, variance
        louder = scale * torch.sqrt(variance.double() + epsilon)
        ready[f"{name}.weight"] = louder.to(kind)
        ready[f"{name}.bias"] = (shift + scale * mean.double()).to(kind)
    return ready


# -- modules --------------------------------------------------------------------------------------

HOOKS = (
    "_forward_hooks", "_forward_pre_hooks", "_forward_hooks_with_kwargs",
    "_forward_pre_hooks_with_kwargs", "_forward_hooks_always_called", "_backward_hooks",
    "_backward_pre_hooks",
)  # fmt: skip


def replica(module: nn.Module, tensors: Mapping[str, Tensor]) -> nn.Module:
    """A copy of `module` in evaluation mode with these tensors in the place of its own, by name.

    What is replaced is never copied, and the copy has no hooks: they are their owner's, not the
    network's.
    """
    known: dict[int, object] = {}
    for name, old in module.named_parameters():
        if name in tensors:
            known[id(old)] = nn.Parameter(tensors[name], requires_grad=old.requires_grad)
    for name, old in module.named_buffers():
        if name in tensors:
            known[id(old)] = tensors[name]
    return unhooked(module, known).eval()


def unhooked(module: nn.Module, known: dict[int, object]) -> nn.Module:
    """A copy of `module` without hooks. `known`: what stands for which of its objects, by id."""
    known = dict(known)
    for part in module.modules():
        for name in HOOKS:
            hooks = part.__dict__.get(name)
            if hooks is not None:
                known[id(hooks)] = type(hooks)()
    return copy.deepcopy(module, known)


def emptied(module: nn.Module, device: str = "meta") -> dict[str, Tensor]:
    """A module's tensors without their numbers, but for single ones: on "cpu" a zero for all."""
    held = [*module.named_parameters(), *module.named_buffers()]
    if device == "meta":
        return {name: t.detach().to("meta") for name, t in held if t.ndim}
    return {name: torch.zeros((), dtype=t.dtype).expand(t.shape) for name, t in held if t.ndim}


def rebuild(module: nn.Module, state: State, less: Mapping[str, int] | None = None) -> nn.Module:
    """A copy of `module` that holds `state`, whose tensors may have other sizes.

    The sizes its layers state (`in_channels`, `num_features`, …) follow; the copy is in evaluation
    mode, without hooks, on the devices `module` is on. `less`: by how much widths shrink that
    no tensor shows (`fewer`).
    """
    held = dict([*module.named_parameters(), *module.named_buffers()])
    fresh = {
        name: state[name].detach().clone().to(old.device)
        for name, old in held.items()
        if name in state
    }
    smaller = replica(module, fresh)
    for name, part in smaller.named_modules():
        _state_sizes(part, name, less or {})
    return smaller


def fewer(graph: DependencyGraph, projections: Mapping[int, Projection]) -> dict[str, int]:
    """By how much the widths shrink that layers state without holding a tensor of it."""
    less: dict[str, int] = defaultdict(int)
    for index, coupling in graph.bare:
        if index in projections:
            part = stretch(graph.groups[index], projections[index], coupling)
            gone = coupling.count - (part.stop - part.start)
            less[coupling.tensor] += gone * coupling.repeat
    return dict(less)


def _state_sizes(part: nn.Module, name: str, less: Mapping[str, int]) -> None:
    """Make the sizes a layer states those of its tensors."""
    gone = {key.rpartition(".")[2]: n for key, n in less.items() if key.rpartition(".")[0] == name}
    weight = getattr(part, "weight", None)
    if isinstance(part, nn.modules.conv._ConvNd):
        own = part.groups > 1 and part.groups == part.in_channels  # filters for each channel
        times = part.out_channels // part.in_channels
        if part.transposed:
            part.in_channels = weight.shape[0]
            part.groups = part.in_channels if own else part.groups
            part.out_channels = weight.shape[1] * part.groups
        else:
            part.out_channels = weight.shape[0]
            part.groups = part.out_channels // times if own else part.groups
            part.in_channels = weight.shape[1] * part.groups
    elif isinstance(part, nn.Linear):
        part.out_features, part.in_features = weight.shape
    elif isinstance(part, nn.modules.batchnorm._NormBase):
        held = part.running_mean if weight is None else weight
        left = part.num_features - gone.get("num_features", 0)
        part.num_features = left if held is None else len(held)
    elif isinstance(part, nn.LayerNorm):
        *lead, last = part.normalized_shape
        left = (*lead, last - gone.get("normalized_shape", 0))
        part.normalized_shape = left if weight is None else tuple(weight.shape)
    elif isinstance(part, nn.GroupNorm):
        left = part.num_channels - gone.get("num_channels", 0)
        left = left if weight is None else len(weight)
        part.num_groups = left if part.num_groups == part.num_channels else part.num_groups
        part.num_channels = left
    elif isinstance(part, nn.PReLU):
        part.num_parameters = len(weight)
