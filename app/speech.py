"""Which language this session speaks. Imports nothing heavy: the title is drawn before PyTorch."""

from __future__ import annotations

import streamlit as st

from app import language, values


def speech() -> language.Texts:
    """The texts of the session's language: the chosen one, else the link's, else the browser's."""
    known = values.get("lang") or st.query_params.get("lang")
    return language.texts(known if known in language.LANGUAGES else browsers())


def browsers() -> str:
    """The language nearest to what the browser asks for."""
    return language.of_locale(st.context.locale)
