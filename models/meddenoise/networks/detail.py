"""What lies above the noise, told apart from where on the grey scale it lies; the networks see images through this."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

DETAIL_LIMIT = 8.0
"""Detail is bounded smoothly at this many times the noise scale: strong edges need no exact size to be kept."""


def coarse_and_detail(image: Tensor, level: Tensor) -> tuple[Tensor, Tensor]:
    """Split an image into its local mean and its detail over the noise scale.

    Args:
        image: Network units, shape (batch, channels, rows, columns), float32, sides multiples of 8.
        level: Noise scale in the same units, same shape, positive.

    Returns:
        Mean over about 8 pixels in network units, and detail in units of ``level``, within -8 to 8; both of that shape.
    """
    coarse = F.interpolate(F.avg_pool2d(image, 8), size=image.shape[-2:], mode="bilinear", align_corners=False)
    detail = (image - coarse) / level
    return coarse, detail / torch.sqrt(1.0 + (detail / DETAIL_LIMIT) ** 2)
