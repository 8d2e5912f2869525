"""What the page says of one channel: sentences, tables and formulas; no Streamlit in it."""

from __future__ import annotations

from collections.abc import Iterable

from torch import Tensor

from app.language import ENGLISH, Texts
from core.channel import Channel, Row, Sum, Tie
from core.unexplained import Unexplained

#: Rows of a table, terms of a formula, and terms of one of its lines, at most.
MOST_TIES, MOST_TERMS, TERMS_A_LINE = 8, 4, 2
#: Sums differ from the smaller network's weights by float32's rounding: a share of the largest.
ROUNDING = 1e-4
#: Less than this share of a channel's mass is none.
SPECK = 0.005


def fate(told: Channel, say: Texts = ENGLISH) -> str:
    """What becomes of a channel, in a sentence or two."""
    rank = say("channel.rank", rank=told.rank, width=told.width, score=told.score)
    if told.place is None:
        if told.heirs and told.heirs[0].mass is not None:
            first, more = told.heirs[0], len(told.heirs) - 1
            key = "channel.gone_to_several" if more else "channel.gone_to_one"
            end = say(key, share=first.share, first=first.channel, more=more)
        elif told.heirs:
            end = say("channel.gone_guessed", count=len(told.heirs))
        else:
            end = say("channel.gone")
        return f"{rank} {end}"
    others = [tie for tie in told.parents if tie.channel != told.index]
    if told.target is not None and others and others[0].mass is not None:
        return f"{rank} {say('channel.stays_and_takes', count=len(others))}"
    return f"{rank} {say('channel.stays')}"


def masses(told: Channel, say: Texts = ENGLISH) -> str:
    """The masses a channel starts and ends with."""
    if told.target is None:
        return say("channel.mass", source=told.source)
    return say("channel.masses", source=told.source, target=told.target)


def table(ties: tuple[Tie, ...], say: Texts = ENGLISH) -> dict[str, list]:
    """The strongest ties as columns; the last row says how many are left out."""
    shown = ties[:MOST_TIES]
    columns = {say("channel.column.channel"): [str(tie.channel) for tie in shown]}
    if shown and shown[0].mass is None:
        coefficients = [say.number(tie.share, "+.3g") for tie in shown]
        columns[say("channel.column.coefficient")] = coefficients
    else:
        columns |= {
            say("channel.column.share"): [say.number(tie.share, "share") for tie in shown],
            say("channel.column.mass"): [say.number(tie.mass, ".3g") for tie in shown],
            say("channel.column.cost"): [say.number(tie.cost, ".3g") for tie in shown],
        }
    if left := len(ties) - len(shown):
        for place, column in enumerate(columns.values()):
            column.append("" if place else say("channel.and_more", count=left))
    return columns


def nearest(told: Channel, say: Texts = ENGLISH) -> dict[str, list]:
    """The cheapest targets as columns, and whether mass goes there."""
    return {
        say("channel.column.channel"): [str(tie.channel) for tie in told.nearest],
        say("channel.column.cost"): [say.number(tie.cost, ".3g") for tie in told.nearest],
        say("channel.column.goes"): [
            say.number(tie.share, "share") if tie.mass > 0 else say("channel.no_mass")
            for tie in told.nearest
        ],
    }


def why_not_nearest(told: Channel, say: Texts = ENGLISH) -> str:
    """Whether its mass takes the cheapest way, and why not."""
    least = told.nearest[0].cost
    share = sum(tie.share for tie in told.heirs if tie.cost == least)
    if share > 1 - SPECK:
        return say("channel.all_nearest")
    key = "channel.some_nearest" if share > SPECK else "channel.none_nearest"
    return say(key, share=share)


def error(known: Unexplained, number: int, say: Texts = ENGLISH) -> str:
    """A channel's part of what the next layers miss, beside the mean of the group."""
    if not known.total:
        return say("channel.nothing_missed")
    share, mean = float(known.shares[number]), 1 / len(known.shares)
    told = say("channel.error", share=share, mean=mean)
    if share < 0:
        told += " " + say("channel.error_below_zero")
    return told


def formula(told: Sum, say: Texts = ENGLISH) -> str:
    """The fused filter as a sum, in LaTeX: w' = r (c₁ w₁ + c₂ w₂ + …)."""
    terms = _terms(((number, c) for number, c, _ in told.terms), "w_{{{}}}", say)
    ratio = float(told.ratio[0])
    if ratio != 1:
        terms = f"{_number(ratio, say)}\\,\\left({terms}\\right)"
    return f"w' = {terms}"


def reading(unmerge: Tensor, kept: list[int], number: int, say: Texts = ENGLISH) -> str | None:
    """How the next layer reads a channel, in LaTeX; None if it doesn't any more.

    Of one that stays the column of `unmerge` (n, m): its new weight as a sum of old ones. Of a
    discarded one the row: what it reads in its place.
    """
    if number in kept:
        column = unmerge[:, kept.index(number)]
        pairs = [(i, float(column[i])) for i in _largest(column)]
        return "v' = " + _terms(pairs, "v_{{{}}}", say) if pairs else None
    row = unmerge[number]
    pairs = [(kept[i], float(row[i])) for i in _largest(row)]
    return f"x_{{{number}}} \\approx " + _terms(pairs, "x'_{{{}}}", say) if pairs else None


def _largest(line: Tensor) -> list[int]:
    """The places of what is not zero, by falling size."""
    order = line.abs().argsort(descending=True, stable=True)
    return order[line[order] != 0].tolist()


def _terms(pairs: Iterable[tuple[int, float]], name: str, say: Texts) -> str:
    """A sum in LaTeX, in lines that a phone has room for."""
    pairs = list(pairs)
    terms = [
        f"{'+' if c >= 0 else '-'} {_number(abs(c), say)}\\,{name.format(number)}"
        for number, c in pairs[:MOST_TERMS]
    ]
    if (left := len(pairs) - MOST_TERMS) > 0:
        terms.append(f"+ \\cdots\\text{{ ({say('channel.terms_more', count=left)})}}")
    lines = [" ".join(terms[i : i + TERMS_A_LINE]) for i in range(0, len(terms), TERMS_A_LINE)]
    lines[0] = lines[0].removeprefix("+ ")
    if len(lines) == 1:
        return lines[0]
    return "\\begin{aligned} & " + " \\\\ & ".join(lines) + "\\end{aligned}"


def _number(value: float, say: Texts) -> str:
    """A number in a formula: LaTeX sets a gap behind a bare comma."""
    return say.number(value, ".3g").replace(",", "{,}")


def check(
    sums: dict[str, Sum], differences: dict[str, float], say: Texts = ENGLISH
) -> tuple[bool, str]:
    """Whether the sums are the smaller network's own weights, and a sentence that says so."""
    wrong = {
        layer: off
        for layer, off in differences.items()
        if not off <= ROUNDING * float(sums[layer].total.abs().max()) + 1e-6  # nor NaN
    }
    if wrong:
        layer = max(wrong, key=wrong.__getitem__)
        return False, say("channel.check_failed", layer=layer, difference=wrong[layer])
    return True, say("channel.checked", difference=max(differences.values()))


def everyone(
    rows: list[Row], known: Unexplained | None, say: Texts = ENGLISH
) -> dict[str, list[int | float | str | None]]:
    """All channels of a group as columns; the share of the error in percent, where it is known."""
    columns = {
        "channel": [row.index for row in rows],
        "fate": [say("channel.row_stays" if row.stays else "channel.row_gone") for row in rows],
        "rank": [row.rank for row in rows],
        "score": [row.score for row in rows],
        "heir": [row.heir for row in rows],
        "heirs": [row.heirs for row in rows],
        "parents": [row.parents for row in rows],
    }
    if known is not None:
        columns["error"] = [100 * share for share in known.shares.tolist()]
    return {say(f"channel.column.{name}"): column for name, column in columns.items()}
