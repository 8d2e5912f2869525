"""What is drawn of a plan, in which order: shares, rows and columns, a channel's neighbourhood."""

from __future__ import annotations

import numpy as np

from core.compress import Step

#: How rows and columns can be ordered: each channel beneath the one that takes most of it in, as
#: the network stores them, or by what moving them costs.
ORDERS = ("structure", "channel", "cost")
#: Shares of a channel's mass below the first are rounding, and not drawn; those below the second
#: don't count as a source.
DUST, FAINT = 1e-12, 1e-3
#: Of a neighbourhood, at most so many channels that stay, and so many in all: the strongest.
MOST_HEIRS, MOST_NEAR = 12, 30


def guesses(step: Step) -> bool:
    """Whether discarded channels are guessed from those that stay: there are coefficients."""
    return step.plan is None and not step.projection.selects


def orders(step: Step) -> tuple[str, ...]:
    """The orders that make sense: without a plan there are no costs."""
    return ORDERS if step.plan is not None else ORDERS[:2]


def coefficients(step: Step) -> np.ndarray:
    """What the group's first consumer multiplies the channels that stay with: (n, m)."""
    return step.projection.unmerge.numpy()


def shares(step: Step) -> np.ndarray:
    """The share of each channel's mass that goes to each that stays: (n, m), P / μ.

    Plain pruning moves nothing: a channel that stays keeps all of its own. Where discarded channels
    are guessed, the share of each coefficient's size in their row.
    """
    kept = step.measures.kept.numpy()
    if guesses(step):
        size = np.abs(coefficients(step))
        return size / np.maximum(size.sum(1, keepdims=True), 1e-300)
    if step.plan is None:
        share = np.zeros((len(step.scores), len(kept)))
        share[kept, range(len(kept))] = 1
        return share
    source = step.plan.source.numpy()[:, None]
    return step.plan.mass.numpy() / np.where(source > 0, source, 1)


def drawn(step: Step) -> np.ndarray:
    """What the pictures show of each pair: a share, or a coefficient; (n, m)."""
    return coefficients(step) if guesses(step) else shares(step)


def arrangement(
    step: Step, order: str, near: int | None = None, share: np.ndarray | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Which channel each row shows (n,), and which of the kept channels each column (m,).

    By "structure", columns fall in importance; rows are grouped by the column that most of their
    mass goes to, in a group those that stay come first, then by how much of their mass that is.
    Rows without mass come last. By "cost", what costs most to move comes first. With `near`, only
    the rows and columns of that channel's neighbourhood. `share`: `shares(step)`, if known.
    """
    if order not in orders(step):
        raise ValueError(f"{order!r} is not one of {', '.join(orders(step))}")
    share = shares(step) if share is None else share
    kept = step.measures.kept.numpy()
    score = step.scores.numpy()
    columns = np.argsort(-score[kept], kind="stable")
    if order == "channel":
        rows, columns = np.arange(len(score)), np.arange(len(kept))
    elif order == "cost":
        rows = np.lexsort((-score, -moved_cost(step).round(12)))
    else:
        inside = share[:, columns]
        most = inside.max(1)
        main = np.where(most > DUST, inside.argmax(1), len(kept))
        gone = ~np.isin(np.arange(len(score)), kept)
        # Rounded: shares that are equal but for the last digit are ordered by importance.
        rows = np.lexsort((-score, -most.round(9), gone, main))
    if near is not None:
        at_row, at_column, _ = neighbourhood(step, near, share)
        rows, columns = rows[at_row[rows]], columns[at_column[columns]]
    return rows, columns


def moved_cost(step: Step) -> np.ndarray:
    """What moving each channel's mass costs: (n,), in the cost's unit times mass."""
    return (step.plan.mass * step.plan.costs).sum(1).numpy()


def neighbourhood(
    step: Step, channel: int, share: np.ndarray | None = None
) -> tuple[np.ndarray, np.ndarray, bool]:
    """Who is near a channel: of all channels (n,), of those that stay (m,); and if that is all.

    Near are the channels that its mass goes to (itself, if it stays), and all whose mass goes there
    as well; of a channel that stays also those that its sources give the rest to. Of many only the
    strongest: then it is not all.
    """
    share = shares(step) if share is None else share
    kept = step.measures.kept.numpy()
    own = share[channel] + 2 * (kept == channel)  # it is among its own heirs, and first of them
    columns, all_heirs = _strongest(own, MOST_HEIRS)
    into = share[:, columns].sum(1)
    into[channel] = 2
    rows, all_sources = _strongest(into, MOST_NEAR)
    if channel in kept:
        columns, all_heirs = _strongest(share[rows].max(0) + 2 * columns, MOST_HEIRS)
    return rows, columns, all_heirs and all_sources


def _strongest(size: np.ndarray, most: int) -> tuple[np.ndarray, bool]:
    """True at the largest of some sizes, `most` at most, none faint; and if that is all of them."""
    found = np.zeros(len(size), bool)
    found[np.argsort(-size, kind="stable")[:most]] = True
    seen = size >= FAINT
    return found & seen, int(seen.sum()) <= most
