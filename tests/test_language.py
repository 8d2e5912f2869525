"""The page's words: every language has every text, with the same values in it."""

from __future__ import annotations

import re
import string
from pathlib import Path

import pytest

from app import language
from app.language import LANGUAGES, read, texts
from app.link import TABLES, VIEWS

APP = Path(language.__file__).parent
OTHERS = [name for name in LANGUAGES if name != "en"]


def fields(text: str) -> set[str]:
    return {name for _, name, _, _ in string.Formatter().parse(text) if name}


@pytest.mark.parametrize("name", OTHERS)
def test_every_language_has_every_text_and_no_other(name):
    english, other = read("en"), read(name)
    explained = {key for key in other if key.startswith("about.")}
    assert set(other) - explained == set(english)


@pytest.mark.parametrize("name", OTHERS)
def test_translations_fill_in_the_same_values(name):
    english, other = read("en"), read(name)
    for key in english:
        assert fields(other[key]) == fields(english[key]), key


@pytest.mark.parametrize("name", OTHERS)
def test_every_choice_is_explained_in_every_language(name):
    wanted = {f"about.{table}.{key}" for table, rows in TABLES.items() for key in rows}
    told = {key for key in read(name) if key.startswith("about.")}
    assert told == wanted


def test_every_text_that_the_code_asks_for_is_there_and_none_is_idle():
    code = "".join(file.read_text() for file in APP.rglob("*.py"))
    asked = set(re.findall(r"[\"']([a-z_]+\.[a-z_][\w.]*)[\"']", code))
    begun = tuple(re.findall(r"f\"([a-z_]+\.(?:\w+\.)*)\{", code))
    there = set(read("en"))
    sections = {key.partition(".")[0] for key in there}
    files = {".py", ".js", ".css", ".toml"}
    missing = {
        key for key in asked - there
        if key.partition(".")[0] in sections and not any(key.endswith(end) for end in files)
    }  # fmt: skip
    assert not missing, f"asked for, and not in en.toml: {sorted(missing)}"
    idle = {key for key in there - asked if not key.startswith(begun)}
    assert not idle, f"in en.toml, and asked for by nobody: {sorted(idle)}"


def test_every_view_has_its_words():
    there = read("en")
    for name, options in VIEWS.items():
        assert {f"view.{name}.{key}" for key in (*options, "label")} <= there.keys()


def test_numbers_are_written_as_the_language_writes_them():
    say = texts("en")
    assert say.number(1234.5, ",.1f") == "1,234.5" and say.number(0.887, ".1%") == "88.7\xa0%"
    assert say.number(0.05, "share") == "5.0\xa0%" and say.number(0.5, "share") == "50\xa0%"
    assert say.number(-3, "+d") == "−3"
    assert texts("de").number(1234.5, ",.1f") == "1.234,5"
    assert texts("de").number(0.887, ".1%") == "88,7\xa0%"


@pytest.mark.parametrize(("count", "word"), [(1, "channel"), (0, "channels"), (7, "channels")])
def test_one_and_many_have_their_words(count, word):
    assert texts("en").format_field(count, "channel|channels") == word


def test_a_missing_text_is_a_fault_and_a_missing_translation_is_english(monkeypatch):
    with pytest.raises(KeyError):
        texts("en")("no.such.text")
    german = language.Texts("de")
    german.found = {k: v for k, v in german.found.items() if k != "controls.seed"}
    assert german("controls.seed") == texts("en")("controls.seed")


@pytest.mark.parametrize(
    ("locale", "name"), [("de-AT", "de"), ("de", "de"), ("fr-FR", "en"), (None, "en"), ("", "en")]
)
def test_the_browsers_language_is_taken_where_there_is_one(locale, name):
    assert language.of_locale(locale) == name
