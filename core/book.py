"""Accuracies that an ablation has counted, in a file that is whole at any moment.

Every entry has a key made of all that changes it. What stands in the file is not counted again, so
that a run that was killed goes on where it stood.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from core import provenance
from core.compress import Compressed
from core.data import ImageSet
from core.errors import DataError, RecipeError
from core.evaluate import Accuracy
from core.experiments import Bench
from core.prefix import accuracies, counted_images
from core.recipe import Recipe

FORMAT = "intra-fusion-ablation/1"
#: Networks that are counted together: what they do not share is in memory at once.
TOGETHER = 12


@dataclass(frozen=True)
class Entry:
    """One accuracy.

    network : which one, with its seed where it was trained here. variant : what the ablation tells
    apart. kind : `dense`, `pruned` or `fused`. recipe : None for dense. more : other numbers.
    """

    network: str
    variant: str
    kind: str
    recipe: Recipe | None
    accuracy: Accuracy
    more: Mapping[str, float] = field(default_factory=dict)

    def as_dict(self) -> dict:
        """Plain values, as JSON keeps them."""
        return {
            "network": self.network, "variant": self.variant, "kind": self.kind,
            "recipe": self.recipe and self.recipe.as_dict(),
            "right": self.accuracy.correct, "total": self.accuracy.total, "more": dict(self.more),
        }  # fmt: skip

    @classmethod
    def from_dict(cls, told: Mapping) -> Entry:
        """The entry of `as_dict`."""
        recipe = told["recipe"] and Recipe.from_dict(told["recipe"])
        right = Accuracy(told["right"], told["total"])
        return cls(told["network"], told["variant"], told["kind"], recipe, right, told["more"])


@dataclass(frozen=True, eq=False)
class Wanted:
    """An entry that is to be counted; `images` makes others than the bench's own, if it must.

    more : tells other numbers of the smaller network.
    """

    bench: Bench
    variant: str
    kind: str
    recipe: Recipe | None
    images: Callable[[], ImageSet] | None = None
    more: Callable[[Compressed], Mapping[str, float]] | None = None


class Book:
    """Entries by key, in memory and, if a path is given, in a file.

    Raises
    ------
    DataError
        If the file is none, or one of another ablation or other weights.
    """

    def __init__(
        self, ablation: str, bench: Bench, path: Path | None = None, command: str = ""
    ) -> None:
        self.ablation, self.path = ablation, path
        self.told = {
            "format": FORMAT, "ablation": ablation, "network": bench.name, "weights": bench.weights,
            "images": bench.tested.title, "runs": [],
        }  # fmt: skip
        self.entries: dict[str, Entry] = {}
        self._run = provenance.this_run(command) if path else None
        if path and path.exists():
            known, self.entries = read(path)
            for name in ("ablation", "network", "weights", "images"):
                if known[name] != self.told[name]:
                    raise DataError(
                        f"{path} holds results of {name} {known[name]!r}, not of "
                        f"{self.told[name]!r}. Name another file."
                    )
            self.told = known

    def put(self, found: Mapping[str, Entry]) -> None:
        """Add entries; the file then holds them."""
        self.entries |= found
        if self.path is None:
            return
        if self._run not in self.told["runs"]:
            self.told["runs"].append(self._run)
        entries = {key: entry.as_dict() for key, entry in self.entries.items()}
        self.path.parent.mkdir(parents=True, exist_ok=True)
        partial = self.path.with_name(self.path.name + ".partial")
        text = json.dumps(self.told | {"entries": entries}, indent=1, ensure_ascii=False)
        partial.write_text(text + "\n", encoding="utf-8")
        partial.replace(self.path)

    def counted(
        self,
        wanted: Sequence[Wanted],
        numbers: str = "float32",
        report: Callable[[float, str], None] = lambda share, line: None,
        between: Callable[[], None] = lambda: None,
    ) -> list[Entry]:
        """The entries that are wanted, in their order; what is not known yet is counted.

        Parameters
        ----------
        report : told the share that is done and what is being done.
        between : called between batches; what it raises ends the work, and what was put stays.
        """
        keys = [self._key(one, numbers) for one in wanted]
        missing: dict[tuple[int, str], dict[str, Wanted]] = {}
        for key, one in zip(keys, wanted, strict=True):
            if key not in self.entries:
                place = (id(one.bench), one.variant if one.images else "")
                missing.setdefault(place, {})[key] = one
        chunks = [
            dict(list(held.items())[at : at + TOGETHER])
            for held in missing.values()
            for at in range(0, len(held), TOGETHER)
        ]
        for done, chunk in enumerate(chunks):
            first = next(iter(chunk.values()))
            bench = first.bench
            made, more = [], []
            for one in chunk.values():
                between()
                report(done / len(chunks), f"{one.bench.name}, {one.variant}: {one.kind}")
                out = None if one.recipe is None else bench.small(one.recipe)
                made.append(bench.module if out is None else out.module)
                more.append(one.more(out) if out and one.more else {})
            images = first.images() if first.images else bench.tested
            counts = accuracies(
                bench.module, made, images, bench.limit, numbers=numbers,
                between=lambda batch: between(),
            )  # fmt: skip
            self.put(
                {
                    key: Entry(bench.name, one.variant, one.kind, one.recipe, right, extra)
                    for (key, one), right, extra in zip(chunk.items(), counts, more, strict=True)
                }
            )
        return [self.entries[key] for key in keys]

    def _key(self, one: Wanted, numbers: str) -> str:
        total = counted_images(one.bench.module, one.bench.tested, one.bench.limit)
        told = [
            self.ablation, one.bench.weights, one.bench.tested.fingerprint, total, numbers,
            one.variant, one.kind, one.recipe and one.recipe.key, one.bench.seed,
        ]  # fmt: skip
        return hashlib.sha256(json.dumps(told).encode()).hexdigest()[:16]


def read(path: Path) -> tuple[dict, dict[str, Entry]]:
    """What a file says of itself, and its entries by key.

    Raises
    ------
    DataError
        If it can't be read or is no such file.
    """
    try:
        told = json.loads(path.read_text(encoding="utf-8"))
        if told["format"] != FORMAT:
            raise ValueError(f"its format is {told['format']!r}")
        entries = {key: Entry.from_dict(one) for key, one in told.pop("entries").items()}
        about = {name: told[name] for name in ("ablation", "network", "weights", "images", "runs")}
    except (OSError, ValueError, KeyError, TypeError, RecipeError) as error:
        raise DataError(
            f"{path} holds no results of an ablation ({error}). Name another file."
        ) from error
    return {"format": FORMAT} | about, entries
