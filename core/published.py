"""The paper's own figures (Theus et al., ICLR 2024): tables 1, 9 and 10 to 13, speed-ups."""

from __future__ import annotations

import csv
from dataclasses import dataclass
from functools import cache
from pathlib import Path

FOLDER = Path(__file__).resolve().parent.parent / "assets" / "paper"
#: Of which of our networks the paper has figures, and what it calls them.
MODELS = {"vgg11_bn-cifar10": "vgg11_bn", "resnet18-cifar10": "resnet18"}
#: What a network without knowledge names right, in percent: a NaN was printed as this.
NOTHING = 10.10
#: Split-data training, two halves: how many times faster than whole-data training, with a machine
#: for each network (section 5 and Appendix D). `training` is the first training alone.
SPEEDUPS = {"training": 1.81, "fap": 1.31, "paf": 1.42}
#: Accuracies of those networks after their first training, lowest and highest (Appendix D).
TRAINED = {
    "vgg11_bn-cifar10": {"part": (0.845, 0.861), "whole": (0.890, 0.895)},
    "resnet18-cifar10": {"part": (0.874, 0.885), "whole": (0.914, 0.921)},
}


@dataclass(frozen=True)
class Pair:
    """Accuracies (0 to 1) of one compression: plain pruning, and Intra-Fusion as released."""

    pruned: float
    fused: float

    @property
    def gain(self) -> float:
        """Fused − pruned, in points."""
        return 100 * (self.fused - self.pruned)


def _rows(name: str) -> list[dict[str, str]]:
    with (FOLDER / name).open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


@cache
def data_free(network: str, importance: str) -> dict[tuple[int, float], Pair]:
    """One group pruned, no fine-tuning (tables 10 to 13): by (group, sparsity); {} of others.

    Cells that read 10.10 for Intra-Fusion at every sparsity of a group are left out: see
    `assets/paper/README.md`.
    """
    model, found = MODELS.get(network), {}
    for row in _rows("data_free_cifar10.csv"):
        if row["model"] == model and importance in row:
            key = int(row["group"]), round(float(row["sparsity"]) / 100, 4)
            found[key] = Pair(float(row[importance]) / 100, float(row[f"if_{importance}"]) / 100)
    broken = {
        group
        for group in {group for group, _ in found}
        if all(pair.fused == NOTHING / 100 for (g, _), pair in found.items() if g == group)
    }
    return {key: pair for key, pair in found.items() if key[0] not in broken}


@cache
def fine_tuned(network: str) -> dict[float, Pair]:
    """All groups pruned, then fine-tuned (table 1, ℓ1): by share of the weights that is gone."""
    model = MODELS.get(network)
    return {
        float(row["weight_sparsity"]) / 100: Pair(
            float(row["pruned"]) / 100, float(row["intra_fusion"]) / 100
        )
        for row in _rows("fine_tuned_cifar10.csv")
        if row["model"] == model
    }


@dataclass(frozen=True)
class Share:
    """Channels gone in every group (0 to 1), parameters left, and the share of weights gone."""

    channels: float
    parameters: int
    weights: float


@cache
def sizes(network: str) -> list[Share]:
    """Channel sparsity against weight sparsity (table 9); [] of networks the paper has not."""
    model = MODELS.get(network)
    if model is None:
        return []
    return [
        Share(
            float(row["neuron_sparsity"]) / 100, int(row[f"{model}_parameters"]),
            float(row["weight_sparsity"]) / 100,
        )
        for row in _rows("sizes.csv")
    ]  # fmt: skip
