"""Batch norm's statistics, measured anew on images without labels.

Mixing networks shrinks the variances of what their layers put out; measured anew, every channel has
its |γ| back (REPAIR, Jordan et al. 2023).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from core import surgery
from core.statistics import NORMS

#: Images that run at once.
BATCH = 500


@torch.no_grad()
def re_estimated(module: nn.Module, images: Tensor) -> nn.Module:
    """A copy of a network whose batch norms have the statistics of images (k, c, h, w).

    They need no labels. In one run every norm uses what it measures, so that the next sees what it
    will see. A network without batch norm comes back as it is.
    """
    fresh = surgery.replica(module, {})
    norms = [
        part for part in fresh.modules() if isinstance(part, NORMS) and part.track_running_stats
    ]
    if not norms:
        return fresh
    before = [(part.momentum, part.num_batches_tracked) for part in norms]
    for part in norms:
        part.num_batches_tracked = torch.tensor(0)
        part.reset_running_stats()
        part.momentum = None  # the plain mean over batches
        part.train()
    first = next(iter(fresh.parameters()))
    batches = list(images.split(BATCH))
    if len(batches) > 1 and len(batches[-1]) < 2:
        batches.pop()
    for batch in batches:
        fresh(batch.to(first))
    for part, (momentum, tracked) in zip(norms, before, strict=True):
        part.momentum = momentum
        if tracked is not None:
            part.num_batches_tracked = tracked
    return fresh.eval()
