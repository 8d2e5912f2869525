"""The recorded accuracies that ship: what was measured for a recipe, and where it was.

Files are those of `core.recorded`, one a network, in `assets/results/`. What was measured with
other weights than those that ship, or does not say with which, is left out.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from core import provenance, recorded, zoo
from core.evaluate import Accuracy
from core.recipe import Recipe, looks

FOLDER = Path(__file__).resolve().parent.parent / "assets" / "results"


@dataclass(frozen=True, eq=False)
class Results:
    """What is recorded of one network.

    dense : its own accuracy on all test images, as its card tells it.
    found : by recipe; every recipe shrinks one group. note : where it was measured.
    """

    network: str
    dense: Accuracy
    found: dict[Recipe, Accuracy]
    note: provenance.Note

    @cached_property
    def _curves(self) -> dict[Recipe, dict[float, Accuracy]]:
        curves: dict[Recipe, dict[float, Accuracy]] = {}
        for one in sorted(self.found, key=lambda recipe: recipe.sparsity):
            curves.setdefault(one.replace(sparsity=0.0), {})[one.sparsity] = self.found[one]
        return curves

    def curve(self, recipe: Recipe) -> dict[float, Accuracy]:
        """By sparsity, rising: the accuracies of the recipes that differ from this in it only."""
        return self._curves.get(recipe.replace(sparsity=0.0), {})


def read(name: str, folder: Path = FOLDER) -> Results | None:
    """What is recorded of a network; None where nothing is.

    Raises
    ------
    DataError
        If the file or the note beside it is damaged.
    WeightsError
        If the network's card is missing or can't be read.
    """
    file = folder / f"{name}.csv"
    rows = {about: right for about, right in recorded.read(file).items() if about[0] == name}
    note = provenance.read(file) if rows else None
    card = zoo.card(name)
    if note is None or (note.network, note.weights) != (name, card.sha256):
        return None
    images = zoo.network(name).images
    found = {}
    # What was measured in float32 comes last, and stands.
    rows = dict(sorted(rows.items(), key=lambda row: row[0][-1] == "float32"))
    for (_, group, sparsity, importance, rule, samples, seed, _), right in rows.items():
        recipe = Recipe(
            groups=(int(group),), sparsity=float(sparsity), importance=importance, rule=rule,
            samples=int(samples), seed=int(seed), data=images if looks(importance, rule) else "",
        )  # fmt: skip
        found[recipe] = right
    return Results(name, Accuracy(round(card.accuracy * card.tested), card.tested), found, note)
