"""The recipe's fields as options of the command line, with the choices' own explanations.

Everything is read from `core.recipe`: a new field or a new row of a table is an option at once.
"""

from __future__ import annotations

import argparse
import dataclasses
import inspect
import json
import re
from pathlib import Path
from typing import Any

from core.errors import RecipeError
from core.portable import FORMAT
from core.recipe import CHOICES, Recipe


def field_help() -> dict[str, str]:
    """What each field of the recipe means, from the recipe's own documentation."""
    section = inspect.getdoc(Recipe).partition("----------\n")[2]
    found = {}
    for names, text in re.findall(r"^(\w[\w, ]*) : (.*(?:\n +.*)*)", section, re.MULTILINE):
        about = re.sub(r",? (?:a key|keys) of\s+`[\w.]+`", "", " ".join(text.split()))
        found |= {name: about.rstrip(".") for name in names.split(", ")}
    return found


def value_of(text: str) -> Any:
    """An option's value: a number, true, false, null, a list with commas, else the text itself."""
    try:
        return json.loads(text)
    except ValueError:
        if "," in text:
            return [value_of(part.strip()) for part in text.split(",") if part.strip()]
        return text


def whole_numbers(text: str) -> list[int] | str:
    """`all`, or indices with commas between them."""
    if text == "all":
        return text
    try:
        return [int(part) for part in text.split(",")]
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{text!r} is neither 'all' nor like 0,3,6") from error


def shape(text: str) -> tuple[int, ...]:
    """`3,224,224` → (3, 224, 224)."""
    try:
        sizes = tuple(int(part) for part in text.split(","))
    except ValueError:
        sizes = ()
    if len(sizes) != 3 or min(sizes) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not like 3,224,224")
    return sizes


def add_recipe(parser: argparse.ArgumentParser) -> None:
    """An option for each field of the recipe, with the choices' own lines of explanation."""
    about, usual = field_help(), Recipe()
    recipe = parser.add_argument_group("the recipe")
    recipe.add_argument(
        "--recipe", type=Path, metavar="FILE",
        help="a JSON file with fields of the recipe; the options below override it",
    )  # fmt: skip
    for field in dataclasses.fields(Recipe):
        choices = CHOICES.get(field.name)
        default = getattr(usual, field.name)
        shown = ",".join(map(str, default)) if isinstance(default, tuple) else default
        shown = "none" if shown in ("", None) else shown
        lines = [f"{about.get(field.name, field.name)} (default: {shown})"]
        for name, line in (choices or {}).items():
            lines.append(f"  {name:<12} {line}")
        kind = whole_numbers if field.name == "groups" else value_of
        recipe.add_argument(
            f"--{field.name.replace('_', '-')}",
            dest=f"recipe_{field.name}",
            default=argparse.SUPPRESS,
            choices=choices,
            type=str if isinstance(default, str) and field.name != "groups" else kind,
            metavar=field.name.upper(),
            help="\n".join(lines).replace("%", "%%"),
        )


def chosen_recipe(chosen: argparse.Namespace) -> Recipe:
    """The recipe of the file, if one is named, with the options' fields in place of its own.

    Raises
    ------
    RecipeError
        If the file can't be read, or a field or a value isn't allowed.
    """
    told: dict = {}
    if chosen.recipe:
        try:
            told = json.loads(chosen.recipe.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise RecipeError(
                f"The recipe {chosen.recipe} can't be read ({error}). It must be a JSON file such "
                'as {"groups": [6], "sparsity": 0.5}.'
            ) from error
        if isinstance(told, dict) and told.get("format") == FORMAT:
            told = told.get("recipe")  # a saved result's own file serves as well
        if not isinstance(told, dict):
            raise RecipeError(
                f"The recipe {chosen.recipe} is not a JSON object such as "
                '{"groups": [6], "sparsity": 0.5}.'
            )
    options = {
        key.removeprefix("recipe_"): value
        for key, value in vars(chosen).items()
        if key.startswith("recipe_")
    }
    return Recipe.from_dict(told | options)
