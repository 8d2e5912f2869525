"""What the page says of one channel: sentences, tables and formulas; no Streamlit in it."""

from __future__ import annotations

from core.channel import Channel, Sum, Tie

#: Rows of a table, and terms of a formula, at most.
MOST_TIES, MOST_TERMS = 8, 4

#: The tables' titles and what they hold: of heirs and of parents, where mass is transported and
#: where channels are guessed.
HEIRS = {
    True: "**Heirs**: where its mass goes",
    False: "**Guessed from**: what the next layer makes up for it with",
}
PARENTS = {
    True: "**Parents**: whose mass arrives here",
    False: "**Helps to guess**: what the next layer makes up for with it",
}


def fate(told: Channel) -> str:
    """What becomes of a channel, in a sentence or two."""
    rank = f"number {told.rank:,} of {told.width:,} by importance ({told.score:.3g})"
    if told.place is None:
        end = "It is **discarded**"
        if told.heirs and told.heirs[0].mass is not None:
            first, more = told.heirs[0], len(told.heirs) - 1
            others = f", the rest to {more} other{'s' if more > 1 else ''}" if more else ""
            end += f"; {_percent(first.share)} of its mass goes to channel {first.channel}{others}."
        elif told.heirs:
            end += f" and guessed from {len(told.heirs):,} channels that stay."
        else:
            end += " and deleted."
        return f"It is {rank}. {end}"
    end = "It **stays**"
    others = [tie for tie in told.parents if tie.channel != told.index]
    if told.target is not None and others and others[0].mass is not None:
        end += f" and takes in mass of {len(others)} other{'s' if len(others) > 1 else ''}."
    else:
        end += " as it is."
    return f"It is {rank}. {end}"


def table(ties: tuple[Tie, ...]) -> dict[str, list]:
    """The strongest ties as columns; the last row says how many are left out."""
    shown = ties[:MOST_TIES]
    if shown and shown[0].mass is None:
        columns = {
            "channel": [str(tie.channel) for tie in shown],
            "coefficient": [f"{tie.share:+.3g}" for tie in shown],
        }
    else:
        columns = {
            "channel": [str(tie.channel) for tie in shown],
            "share": [_percent(tie.share) for tie in shown],
            "mass": [f"{tie.mass:.3g}" for tie in shown],
            "cost": [f"{tie.cost:.3g}" for tie in shown],
        }
    if left := len(ties) - len(shown):
        for name, column in columns.items():
            column.append(f"and {left} more" if name == "channel" else "")
    return columns


def formula(told: Sum) -> str:
    """The fused filter as a sum, in LaTeX: w' = r (c₁ w₁ + c₂ w₂ + …)."""
    terms = " ".join(
        f"{'+' if c >= 0 else '-'} {abs(c):.3g}\\,w_{{{number}}}"
        for number, c, _ in told.terms[:MOST_TERMS]
    ).removeprefix("+ ")
    if left := len(told.terms) - MOST_TERMS:
        terms += f" + \\cdots\\text{{ ({left} more)}}" if left > 0 else ""
    ratio = float(told.ratio[0])
    if ratio != 1:
        terms = f"{ratio:.3g}\\,({terms})"
    return f"w' = {terms}"


def _percent(share: float) -> str:
    return f"{100 * share:.0f} %" if share >= 0.1 else f"{100 * share:.1f} %"
