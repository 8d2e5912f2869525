"""From a plan, or a set of kept channels, to the two matrices that shrink a group.

`merge` (m, n) multiplies the tensors that produce or follow the channels, `unmerge` (n, m) those
that consume them. With a plan P of marginals μ and ν (Theus et al. 2024, section 3.3; its released
code, `released`, differs from its text, `average`):

    rule         merge                              unmerge
    select       rows of the identity               columns of the identity
    released     (P / μ)ᵀ                           its transpose
    average      (P / ν)ᵀ                           its transpose
    preserving   (P / ν)ᵀ weighted by importance    P / μ
    repaired     as preserving, then every row rescaled (`core.repair`)   P / μ
    regressed    as select                          least squares (`core.regression`)
    merged       as preserving                      least squares
    best         as select, of channels that are chosen by what they explain, least squares
    calibrated   as best, on unlabelled images instead of synthetic ones
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from core.groups import Coupling, Group
from core.transport import TransportPlan


@dataclass(frozen=True)
class Projection:
    """`merge` (m, n) float64 for producers and followers, `unmerge` (n, m) for consumers.

    `kept` (m,): the place among the n channels that each fused one takes, rising. Needed where
    layers hold parts of a group (`Group.blocks`).
    """

    merge: Tensor
    unmerge: Tensor
    kept: Tensor | None = None

    @property
    def selects(self) -> bool:
        """Whether nothing is merged: both matrices only choose channels."""
        merge = self.merge
        if int(merge.count_nonzero()) != len(merge):
            return False  # soon known of most that merge
        return bool(
            ((merge == 0) | (merge == 1)).all()
            and (merge.sum(1) == 1).all()
            and torch.equal(merge.T, self.unmerge)
        )


def select(kept: Tensor, width: int) -> Projection:
    """Plain pruning: the kept channels stay as they are, the others are deleted."""
    identity = torch.eye(width, dtype=torch.float64)
    return Projection(identity[kept], identity[:, kept], kept)


def stretch(group: Group, projection: Projection, coupling: Coupling) -> slice:
    """Which of the m fused channels a coupling holds: all, or those in the places it has.

    Raises
    ------
    ValueError
        If the coupling holds a part of the group and the projection doesn't say what it kept.
    """
    if coupling.count == group.width:
        return slice(0, len(projection.merge))
    if projection.kept is None:
        raise ValueError(
            f"{coupling.tensor} holds {coupling.count} of {group.width} channels of group "
            f"{group.index}: its projection must say which channels it keeps."
        )
    edges = torch.tensor([coupling.first, coupling.first + coupling.count])
    start, stop = torch.searchsorted(projection.kept, edges).tolist()
    return slice(start, stop)


def _shares(mass: Tensor, axis: int) -> Tensor:
    """`mass` divided by its sums along `axis`; a line without any mass stays zero."""
    total = mass.sum(axis, keepdim=True)
    return torch.where(total > 0, mass / total.clamp_min(1e-300), 0.0)


def _released(mass: Tensor, scores: Tensor) -> Projection:
    leaving = _shares(mass, 1)  # (n, m): each source's shares sum to 1
    return Projection(leaving.T, leaving)


def _average(mass: Tensor, scores: Tensor) -> Projection:
    arriving = _shares(mass, 0)  # (n, m): each target's shares sum to 1
    return Projection(arriving.T, arriving)


def _preserving(mass: Tensor, scores: Tensor) -> Projection:
    weighted = mass * scores[:, None]
    # A target whose sources have no importance at all falls back to their plain mean.
    idle = weighted.sum(0) <= 0
    weighted = torch.where(idle[None], mass, weighted)
    return Projection(_shares(weighted, 0).T, _shares(mass, 1))


@dataclass(frozen=True)
class Rule:
    """A row of `RULES`: what it does in one line, and (mass (n, m), scores (n,)) → Projection.

    `project` is None where channels are only selected, which needs no plan; `repaired` asks for
    variance repair, `regressed` for consumers fitted by least squares, `covers` for channels chosen
    by what they explain (`core.cover`), `images` for unlabelled images.
    """

    about: str
    project: Callable[[Tensor, Tensor], Projection] | None
    repaired: bool = False
    regressed: bool = False
    covers: bool = False
    images: bool = False


RULES: dict[str, Rule] = {
    "select": Rule("plain pruning: discarded channels are deleted", None),
    "released": Rule("the paper's code: sums channels, both sides with the same matrix", _released),
    "average": Rule(
        "the paper's text: averages channels, both sides with the same matrix", _average
    ),
    "preserving": Rule(
        "averages what is produced, sums what is consumed: exact on duplicates", _preserving
    ),
    "repaired": Rule(
        "preserving, then each channel's lost variance is restored, without data", _preserving, True
    ),
    "regressed": Rule(
        "discarded channels are guessed from the others, by least squares on synthetic images",
        None, regressed=True,
    ),
    "merged": Rule(
        "preserving, then consumers fitted by least squares on synthetic images",
        _preserving, regressed=True,
    ),
    "best": Rule(
        "keeps the channels that explain most of the others, then as regressed; without data",
        None, regressed=True, covers=True,
    ),
    "calibrated": Rule(
        "as best, on a few unlabelled training images that you give",
        None, regressed=True, covers=True, images=True,
    ),
}  # fmt: skip


def projection(rule: str, plan: TransportPlan, scores: Tensor) -> Projection:
    """The two matrices of a rule that transports (`RULES[rule].project` is not None)."""
    return RULES[rule].project(plan.mass, scores)
