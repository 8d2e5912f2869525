"""The errors of this project: sentences that say what is wrong, where, and what to do.

ExplorerError
├── RecipeError        a choice that does not exist or does not fit (group 12 of 8, sparsity 1.4)
├── Unsupported        a layer or an operation the dependency graph does not know
├── WeightsError       a weights file or its card is missing, damaged or of another network
├── DataError          a folder, a download or a set of images can't be used
│   └── DataMissing    … because it is not there yet
├── PackageMissing     a package that only some rooms need is not installed
├── ClusterError       other machines can't be reached, or can't do what they were asked
├── TransportError     a transport problem without a usable solution
└── Cancelled          the person stopped it; not a fault
"""

from __future__ import annotations


class ExplorerError(Exception):
    """Base of all errors whose text is written for the person in front of the screen."""


class RecipeError(ExplorerError, ValueError):
    """A recipe names a choice that does not exist or does not fit this network."""


class Unsupported(ExplorerError, NotImplementedError):
    """The network holds an operation whose effect on channels is not known; it is never guessed."""


class WeightsError(ExplorerError):
    """A weights file or its card is missing, damaged, or belongs to another network."""


class DataError(ExplorerError):
    """A set of images can't be read."""


class DataMissing(DataError):
    """A set of images is not on this machine (yet)."""


class PackageMissing(ExplorerError, ImportError):
    """A package that only some rooms need is not installed."""


class ClusterError(ExplorerError):
    """Other machines can't be reached, or can't do what they were asked."""


class TransportError(ExplorerError, ArithmeticError):
    """A transport problem has no usable solution with the chosen solver and masses."""


class Cancelled(ExplorerError):
    """The person stopped this; nothing went wrong."""
