"""The attention-based depth-wise convolution network (ADWC): attention between channels, linear in the pixels.

Muksimova et al., Sensors 23:9502 (2023), section 2.3, equations 1 to 5. Decisions:

- Order of equations 1 to 3: as products they apply the depth-wise convolution first, the text before them the 1x1
  convolution first ("subsequently, 3x3 depth-wise convolutions"). The text it is: channels meet first.
- Shapes: section 2.3 prints H x W x H for X and D; here I, X and D are heads x C / heads x pixels, so that the map M
  has C / heads x C / heads entries for each head (at its end the section says "segment the channel count into parts").
- Scale of equation 5: I and X are brought to length 1 over the pixels, without which the softmax would depend on the
  image's size, and divided by the learned l; l is kept as the logarithm of 1 / l for each head, so it stays positive.
- Projection (equation 4 has none left, though P_w is defined as 1x1 convolution): a 1x1 convolution without bias, which
  starts at zero, so that a fresh block is the identity.
- Layer normalisation: over each pixel's channels, without bias like the convolutions.
- Lengths, products and softmax are computed in float32 under autocast too: they add up tens of thousands of pixels.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from meddenoise.networks.precision import without_autocast

SHORTEST = 1e-3
"""Length below which I and X are not brought to 1, so that empty channels have no steep gradient."""


class ADWC(nn.Module):
    """Multi-head cross-covariance attention between channels, over projections with local context.

    What it computes depends on all the rows and columns it is given.

    Args:
        width: Channels in and out.
        heads: Groups of channels with a map of attention each; divides ``width``.

    Raises:
        ValueError: ``heads`` does not divide ``width``.
    """

    def __init__(self, *, width: int, heads: int) -> None:
        super().__init__()
        if width % heads:
            raise ValueError(f"heads must divide width, got {heads} heads for width {width}")
        self.heads = heads
        self.norm_weight = nn.Parameter(torch.ones(width))
        self.point = nn.Conv2d(width, 3 * width, 1, bias=False)
        self.depth = nn.Conv2d(3 * width, 3 * width, 3, padding=1, groups=3 * width, bias=False)
        self.log_scale = nn.Parameter(torch.zeros(heads, 1, 1))
        self.project = nn.Conv2d(width, width, 1, bias=False)
        nn.init.zeros_(self.project.weight)

    def forward(self, x: Tensor) -> Tensor:
        """Shape (batch, width, rows, columns) in and out."""
        last = x.movedim(1, -1)
        with without_autocast(x):
            normed = F.layer_norm(last.float(), last.shape[-1:], self.norm_weight).movedim(-1, 1)
        inquiry, index, data = self.depth(self.point(normed)).chunk(3, dim=1)
        attention = self.attention(inquiry, index)
        attended: Tensor = self.project((attention.to(data.dtype) @ self._split(data)).reshape(x.shape))
        return x + attended

    def attention(self, inquiry: Tensor, index: Tensor) -> Tensor:
        """The map M: how much each channel takes of each other, rows adding up to 1.

        Args:
            inquiry: I, shape (batch, width, rows, columns).
            index: X, same shape.

        Returns:
            Shape (batch, heads, width / heads, width / heads), float32.
        """
        with without_autocast(inquiry):
            unit_i, unit_x = (F.normalize(self._split(each).float(), dim=-1, eps=SHORTEST) for each in (inquiry, index))
            return torch.softmax(unit_i @ unit_x.transpose(-2, -1) * self.log_scale.exp(), dim=-1)

    def _split(self, x: Tensor) -> Tensor:
        """From (batch, width, rows, columns) to (batch, heads, width / heads, pixels)."""
        return torch.unflatten(x.flatten(2), 1, (self.heads, -1))
