"""A model as one graph that takes the image alone: the noise level is found inside."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from meddenoise.inference.local_mean import without_local_mean
from meddenoise.noise_level import level_map


class ImageOnly(nn.Module):
    """What Denoiser does to a stack of slices between the intensity rule and its inverse, whole, whatever their size.

    Args:
        network: One of NETWORKS.
        hounsfield: Whether images are CT in HU, whose slowly varying mean is kept.
    """

    def __init__(self, network: nn.Module, *, hounsfield: bool) -> None:
        super().__init__()
        self.network = network
        self.channels = int(getattr(network, "channels", 1))
        self._factor, self._hounsfield = int(getattr(network, "factor", 1)), hounsfield

    def forward(self, image: Tensor) -> Tensor:
        """Denoise.

        Args:
            image: Network units, shape (slices, channels, rows, columns); the channels are a slice's neighbours, or
                the slice itself in all of them.

        Returns:
            The denoised slices, shape (slices, 1, rows, columns).
        """
        rows, columns = image.shape[-2], image.shape[-1]
        edge = [0, -columns % self._factor, 0, -rows % self._factor]
        level = level_map(image)
        padded = [F.pad(values, edge, mode="replicate") for values in (image, level)]
        clean = self.network(*padded)[..., :rows, :columns]
        middle = slice(self.channels // 2, self.channels // 2 + 1)
        image, level, clean = image[:, middle], level[:, middle], clean[:, middle]
        return image - without_local_mean(image - clean, clean, level) if self._hounsfield else clean


def example(channels: int) -> Tensor:
    """A noisy image to follow the graph with; two slices of odd sides."""
    generator = torch.Generator().manual_seed(0)
    return 0.5 + 0.05 * torch.randn((2, channels, 91, 77), generator=generator)
