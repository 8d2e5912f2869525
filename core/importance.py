"""One score a channel: how much it is thought to matter.

The score of a group's channel is the mean, over the weights that produce it and the weights that
consume it, of that weight's own score; batch norm is folded in first, biases stay out (Theus et
al. 2024, section 3.2, and its released code). Scores that need images are in `core.evidence`.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from core.errors import RecipeError
from core.groups import CONSUMES, PRODUCES, Coupling, Group, Layer

State = Mapping[str, Tensor]


def labelled_generator(seed: int, label: str) -> torch.Generator:
    """A generator drawn from a seed and a label, the same in every process."""
    return torch.Generator().manual_seed(zlib.crc32(f"{seed}/{label}".encode()))


def side_by_side(tensor: Tensor, axis: int, parts: int = 1) -> Tensor:
    """The tensor with `axis` first: (axis, …).

    With `parts` groups of a convolution, (g·o, k, …) becomes (g·k, o, …): row j·k + i is what the
    o rows of group j have for its i-th channel.
    """
    if parts == 1:
        return tensor.movedim(axis, 0)
    split = tensor.unflatten(1 - axis, (parts, -1))  # (g, o, k, …) for axis 1
    return split.movedim(axis + 1, 1).flatten(0, 1)


def channel_rows(state: State, coupling: Coupling) -> Tensor:
    """What a coupling holds of each of its channels: (count, everything else), float64."""
    tensor = side_by_side(state[coupling.tensor], coupling.axis, coupling.parts)  # (axis, …)
    stretch = tensor[coupling.start : coupling.stop]
    return stretch.reshape(coupling.count, -1).double()


def weights_of(state: State, group: Group) -> list[Coupling]:
    """The couplings whose weights speak for a channel: producing and consuming, biases out."""
    return [
        coupling
        for coupling in group.of(PRODUCES) + group.of(CONSUMES)
        if state[coupling.tensor].ndim > 1
    ]


def mean_over(group: Group, parts: Iterable[tuple[Coupling, Tensor]]) -> Tensor:
    """The mean, channel by channel, of the scores (count,) that couplings give: (n,) float64.

    A channel none of them speaks for scores 0.
    """
    total = torch.zeros(group.width, dtype=torch.float64)
    count = torch.zeros(group.width, dtype=torch.float64)
    for coupling, score in parts:
        reach = slice(coupling.first, coupling.first + coupling.count)
        total[reach] += score
        count[reach] += 1
    return total / count.clamp_min(1)


@dataclass(frozen=True)
class Subject:
    """A group and the network it is scored in: `original` before folding, `state` after it."""

    state: State
    group: Group
    seed: int
    original: State | None
    layers: Mapping[str, Layer] | None


def _weights(norm: Callable[[Tensor], Tensor]) -> Callable[[Subject], Tensor]:
    """The score made of one norm a weight, (count, everything else) → (count,)."""

    def score(of: Subject) -> Tensor:
        couplings = weights_of(of.state, of.group)
        return mean_over(of.group, ((c, norm(channel_rows(of.state, c))) for c in couplings))

    return score


def _to_all_others(rows: Tensor) -> Tensor:
    # Without the shortcut over inner products, which leaves twins 1e-8 apart.
    return torch.cdist(rows, rows, compute_mode="donot_use_mm_for_euclid_dist").sum(1)


_squares = _weights(lambda rows: rows.square().sum(1))


def _lamp(of: Subject) -> Tensor:
    """The squared weights, divided by the sum of all that are at least as large (Lee 2021, eq. 1).

    Within a group this keeps the order of `l2`; it makes groups comparable with each other.
    """
    square = _squares(of)
    at_least = torch.where(square[None] >= square[:, None], square[None], 0.0).sum(1)  # (n,)
    return torch.where(at_least > 0, square / at_least.clamp_min(1e-300), 0.0)


def _norm_scale(of: Subject) -> Tensor:
    """|γ| of the batch norm behind each producing layer (Liu 2017), before it was folded.

    |γ| is the standard deviation of what the batch norm puts out. A layer without batch norm is
    given the deviation it would put out for white inputs of variance one: the ℓ2 norm of its row,
    as in `core.repair`.
    """
    if of.original is None or of.layers is None:
        raise ValueError("bn-scale reads the state before folding: pass original and layers")

    def own(coupling: Coupling) -> Tensor:
        layer = of.layers.get(coupling.layer)
        if layer is None or layer.norm is None:
            rows = channel_rows(of.state, coupling).reshape(coupling.count, coupling.repeat, -1)
            return rows.norm(dim=2).mean(1)
        scale = of.original[f"{layer.norm}.weight"][coupling.start : coupling.stop].double()
        return scale.abs().reshape(coupling.count, -1).mean(1)

    producing = [c for c in weights_of(of.state, of.group) if c.role == PRODUCES]
    return mean_over(of.group, ((coupling, own(coupling)) for coupling in producing))


def _random(of: Subject) -> Tensor:
    generator = labelled_generator(of.seed, f"importance of group {of.group.index}")
    return torch.rand(of.group.width, generator=generator, dtype=torch.float64)


@dataclass(frozen=True)
class Importance:
    """A row of `IMPORTANCES`: what it is in one line, how it scores, and what it needs for that.

    `needs` is "nothing", "images" (without their labels) or "labels" (images with them); `score`
    is None where images are needed: `core.evidence` then looks at all groups in one pass.
    """

    about: str
    score: Callable[[Subject], Tensor] | None
    needs: str = "nothing"


IMPORTANCES: dict[str, Importance] = {
    "l1": Importance(
        "sum of a channel's absolute weights", _weights(lambda rows: rows.abs().sum(1))
    ),
    "l2": Importance("sum of a channel's squared weights", _squares),
    "linf": Importance(
        "a channel's largest absolute weight", _weights(lambda rows: rows.abs().amax(1))
    ),
    "lamp": Importance("squared weights, as a share of those at least as large", _lamp),
    "bn-scale": Importance("how strongly batch norm scales the channel, |γ|", _norm_scale),
    "fpgm": Importance(
        "distance to all other channels: what lies in the middle is replaceable",
        _weights(_to_all_others),
    ),
    "taylor": Importance(
        "how much the loss would change without the channel: weights times gradients, on labelled "
        "images",
        None,
        "labels",
    ),
    "chip": Importance(
        "how much of the feature maps' nuclear norm is this channel's alone, on images", None,
        "images",
    ),
    "random": Importance("drawn at random with the seed: the baseline", _random),
}  # fmt: skip


def scores(
    state: State,
    group: Group,
    importance: str = "l1",
    seed: int = 0,
    original: State | None = None,
    layers: Mapping[str, Layer] | None = None,
) -> Tensor:
    """The importance of every channel of a group: (n,) float64, none negative.

    Parameters
    ----------
    state : a network's state with batch norm folded (`core.surgery.fold`).
    importance : a key of `IMPORTANCES` that needs no images.
    seed : used by `random` alone.
    original, layers : the state before folding and the graph's layers, used by `bn-scale` alone.

    Raises
    ------
    RecipeError
        If the importance needs images: ask `core.Prepared.scores`.
    """
    row = IMPORTANCES[importance]
    if row.score is None:
        raise RecipeError(
            f"The importance {importance!r} needs images; `Prepared.scores` takes them."
        )
    return row.score(Subject(state, group, seed, original, layers))


def partly_known(scores: Tensor, quality: float, seed: int, index: int) -> Tensor:
    """Scores of which a share `quality` of the channels keep theirs: (n,) float64.

    The others, drawn with the seed, exchange theirs among each other at random. With 1 the scores
    are what they were, with 0 their order is a random one; in between the rank correlation with
    the scores is `quality` on the mean. The values stay, so masses made of them have the same
    spread. A channel that is known at some quality is known at every higher one.
    """
    unknown = round((1 - quality) * len(scores))
    if not unknown:
        return scores
    generator = labelled_generator(seed, f"quality of the importance of group {index}")
    chosen = torch.randperm(len(scores), generator=generator)[:unknown]
    found = scores.clone()
    found[chosen] = scores[chosen[torch.randperm(unknown, generator=generator)]]
    return found
