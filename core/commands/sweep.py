"""`python -m core sweep`: accuracy against sparsity for groups, importances, rules, solvers."""

from __future__ import annotations

import argparse
from pathlib import Path

from core import gains, store, sweep, zoo
from core.commands.common import Told, add_data_dir, told_command
from core.errors import DataError
from core.experiments import Bench
from core.output import Progress, table
from core.ready import NUMBERS
from core.recipe import CHOICES, Recipe

NETWORK = False
ABOUT = "measure accuracy against sparsity, for groups, importances, rules and solvers"
MORE = (
    "Every combination is a row of the file; what stands there is not measured again. It may be "
    "stopped or killed at any moment and goes on from there when it is started again. Rules "
    "without a plan are counted once, not once a solver."
)


def add(one: argparse.ArgumentParser) -> None:
    one.add_argument(
        "--network", required=True, choices=tuple(zoo.NETWORKS), metavar="NETWORK",
        help="a network of the zoo; `python -m core networks` lists them",
    )  # fmt: skip
    one.add_argument(
        "--out", required=True, type=Path, metavar="FILE",
        help="the file that grows: .parquet, .csv or .json (lines)",
    )  # fmt: skip
    add_choices(one, "select,released", "l1")
    add_running(one)


def add_choices(one: argparse.ArgumentParser, rules: str, importances: str) -> None:
    """What is combined."""
    one.add_argument(
        "--groups", type=groups, default="each", metavar="LIST",
        help="indices of groups that shrink alone, `each` of them, or `all` together (each)",
    )  # fmt: skip
    one.add_argument(
        "--sparsities", type=shares, metavar="LIST", default=sweep.SPARSITIES,
        help=f"shares of channels to discard ({','.join(map(str, sweep.SPARSITIES))})",
    )  # fmt: skip
    for option, field, usual in (
        ("--importances", "importance", importances), ("--rules", "rule", rules),
        ("--solvers", "solver", "exact"),
    ):  # fmt: skip
        lines = [f"with commas between them (default: {usual})"]
        lines += [
            f"  {name:<12} {line}".replace("%", "%%") for name, line in CHOICES[field].items()
        ]
        one.add_argument(option, type=words, default=usual, metavar="LIST", help="\n".join(lines))
    one.add_argument(
        "--seeds", type=whole, default=(0,), metavar="LIST", help="of whatever is drawn (0)"
    )


def add_running(one: argparse.ArgumentParser) -> None:
    """How it is counted, and where."""
    one.add_argument("--limit", type=int, metavar="N", help="test on the first N images (all)")
    one.add_argument(
        "--numbers", choices=NUMBERS, default="float32",
        help="\n".join(f"  {name:<12} {line}" for name, line in NUMBERS.items()),
    )  # fmt: skip
    one.add_argument(
        "--scheduler", metavar="ADDRESS",
        help="count on the workers of this Dask scheduler (tcp://HOST:8786), which load the\n"
        "network and the images themselves",
    )  # fmt: skip
    add_data_dir(one)


def run(chosen: argparse.Namespace, progress: Progress) -> Told:
    bench, recipes = prepared(chosen, chosen.network, progress)
    return measured(chosen, bench, recipes, chosen.out, progress)


def prepared(
    chosen: argparse.Namespace, network: str, progress: Progress
) -> tuple[Bench, list[Recipe]]:
    """The network with its images, and the recipes that the options combine to."""
    progress.say(f"Loading {network}")
    bench = Bench(network, chosen.limit, folder=chosen.data_dir)
    of: list[int | str] = []
    for one in chosen.groups:
        of += [group.index for group in bench.graph.groups] if one == "each" else [one]
    return bench, sweep.entries(
        of, chosen.sparsities, chosen.importances, chosen.rules, chosen.solvers, chosen.seeds,
        bench.tested.name,
    )  # fmt: skip


def measured(
    chosen: argparse.Namespace, bench: Bench, recipes: list[Recipe], out: Path, progress: Progress
) -> Told:
    """Fill the file and tell what it then holds of the recipes."""
    new = 0
    command = told_command(chosen)
    for event in sweep.run(
        bench, recipes, out, chosen.numbers, command, scheduler=chosen.scheduler
    ):
        new += len(event.stored)
        progress.say(line(event), passing=event.phase != "stored")
    rows = sweep.found(bench, recipes, out, chosen.numbers)
    told = {
        "file": str(out), "network": bench.name, "entries": len(recipes), "measured": new,
        "rows": [{"key": row.key, **row.as_dict()} for row in rows.values()],
    }  # fmt: skip
    title = f"{bench.name}: {len(recipes)} entries in {out}, {new} of them measured now"
    return told, f"{title}\n\n{results(rows)}"


def line(event: sweep.Event) -> str:
    """How far a sweep is, in a line."""
    where = "all groups" if event.groups == "all" else f"group {event.groups[0]}"
    doing = {
        "making": f"{where}, {event.step} of {event.steps} networks made",
        "counting": f"{where}, {event.step:,} of {event.steps:,} images",
        "stored": f"{where} stored",
    }[event.phase]
    left = "" if event.left is None or not event.left else f", about {duration(event.left)} left"
    return f"{event.done} of {event.entries} entries; {doing}{left}"


def duration(seconds: float) -> str:
    """`40 s`, `12 min`, `3 h 20 min`."""
    minutes = round(seconds / 60)
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{minutes} min" if minutes < 90 else f"{minutes // 60} h {minutes % 60} min"


def results(rows: dict[Recipe, store.Row]) -> str:
    """The rows as a table, and what fusion gains over plain pruning, by group."""
    lines = [("group", "sparsity", "importance", "rule", "solver", "seed", "accuracy")]
    lines += [
        (
            "dense" if one == sweep.DENSE else "all" if one.groups == "all" else str(one.groups[0]),
            f"{one.sparsity:.0%}", one.importance, one.rule, one.solver, str(one.seed),
            str(row.right),
        )
        for one, row in rows.items()
    ]  # fmt: skip
    text = table(lines)
    found = {one: row.right for one, row in rows.items()}
    fusions = {one.replace(groups=(0,), sparsity=0.5) for one in rows if one.rule != "select"}
    for fusion in sorted(fusions, key=repr):
        try:
            told = gains.gain_map(found, fusion, found[sweep.DENSE])
        except DataError:  # no plain pruning, or no group that shrinks alone, among the rows
            continue
        text += f"\n\n{gained(told, fusion)}"
    return text


def gained(told: gains.GainMap, fusion: Recipe) -> str:
    """A gain map as a table."""
    lines = [("group", *(f"{one:.0%}" for one in told.sparsities), "pruning loses", "which is")]
    for group in told.groups:
        cells = (told.cells.get((group, one)) for one in told.sparsities)
        loss = told.losses.get(group)
        lines.append(
            (
                str(group), *(f"{cell.points:+.1f}" if cell else "…" for cell in cells),
                "…" if loss is None else f"{loss:.1f}", told.kind(group),
            )
        )  # fmt: skip
    about = f"{fusion.rule} − select, points ({fusion.importance}, {fusion.solver}"
    return f"{about}, seed {fusion.seed}):\n{table(lines)}"


# -- lists with commas


def groups(text: str) -> list[int | str]:
    try:
        return [one if one in ("each", "all") else int(one) for one in parts(text)]
    except ValueError as error:
        raise argparse.ArgumentTypeError(
            f"{text!r} is neither 'each' nor 'all' nor like 0,3,6"
        ) from error


def shares(text: str) -> tuple[float, ...]:
    try:
        return tuple(float(one) for one in parts(text))
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{text!r} is not like 0.3,0.5") from error


def whole(text: str) -> tuple[int, ...]:
    try:
        return tuple(int(one) for one in parts(text))
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{text!r} is not like 0,1,2") from error


def words(text: str) -> tuple[str, ...]:
    """What is no key of its table the recipe refuses, with the keys there are."""
    try:
        return tuple(parts(text))
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from error


def parts(text: str) -> list[str]:
    if not (found := [one.strip() for one in text.split(",") if one.strip()]):
        raise ValueError("nothing is named")
    return found
