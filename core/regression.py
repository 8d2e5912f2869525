"""Let consumers make the best of the channels that are left: least squares, layer after layer.

The smaller network runs once. Before each layer that consumes channels, what reaches it (k, m) is
compared with what reaches the dense network's layer (k, n):

    unmerge, shift = argmin E‖h − h′·unmergeᵀ − shift‖² + ridge        (ENGINE.md, section 6)

so errors made before are taken into account. Least squares takes variance away; after each layer
its channels get back the mean and the standard deviation that the dense network's have (as in
REPAIR, Jordan et al. 2023). The statistics come from `core.statistics`, hence from synthetic
images or from real ones; the results are numbers that fit the network's own weights.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from core import surgery
from core.groups import CONSUMES, Coupling, DependencyGraph
from core.importance import State
from core.projection import Projection, stretch
from core.statistics import Statistics, hooks, is_image, moments

#: Ridges tried, as shares of the mean variance; the images held aside choose.
RIDGES = (1e-4, 1e-3, 1e-2, 1e-1)
#: A channel is made louder at most by this; what regression left silent stays so.
LOUDEST = 3.0


@dataclass(frozen=True, eq=False)
class Refit:
    """How one layer was fitted to the smaller network.

    unmerge : (n, m) float64 for what it consumes, None where that did not change.
    shift : (n,) float64, the mean that `unmerge` leaves out; the layer's bias takes its effect.
    ratio : (m′,) its rows are multiplied by it around `centre` (m′,), None for class logits.
    offset : (m′,) by how much the mean was off.
    """

    unmerge: Tensor | None
    shift: Tensor | None
    ratio: Tensor | None = None
    centre: Tensor | None = None
    offset: Tensor | None = None


def ridge(inputs: Tensor, outputs: Tensor, held: Tensor) -> tuple[Tensor, Tensor]:
    """Regress outputs (k, n) on inputs (k, m): matrix (n, m) and shift (n,), both float64.

    `held` (k,) marks the rows that choose the ridge among `RIDGES` and are used again afterwards.
    Inputs that never change get coefficients of zero.
    """
    chosen = RIDGES[0]
    if held.any() and not held.all():
        errors = [
            float((outputs[held] - inputs[held] @ w.T.float() - b.float()).square().sum())
            for w, b in _solve(inputs[~held], outputs[~held], RIDGES)
        ]
        chosen = RIDGES[errors.index(min(errors))]
    return _solve(inputs, outputs, (chosen,))[0]


def _solve(
    inputs: Tensor, outputs: Tensor, ridges: tuple[float, ...]
) -> list[tuple[Tensor, Tensor]]:
    input_mean, output_mean = inputs.double().mean(0), outputs.double().mean(0)
    centred = inputs - input_mean.float()
    # Sums in float32, solved in float64: the ridge is far above float32's rounding.
    gram = (centred.T @ centred).double() / len(centred)  # (m, m)
    cross = (centred.T @ (outputs - output_mean.float())).double() / len(centred)  # (m, n)
    level = gram.diagonal().mean()
    if not level > 0:
        matrix = cross.new_zeros(cross.T.shape)
        return [(matrix, output_mean) for _ in ridges]
    solutions = []
    for strength in ridges:
        factor = torch.linalg.cholesky(gram + strength * level * torch.eye(len(gram)).double())
        matrix = torch.cholesky_solve(cross, factor).T
        solutions.append((matrix, output_mean - matrix @ input_mean))
    return solutions


def along(vector: Tensor, name: str, graph: DependencyGraph, shrunk: Mapping[int, Projection]):
    """One number a channel of what layer `name` produces, merged as its channels are."""
    layer = graph.layers[name]
    stretches = []
    for index, projection in shrunk.items():
        group = graph.groups[index]
        merge = projection.merge / projection.merge.sum(1, keepdim=True).clamp_min(1e-12)
        for c in group.couplings:
            if (c.tensor, c.axis) == (layer.weight, layer.axis) and c.role != CONSUMES:
                part = merge[stretch(group, projection, c), c.first : c.first + c.count]
                stretches.append((replace(c, axis=0, parts=1), part))
    return surgery.contract(vector, stretches) if stretches else vector


def fitted(state: State, name: str, graph: DependencyGraph, refit: Refit) -> dict[str, Tensor]:
    """The state with one layer's columns contracted, its rows repaired and its bias moved.

    `state` holds the layer's rows merged already, its columns not yet where `refit.unmerge` is.
    """
    layer = graph.layers[name]
    weight = state[layer.weight]
    bias = f"{layer.norm}.bias" if layer.norm else layer.bias
    value = state[bias].double() if bias else None
    fresh = dict(state)
    if refit.unmerge is not None:
        count = len(refit.unmerge)
        repeat = weight.shape[1] // count
        if value is not None:
            sums = weight.double().flatten(2).sum(2) if weight.ndim > 2 else weight.double()
            value = value + sums.unflatten(1, (count, repeat)).sum(2) @ refit.shift
        columns = Coupling(layer.weight, 1, CONSUMES, count, repeat)
        weight = surgery.contract(weight, [(columns, refit.unmerge.T)])
    if refit.ratio is not None:
        weight = surgery.scaled(weight, layer, refit.ratio)
        value = refit.ratio * (value - refit.centre - refit.offset) + refit.centre
    fresh[layer.weight] = weight
    if value is not None:
        fresh[bias] = value.to(state[bias].dtype)
    return fresh


@torch.no_grad()
def regress(
    module: nn.Module,
    graph: DependencyGraph,
    seen: Statistics,
    rows: State,
    shrunk: Mapping[int, Projection],
    report: Callable[[float, str], None] | None = None,
) -> dict[str, Refit]:
    """Fit every layer after the first that changes, in one run of the smaller network.

    Parameters
    ----------
    module : the dense network, for its structure.
    seen : `core.statistics.observe` of it.
    rows : `seen.state` with producers merged; consumers too where they can't be regressed.
    shrunk : the projections of the groups that get smaller, by index.
    report : told the share done and the layer; may raise `Cancelled`.
    """
    refits: dict[str, Refit] = {}
    small = surgery.rebuild(module, rows, surgery.fewer(graph, shrunk))
    producing = {
        c.layer for index in shrunk for c in graph.groups[index].couplings if c.role != CONSUMES
    }
    consuming = {
        c.layer for index in shrunk for c in graph.groups[index].couplings if c.role == CONSUMES
    }
    done: set[str] = set()

    def write(name: str) -> None:
        """Let the running layer compute with what was just fitted."""
        layer = graph.layers[name]
        state = fitted(rows, name, graph, refits[name])
        part = small.get_submodule(name)
        part.weight.data = state[layer.weight]
        home = small.get_submodule(layer.norm) if layer.norm else part
        if home.bias is not None:
            home.bias.data = state[f"{layer.norm}.bias" if layer.norm else layer.bias]

    def consumed(name: str):
        def hook(part: nn.Module, given: tuple[Tensor, ...]) -> None:
            if name in refits or not (done & producing):
                return
            if report:
                report(len(done) / len(graph.layers), name)
            # What is consumed may be as wide as before and changed all the same: not refitted.
            if name in consuming:
                reader, layer = seen.readers[name], graph.layers[name]
                matrix, shift = ridge(reader.read(given[0]), seen.inputs[name], reader.held)
                if not (layer.norm or layer.bias):
                    shift = torch.zeros_like(shift)  # nowhere to put it
                refits[name] = Refit(matrix, shift)
                write(name)

        return hook

    def produced(name: str):
        def hook(part: nn.Module, given, output: Tensor) -> Tensor | None:
            if name in done:
                return None
            done.add(name)
            layer = graph.layers[name]
            affected = bool(done & producing) and (name in refits or name in producing)
            logits = not any(name in group.producers for group in graph.groups)
            if not affected or logits or not (layer.norm or layer.bias):
                return None
            image = is_image(output, part)
            mean, deviation = moments(output, image)
            centre = along(seen.means[name], name, graph, shrunk)
            wanted = along(seen.deviations[name], name, graph, shrunk)
            ratio = torch.where(deviation > 0, wanted / deviation.clamp_min(1e-12), 1.0)
            ratio = ratio.clamp(0.0, LOUDEST)
            before = refits.get(name, Refit(None, None))
            refits[name] = Refit(before.unmerge, before.shift, ratio, centre, mean - centre)
            write(name)
            shape = (1, -1) + (1,) * (output.ndim - 2) if image else (-1,)
            louder = (output.double() - mean.view(shape)) * ratio.view(shape) + centre.view(shape)
            return louder.to(output.dtype)

        return hook

    with hooks(small, graph.layers, consumed, produced, seen.readers):
        small(seen.images)
    return {name: _to_stored(refit, name, graph, seen, shrunk) for name, refit in refits.items()}


def _to_stored(refit: Refit, name: str, graph: DependencyGraph, seen: Statistics, shrunk) -> Refit:
    """A refit for the stored batch-norm statistics: its offset in the units these give."""
    if refit.ratio is None or name not in seen.scales:
        return refit
    scale = along(seen.scales[name], name, graph, shrunk)
    return Refit(refit.unmerge, refit.shift, refit.ratio, refit.centre, refit.offset * scale)
