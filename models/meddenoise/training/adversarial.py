"""Losses of networks that judge one another (torch only)."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn


def towards(verdicts: Tensor, target: float) -> Tensor:
    """Least-squares GAN loss (Mao et al., ICCV 2017): verdicts on real images should be 1, on made ones 0."""
    return (verdicts.float() - target).square().mean()


def gradient_penalty(
    judge: Callable[[Tensor], Tensor], real: Tensor, made: Tensor, generator: torch.Generator
) -> Tensor:
    """By how much the judge's slope differs from 1 between real and made images, squared.

    Gulrajani et al., "Improved Training of Wasserstein GANs", NeurIPS 2017, section 4.

    Args:
        judge: Without normalisation over the batch; called in float32.
        real: Shape (batch, channels, rows, columns).
        made: The same.
        generator: On the CPU; chooses the places between them.
    """
    share = torch.rand((len(real), 1, 1, 1), generator=generator).to(real.device)
    between = torch.lerp(real.detach(), made.detach(), share).requires_grad_()
    (slope,) = torch.autograd.grad(judge(between).mean(dim=(1, 2, 3)).sum(), between, create_graph=True)
    penalty: Tensor = (slope.flatten(1).norm(dim=1) - 1.0).square().mean()
    return penalty


class Perceptual(nn.Module):
    """Features of images from a frozen network, by which images are compared instead of by pixels.

    WGAN-VGG (Yang et al., IEEE TMI 37(6):1348-1357, 2018) takes VGG-19, trained on photographs. Its weights are
    no part of this project, which downloads nothing. This network has the form of VGG's first three blocks at a quarter
    of the width, and weights drawn from a fixed seed: random convolutions keep what textures and edges are like, though
    not what they mean.

    Args:
        channels: Of the images.
        widths: Channels of the blocks, each at half the resolution of the last.
        seed: Of the weights.
    """

    def __init__(self, *, channels: int = 1, widths: tuple[int, ...] = (16, 32, 64), seed: int = 19) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(seed)
        blocks = []
        for width in widths:
            first, second = nn.Conv2d(channels, width, 3, padding=1), nn.Conv2d(width, width, 3, padding=1)
            for layer in (first, second):
                nn.init.kaiming_normal_(layer.weight, nonlinearity="relu", generator=generator)
                assert layer.bias is not None
                nn.init.zeros_(layer.bias)
            blocks.append(nn.Sequential(first, nn.ReLU(), second, nn.ReLU()))
            channels = width
        self.blocks = nn.ModuleList(blocks)
        self.requires_grad_(False)

    def forward(self, images: Tensor) -> list[Tensor]:
        """Features of each block, shapes (batch, width, rows / 2^i, columns / 2^i)."""
        features: list[Tensor] = []
        for block in self.blocks:
            images = block(images if not features else F.max_pool2d(features[-1], 2))
            features.append(images)
        return features

    def distance(self, made: Tensor, real: Tensor) -> Tensor:
        """Mean squared difference of the features, over all blocks alike; shape (batch, channels, rows, columns)."""
        pairs = zip(self(made), self(real), strict=True)
        return torch.stack([F.mse_loss(a.float(), b.float()) for a, b in pairs]).mean()
