"""Recompute, with `core`, the numbers that a lesson states: its `check` tables.

A kind of check is a row of `KINDS`: the fields that tell what to compute, and those that tell what
must come out.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, fields
from functools import lru_cache

import torch

import core
import core.measures
import core.zoo
from app.lesson.format import Lesson, Question
from core.cost import normalised, to_centres
from core.errors import ExplorerError
from core.groups import Layer
from core.surgery import fold
from core.transport import transport

#: Fields of a recipe that a check may name.
RECIPE = tuple(field.name for field in fields(core.Recipe) if field.name not in ("groups", "kept"))


@lru_cache(maxsize=4)
def _network(name: str):
    module = core.load(name)
    graph = core.trace(module, core.zoo.network(name).input_shape)
    return module, graph, core.Prepared(module, graph)


def _structure(check: Mapping) -> dict[str, object]:
    _, graph, _ = _network(check["network"])
    found: dict[str, object] = {
        "groups": len(graph.groups),
        "batch_norms": sum(layer.norm is not None for layer in graph.layers.values()),
    }
    if "group" in check:
        group = graph.groups[check["group"]]
        found |= {
            "width": group.width,
            "producers": list(group.producers),
            "consumers": list(group.consumers),
        }
    return found


def _accuracy(check: Mapping) -> dict[str, object]:
    """In percent, on all test images."""
    module, graph, prepared = _network(check["network"])
    if "group" in check:
        recipe = core.Recipe((check["group"],), **{k: check[k] for k in RECIPE if k in check})
        module = core.compress(module, graph, recipe, prepared).module
    images = core.images(core.zoo.network(check["network"]).images)
    return {"accuracy_between": 100 * core.accuracy(module, images).mean}


def _kept(check: Mapping) -> dict[str, object]:
    _, graph, _ = _network(check["network"])
    width = graph.groups[check["group"]].width
    return {"kept": core.measures.kept_count(width, check["sparsity"])}


def _costs(check: Mapping) -> dict[str, object]:
    rows = [torch.tensor(check[key], dtype=torch.float64) for key in ("channels", "targets")]
    features = [normalised(part) for part in rows]
    return {"costs": to_centres(*features, check.get("cost", "l1")).tolist()}


def _plan(check: Mapping) -> dict[str, object]:
    masses = [torch.tensor(check[key], dtype=torch.float64) for key in ("source", "target")]
    plan = transport(*masses, torch.tensor(check["between"], dtype=torch.float64))
    return {"plan": plan.mass.tolist(), "least": plan.cost}


def _folded(check: Mapping) -> dict[str, object]:
    """Batch norm folded into a layer with one input and one output."""
    layer = Layer("layer", "linear", "layer.weight", "layer.bias", "norm", check.get("epsilon", 0))
    state = {
        "layer.weight": torch.tensor([[check["weight"]]], dtype=torch.float64),
        "layer.bias": torch.tensor([check["bias"]], dtype=torch.float64),
        "norm.weight": torch.tensor([check["gamma"]], dtype=torch.float64),
        "norm.bias": torch.tensor([check["beta"]], dtype=torch.float64),
        "norm.running_mean": torch.tensor([check["mean"]], dtype=torch.float64),
        "norm.running_var": torch.tensor([check["variance"]], dtype=torch.float64),
    }
    folded = fold(state, {"layer": layer})
    return {
        "folded_weight": float(folded["layer.weight"]),
        "folded_bias": float(folded["norm.bias"]),
    }


@dataclass(frozen=True)
class Kind:
    """What a check must name, may name, and of what one at least must come out."""

    needs: tuple[str, ...]
    may: tuple[str, ...]
    comes: tuple[str, ...]
    compute: Callable[[Mapping], dict[str, object]]


KINDS: dict[str, Kind] = {
    "accuracy": Kind(("network",), ("group", *RECIPE), ("accuracy_between",), _accuracy),
    "kept": Kind(("network", "group", "sparsity"), (), ("kept",), _kept),
    "structure": Kind(
        ("network",), ("group",), ("groups", "batch_norms", "width", "producers", "consumers"),
        _structure,
    ),
    "costs": Kind(("channels", "targets"), ("cost",), ("costs",), _costs),
    "plan": Kind(("source", "target", "between"), (), ("plan", "least"), _plan),
    "folding": Kind(
        ("weight", "bias", "gamma", "beta", "mean", "variance"), ("epsilon",),
        ("folded_weight", "folded_bias"), _folded,
    ),
}  # fmt: skip


def problems(lesson: Lesson) -> Iterator[str]:
    """A sentence for every number of a lesson that does not come out, or can't be computed."""
    for number, step in enumerate(lesson.steps, 1):
        for check in step.checks:
            yield from _problems(f"{lesson.name}, step {number}", check)
    for number, question in enumerate(lesson.questions, 1):
        for check in question.checks:
            where = f"{lesson.name}, question {number}"
            yield from _problems(where, check)
            yield from _untold(where, question, check)


def _problems(where: str, check: Mapping) -> Iterator[str]:
    kind = next((k for k in KINDS.values() if any(key in k.comes for key in check)), None)
    if kind is None:
        possible = ", ".join(key for k in KINDS.values() for key in k.comes)
        yield f"{where}, check: says nothing that must come out. Possible: {possible}."
        return
    known = {*kind.needs, *kind.may, *kind.comes}
    lacks = [key for key in kind.needs if key not in check]
    for key in [key for key in check if key not in known]:
        yield f"{where}, check: there is no “{key}” here. Possible: {', '.join(sorted(known))}."
    if lacks:
        yield f"{where}, check: “{', '.join(lacks)}” is missing."
    if lacks or not known >= set(check):
        return
    try:
        found = kind.compute(check)
    except (ExplorerError, IndexError, TypeError, ValueError) as error:
        yield f"{where}, check: can't be computed ({error})."
        return
    for key in kind.comes:
        if key in check and not _agrees(key, check[key], found.get(key)):
            yield f"{where}, check: {key} is given as {check[key]}, and is {found.get(key)}."


def _agrees(key: str, said: object, found: object) -> bool:
    if key == "accuracy_between":
        low, high = said  # type: ignore[misc]
        return low <= found <= high  # type: ignore[operator]
    if isinstance(found, list):
        alike = isinstance(said, list) and len(said) == len(found)
        return alike and all(_agrees("", *pair) for pair in zip(said, found, strict=True))
    if isinstance(found, float):
        return isinstance(said, (int, float)) and abs(said - found) <= 5e-3
    return said == found


def _untold(where: str, question: Question, check: Mapping) -> Iterator[str]:
    """Numbers that must come out and that the right answer does not name, in some language."""
    right = question.answers[question.right]
    wanted = []
    for key in ("costs", "plan", "least", "folded_weight", "folded_bias", "producers"):
        wanted += _leaves(check.get(key, []))
    for language, text in right.text.items():
        plain = text.replace("−", "-")
        for one in wanted:
            said = f"{one:g}" if isinstance(one, (int, float)) else one
            if said not in plain and said.replace(".", ",") not in plain:
                yield f"{where}: the right answer ({language or 'all'}) does not name {said}."


def _leaves(value: object) -> list:
    if isinstance(value, list):
        return [leaf for one in value for leaf in _leaves(one)]
    return [value]
