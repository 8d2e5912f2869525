"""What the ablations found, as tables: solver against solver, and Kruskal & Wallis' tests."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import pandas as pd
from pandas.io.formats.style import Styler

from app.figures.ablation import place_of
from app.figures.accuracy import points
from app.language import ENGLISH, Texts
from core.ablation import Test
from core.book import Entry


def solvers(entries: Sequence[Entry], say: Texts = ENGLISH) -> pd.DataFrame:
    """Solver against solver: a row a group, sparsity and solver, with all that was measured."""
    found = []
    for one in entries:
        if one.kind == "dense":
            continue
        more = one.more
        found.append(
            {
                say("ablation.column.place"): place_of(one, say),
                say("ablation.column.solver"): one.variant or say("ablation.name.pruned"),
                say("ablation.column.accuracy"): one.accuracy.mean,
                say("ablation.column.low"): one.accuracy.low,
                say("ablation.column.high"): one.accuracy.high,
                say("ablation.column.cost"): more.get("cost"),
                say("ablation.column.source_error"): more.get("source_error"),
                say("ablation.column.target_error"): more.get("target_error"),
                say("ablation.column.seconds"): more.get("seconds"),
                say("ablation.column.converged"): bool(more["converged"]) if more else None,
            }
        )
    return pd.DataFrame(found)


def kruskal(found: Sequence[Test], say: Texts = ENGLISH) -> pd.DataFrame:
    """Kruskal & Wallis' tests, a row each."""
    return pd.DataFrame(
        {
            say("ablation.column.network"): one.network or say("ablation.over_networks"),
            say("ablation.column.group"): "" if one.group is None else str(one.group),
            say("ablation.column.sparsity"): one.sparsity,
            say("ablation.column.samples"): one.samples,
            say("ablation.column.difference"): 100 * one.difference,
            say("ablation.column.statistic"): one.statistic,
            say("ablation.column.p"): one.p,
        }
        for one in found
    )


#: How numbers are written, by the last part of their column's key.
WRITTEN = {
    "accuracy": ".1%", "low": ".1%", "high": ".1%", "sparsity": ".0%", "cost": ".4g",
    "source_error": ".1e", "target_error": ".1e", "seconds": ".2f", "difference": "+.1f",
    "statistic": ".2f", "p": ".3f",
}  # fmt: skip


def written(table: pd.DataFrame, say: Texts = ENGLISH) -> Styler:
    """The table with its numbers in the page's language; by value it is sorted all the same."""

    def by(spec: str) -> Callable[[float], str]:
        return lambda value: "–" if pd.isna(value) else say.number(float(value), spec)

    names = {say(f"ablation.column.{key}"): by(spec) for key, spec in WRITTEN.items()}
    return table.style.format({name: names[name] for name in table.columns if name in names})


def kruskal_headline(found: Sequence[Test], say: Texts = ENGLISH) -> str:
    """One sentence: how many tests fall below 5 %, and how many would by chance."""
    if not found:
        return say("ablation.no_test")
    small = [one for one in found if one.p < 0.05]
    largest = max(found, key=lambda one: abs(one.difference))
    return say(
        "ablation.tested", count=len(found), small=len(small), chance=0.05 * len(found),
        points=points(abs(largest.difference), say),
    )  # fmt: skip
