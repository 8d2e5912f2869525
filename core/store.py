"""Measured accuracies in a file that grows: one row a recipe, kept as CSV, Parquet or JSON lines.

    python -m core.store merge assets/results/resnet18-cifar10.parquet measured/*.csv

A row names the network, the SHA-256 of its weights, the set of test images, the numbers it ran in
and every field of the recipe, and tells how many of how many images were named right. Columns are
called as the fields; tuples are JSON text (`groups`: [6], or all). What a file does not tell means
the field's default, so that old files stay readable. The suffix decides the format.

Appending is safe between processes: under a lock the file is read, written aside and replaced, and
a row that is there already is not doubled.
"""

from __future__ import annotations

import argparse
import csv
import hashlib
import json
import os
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, fields
from functools import cached_property
from pathlib import Path
from typing import Any

from core import provenance, zoo
from core.errors import DataError, ExplorerError, PackageMissing, RecipeError
from core.evaluate import Accuracy
from core.recipe import Recipe, looks

FIELDS = tuple(field.name for field in fields(Recipe))
COLUMNS = ("network", "weights", "images", "numbers", *FIELDS, "right", "total")
NEEDED = ("network", "right", "total")
#: In the first files a row shrank one group.
OLD = "group"


@dataclass(frozen=True)
class Row:
    """What was measured for one recipe.

    right : of the first `right.total` images of the test split of `images`. weights : SHA-256 of
    the network's file, "" where nobody said. numbers : a key of `core.ready.NUMBERS`.
    """

    network: str
    recipe: Recipe
    right: Accuracy
    weights: str = ""
    images: str = ""
    numbers: str = "float32"

    @cached_property
    def key(self) -> str:
        """Sixteen digits that change with everything but the count of right answers."""
        told = self.recipe.as_dict() | {
            "network": self.network, "weights": self.weights, "images": self.images,
            "numbers": self.numbers, "total": self.right.total,
        }  # fmt: skip
        text = json.dumps(told, sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    def as_dict(self) -> dict:
        """Plain values by column, in the order of COLUMNS."""
        told = self.recipe.as_dict() | {
            "network": self.network, "weights": self.weights, "images": self.images,
            "numbers": self.numbers, "right": self.right.correct, "total": self.right.total,
        }  # fmt: skip
        return {name: told[name] for name in COLUMNS}


def read(path: Path) -> dict[str, Row]:
    """What a file holds, by the rows' keys; {} if there is none.

    Raises
    ------
    DataError
        If it is damaged, holds something else, or has a suffix that is not known.
    PackageMissing
        If it is Parquet and pyarrow is not installed.
    """
    kind = _kind(path)
    if not path.exists():
        return {}
    try:
        held = list(kind.read(path))
    except (OSError, ValueError, csv.Error) as error:  # Arrow's errors are among them
        raise DataError(
            f"{path} can't be read: it is damaged or no {path.suffix} file "
            f"({_line(error)}). Restore it, or name another file."
        ) from error
    note = provenance.read(path) if any("weights" not in told for _, told in held) else None
    known = {}
    for place, told in held:
        row = _row(path, place, told, note)
        known.setdefault(row.key, row)
    return known


def worth(row: Row) -> tuple[bool, int]:
    """By this order the row to believe comes last: float32 before other numbers, more images."""
    return row.numbers == "float32", row.right.total


def append(path: Path, rows: Iterable[Row]) -> int:
    """Add the rows whose keys are not in the file yet, and tell how many. All or none are added.

    Raises
    ------
    DataError
        If the file can't be read or written.
    PackageMissing
        If it is Parquet and pyarrow is not installed.
    """
    kind = _kind(path)
    with locked(path):
        known = read(path)
        new: dict[str, Row] = {}
        for row in rows:
            if row.key not in known:
                new.setdefault(row.key, row)
        if new:
            aside = path.with_name(f".{path.name}.partial")
            with _writable(path):
                kind.write(aside, [row.as_dict() for row in (known | new).values()])
                with aside.open("rb") as file:
                    os.fsync(file.fileno())  # or a power cut may leave an empty file in its place
                aside.replace(path)
    return len(new)


def merge(path: Path, others: Iterable[Path]) -> int:
    """Add the rows of other files with the notes on where they come from; how many are new.

    Raises
    ------
    DataError
        If one can't be read, is not there, does not say with which weights it was measured, or
        speaks of other weights than the file does.
    """
    added = 0
    for other in others:
        rows, note = read(other).values(), provenance.read(other)
        if not rows:
            raise DataError(f"There are no results in {other}. Name a file that holds some.")
        if note is None or any(row.weights != note.weights for row in rows):
            raise DataError(
                f"{other} does not say with which weights it was measured. Put the note that "
                f"belongs to it, {provenance.beside(other).name}, beside it."
            )
        with locked(path, ".note"):
            provenance.join(path, note)
        added += append(path, rows)
    return added


@contextmanager
def locked(path: Path, what: str = "", wait: float = 60.0, busy: str = "") -> Iterator[None]:
    """Nobody else on this machine is in here for the same file; a killed process lets go at once.

    Parameters
    ----------
    what : which of the file's locks; "" is that of `append`.
    wait : seconds to wait for it.
    busy : what to say when it is taken.

    Raises
    ------
    DataError
        If it stays taken, or the folder can't be written to.
    """
    from filelock import FileLock, Timeout

    with _writable(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        lock = FileLock(path.with_name(f".{path.name}{what}.lock"), timeout=wait)
        try:
            lock.acquire()
        except Timeout as error:
            busy = busy or f"{path} is being written by another process. Try again later."
            raise DataError(busy) from error
    try:
        yield
    finally:
        lock.release()


@contextmanager
def _writable(path: Path) -> Iterator[None]:
    """Turn an error of the file system into a sentence.

    Raises
    ------
    DataError
        In place of every OSError.
    """
    try:
        yield
    except OSError as error:
        raise DataError(
            f"{path} can't be written ({error.strerror or error}). Name a file in a folder that "
            "you may write to."
        ) from error


# -- rows of files → rows


def _row(path: Path, place: str, told: Mapping[str, Any], note: provenance.Note | None) -> Row:
    """The row that a line of a file tells; a value None or "" was not told."""
    told = {name: value for name, value in told.items() if value not in (None, "")}
    if missing := [name for name in NEEDED if name not in told]:
        raise DataError(
            f"{place[0].upper()}{place[1:]} of {path} is cut or something else: it has no "
            f"{missing[0]}. Remove it, it will be measured again, or name another file."
        )
    if unknown := sorted(set(told) - {*COLUMNS, OLD}):
        raise DataError(
            f"{path} has the column {unknown[0]!r}, which this version does not know: it may come "
            "from a newer one. Name another file."
        )
    network = str(told["network"])
    usual = zoo.NETWORKS[network].images if network in zoo.NETWORKS else ""
    own = note.weights if note and note.network == network else ""
    try:
        choices = {name: _value(name, told[name]) for name in FIELDS if name in told}
        if OLD in told:
            choices.setdefault("groups", (_whole(told[OLD]),))
        recipe = Recipe.from_dict(choices)
        if "data" not in told and looks(recipe.importance, recipe.rule):
            recipe = recipe.replace(data=usual)
        right = Accuracy(_whole(told["right"]), _whole(told["total"]))
        if not 0 <= right.correct <= right.total or not right.total:
            raise ValueError(f"{right.correct} of {right.total} images can't be right")
    except (TypeError, ValueError, RecipeError) as error:
        raise DataError(
            f"{place[0].upper()}{place[1:]} of {path} is cut or not a number ({_line(error)}). "
            "Remove it, it will be measured again."
        ) from error
    return Row(
        network, recipe, right, str(told.get("weights", own)), str(told.get("images", usual)),
        str(told.get("numbers", "float32")),
    )  # fmt: skip


_USUAL = Recipe().as_dict()


def _value(name: str, value: Any) -> Any:
    """A field of the recipe from what a file holds: text, a number, or a list."""
    if isinstance(value, str) and value.startswith("["):
        return json.loads(value)
    if isinstance(_USUAL[name], int):
        return _whole(value)
    return float(value) if isinstance(_USUAL[name], float) and isinstance(value, str) else value


def _whole(value: Any) -> int:
    if isinstance(value, str) or value == int(value):
        return int(value)
    raise ValueError(f"{value} is not a whole number")


def _line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0].rstrip(".")


# -- the formats


@dataclass(frozen=True)
class Kind:
    """A format: how its rows are read, each with the words for its place, and written."""

    read: Callable[[Path], Iterator[tuple[str, dict]]]
    write: Callable[[Path, list[dict]], None]


def _flat(row: dict) -> dict:
    return {k: json.dumps(v) if isinstance(v, list) else v for k, v in row.items()}


def _read_csv(path: Path) -> Iterator[tuple[str, dict]]:
    with path.open(newline="", encoding="utf-8") as file:
        table = csv.DictReader(file, restkey="…", strict=True)
        names = set(table.fieldnames or ())
        if not names >= set(NEEDED):
            raise ValueError(
                f"it does not hold recorded accuracies, its first line must name {NEEDED[0]}, "
                f"{NEEDED[1]} and {NEEDED[2]}"
            )
        for told in table:
            if "…" in told:
                raise ValueError(f"line {table.line_num} has more values than columns")
            yield f"line {table.line_num}", told


def _write_csv(path: Path, rows: list[dict]) -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        table = csv.DictWriter(file, COLUMNS, lineterminator="\n")
        table.writeheader()
        table.writerows(map(_flat, rows))


def _read_json(path: Path) -> Iterator[tuple[str, dict]]:
    with path.open(encoding="utf-8") as file:
        for number, line in enumerate(file, 1):
            told = json.loads(line)
            if not isinstance(told, dict):
                raise ValueError(f"line {number} is no object such as {{…}}")
            yield f"line {number}", told


def _write_json(path: Path, rows: list[dict]) -> None:
    path.write_text(
        "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8"
    )


def _parquet():
    """pyarrow and its Parquet.

    Raises
    ------
    PackageMissing
        If it is not installed.
    """
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError as error:
        raise PackageMissing(
            "A .parquet file needs pyarrow, which comes with the packages of requirements.txt: "
            "pip install -r requirements.txt, or name a .csv file."
        ) from error
    return pyarrow


def _read_parquet(path: Path) -> Iterator[tuple[str, dict]]:
    table = _parquet().parquet.read_table(path)
    for number, told in enumerate(table.to_pylist(), 1):
        yield f"row {number}", told


def _write_parquet(path: Path, rows: list[dict]) -> None:
    arrow = _parquet()
    rows = list(map(_flat, rows))
    if any(isinstance(row["sparsity"], str) for row in rows):  # a column has one type
        rows = [row | {"sparsity": str(row["sparsity"])} for row in rows]
    arrow.parquet.write_table(arrow.Table.from_pylist(rows), path, compression="zstd")


KINDS = {
    ".csv": Kind(_read_csv, _write_csv),
    ".parquet": Kind(_read_parquet, _write_parquet),
    ".json": Kind(_read_json, _write_json),
}


def _kind(path: Path) -> Kind:
    if path.suffix not in KINDS:
        raise DataError(
            f"Results are kept in files that end in {', '.join(KINDS)}; {path.name!r} does not. "
            "Name such a file."
        )
    return KINDS[path.suffix]


# -- the command


def main(arguments: list[str] | None = None) -> int:
    """Put files together; 1 if something was wrong, said in a sentence."""
    told = argparse.ArgumentParser(
        "python -m core.store", description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    commands = told.add_subparsers(dest="command", required=True, metavar="COMMAND")
    one = commands.add_parser("merge", help="add the rows of files, with their notes, to a file")
    one.add_argument("into", type=Path, help="the file that grows; its suffix is its format")
    one.add_argument("others", type=Path, nargs="+", help="files of any of the formats")
    chosen = told.parse_args(arguments)
    try:
        added = merge(chosen.into, chosen.others)
    except ExplorerError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    print(f"{added} rows are new in {chosen.into}, which holds {len(read(chosen.into))}.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
