"""The noise meter: a small convolutional network that reads how strong the noise is, place by place."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn


class NoiseMeter(nn.Module):
    """Tells noise from anatomy by their look and gives the local standard deviation of the noise.

    It works at 1/2, 1/4 and 1/8 of the resolution and sees about 80 x 80 pixels for each value it gives.

    Args:
        width: Channels at half of the resolution; twice as many below.
    """

    factor = 8
    """Rows and columns must be multiples of this."""

    def __init__(self, *, width: int = 24) -> None:
        super().__init__()
        half, wide = width, 2 * width
        self.body = nn.Sequential(
            nn.Conv2d(8, half, 3, padding=1),
            nn.ReLU(),
            nn.Conv2d(half, half, 3, padding=1),
            nn.ReLU(),
            nn.Conv2d(half, wide, 3, stride=2, padding=1),
            nn.ReLU(),
            nn.Conv2d(wide, wide, 3, padding=1),
            nn.ReLU(),
            nn.Conv2d(wide, wide, 3, stride=2, padding=1),
            nn.ReLU(),
            nn.Conv2d(wide, wide, 3, padding=1),
            nn.ReLU(),
            nn.Conv2d(wide, wide, 3, padding=2, dilation=2),
            nn.ReLU(),
            nn.Conv2d(wide, 1, 1),
        )

    def forward(self, detail: Tensor) -> Tensor:
        """From fine and coarse detail in units of its own scale to the logarithm of the noise in the same unit.

        Args:
            detail: Shape (batch, 2, rows, columns).

        Returns:
            Shape (batch, 1, rows / 8, columns / 8).
        """
        level: Tensor = self.body(F.pixel_unshuffle(detail, 2))
        return level
