"""The student: a small U-shaped convolutional network that removes noise at a given scale."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from meddenoise.networks.detail import coarse_and_detail


class ResidualBlock(nn.Module):
    """``x + conv(relu(conv(x)))``; ``inner`` channels between the two 3x3 convolutions can be pruned freely."""

    def __init__(self, *, width: int, inner: int) -> None:
        super().__init__()
        self.expand = nn.Conv2d(width, inner, 3, padding=1)
        self.project = nn.Conv2d(inner, width, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        """Shape (batch, width, rows, columns) in and out."""
        residual: Tensor = self.project(F.relu(self.expand(x)))
        return x + residual


class Student(nn.Module):
    """Denoises one channel given a map of the noise scale, in the student's deployed (plain) form.

    Follows the deployed student of Muksimova et al., Sensors 23:9502 (2023), section 2.1, as far as the paper goes: a
    plain network of 3x3 convolutions and residuals into which branches can be folded. The paper gives no widths; this
    one works at half, quarter and eighth resolution, because wide context at low cost decides at high noise. Image and
    residual are divided by the noise scale, so that one network serves noise of 5 HU and of 75 grey levels.

    Args:
        widths: Channels at 1/2, 1/4 and 1/8 of the resolution.
        blocks: Residual blocks at each of them; the first two count once on the way down and once on the way up.
        inner: Channels inside each residual block, in the order of `residual_blocks`; None for as many as its width.

    Raises:
        ValueError: ``inner`` does not give one number for each residual block.
    """

    factor = 8
    """Rows and columns must be multiples of this."""

    def __init__(
        self,
        *,
        widths: Sequence[int] = (32, 64, 128),
        blocks: Sequence[int] = (1, 2, 2),
        inner: Sequence[int] | None = None,
    ) -> None:
        super().__init__()
        (a, b, c), (m, n, o) = widths, blocks
        per_block = [a] * m + [b] * n + [c] * o + [b] * n + [a] * m
        if inner is not None and len(inner) != len(per_block):
            raise ValueError(f"inner must give {len(per_block)} numbers for blocks {tuple(blocks)}, got {tuple(inner)}")
        remaining = iter(per_block if inner is None else inner)

        def stage(width: int, count: int) -> nn.Sequential:
            return nn.Sequential(*(ResidualBlock(width=width, inner=next(remaining)) for _ in range(count)))

        self.head = nn.Conv2d(3 * 4, a, 3, padding=1)
        self.down_1, self.down_2, self.bottom = stage(a, m), stage(b, n), stage(c, o)
        self.shrink_1, self.shrink_2 = nn.Conv2d(a, b, 2, stride=2), nn.Conv2d(b, c, 2, stride=2)
        self.grow_2, self.grow_1 = nn.ConvTranspose2d(c, b, 2, stride=2), nn.ConvTranspose2d(b, a, 2, stride=2)
        self.up_2, self.up_1 = stage(b, n), stage(a, m)
        self.tail = nn.Conv2d(a, 4, 3, padding=1)
        nn.init.zeros_(self.tail.weight)
        nn.init.zeros_(self.tail.bias)  # type: ignore[arg-type]  # starts as the identity

    @property
    def stages_in_order(self) -> tuple[nn.Sequential, ...]:
        """The stages of residual blocks from input to output."""
        return self.down_1, self.down_2, self.bottom, self.up_2, self.up_1

    def residual_blocks(self) -> list[ResidualBlock]:
        """The residual blocks from input to output."""
        return [block for stage in self.stages_in_order for block in stage if isinstance(block, ResidualBlock)]

    @property
    def arguments(self) -> dict[str, Any]:
        """The keyword arguments that build a network of this one's sizes, JSON-able."""
        return {
            "widths": [self.head.out_channels, self.shrink_1.out_channels, self.shrink_2.out_channels],
            "blocks": [len(stage) for stage in self.stages_in_order[:3]],
            "inner": [block.expand.out_channels for block in self.residual_blocks()],
        }

    def forward(self, image: Tensor, level: Tensor) -> Tensor:
        """Remove the noise.

        Args:
            image: Network units (about 0 to 1), shape (batch, 1, rows, columns), float32, sides multiples of 8.
            level: Noise scale in the same units, same shape, positive.

        Returns:
            Denoised image, same shape and units, float32.
        """
        return self.anchors(image, level)[0]

    def anchors(self, image: Tensor, level: Tensor) -> tuple[Tensor, list[Tensor]]:
        """Remove the noise, and give the features at which a teacher's and a student's can be compared (section 2.1).

        The paper places "anchor points at various network nodes" and names none: here one for each resolution on the
        way back up, after `bottom`, `up_2` and `up_1`, where each has seen all coarser ones.

        Args:
            image: As for `forward`.
            level: As for `forward`.

        Returns:
            What `forward` gives, and the features, shapes (batch, widths[2], rows / 8, columns / 8), (batch, widths[1],
            rows / 4, columns / 4) and (batch, widths[0], rows / 2, columns / 2).
        """
        _, detail = coarse_and_detail(image, level)
        features = torch.cat([detail, 4.0 * image, level.log() + 4.0], dim=1)
        x = self.head(F.pixel_unshuffle(features, 2))  # (batch, a, rows / 2, columns / 2)
        half = self.down_1(x)
        quarter = self.down_2(self.shrink_1(half))  # (batch, b, rows / 4, columns / 4)
        eighth = self.bottom(self.shrink_2(quarter))  # (batch, c, rows / 8, columns / 8)
        quarter = self.up_2(quarter + self.grow_2(eighth))
        half = self.up_1(half + self.grow_1(quarter))
        residual = F.pixel_shuffle(self.tail(half), 2)
        return image - level * residual.float(), [eighth, quarter, half]
