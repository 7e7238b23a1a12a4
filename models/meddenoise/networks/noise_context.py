"""The NoiseContextNet block: features at several scales, weighed by what the whole image is like.

Muksimova et al., Sensors 23:9502 (2023), section 2.2 and figure 2, which name the parts and hardly how they are joined.
Decisions:

- Convolutions of 1x1, 3x3 and 5x5 (section 2.2: "concurrently") stand side by side and are concatenated, each followed
  by instance normalisation. They have a share of the block's channels each; a 1x1 convolution joins them again.
- Squeeze: the mean of the convolutions' outputs *before* normalisation (section 2.2 lists it after). After it, the mean
  of every channel of every image is the same, and the weights could not depend on the image.
- Excitation (section 2.2: "instead of typical fully connected layers, a dense block is employed", its "pivotal role is
  in the self-gating system's excitation process"): a dense block on the squeezed vector, each layer seeing all before.
- Pooling and upsampling (section 2.2: "1x1 adaptive average pooling", "bilinear upsampling"): the squeeze is the
  pooling; beside the gate, the dense block gives a context vector, which is upsampled to the map's size and added to
  it. Bilinear upsampling of one pixel is that pixel everywhere, so it is added without being written out.
- Skip connection: around the block, whose last convolution starts at zero: a fresh block is the identity.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from meddenoise.networks.precision import without_autocast

KERNELS = (1, 3, 5)
SHARE = 4
"""Each kernel size has the block's channels divided by this."""
EPSILON = 1e-5


class DenseExcitation(nn.Module):
    """A dense block on one vector per image, which gives a gate between 0 and 1 and a context for each channel."""

    def __init__(self, *, channels: int, growth: int, layers: int = 2) -> None:
        super().__init__()
        self.layers = nn.ModuleList(nn.Linear(channels + i * growth, growth) for i in range(layers))
        self.last = nn.Linear(channels + layers * growth, 2 * channels)

    def forward(self, squeezed: Tensor) -> tuple[Tensor, Tensor]:
        """Shape (batch, channels) in; gate and context out, of that shape."""
        known = squeezed
        for layer in self.layers:
            known = torch.cat([known, F.relu(layer(known))], dim=1)
        gate, context = self.last(known).chunk(2, dim=1)
        return torch.sigmoid(gate), context


class NoiseContextBlock(nn.Module):
    """Adds what convolutions of three sizes find, gated by the whole image; see this file's head for the decisions.

    What it computes depends on all the rows and columns it is given. Statistics are computed in float32.

    Args:
        width: Channels in and out; a multiple of 4.

    Raises:
        ValueError: ``width`` is no multiple of 4.
    """

    def __init__(self, *, width: int) -> None:
        super().__init__()
        if width % SHARE:
            raise ValueError(f"width must be a multiple of {SHARE}, got {width}")
        each = width // SHARE
        inner = each * len(KERNELS)
        self.scales = nn.ModuleList(nn.Conv2d(width, each, k, padding=k // 2, bias=False) for k in KERNELS)
        self.norm_weight, self.norm_bias = nn.Parameter(torch.ones(inner)), nn.Parameter(torch.zeros(inner))
        self.excite = DenseExcitation(channels=inner, growth=each)
        self.project = nn.Conv2d(inner, width, 1)
        nn.init.zeros_(self.project.weight)
        nn.init.zeros_(self.project.bias)  # type: ignore[arg-type]

    def forward(self, x: Tensor) -> Tensor:
        """Shape (batch, width, rows, columns) in and out."""
        found = torch.cat([scale(x) for scale in self.scales], dim=1)  # (batch, inner, rows, columns)
        with without_autocast(x):
            variance, mean = torch.var_mean(found.float(), dim=(2, 3), correction=0)  # (batch, inner)
            gate, context = self.excite(mean)
            # Instance normalisation, gate and context are one factor and one offset for each channel of each image.
            factor = gate * self.norm_weight * torch.rsqrt(variance + EPSILON)
            offset = gate * self.norm_bias + context - mean * factor
        weighed = F.relu(found * factor[..., None, None] + offset[..., None, None])
        joined: Tensor = self.project(weighed.to(x.dtype))
        return x + joined
