"""The recipe: plain values that name everything that changes a number.

The same recipe is the library's argument, the cache key of the app, the link, the export and a
line in a table of results. Each choice is a key of a table that stands beside the code it chooses.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass

from core.cost import COSTS, FEATURES
from core.errors import RecipeError
from core.groups import DependencyGraph
from core.importance import IMPORTANCES
from core.measures import KEEPS, MASSES
from core.projection import RULES
from core.synthetic import SYNTHETIC
from core.transport import SOLVERS

#: For every field with a fixed set of choices, the table whose keys they are.
CHOICES: dict[str, dict[str, str]] = {
    "importance": {name: choice.about for name, choice in IMPORTANCES.items()},
    "rule": {name: rule.about for name, rule in RULES.items()},
    "solver": {name: solver.about for name, solver in SOLVERS.items()},
    "source": {name: mass.about for name, mass in MASSES.items()},
    "target": {name: mass.about for name, mass in MASSES.items()},
    "cost": {name: cost.about for name, cost in COSTS.items()},
    "features": dict(FEATURES),
    "keep": {name: keep.about for name, keep in KEEPS.items()},
    "synthetic": {name: kind.about for name, kind in SYNTHETIC.items()},
    "order": {
        "original": "every group is planned from the original weights",
        "sequential": "group after group from the input: each is planned from the smaller weights",
    },
}


def refuse_unknown(kind: type, told: Mapping, called: str) -> None:
    """Raise a RecipeError if `told` has a key that is no field of the dataclass `kind`."""
    fields = {field.name for field in dataclasses.fields(kind)}
    if unknown := set(told) - fields:
        raise RecipeError(
            f"{called} has no field {', '.join(sorted(unknown))}. Known: "
            f"{', '.join(sorted(fields))}."
        )


@dataclass(frozen=True)
class Recipe:
    """What to do with a network.

    Attributes
    ----------
    groups : indices of the groups to shrink, or "all"; group 0 is nearest the output.
    sparsity : share of a group's channels to discard, 0 ≤ sparsity < 1; one number, or one a group
        in the order of `groups` (for "all": of their indices).
    importance : how channels are scored, a key of `core.importance.IMPORTANCES`.
    rule : how a plan becomes a smaller group, a key of `core.projection.RULES`.
    solver : how the transport problem is solved, a key of `core.transport.SOLVERS`.
    epsilon : strength of the entropy for `sinkhorn` and `unbalanced`, as a share of the mean cost.
    source, target : masses of all channels and of those that stay, keys of
        `core.measures.MASSES`.
    cost : distance between channels, a key of `core.cost.COSTS`.
    features : what a channel's features hold, a key of `core.cost.FEATURES`.
    seed : seed of whatever is drawn at random.
    keep : which channels, or centres of clusters of them, stay, a key of `core.measures.KEEPS`.
    kept : for `by-hand`, the channels that stay: a tuple of indices for each group in `groups`, or
        for every group of the network where that is "all"; the sparsity then says nothing.
    data : name of the images (`core.images(data, "train")`) that an importance or a rule looks at.
    samples : how many of them, or of synthetic ones, drawn with the seed.
    relaxation : for `unbalanced`, what missing a mass costs, in mean costs.
    share : for `partial`, the share of the mass that is moved, 0 < share ≤ 1.
    temperature : for the masses `softmax`, in standard deviations of the scores; small is steep.
    synthetic : the images made of nothing that rules with regression look at, a key of
        `core.synthetic.SYNTHETIC`.
    order : which weights a group's scores and plan are made from. Regression always goes from the
        input to the output and sees the smaller network.
    rounds : in how many rounds the groups shrink; each plans from what the one before has left.
    quality : share of a group's channels whose importance is known, 0 ≤ quality ≤ 1; the others,
        drawn with the seed, exchange theirs at random (`core.importance.partly_known`).
    """

    groups: tuple[int, ...] | str = (0,)
    sparsity: float | tuple[float, ...] = 0.5
    importance: str = "l1"
    rule: str = "released"
    solver: str = "exact"
    epsilon: float = 0.05
    source: str = "uniform"
    target: str = "uniform"
    cost: str = "l1"
    features: str = "by-rule"
    seed: int = 0
    keep: str = "most-important"
    kept: tuple[tuple[int, ...], ...] = ()
    data: str = ""
    samples: int = 256
    relaxation: float = 1.0
    share: float = 0.9
    temperature: float = 1.0
    synthetic: str = "leaves"
    order: str = "original"
    rounds: int = 1
    quality: float = 1.0

    def __post_init__(self) -> None:
        # Lists are how JSON writes tuples.
        if isinstance(self.groups, list):
            object.__setattr__(self, "groups", tuple(self.groups))
        if isinstance(self.kept, (list, tuple)):
            kept = tuple(tuple(one) if isinstance(one, list) else one for one in self.kept)
            object.__setattr__(self, "kept", kept)
        if self.groups != "all":
            whole = isinstance(self.groups, tuple) and all(type(g) is int for g in self.groups)
            if not whole or not self.groups:
                raise RecipeError(
                    'groups must be a tuple of indices such as (0, 3), or "all"; got '
                    f"{self.groups!r}."
                )
            if len(set(self.groups)) < len(self.groups):
                raise RecipeError(f"groups names a group twice: {self.groups}.")
        several = isinstance(self.sparsity, (tuple, list))
        shares = tuple(self.sparsity) if several else (self.sparsity,)
        for share in shares:
            if not _number(share) or not 0 <= share < 1:
                raise RecipeError(
                    f"sparsity must lie between 0 and 1 (1 excluded: a channel must stay); got "
                    f"{share!r}."
                )
        if several and self.groups != "all" and len(shares) != len(self.groups):
            raise RecipeError(
                f"There are {len(shares)} sparsities for {len(self.groups)} groups. Give one "
                "number for all, or one for each."
            )
        for name in ("epsilon", "relaxation", "temperature", "share"):
            value = getattr(self, name)
            if not _number(value) or not 0 < value < math.inf:
                raise RecipeError(f"{name} must be a positive number; got {value!r}.")
            object.__setattr__(self, name, float(value))
        if self.share > 1:
            raise RecipeError(f"share must be at most 1, all of the mass; got {self.share!r}.")
        if not _number(self.quality) or not 0 <= self.quality <= 1:
            raise RecipeError(f"quality must lie between 0 and 1; got {self.quality!r}.")
        object.__setattr__(self, "quality", float(self.quality) + 0.0)
        # 0, 0.0 and −0.0 are one sparsity: one key, one link, one line in a table.
        shares = tuple(float(share) + 0.0 for share in shares)
        object.__setattr__(self, "sparsity", shares if several else shares[0])
        if type(self.seed) is not int or self.seed < 0:
            raise RecipeError(f"seed must be a whole number of at least 0; got {self.seed!r}.")
        for name in ("samples", "rounds"):
            value = getattr(self, name)
            if type(value) is not int or value < 1:
                raise RecipeError(f"{name} must be a whole number of at least 1; got {value!r}.")
        if self.rounds > 1 and self.keep == "by-hand":
            raise RecipeError(
                "Channels kept by hand are those of one round. Set rounds to 1, or let importance "
                "choose."
            )
        if not isinstance(self.data, str):
            raise RecipeError(
                f'data must be the name of a set of images, or "" for none; got {self.data!r}.'
            )
        self._check_kept()
        for field, choices in CHOICES.items():
            value = getattr(self, field)
            if not isinstance(value, str) or value not in choices:
                raise RecipeError(
                    f"There is no {field} called {value!r}. Known: {', '.join(choices)}."
                )

    def _check_kept(self) -> None:
        """Refuse what is no tuple of tuples of different indices."""
        rows = self.kept if isinstance(self.kept, tuple) else (None,)
        for row in rows:
            whole = isinstance(row, tuple) and all(type(c) is int and c >= 0 for c in row)
            if not whole or not row:
                raise RecipeError(
                    "kept must hold the channels that stay, a tuple of indices for each group, "
                    f"such as ((0, 3, 4),); got {self.kept!r}."
                )
            if twice := sorted({c for c in row if row.count(c) > 1}):
                raise RecipeError(
                    f"kept names channel {', '.join(map(str, twice))} of a group twice. Name every "
                    "channel once."
                )

    def chosen(self, graph: DependencyGraph) -> tuple[int, ...]:
        """The indices of the groups meant, checked against those there are.

        Raises
        ------
        RecipeError
            If the network has no group of that index, or the channels kept by hand are not there.
        """
        indices = self._indices(graph)
        if self.keep == "by-hand":
            self._check_channels(graph, indices)
        return indices

    def kept_in(self, index: int) -> tuple[int, ...]:
        """The channels of a group that are kept by hand; () for a group the recipe doesn't name."""
        rows = dict(enumerate(self.kept))
        if self.groups != "all":
            rows = dict(zip(self.groups, self.kept, strict=False))
        return rows.get(index, ())

    def _indices(self, graph: DependencyGraph) -> tuple[int, ...]:
        known = range(len(graph.groups))
        if self.groups == "all":
            return tuple(known)
        for index in self.groups:
            if index not in known:
                raise RecipeError(
                    f"There is no group {index}: this network has the groups 0 to {len(known) - 1}."
                    if known
                    else "This network has no group that can shrink."
                )
        return self.groups

    def _check_channels(self, graph: DependencyGraph, indices: tuple[int, ...]) -> None:
        if len(self.kept) != len(indices):
            raise RecipeError(
                f"The recipe keeps channels by hand and shrinks {len(indices)} groups, but kept "
                f"lists channels of {len(self.kept)}. List those of every group, in the order of "
                "groups."
            )
        for index, row in zip(indices, self.kept, strict=True):
            width = graph.groups[index].width
            if max(row) >= width:
                raise RecipeError(
                    f"Group {index} has no channel {max(row)}: it has the channels 0 to "
                    f"{width - 1}. Correct kept."
                )

    def sparsities(self, graph: DependencyGraph) -> dict[int, float]:
        """The sparsity of each group meant, by its index.

        Raises
        ------
        RecipeError
            If the network has no such group, or "all" means another number of groups.
        """
        chosen = self.chosen(graph)
        shares = self.sparsity if isinstance(self.sparsity, tuple) else (self.sparsity,)
        if not isinstance(self.sparsity, tuple):
            shares = shares * len(chosen)
        if len(shares) != len(chosen):
            raise RecipeError(
                f"There are {len(shares)} sparsities, but this network has {len(chosen)} groups."
            )
        return dict(zip(chosen, shares, strict=True))

    def replace(self, **changes) -> Recipe:
        """The same recipe with some fields changed."""
        return dataclasses.replace(self, **changes)

    def as_dict(self) -> dict:
        """Plain values, as JSON keeps them."""
        told = dataclasses.asdict(self)
        told["groups"] = "all" if self.groups == "all" else list(self.groups)
        told["kept"] = [list(row) for row in self.kept]
        if isinstance(self.sparsity, tuple):
            told["sparsity"] = list(self.sparsity)
        return told

    @classmethod
    def from_dict(cls, told: dict) -> Recipe:
        """The recipe of `as_dict`.

        Raises
        ------
        RecipeError
            If a field is unknown or a value not allowed.
        """
        refuse_unknown(cls, told, "A recipe")
        return cls(**told)

    @property
    def key(self) -> str:
        """Sixteen digits that change with any field."""
        told = self.as_dict()
        for name in LATER:
            if told[name] == _DEFAULTS[name]:
                del told[name]
        text = json.dumps(told, sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:16]


#: Fields that came after results had been recorded by their keys: at their default they are left
#: out of the key, so that it is what it was.
LATER = ("quality",)
_DEFAULTS = {field.name: field.default for field in dataclasses.fields(Recipe)}


def looks(importance: str, rule: str) -> bool:
    """Whether an importance or a rule looks at images, so that `data` has to name them."""
    return RULES[rule].images or IMPORTANCES[importance].needs != "nothing"


def draws(recipe: Recipe) -> bool:
    """Whether anything is drawn with the recipe's seed: if not, every seed says the same."""
    return (
        recipe.importance == "random"
        or looks(recipe.importance, recipe.rule)
        or recipe.quality < 1
        or KEEPS[recipe.keep].cluster is not None
        or RULES[recipe.rule].regressed
    )


def plain(recipe: Recipe) -> Recipe:
    """Plain pruning of the same groups, its fields for transport at their defaults.

    They change nothing for pruning, so that all fusions of a group share one pruned network.
    """
    same = ["groups", "sparsity", "importance", "quality", "rounds", "seed"]
    if IMPORTANCES[recipe.importance].needs != "nothing":
        same += ["data", "samples"]
    return Recipe(rule="select", **{name: getattr(recipe, name) for name in same})


def _number(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)
