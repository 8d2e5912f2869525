"""A handful of points as channels of two features, solved by `core`. No Streamlit in it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from app.toys.stage import Field, number, numbers, one_of, read, some_of
from core.cost import COSTS, normalised, pairwise
from core.errors import RecipeError
from core.transport import TransportPlan, transport

#: How far points go to either side, across and up, and the grid they snap to.
ACROSS, UP, GRID = 4.0, 2.5, 0.1
#: Points: at least, at most. Masses before they are divided by their sum: least, most, step.
FEWEST, MOST = 3, 8
LIGHT, HEAVY, WEIGHT_STEP = 0.1, 5.0, 0.1
#: Strengths of the entropy that the slider offers, as shares of the mean cost.
EPSILONS = (0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0)
#: What can be shown beside the picture, and what is compared.
PARTS = ("masses", "distance", "costs", "plan", "sinkhorn")
LOOKS = ("exact", "sinkhorn", "both")


@dataclass(frozen=True)
class Problem:
    """Points, which of them stay, and what they weigh.

    points : (n, 2) as pairs. stays : places of the m that stay, rising. source, target : weights of
    the n and of the m, not yet divided by their sums. cost : key of `core.cost.COSTS`. normalise :
    whether points are divided by their lengths first, as features of channels are.
    """

    points: tuple[tuple[float, float], ...]
    stays: tuple[int, ...]
    source: tuple[float, ...]
    target: tuple[float, ...]
    cost: str
    normalise: bool

    def moved(self, point: int, x: float, y: float) -> Problem:
        """The same with a point elsewhere, on the grid and inside the picture."""
        places = list(self.points)
        places[point] = _inside(x, ACROSS), _inside(y, UP)
        return replace(self, points=tuple(places))

    def weighed(self, side: str, place: int, weight: float) -> Problem:
        """The same with another weight on one `side`, "source" or "target"."""
        weights = list(getattr(self, side))
        weights[place] = weight
        return replace(self, **{side: tuple(weights)})

    @property
    def features(self) -> Tensor:
        """(n, 2) float64: what distances are taken of."""
        points = torch.tensor(self.points, dtype=torch.float64)
        return normalised(points) if self.normalise else points

    def solve(self, solver: str, epsilon: float = 0.05) -> TransportPlan:
        """The plan of `core.transport` from all n to the m that stay."""
        mu, nu = (
            weights / weights.sum()
            for weights in (
                torch.tensor(w, dtype=torch.float64) for w in (self.source, self.target)
            )
        )
        costs = pairwise(self.features, self.cost)[:, list(self.stays)]
        return transport(mu, nu, costs, solver, epsilon=epsilon)


def _inside(value: float, edge: float) -> float:
    return round(round(min(max(value, -edge), edge) / GRID) * GRID, 6)


@dataclass(frozen=True)
class Scene:
    """What a lesson sets: the problem to begin with, and how it is looked at."""

    problem: Problem
    epsilon: float
    solver: str
    show: tuple[str, ...]


def _points(text: str) -> tuple[tuple[float, float], ...]:
    what = (
        f"{FEWEST} to {MOST} points “x,y” with semicolons between them, x from {-ACROSS:g} to "
        f"{ACROSS:g} and y from {-UP:g} to {UP:g}"
    )
    try:
        pairs = [numbers(-ACROSS, ACROSS)(pair.strip()) for pair in text.split(";")]
    except ValueError as error:
        raise ValueError(what) from error
    if not FEWEST <= len(pairs) <= MOST or any(len(p) != 2 or abs(p[1]) > UP for p in pairs):
        raise ValueError(what)
    return tuple(pairs)


_weights = numbers(LIGHT, HEAVY)
FIELDS = {
    "points": Field(
        f"the channels as points, “x,y; x,y; …”: {FEWEST} to {MOST} of them",
        "-3,1.2; -2.2,-1; -0.6,1.7; 0.9,-1.5; 2.5,1.4; 3.1,-0.6", _points,
    ),
    "stays": Field(
        "the channels that stay, counted from 0, with commas between them", "1,4",
        numbers(0, MOST - 1, whole=True),
    ),
    "source": Field("a mass for each channel, divided by their sum; empty: equal", "", _weights),
    "target": Field("a mass for each that stays, likewise; empty: equal", "", _weights),
    "cost": Field("the distance that is the cost of a move", "l2", one_of(*COSTS)),
    "normalise": Field(
        "whether points are divided by their lengths first, as the method does with channels",
        "no", one_of("no", "yes"),
    ),
    "epsilon": Field(
        "the entropy's strength that Sinkhorn begins with, as a share of the mean cost", "0.1",
        number(EPSILONS[0], EPSILONS[-1]),
    ),
    "solver": Field("which plan is shown at first", "exact", one_of(*LOOKS)),
    "show": Field(
        "what stands with the picture: masses, distance (its choice), costs (their matrix), plan, "
        "sinkhorn (the choice of the solver)",
        ",".join(PARTS), some_of(*PARTS),
    ),
}  # fmt: skip


def scene(settings: Mapping[str, str]) -> Scene:
    """What a lesson's settings say.

    Raises
    ------
    RecipeError
        If one of them can't be read, or they don't fit each other.
    """
    told = read("transport", FIELDS, settings)
    points, stays = told["points"], tuple(sorted(set(told["stays"])))
    if not stays or stays[-1] >= len(points) or len(stays) == len(points):
        raise RecipeError(
            f"The setting 'stays' of the toy 'transport' names the channels {list(stays)}; it must "
            f"name some of 0 to {len(points) - 1}, and leave at least one out."
        )
    for side, wanted in (("source", len(points)), ("target", len(stays))):
        told[side] = told[side] or (1.0,) * wanted
        if len(told[side]) != wanted:
            raise RecipeError(
                f"The setting {side!r} of the toy 'transport' holds {len(told[side])} masses; "
                f"{wanted} are needed."
            )
    problem = Problem(
        points, stays, told["source"], told["target"], told["cost"], told["normalise"] == "yes"
    )
    return Scene(problem, told["epsilon"], told["solver"], told["show"])
