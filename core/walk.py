"""A walk through a traced network that runs it on zeros and carries ids beside the values."""

from __future__ import annotations

from typing import Any

import torch
import torch.fx
from torch import Tensor

from core import layers, operations
from core.errors import Unsupported
from core.groups import FOLLOWS, Layer
from core.ids import Ledger, spread, tidy, varying

#: What to do where a network can't be followed.
ADVICE = "Replace it by a supported operation, or leave this network out."


class Stopped(Exception):
    """An operation of the network itself failed; the text names it and gives the first line."""


def first_line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0].rstrip(".")


class Walk(torch.fx.Interpreter):
    """One walk through `traced`, on the image's device ("meta": shapes without numbers).

    Afterwards `ledger` holds what was found out about ids; `flows`, `kinds` and `shapes` say for
    every operation, by its name, which ids it puts out, what it does and in what shape; `layers`
    are those with weights. `known`: ids of producing axes (`core.ids.Ledger`).

    Raises
    ------
    Unsupported
        If an operation's effect on channels isn't known.
    Stopped
        If the network can't run on such an image.
    """

    def __init__(self, traced: torch.fx.GraphModule, image: Tensor, known=None) -> None:
        super().__init__(traced)
        self.extra_traceback = False
        self.ledger = Ledger(known)
        self.flows: dict[str, Any] = {}
        self.kinds: dict[str, str] = {}
        self.shapes: dict[str, tuple[int, ...]] = {}
        self.layers: dict[str, Layer] = {}
        self.state = traced.state_dict()
        self._own = torch.zeros(0, dtype=torch.long)
        for node in traced.graph.nodes:  # attention is named as such, not as one of its parts
            self._refuse_attention(node)
        self.device = image.device
        with torch.no_grad():
            self.run(image)

    def run_node(self, node: torch.fx.Node) -> Any:
        args, kwargs = self.fetch_args_kwargs_from_env(node)
        try:
            value = super().run_node(node)
        except Exception as error:  # anything: the code that runs here is the user's
            raise Stopped(f"the {where(node)} fails: {first_line(error)}") from error
        self.shapes[node.name] = tuple(value.shape) if isinstance(value, Tensor) else ()
        self.flows[node.name] = self._visit(node, args, kwargs, value)
        return value

    def get_attr(self, target: str, args, kwargs) -> Any:
        value = super().get_attr(target, args, kwargs)
        return value.to(self.device) if isinstance(value, Tensor) and value.ndim else value

    def call_module(self, target: str, args, kwargs) -> Any:
        given = operations.tensors((args, kwargs))
        if len(given) == 1 and isinstance(self.submodules[target], layers.SHAPELESS):
            return given[0]
        return super().call_module(target, args, kwargs)

    # -- what rows of the tables ask -------------------------------------------------------------

    def along(self, node: torch.fx.Node, ids: Tensor, dim: int) -> Tensor:
        """The ids along dimension `dim`, which alone may count channels: (size of it,)."""
        if ids.ndim <= dim or any(d != dim for d in varying(ids)):
            raise self.refusal(
                node,
                f"reads channels along dimension {dim} of {tuple(ids.shape)}, where they lie along "
                f"{' and '.join(map(str, varying(ids))) or 'none'}",
            )
        return ids[tuple(slice(None) if d == dim else 0 for d in range(ids.ndim))]

    def undivided(self, node: torch.fx.Node, before: Tensor, after: Tensor) -> Tensor:
        """`after`, unless channels that lay along one dimension lie along two."""
        if len(varying(after)) > max(1, len(varying(before))):
            raise self.refusal(
                node,
                f"turns {tuple(before.shape)} into {tuple(after.shape)} and so divides the "
                "channels, as a channel shuffle does",
            )
        return after

    def is_own(self, ids: Tensor) -> bool:
        """Whether these are the ids of parameters that the network reads directly."""
        return bool(torch.isin(ids, self._own).all())

    def refusal(self, node: torch.fx.Node, what: str) -> Unsupported:
        return Unsupported(
            f"The {where(node)} {what}, whose effect on channels is not known here. {ADVICE}"
        )

    # -- one operation ---------------------------------------------------------------------------

    def _visit(self, node: torch.fx.Node, args, kwargs, value) -> Any:
        if node.op == "placeholder":
            return self._placeholder(node, value)
        if node.op == "output":
            self.kinds[node.name] = "output"
            leaving = [self.flows[parent.name] for parent in node.all_input_nodes]
            self.ledger.fixed += [ids.reshape(-1) for ids in operations.tensors(leaving)]
            return None
        if node.op == "get_attr":
            return self._parameter(node, value)
        if node.op == "call_module":
            return self._module(node, value)
        if not operations.tensors(value):
            if node.target in operations.SHAPES:
                self.kinds[node.name] = "shape"
                return None
            raise self.refusal(node, f"applies {_name(node.target)}")
        read = operations.reader(node.target)
        if read is None or node.kwargs.get("out") is not None:
            raise self.refusal(node, f"applies {_name(node.target)}")
        given = torch.fx.node.map_arg((node.args, dict(node.kwargs)), self._ids_or_value)
        if not operations.tensors(given):
            raise self.refusal(node, f"makes a tensor with {_name(node.target)}")
        try:
            ids = read(self, node, *given, value)
        except Unsupported:
            raise
        except (RuntimeError, TypeError, ValueError, IndexError) as error:
            raise self.refusal(node, f"applies {_name(node.target)}") from error
        for part, whole in zip(operations.tensors(ids), operations.tensors(value), strict=True):
            if part.shape != whole.shape:
                raise self.refusal(node, f"applies {_name(node.target)}")
        return ids

    def _ids_or_value(self, parent: torch.fx.Node) -> Any:
        flow, value = self.flows[parent.name], self.env[parent]
        if flow is None:  # one number of the network's own is like one written in its code
            return 1.0 if isinstance(value, Tensor) else value
        return flow

    def _placeholder(self, node: torch.fx.Node, value) -> Tensor | None:
        self.kinds[node.name] = "input"
        if not isinstance(value, Tensor):
            return None
        # What comes in never shrinks: one number for all of it is enough.
        ids = self.ledger.fresh((node.name, 0), 1)
        self.ledger.fixed.append(ids)
        return ids.expand(value.shape)

    def _parameter(self, node: torch.fx.Node, value) -> Tensor | None:
        """A tensor that the network reads itself: one number, or one for each channel."""
        self.kinds[node.name] = "shape"
        if not isinstance(value, Tensor) or value.numel() == 1:
            return None
        long = [d for d, size in enumerate(value.shape) if size > 1]
        if len(long) > 1:
            raise self.refusal(
                node, f"reads a tensor of shape {tuple(value.shape)} of the network's own"
            )
        name = str(node.target)
        if name in self.state:
            ids = self.ledger.new((name, long[0]), FOLLOWS, value.numel())
        else:  # what is not stored can't be shrunk with the rest
            ids = self.ledger.fresh((name, long[0]), value.numel())
            self.ledger.fixed.append(ids)
        self._own = torch.cat([self._own, ids])
        return spread(ids, long[0], value.shape)

    def _module(self, node: torch.fx.Node, value) -> Tensor:
        layer = self.submodules[str(node.target)]
        read = layers.reader(layer)
        if read is None:
            raise self.refusal(node, f"is a {type(layer).__name__}")
        flows = operations.tensors([self.flows[parent.name] for parent in node.all_input_nodes])
        if len(flows) != 1:
            raise self.refusal(node, f"reads {len(flows)} inputs")
        shape = value.shape if isinstance(value, Tensor) else None
        ids = read(self, node, layer, flows[0], shape)
        if ids.shape != shape:
            raise self.refusal(node, f"turns the shape {tuple(flows[0].shape)} into {shape}")
        return tidy(ids)

    def _refuse_attention(self, node: torch.fx.Node) -> None:
        if node.op == "call_module":
            told = type(self.submodules[str(node.target)]).__name__
        else:
            told = _name(node.target)
        if "attention" in told.lower() or told in ("einsum", "matmul", "bmm", "baddbmm"):
            raise Unsupported(
                f"The {where(node)} applies {told}: attention multiplies channels with each other, "
                f"which can't be followed yet. {ADVICE}"
            )


def _name(target: Any) -> str:
    return getattr(target, "__name__", str(target))


def where(node: torch.fx.Node) -> str:
    """The place of an operation, for sentences."""
    called = node.op == "call_module"
    place = f"module {node.target!r}" if called else f"operation {node.name!r}"
    inside = list(node.meta.get("nn_module_stack", {}))
    if inside and not called:
        place += f" in module {inside[-1]!r}"
    return place
