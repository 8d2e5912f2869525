"""Pruning by optimal transport, exactly: from a network and a recipe to a smaller network."""

from core.compress import Compressed, Prepared, compress
from core.data import ImageSet, images
from core.errors import (
    Cancelled,
    DataError,
    DataMissing,
    ExplorerError,
    RecipeError,
    TransportError,
    Unsupported,
    WeightsError,
)
from core.evaluate import Accuracy, accuracy, size
from core.graph import trace
from core.groups import DependencyGraph
from core.recipe import Recipe
from core.zoo import ModelCard, card, load

__all__ = [
    "Accuracy", "Cancelled", "Compressed", "DataError", "DataMissing", "DependencyGraph",
    "ExplorerError", "ImageSet", "ModelCard", "Prepared", "Recipe", "RecipeError",
    "TransportError", "Unsupported", "WeightsError", "accuracy", "card", "compress", "images",
    "load", "size", "trace",
]  # fmt: skip
