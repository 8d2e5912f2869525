"""The page's words: a file a language in `app/texts/`, each text found by its key.

Texts are format strings with three additions. `{count:channel|channels}` is the first word if the
value is 1, the second otherwise; `{share:share}` is a share in percent with as many digits as mean
something; and `%` formats get the space that both the SI and German want. Numbers are written as
the language writes them. English is whole; what another language lacks is shown in English.
"""

from __future__ import annotations

import string
import tomllib
from collections.abc import Mapping
from functools import cache
from pathlib import Path

FOLDER = Path(__file__).parent / "texts"
#: What a language is called by those who speak it.
LANGUAGES = {"en": "English", "de": "Deutsch"}
DEFAULT = "en"
#: Languages that write 1.234,5 for 1,234.5.
COMMA = ("de",)
#: Between a number and its percent sign: neither may be left alone at a line's end.
NARROW = "\N{NO-BREAK SPACE}"


class Texts(string.Formatter):
    """The texts of one language: `say("plan.title", count=3)`."""

    def __init__(self, language: str) -> None:
        self.language = language
        self.found = read(language)
        self.english = self.found if language == DEFAULT else read(DEFAULT)

    def __call__(self, key: str, /, **values: object) -> str:
        """The text of a key, with its values filled in.

        Raises
        ------
        KeyError
            If there is no such text, or one of its values is missing: both are faults of ours.
        """
        text = self.found.get(key)
        if text is None:
            text = self.english[key]
        return self.vformat(text, (), values)

    def about(self, table: str, key: str, english: str) -> str:
        """The line that explains a choice; `english` is the line of the choice's own table."""
        return self.found.get(f"about.{table}.{key}", english)

    def format_field(self, value: object, spec: str) -> str:
        """One value by its specification, in this language."""
        if "|" in spec:
            one, more = spec.split("|")
            return one if value == 1 else more
        if spec == "share":
            spec = ".0%" if abs(value) >= 0.1 else ".1%"
        text = format(value, spec)
        if isinstance(value, (int, float)) and not isinstance(value, bool):
            text = text.replace("-", "−") if value < 0 else text
            text = text.replace("%", f"{NARROW}%")
            if self.language in COMMA:
                text = text.translate({ord(","): ".", ord("."): ","})
        return text

    def number(self, value: float, spec: str) -> str:
        """A number on its own, as texts show it."""
        return self.format_field(value, spec)


@cache
def texts(language: str) -> Texts:
    """The texts of a language; the same object each time, so that caches can tell by it."""
    return Texts(language if language in LANGUAGES else DEFAULT)


def of_locale(locale: str | None) -> str:
    """The language nearest to what a browser asks for, such as `de-AT`."""
    first = (locale or "").split("-")[0].lower()
    return first if first in LANGUAGES else DEFAULT


def read(language: str) -> dict[str, str]:
    """A language's file as {"section.key": text}.

    Raises
    ------
    ValueError
        If something in it is not a text.
    """
    with (FOLDER / f"{language}.toml").open("rb") as file:
        return dict(_flat(tomllib.load(file), ""))


def _flat(table: Mapping, above: str):
    for key, value in table.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{above}{key}.")
        elif isinstance(value, str):
            yield above + key, value.strip()
        else:
            raise ValueError(f"{above}{key} is not a text")


#: For figures that are drawn outside of any page.
ENGLISH = texts(DEFAULT)
