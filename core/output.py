"""What the command line shows: progress on standard error, tables on standard output."""

from __future__ import annotations

import shutil
import sys
import time

from core.evaluate import Size
from core.latency import Latency


class Progress:
    """Tells what is going on, on standard error: a line that changes on a terminal, else lines."""

    def __init__(self) -> None:
        self.terminal = sys.stderr.isatty()
        self.last = ""
        self.told = 0.0

    def say(self, line: str, passing: bool = False) -> None:
        """Show a line. Of `passing` ones, off a terminal, at most one in ten seconds is shown."""
        if self.terminal:
            # A line that wraps could not be taken back.
            room = shutil.get_terminal_size().columns - 1
            sys.stderr.write(f"\r\x1b[K{line[:room]}")
        elif line != self.last and not (passing and time.monotonic() - self.told < 10):
            sys.stderr.write(f"{line}\n")
            self.told = time.monotonic()
        self.last = line
        sys.stderr.flush()

    def share(self, share: float, line: str) -> None:
        """`say` in the form in which the library reports."""
        self.say(f"{100 * share:3.0f} %  {line}", passing=True)

    def clear(self) -> None:
        """Leave a clean line for what comes next."""
        if self.terminal and self.last:
            sys.stderr.write("\r\x1b[K")
            sys.stderr.flush()
        self.last = ""


def table(rows: list[tuple[str, ...]]) -> str:
    """Columns as wide as their widest cell."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in rows
    )


def size_table(before: Size | None, after: Size) -> str:
    """What a network costs, beside what the original costs if that is known."""
    lines = (
        ("parameters", "parameters"),
        ("multiply-accumulates an image", "macs"),
        ("bytes as float32", "bytes"),
    )
    if before is None:
        return table([(line, f"{getattr(after, key):,}") for line, key in lines])
    rows = [("", "before", "after", "left")]
    for line, key in lines:
        was, now = getattr(before, key), getattr(after, key)
        rows.append((line, f"{was:,}", f"{now:,}", f"{100 * now / was:.1f} %" if was else "-"))
    return table(rows)


def ratio(before: Latency, after: Latency) -> str:
    """How long one takes as a share of the other, by the medians."""
    return f"{100 * after.median / before.median:.0f} %"
