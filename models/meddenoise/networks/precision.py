"""What must be computed in full precision whatever the rest of a network is computed in."""

from __future__ import annotations

import torch
from torch import Tensor


def without_autocast(like: Tensor) -> torch.autocast:
    """A context in which autocast is off on a tensor's device; cast the inputs to float32 inside it."""
    return torch.autocast("cpu" if like.is_meta else like.device.type, enabled=False)
