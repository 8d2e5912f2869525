"""A layer with a batch norm behind it, and the layer they fold into. No Streamlit in it.

Both are real modules; what w′ and b′ become is computed by `core.surgery.fold` alone.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

import core
from app.toys.stage import Field, number, numbers, one_of, read
from core import surgery
from core.errors import RecipeError

#: Largest weight, bias, γ, β, μ and input; largest σ².
FAR, WIDE = 100.0, 100.0
#: What ε can be: PyTorch's own is the default.
EPSILONS = (1e-8, 1e-5, 1e-3, 1e-2, 0.1)
#: Inputs of a channel: of the linear layer, and pixels of the convolution's 2 × 2 kernel.
INPUTS = {"linear": 2, "conv": 4}
#: The batch norm's numbers and the layer's bias, each one a channel.
SINGLE = ("bias", "gamma", "beta", "mean", "variance")


@dataclass(frozen=True)
class Layer:
    """A layer of `n` channels, its batch norm, and an input.

    kind : "linear", or "conv" (one 2 × 2 kernel a channel, over a picture of 2 × 2 pixels).
    weights : n rows of `INPUTS[kind]`. The others have n each, but for epsilon and the input.
    """

    kind: str
    weights: tuple[tuple[float, ...], ...]
    bias: tuple[float, ...]
    gamma: tuple[float, ...]
    beta: tuple[float, ...]
    mean: tuple[float, ...]
    variance: tuple[float, ...]
    epsilon: float
    input: tuple[float, ...]

    def changed(self, name: str, place: int, value: float) -> Layer:
        """The same with another number in one place."""
        row = list(getattr(self, name))
        row[place] = value
        return replace(self, **{name: tuple(row)})

    @property
    def shape(self) -> tuple[int, ...]:
        """Of one input."""
        return (1, 2, 2) if self.kind == "conv" else (INPUTS["linear"],)

    def modules(self) -> nn.Sequential:
        """The layer and its batch norm, in evaluation mode, in float64."""
        norm = nn.BatchNorm2d if self.kind == "conv" else nn.BatchNorm1d
        both = nn.Sequential(self._bare(), norm(len(self.weights), eps=self.epsilon)).double()
        both.load_state_dict(
            {
                "0.weight": torch.tensor(self.weights).reshape(both[0].weight.shape),
                "0.bias": torch.tensor(self.bias),
                "1.weight": torch.tensor(self.gamma),
                "1.bias": torch.tensor(self.beta),
                "1.running_mean": torch.tensor(self.mean),
                "1.running_var": torch.tensor(self.variance),
                "1.num_batches_tracked": both[1].num_batches_tracked,
            }
        )
        return both.eval()

    def _bare(self) -> nn.Module:
        outputs, inputs = len(self.weights), INPUTS[self.kind]
        return nn.Conv2d(1, outputs, 2) if self.kind == "conv" else nn.Linear(inputs, outputs)


@dataclass(frozen=True)
class Folded:
    """What a layer and its batch norm fold into, and what both put out for the input.

    weight : (n, inputs) w′. bias : (n,) b′. before, after : (n,) outputs of the layer with its
    batch norm and of the folded layer alone. scale : (n,) γ/√(σ²+ε), as it was folded. All float64;
    not finite where a variance is 0 and ε left out.
    """

    weight: Tensor
    bias: Tensor
    before: Tensor
    after: Tensor
    scale: Tensor

    @property
    def difference(self) -> Tensor:
        """(n,) how far the folded layer is off."""
        return self.after - self.before


def fold(layer: Layer, leave_out_epsilon: bool = False, forget_mean: bool = False) -> Folded:
    """Fold as `core` does, or with one of two mistakes, and run both on the input."""
    both = layer.modules()
    graph = core.trace(both, layer.shape)
    state, layers = dict(both.state_dict()), dict(graph.layers)
    if leave_out_epsilon:
        layers = {name: replace(one, epsilon=0.0) for name, one in layers.items()}
    if forget_mean:
        state["1.running_mean"] = torch.zeros_like(state["1.running_mean"])
    folded = surgery.fold(state, layers)
    alone = layer._bare().double().eval()
    alone.load_state_dict({"weight": folded["0.weight"], "bias": folded["1.bias"]})
    given = torch.tensor(layer.input, dtype=torch.float64).reshape(1, *layer.shape)
    with torch.no_grad():
        before, after = both(given).flatten(), alone(given).flatten()
    epsilon = 0.0 if leave_out_epsilon else layer.epsilon
    scale = state["1.weight"] / torch.sqrt(state["1.running_var"] + epsilon)
    return Folded(folded["0.weight"].flatten(1), folded["1.bias"], before, after, scale)


def _rows(text: str) -> tuple[tuple[float, ...], ...]:
    try:
        return tuple(numbers(-FAR, FAR)(row.strip()) for row in text.split(";")) if text else ()
    except ValueError as error:
        raise ValueError(f"{error}, a row a channel with semicolons between rows") from error


_each = numbers(-FAR, FAR)
FIELDS = {
    "layer": Field("linear, or conv (a 2 × 2 kernel a channel)", "linear", one_of(*INPUTS)),
    "weights": Field(
        "w: a row a channel with semicolons between them, 2 numbers a row for linear, 4 for conv; "
        "2 or 3 rows; empty: an example", "", _rows,
    ),
    "bias": Field("b, one a channel; empty: zeros", "", _each),
    "gamma": Field("γ, one a channel; empty: an example", "", _each),
    "beta": Field("β, one a channel; empty: an example", "", _each),
    "mean": Field("μ, one a channel; empty: an example", "", _each),
    "variance": Field("σ², one a channel; empty: an example", "", numbers(0, WIDE)),
    "epsilon": Field("ε", "1e-5", number(0, 1)),
    "input": Field("x: 2 numbers for linear, 4 for conv; empty: an example", "", _each),
}  # fmt: skip
#: What is set where a lesson sets nothing: ordinary channels, and one whose variance is tiny.
EXAMPLE = {
    "linear": {
        "weights": ((0.8, -0.5), (-0.3, 1.2), (0.6, 0.4)), "input": (1.5, -2.0),
    },
    "conv": {
        "weights": ((0.8, -0.5, 0.1, 0.3), (-0.3, 1.2, 0.0, -0.7), (0.6, 0.4, -0.2, 0.5)),
        "input": (1.5, -2.0, 0.5, 1.0),
    },
    "each": {
        "bias": (0.0, 0.0, 0.0), "gamma": (1.5, 0.8, 0.002), "beta": (0.2, -0.1, 0.5),
        "mean": (0.5, -0.8, -0.3), "variance": (0.25, 4.0, 1e-6),
    },
}  # fmt: skip


def layer(settings: Mapping[str, str]) -> Layer:
    """What a lesson's settings say.

    Raises
    ------
    RecipeError
        If one of them can't be read, or they don't fit each other.
    """
    told = read("folding", FIELDS, settings)
    kind = told.pop("layer")
    inputs = INPUTS[kind]
    weights = told.pop("weights") or EXAMPLE[kind]["weights"]
    if len(weights) not in (2, 3) or any(len(row) != inputs for row in weights):
        raise RecipeError(
            f"The setting 'weights' of the toy 'folding' must hold 2 or 3 rows of {inputs} numbers "
            f"for a {kind} layer; it holds rows of {[len(row) for row in weights]}."
        )
    for name in SINGLE:
        told[name] = told[name] or EXAMPLE["each"][name][: len(weights)]
        if len(told[name]) != len(weights):
            raise RecipeError(
                f"The setting {name!r} of the toy 'folding' holds {len(told[name])} numbers; the "
                f"layer has {len(weights)} channels."
            )
    told["input"] = told["input"] or EXAMPLE[kind]["input"]
    if len(told["input"]) != inputs:
        raise RecipeError(
            f"The setting 'input' of the toy 'folding' holds {len(told['input'])} numbers; a "
            f"{kind} layer here reads {inputs}."
        )
    for place, (variance, epsilon) in enumerate((one, told["epsilon"]) for one in told["variance"]):
        if not variance + epsilon > 0:
            raise RecipeError(
                f"Channel {place} of the toy 'folding' has σ² + ε = 0, by whose root nothing can "
                "be divided. Make one of them larger."
            )
    return Layer(kind, weights, **told)
