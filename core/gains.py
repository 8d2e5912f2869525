"""What fusion gains over plain pruning, by group and sparsity; volatile and resilient groups."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from statistics import fmean

from core.errors import DataError
from core.evaluate import Accuracy
from core.recipe import Recipe, plain

#: Points that plain pruning costs on the mean: from here on a group is volatile, …
VOLATILE = 10.0
#: … and up to here it is resilient.
RESILIENT = 2.0


@dataclass(frozen=True)
class Gain:
    """One group at one sparsity: plain pruning and fusion."""

    pruned: Accuracy
    fused: Accuracy

    @property
    def points(self) -> float:
        """Fused − pruned, in points of accuracy."""
        return 100 * (self.fused.mean - self.pruned.mean)

    @property
    def allowance(self) -> float:
        """What the two intervals leave open of that, in points.

        As if they were independent; on the same images they tell differences better than that.
        """
        halves = ((one.high - one.low) / 2 for one in (self.pruned, self.fused))
        return 100 * sum(half**2 for half in halves) ** 0.5


@dataclass(frozen=True)
class GainMap:
    """The gain of one way to fuse, over groups and sparsities.

    cells : by (group, sparsity). losses : by group, what plain pruning costs: dense − pruned in
    points, the mean over `common`. common : the sparsities at which every group was measured, so
    that losses of groups can be compared.
    """

    dense: Accuracy
    cells: dict[tuple[int, float], Gain]
    losses: dict[int, float]
    common: tuple[float, ...]

    @property
    def groups(self) -> tuple[int, ...]:
        return tuple(sorted({group for group, _ in self.cells}))

    @property
    def sparsities(self) -> tuple[float, ...]:
        return tuple(sorted({sparsity for _, sparsity in self.cells}))

    def kind(self, group: int) -> str:
        """`volatile` where plain pruning costs VOLATILE points or more on the mean, `resilient`
        where it costs RESILIENT or less, `between` otherwise; `unknown` without a common sparsity.

        It says how a group bears plain pruning, over the sparsities that were measured: more of
        them near 1 make every group look more volatile. Fusion has no say in it.
        """
        if group not in self.losses:
            return "unknown"
        loss = self.losses[group]
        return "volatile" if loss >= VOLATILE else "resilient" if loss <= RESILIENT else "between"


def gain_map(found: Mapping[Recipe, Accuracy], fusion: Recipe, dense: Accuracy) -> GainMap:
    """Fused − pruned for every group and sparsity where both were measured.

    Parameters
    ----------
    found : accuracies by recipe, of one network (`core.results`, `core.sweep.found`).
    fusion : the way to fuse; its groups and its sparsity don't matter.
    dense : the network's own accuracy, on the same images.

    Raises
    ------
    DataError
        If nothing is there of both.
    """
    cells = {}
    for recipe, fused in found.items():
        if recipe.groups == "all" or len(recipe.groups) > 1 or recipe.sparsity == 0:
            continue
        same = fusion.replace(groups=recipe.groups, sparsity=recipe.sparsity)
        if recipe == same and (pruned := found.get(plain(recipe))):
            cells[recipe.groups[0], recipe.sparsity] = Gain(pruned, fused)
    if not cells:
        raise DataError(
            f"Nothing is recorded of {fusion.rule!r} and plain pruning together with the "
            f"importance {fusion.importance!r}. Measure both: python -m core sweep."
        )
    groups = {group for group, _ in cells}
    common = tuple(
        sparsity
        for sparsity in sorted({sparsity for _, sparsity in cells})
        if all((group, sparsity) in cells for group in groups)
    )
    losses = {
        group: 100 * fmean(dense.mean - cells[group, one].pruned.mean for one in common)
        for group in groups
        if common
    }
    return GainMap(dense, cells, losses, common)
