"""Commands of the experiments, a module each: `python -m core NAME …`.

A module holds `ABOUT` (a line), `MORE` (what else `--help` says), `add(parser)` for its options and
`run(chosen, progress)`, which returns plain values for `--json` and the same as text. A command
that takes no single NETWORK says so with `NETWORK = False`.
"""

from __future__ import annotations

from types import ModuleType

from core.commands import divergence, landscape, reproduce, sweep

#: name → module; a command is a line here.
COMMANDS: dict[str, ModuleType] = {
    "divergence": divergence,
    "landscape": landscape,
    "reproduce": reproduce,
    "sweep": sweep,
}
