"""Commands of the experiments, a module each: `python -m core NAME …`.

A module holds `ABOUT` (a line), `MORE` (what else `--help` says), `add(parser)` for its options and
`run(chosen, progress)`, which returns plain values for `--json` and the same as text. A command
that takes no single NETWORK says so with `NETWORK = False`; `before(parser)` adds what stands
before NETWORK.
"""

from __future__ import annotations

from types import ModuleType

from core.commands import (
    ablation,
    divergence,
    fine_tune,
    fuse,
    landscape,
    latency,
    reproduce,
    splits,
    sweep,
)

#: name → module; a command is a line here.
COMMANDS: dict[str, ModuleType] = {
    "ablation": ablation,
    "divergence": divergence,
    "fine-tune": fine_tune,
    "fuse": fuse,
    "landscape": landscape,
    "latency": latency,
    "reproduce": reproduce,
    "splits": splits,
    "sweep": sweep,
}
