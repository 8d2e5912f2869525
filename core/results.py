"""The recorded accuracies that ship: what was measured for a recipe, and where it was.

Files are those of `core.store`, one a network, in `assets/results/`. What was measured with other
weights than those that ship, or does not say with which, is left out.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from core import provenance, store, zoo
from core.evaluate import Accuracy
from core.recipe import Recipe

FOLDER = Path(__file__).resolve().parent.parent / "assets" / "results"
#: The formats looked for, in this order; .json is the note beside them.
SUFFIXES = (".parquet", ".csv")


@dataclass(frozen=True, eq=False)
class Results:
    """What is recorded of one network.

    dense : its own accuracy on all test images, as its card tells it.
    found : by recipe. note : where it was measured.
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
    PackageMissing
        If it is Parquet and pyarrow is not installed.
    WeightsError
        If the network's card is missing or can't be read.
    """
    files = [folder / f"{name}{suffix}" for suffix in SUFFIXES]
    file = next((one for one in files if one.exists()), None)
    rows = list(store.read(file).values()) if file else []
    note = provenance.read(file) if rows else None
    card = zoo.card(name)
    if note is None or (note.network, note.weights) != (name, card.sha256):
        return None
    rows = [row for row in rows if (row.network, row.weights) == (name, card.sha256)]
    found = {row.recipe: row.right for row in sorted(rows, key=store.worth)}
    return Results(name, Accuracy(round(card.accuracy * card.tested), card.tested), found, note)
