"""`python -m app.lesson check FILE …`: is a lesson's file in order, and do its numbers hold?"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import core
from app.lesson import Lesson, LessonError, read
from app.lesson.numbers import problems
from core import zoo


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
    return lesson, list(problems(lesson))


def main(arguments: list[str] | None = None) -> int:
    """0 if all files are fine, 1 otherwise."""
    parser = argparse.ArgumentParser(prog="python -m app.lesson", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    checking = commands.add_parser("check", help="say what is wrong with lesson files")
    checking.add_argument("file", nargs="+", type=Path)
    failed = False
    for file in parser.parse_args(arguments).file:
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
