"""Imports torchvision where its compiled library does not fit the installed torch.

`pip` can put a CPU build of torch beside a torchvision built for CUDA. torchvision's own library
can't be loaded then, and `import torchvision` dies while it registers Python kernels for two
operators that nobody declared. Networks, transforms and data sets need neither operator, so it is
enough to declare them. Where torchvision's library loads, nothing is declared here.

Everything in this project that needs torchvision writes `from core.compat import torchvision`.
"""

from __future__ import annotations

import torch

#: The two operators torchvision registers Python kernels for, as its C++ library declares them.
SCHEMAS = (
    "nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
    "qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
)


def import_torchvision():
    """Return the torchvision package, declaring its two missing operators only if they are missing.

    Raises
    ------
    ImportError
        If torchvision is not installed at all.
    """
    try:
        import torchvision
    except RuntimeError as error:
        if "torchvision::nms" not in str(error):
            raise
        # The library object must outlive the call: the declarations vanish with it.
        global _library
        _library = torch.library.Library("torchvision", "DEF")
        for schema in SCHEMAS:
            _library.define(schema)
        import torchvision
    return torchvision


_library: torch.library.Library | None = None
torchvision = import_torchvision()
