"""Pruning by optimal transport, exactly: from a network and a recipe to a smaller network."""

from core.compress import Compressed, compress
from core.data import ImageSet, images
from core.errors import (
    Cancelled,
    DataError,
    DataMissing,
    ExplorerError,
    PackageMissing,
    RecipeError,
    TransportError,
    Unsupported,
    WeightsError,
)
from core.evaluate import Accuracy, accuracy, size
from core.export import to_onnx
from core.fuse import Fused, fuse
from core.graph import trace
from core.groups import DependencyGraph
from core.latency import Latency, latency
from core.portable import Opened, open
from core.prefix import accuracies
from core.prepared import Prepared
from core.recipe import Recipe
from core.zoo import ModelCard, card, load

__all__ = [
    "Accuracy", "Cancelled", "Compressed", "DataError", "DataMissing", "DependencyGraph",
    "ExplorerError", "Fused", "ImageSet", "Latency", "ModelCard", "Opened", "PackageMissing",
    "Prepared", "Recipe", "RecipeError", "TransportError", "Unsupported", "WeightsError",
    "accuracies", "accuracy", "card", "compress", "fuse", "images", "latency", "load", "open",
    "size", "to_onnx", "trace",
]  # fmt: skip
