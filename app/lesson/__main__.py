"""`python -m app.lesson`: check lesson files, numbers included, or list what toys can be told."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType

import core
from app.lesson import Lesson, LessonError, read
from app.lesson.numbers import problems
from core import zoo
from core.errors import ExplorerError


def widths(name: str) -> tuple[int, ...]:
    """How many channels each group of a network has."""
    return tuple(g.width for g in core.trace(core.load(name), zoo.network(name).input_shape).groups)


def check(file: Path) -> tuple[Lesson | None, list[str]]:
    """The lesson of a file, and all that is wrong with it."""
    known: dict[str, tuple[int, ...]] = {}

    def remembered(name: str) -> tuple[int, ...]:
        if name not in known:
            known[name] = widths(name)
        return known[name]

    try:
        lesson = read(file, remembered)
    except LessonError as error:
        return None, error.problems
    return lesson, [*problems(lesson), *_toys(lesson)]


def _toy_box() -> ModuleType:
    """The toys. Imported here: they need Streamlit, which says on the console that it isn't on."""
    import_module("streamlit.logger").set_log_level("ERROR")
    return import_module("app.toys")


def _toys(lesson: Lesson) -> Iterator[str]:
    """A sentence for every toy that can't be drawn as a lesson wants it."""
    steps = [(n, step) for n, step in enumerate(lesson.steps, 1) if step.toy]
    if not steps or find_spec("app.toys") is None:
        return
    toys = _toy_box()
    for number, step in steps:
        try:
            toys.check(step.toy, step.settings)
        except ExplorerError as error:
            yield f"{lesson.name}, step {number}, toy: {error}"


def main(arguments: list[str] | None = None) -> int:
    """0 if all files are fine, 1 otherwise."""
    parser = argparse.ArgumentParser(prog="python -m app.lesson", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    checking = commands.add_parser("check", help="say what is wrong with lesson files")
    checking.add_argument("file", nargs="+", type=Path)
    commands.add_parser("toys", help="say what each toy can be told in a step")
    asked = parser.parse_args(arguments)
    if asked.command == "toys":
        for toy, fields in _toy_box().FIELDS.items():
            print(toy, *(f"  {name}: {about}" for name, about in fields.items()), sep="\n")
        return 0
    failed = False
    for file in asked.file:
        lesson, wrong = check(file)
        for sentence in wrong:
            print(sentence, file=sys.stderr)
        failed |= bool(wrong)
        if lesson is not None and not wrong:
            checks = sum(len(part.checks) for part in (*lesson.steps, *lesson.questions))
            print(
                f"{file.name}: fine. {len(lesson.steps)} steps, {len(lesson.questions)} questions, "
                f"{checks} checks recomputed."
            )
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
