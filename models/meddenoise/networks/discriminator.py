"""The discriminator of the GAN denoiser: it judges patches of an image together with its noise and its noisy form."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

CHANNELS = 3
SLOPE = 0.2
LEAST_SIDE = 32
"""Pixels that an image must have along each axis."""


class PatchDiscriminator(nn.Module):
    """70x70 PatchGAN (Isola et al., CVPR 2017), which Osman et al. (2025) take for content, noise and noisy image.

    4x4 convolutions with leaky ReLU, instance normalisation in all but the first and the last, 2,764,736 parameters.
    The published relative of the system halves the resolution four times, by which each verdict sees 94x94 pixels;
    here it is halved three times, as in the paper that is cited. The parameters are the same.

    Args:
        widths: Channels after each convolution but the last.
    """

    def __init__(self, *, widths: Sequence[int] = (64, 128, 256, 512)) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        previous = CHANNELS
        for i, width in enumerate(widths):
            layers.append(nn.Conv2d(previous, width, 4, stride=2 if i < 3 else 1, padding=1))
            if i > 0:
                layers.append(nn.InstanceNorm2d(width))
            layers.append(nn.LeakyReLU(SLOPE))
            previous = width
        self.layers = nn.Sequential(*layers, nn.Conv2d(previous, 1, 4, padding=1, bias=False))
        for module in self.layers:
            if isinstance(module, nn.Conv2d):
                nn.init.normal_(module.weight, 0.0, 0.02)
                if module.bias is not None:
                    nn.init.zeros_(module.bias)

    def forward(self, images: Tensor) -> Tensor:
        """Judge.

        Args:
            images: Content, noise and noisy image as the predictors are shown it, shape (batch, 3, rows, columns),
                sides of at least 32.

        Returns:
            One number per overlapping patch, high where it looks real, shape (batch, 1, about rows / 8, columns / 8).
        """
        verdict: Tensor = self.layers(images)
        return verdict
