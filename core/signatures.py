"""Signatures of failure, recognised in results: where fusion or pruning went wrong.

Thresholds are plain numbers that stand here. A signature says where it was seen, the number that
was found and the threshold it passed; it is a hint where to look, no proof of a cause.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

from core.compress import Step
from core.divergence import Divergence
from core.evaluate import Accuracy

#: What each signature says, in one line, by its name.
SIGNATURES = {
    "divergence": "outputs moved so far that most images could get another name: the plan is "
    "poorly aligned, or too much is gone",
    "worse": "fused outputs are farther from the dense ones than those of plain pruning: the plan "
    "is poorly aligned",
    "drop": "accuracy falls suddenly between two sparsities: unlike channels are put together; the "
    "group is volatile",
    "mass": "one channel takes far more mass than the others",
    "parents": "one channel is put together from far more channels than the others",
}
#: Share of the images that moved farther than their margin allows (`Divergence.beyond`).
BEYOND = 0.5
#: Mean distance of the fused outputs over that of the pruned ones.
WORSE = 1.0
#: Accuracy lost between two neighbouring sparsities, per ten points of sparsity.
DROP = 0.2
#: Times the mean mass, or the mean number of parents, of the channels that stay.
MASS = PARENTS = 3.0
#: A channel is a parent where at least this share of its mass goes.
PARENT = 0.01

#: Where a signature was seen: plain values by name, such as {"group": 6, "channel": 17}.
Where = Mapping[str, str | int | float]


@dataclass(frozen=True)
class Signature:
    """One sign of failure: `name` is a key of `SIGNATURES`, `value` has passed `threshold`."""

    name: str
    where: Where
    value: float
    threshold: float


def of_divergence(
    divergence: Divergence, pruned: str | None = None, where: Where | None = None
) -> list[Signature]:
    """Variants whose outputs are far off, and those farther off than the pruned one.

    Parameters
    ----------
    pruned : the name of the variant that is plain pruning, if there is one.
    where : what else to say of where it is; the variant's name is added.
    """
    found = []
    for name in divergence.names:
        place = {**(where or {}), "variant": name}
        beyond = divergence.beyond(name)
        if beyond >= BEYOND:
            found.append(Signature("divergence", place, beyond, BEYOND))
        if pruned in divergence.names and name != pruned:
            plain, own = divergence.mean(pruned), divergence.mean(name)
            # Both means rest on the same images; intervals apart are more than is needed.
            if own.low > WORSE * plain.high:
                found.append(Signature("worse", place, own.mean / plain.mean, WORSE))
    return found


def of_curve(curve: Mapping[float, Accuracy], where: Where | None = None) -> list[Signature]:
    """The steepest fall of accuracy between two neighbouring sparsities, if it is a sudden one.

    `curve` : accuracy by sparsity. What the 95 % intervals leave open is no fall.
    """
    falls = []
    for (before, first), (after, then) in pairwise(sorted(curve.items())):
        steep = (first.mean - then.mean) / (after - before) * 0.1
        if steep >= DROP and then.high < first.low:
            place = {**(where or {}), "before": before, "after": after}
            falls.append(Signature("drop", place, steep, DROP))
    return sorted(falls, key=lambda one: -one.value)[:1]


def of_step(step: Step, where: Where | None = None) -> list[Signature]:
    """The channel that takes the most mass and the one with the most parents, where far too many.

    Mass is counted before any rule norms it: every source channel gives 1 in all, so that the
    channels that stay take n / m on average. With target masses that are uniform the exact solver
    leaves every channel the same, and only parents can tell.
    """
    if step.plan is None:
        return []
    mass = step.plan.mass  # (n, m)
    leaving = mass / mass.sum(1, keepdim=True).clamp_min(1e-300)
    taken, parents = leaving.sum(0), (leaving >= PARENT).sum(0).double()
    found = []
    for name, each, threshold in (("mass", taken, MASS), ("parents", parents, PARENTS)):
        if float(each.mean()) > 0:
            most = int(each.argmax())
            times = float(each[most] / each.mean())
            if times >= threshold:
                place = {**(where or {}), "channel": int(step.measures.kept[most])}
                found.append(Signature(name, place, times, threshold))
    return found


def of_steps(steps: Mapping[int, Step]) -> list[Signature]:
    """`of_step` of every group, by its index."""
    return [one for index, step in steps.items() for one in of_step(step, {"group": index})]


def rows(found: Sequence[Signature]) -> list[tuple[str, ...]]:
    """Lines of a table: name, where, value, threshold, what it says."""
    told = [("signature", "where", "value", "from", "what it says")]
    for one in found:
        where = ", ".join(f"{key} {value}" for key, value in one.where.items())
        line = SIGNATURES[one.name]
        told.append((one.name, where, f"{one.value:.2f}", f"{one.threshold:.2f}", line))
    return told
