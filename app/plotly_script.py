"""The script that draws figures in the browser: where it lies, and how to load it ahead of them.

It is the one that the Python package of Plotly brings along. The browser takes about as long to
read it as this side takes to import PyTorch, so it is asked for first. Nothing here imports `core`,
which does.
"""

from __future__ import annotations

import os
import re
import shutil
import tempfile
from functools import cache
from pathlib import Path

import plotly

HERE = Path(__file__).parent
#: Streamlit serves this folder as `app/static`.
STATIC = HERE / "static"


def code(*files: str) -> str:
    """The code of a component that draws: what loads Plotly, and these files beside this one."""
    return "".join((HERE / name).read_text("utf-8") for name in ("plotly.js", *files))


def ahead() -> str | None:
    """The script's name, for the browser to load it before there is a figure; None without one."""
    try:
        return _copied().name
    except OSError:
        return None  # the figures will say so


@cache
def _copied() -> Path:
    original = Path(plotly.__file__).parent / "package_data" / "plotly.min.js"
    with original.open(encoding="utf-8") as file:
        version = re.search(r"v(\d[\w.-]*)", file.read(200))[1]
    target = STATIC / f"plotly-{version}.min.js"
    if target.exists() and target.stat().st_size == original.stat().st_size:
        return target
    STATIC.mkdir(exist_ok=True)
    with tempfile.NamedTemporaryFile(dir=STATIC, delete=False) as file:
        shutil.copyfileobj(original.open("rb"), file)
    os.chmod(file.name, 0o644)
    os.replace(file.name, target)  # whoever fetches it meanwhile gets a whole one
    return target


def script() -> Path:
    """The package's Plotly script, where the browser can fetch it; it is copied there once.

    Raises
    ------
    ExplorerError
        If the folder can't be written.
    """
    try:
        return _copied()
    except OSError as error:
        from core.errors import ExplorerError

        raise ExplorerError(
            f"The script that draws the figures can't be copied to {STATIC} ({error.strerror}). "
            "Start the app from a folder that you may write to."
        ) from error
