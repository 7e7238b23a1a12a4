"""Staggered distillation: a student learns from a teacher's output and from its features at several depths.

Muksimova et al., Sensors 23:9502 (2023), section 2.1 ("a tiered distillation approach, positioning anchor points at
various network nodes and utilizing multi-layered features at these anchors") and section 3.2 (L1). "Staggered" and
"tiered" are both taken for this. Left open there, and decided here:

- The anchors are where both networks say, in their ``anchors(image, level)``: once for each resolution on the way up.
- Teacher and student differ in width: a 1x1 convolution for each anchor, trained along and thrown away, makes
  features of the teacher's width from the student's. It starts as the identity as far as the narrower width goes, since
  a teacher that was widened from a student holds that one's features in its leading channels.
- L1 over the teacher's mean absolute feature, so that every anchor counts alike whatever its scale, and over the noise
  scale for the output, as in the supervised loss.
- The truth is learned from too, with equal weight: the paper's distillation has no other way past the teacher's errors.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from meddenoise.training.losses import noise_scale

PROBE = 64
"""Side of the image that tells an anchor's channels."""


class AnchorLoss(nn.Module):
    """How far a student's features are from a teacher's, after adapters of its own.

    Args:
        student: Channels of the student's features at each anchor.
        teacher: Channels of the teacher's features there.
    """

    def __init__(self, *, student: Sequence[int], teacher: Sequence[int]) -> None:
        super().__init__()
        self.adapters = nn.ModuleList(nn.Conv2d(s, t, 1) for s, t in zip(student, teacher, strict=True))
        for adapter in self.adapters:
            nn.init.dirac_(adapter.weight)  # type: ignore[arg-type]  # a convolution's
            nn.init.zeros_(adapter.bias)  # type: ignore[arg-type]

    def forward(self, features: Sequence[Tensor], wanted: Sequence[Tensor]) -> Tensor:
        """Mean over the anchors of the L1 distance, in units of the teacher's mean absolute feature.

        Args:
            features: The student's, one per anchor, shape (batch, channels, rows, columns).
            wanted: The teacher's, of equal rows and columns; no gradient goes there.
        """
        errors = []
        for adapter, own, theirs in zip(self.adapters, features, wanted, strict=True):
            target = theirs.detach().float()
            errors.append((adapter(own).float() - target).abs().mean() / target.abs().mean().clamp_min(1e-6))
        return torch.stack(errors).mean()


def anchor_loss(student: nn.Module, teacher: nn.Module) -> AnchorLoss:
    """A fresh loss between two networks that have ``anchors(image, level)``."""
    return AnchorLoss(student=_channels(student), teacher=_channels(teacher))


def _channels(network: nn.Module) -> list[int]:
    image = torch.full((1, 1, PROBE, PROBE), 0.5)
    with torch.no_grad():
        return [features.shape[1] for features in network.anchors(image, image)[1]]  # type: ignore[operator]


@dataclass(frozen=True)
class Guide:
    """What a student learns from its teacher.

    Attributes:
        teacher: In evaluation mode, on the device; it stays as it is.
        anchors: Of the features; None to learn from the teacher's output alone.
        output_weight: Of the output's distance beside the supervised loss.
        feature_weight: Of the features' distance.
    """

    teacher: nn.Module
    anchors: AnchorLoss | None
    output_weight: float = 1.0
    feature_weight: float = 0.2

    def loss(self, denoised: Tensor, features: Sequence[Tensor], noisy: Tensor, level: Tensor) -> Tensor:
        """The weighted distances of the student's results from the teacher's for the same images.

        Args:
            denoised: By the student, network units, shape (batch, 1, rows, columns).
            features: The student's at its anchors.
            noisy: What both were given.
            level: Noise scale that both were given, same shape.
        """
        with torch.no_grad():
            taught, wanted = self.teacher.anchors(noisy, level)  # type: ignore[operator]
        scale = noise_scale(noisy, taught, level).reshape(-1, 1, 1, 1)
        total: Tensor = self.output_weight * ((denoised - taught) / scale).abs().mean()
        if self.anchors is not None:
            total = total + self.feature_weight * self.anchors(features, wanted)
        return total
