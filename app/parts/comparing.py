"""What the page Sweep compares: which recipes, and the lines and maps their accuracies make."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from app.figures.panels import Line, Spot
from core import sweep
from core.errors import DataError
from core.evaluate import Accuracy
from core.gains import GainMap, gain_map
from core.projection import RULES
from core.recipe import Recipe, draws, looks, plain

Found = Mapping[Recipe, Accuracy]


@dataclass(frozen=True)
class Comparison:
    """What is chosen, and what stands beside it.

    recipe : the choice; its group and its sparsity are looked at more closely. groups : that are
    drawn, the chosen one among them. importances, rules, solvers : the chosen one first; other
    solvers are drawn for the chosen rule only, other rules with the chosen solver only, so that a
    panel keeps few lines. seeds : how many, from the recipe's on. images : the name of the images
    for what looks at some.
    """

    recipe: Recipe
    groups: tuple[int, ...]
    importances: tuple[str, ...]
    rules: tuple[str, ...]
    solvers: tuple[str, ...]
    seeds: int
    images: str

    def fusions(self, group: int, importance: str) -> dict[tuple[str, str], Recipe]:
        """The ways to fuse of a panel, by (rule, solver), the chosen one first."""
        found = {}
        for rule in self.rules:
            found[rule, self.recipe.solver] = self._way(group, importance, rule)
        if RULES[self.recipe.rule].project is not None:  # no plan, no solver
            for solver in self.solvers:
                way = self._way(group, importance, self.recipe.rule).replace(solver=solver)
                found[self.recipe.rule, solver] = way
        return found

    def pruning(self, group: int, importance: str) -> Recipe:
        """Plain pruning in a panel."""
        return plain(self._way(group, importance, self.recipe.rule))

    def _way(self, group: int, importance: str, rule: str) -> Recipe:
        way = self.recipe.replace(groups=(group,), importance=importance, rule=rule)
        return way.replace(data=self.images if looks(importance, rule) else "")

    def drawn(self, way: Recipe) -> list[Recipe]:
        """A way with each of the seeds; once where nothing is drawn."""
        return [
            way.replace(seed=way.seed + more) for more in range(self.seeds if draws(way) else 1)
        ]

    @property
    def panels(self) -> list[tuple[int, str]]:
        """(group, importance), groups from the input on, as networks are read."""
        return [(g, i) for g in sorted(self.groups, reverse=True) for i in self.importances]

    def recipes(self) -> list[Recipe]:
        """All that is asked for, the network itself first, none twice."""
        found: dict[Recipe, None] = {sweep.DENSE: None}
        for panel in self.panels:
            for way in (self.pruning(*panel), *self.fusions(*panel).values()):
                for one in self.drawn(way):
                    found |= {one.replace(sparsity=share): None for share in sweep.SPARSITIES}
        return list(found)

    def missing(self, recorded: Found, total: int) -> list[Recipe]:
        """What is not recorded and so has to be measured, on `total` images.

        The network itself and plain pruning are measured with it where the record's images are
        others: what is compared should rest on the same ones.
        """
        found: dict[Recipe, None] = {}
        for one in self.recipes():
            if one not in recorded and one != sweep.DENSE:
                for partner in (sweep.DENSE, plain(one)):
                    if partner not in recorded or recorded[partner].total != total:
                        found[partner] = None
                found[one] = None
        return list(found)

    def lines(self, found: Found, group: int, importance: str) -> list[Line]:
        """The lines of a panel: plain pruning, then the ways to fuse; those without a point not."""
        ways = {("", ""): self.pruning(group, importance)} | self.fusions(group, importance)
        told = []
        for (rule, solver), way in ways.items():
            spots = {}
            for share in sweep.SPARSITIES:
                known = [found.get(one.replace(sparsity=share)) for one in self.drawn(way)]
                if known := [one for one in known if one is not None]:
                    spots[share] = Spot(tuple(known))
            if spots:
                told.append(Line(self._name(rule, solver), spots, pruned=not rule))
        return told

    def _name(self, rule: str, solver: str) -> str:
        """What a way is called in a panel: by what tells it from the chosen one; "" for that one if
        there is no other."""
        if rule != self.recipe.rule:
            return rule
        if solver != self.recipe.solver:
            return solver
        return rule if len(self.rules) > 1 else solver if len(self.solvers) > 1 else ""

    def title(self, importance: str, way: tuple[str, str]) -> str:
        """A way to fuse among those of all panels: `released · taylor`."""
        parts = [way[0]]
        if len(self.solvers) > 1 and RULES[way[0]].project is not None:
            parts.append(way[1])
        return " · ".join(parts + [importance] * (len(self.importances) > 1))


def comparison(
    recipe: Recipe,
    images: str,
    groups: Iterable[int] = (),
    importances: Sequence[str] = (),
    rules: Sequence[str] = (),
    solvers: Sequence[str] = (),
    seeds: int = 1,
) -> Comparison:
    """A choice, and what stands beside it; what is named twice is there once."""

    def first(chosen: str, others: Sequence[str]) -> tuple[str, ...]:
        return tuple(dict.fromkeys((chosen, *others)))

    return Comparison(
        recipe, tuple(dict.fromkeys((*recipe.groups, *groups))),
        first(recipe.importance, importances), first(recipe.rule, rules),
        first(recipe.solver, solvers), seeds, images,
    )  # fmt: skip


def gains(sources: Sequence[Found], fusion: Recipe) -> GainMap | None:
    """The gain of a way to fuse, from whatever was counted on the same number of images.

    A map never mixes numbers of images: the one with most cells is taken, of those the one with
    most images. None if there is nothing of both fusion and plain pruning, or not of the network.
    """
    counted: dict[int, dict[Recipe, Accuracy]] = {}
    for source in sources:
        for recipe, known in source.items():
            counted.setdefault(known.total, {}).setdefault(recipe, known)
    maps = []
    for _, found in sorted(counted.items(), key=lambda one: -one[0]):
        try:
            maps.append(gain_map(found, fusion, found[sweep.DENSE]))
        except (DataError, KeyError):  # not of both, or not the network itself
            continue
    return max(maps, key=lambda known: len(known.cells), default=None)
