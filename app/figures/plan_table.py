"""A transport plan as a table: who gives what to whom, at what cost; no Streamlit in it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from app.figures.order import DUST, arrangement, drawn, guesses, shares
from app.language import ENGLISH, Texts
from core.compress import Step

#: Rows at most: dense plans have 100,000 and more, of which these are the largest.
MOST = 5_000


@dataclass(frozen=True)
class Table:
    """Columns by their titles, `source` channel of each row, and how many rows there would be."""

    rows: pd.DataFrame
    source: np.ndarray
    entries: int


def table(
    step: Step, order: str = "structure", near: int | None = None, say: Texts = ENGLISH
) -> Table:
    """The plan's entries, or the coefficients of a guess, in the order of the heatmap's rows.

    By "structure", row by row of the heatmap, the largest of each first; by "channel", by number;
    by "cost", what costs most (mass times cost) first. With `near`, only a neighbourhood's.
    """
    rows, columns = arrangement(step, order, near)
    kept = step.measures.kept.numpy()
    all_drawn = drawn(step)
    value = all_drawn[np.ix_(rows, columns)]
    size = np.abs(value)
    y, x = np.nonzero(size > DUST)
    entries = len(y)
    strongest = np.argsort(-size[y, x], kind="stable")[:MOST]
    y, x = y[strongest], x[strongest]
    source, target = rows[y], kept[columns][x]
    given = {
        say("plan.table_source"): source,
        say("plan.table_target"): target,
        say("plan.table_stays"): np.isin(source, kept),
    }
    first = y
    if step.plan is not None:
        place = columns[x]
        mass, cost = step.plan.mass.numpy()[source, place], step.plan.costs.numpy()[source, place]
        given[say("plan.table_share")] = shares(step)[source, place]
        given[say("plan.table_mass")] = mass
        given[say("plan.table_cost")] = cost
        if order == "cost":
            first = -(mass * cost)
    else:
        title = "plan.table_coefficient" if guesses(step) else "plan.table_share"
        given[say(title)] = value[y, x]
    turn = np.lexsort((-size[y, x], first))
    return Table(pd.DataFrame(given).iloc[turn].reset_index(drop=True), source[turn], entries)
