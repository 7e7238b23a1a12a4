"""The convolutional networks that predict content or noise in the GAN denoiser: U-Net, DnCNN and SRDenseNet.

Osman et al., "Medical Images Noise Removal using Improved Adversarial Generative Network", Seminars in Medical Writing
and Education 4:838 (2025), "Proposed Approach" and figure 3, a retelling of Geng et al., "Content-Noise Complementary
Learning for Medical Image Denoising", IEEE TMI 41(2):407-419 (2022). All of them keep rows and columns.

What the paper changes in each, and what is decided where it is silent:

- U-Net: padded convolutions and batch normalisation. Widths as in the original, 64 to 1024. The deepest features have
  as many channels when they leave as the level above, features are upsampled bilinearly, and the last level ends
  without normalisation or activation: so the published relative of this system has it, whose size is met.
- Upsampling does not align corners, unlike that relative's. With aligned corners the place from which a pixel is
  interpolated hangs on the image's size, so that a patch and a whole slice would be upsampled differently.
- DnCNN: leaky ReLU (slope not given: 0.2) and no residual learning. Depth 17 and width 64 as in the original.
- SRDenseNet: no deconvolutions, 6 dense blocks instead of 8, 4 convolutions in each instead of 8. Growth of 16, a
  1x1 bottleneck of 256 channels and no normalisation, as in the original (Tong et al., ICCV 2017); a block gives on
  what its convolutions have added, and each block, like the bottleneck, sees what all before it gave.

Without ``norm`` there is no batch normalisation: then no result hangs on what else was in a batch, and a slice gets
what the patches of the training got. The U-Net's last level then has its full width and an activation, which costs
little, as the first level is narrow.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

SLOPE = 0.2


def _layer(inputs: int, outputs: int, activation: nn.Module, *, norm: bool) -> list[nn.Module]:
    """A padded 3x3 convolution, batch normalisation or none, and an activation."""
    normalised: list[nn.Module] = [nn.BatchNorm2d(outputs)] if norm else []
    return [nn.Conv2d(inputs, outputs, 3, padding=1), *normalised, activation]


def _pair(inputs: int, inner: int, outputs: int, *, norm: bool) -> nn.Sequential:
    """The two convolutions of a U-Net's level."""
    relu = nn.ReLU(inplace=True)
    return nn.Sequential(*_layer(inputs, inner, relu, norm=norm), *_layer(inner, outputs, relu, norm=norm))


class UNet(nn.Module):
    """U-Net as the paper changes it.

    Args:
        inputs: Channels in.
        outputs: Channels out.
        widths: Channels from the finest to the coarsest level, of which each has half the resolution of the last.
        norm: Whether activations are normalised over the batch, as in the paper.
    """

    def __init__(
        self, *, inputs: int, outputs: int, widths: Sequence[int] = (64, 128, 256, 512, 1024), norm: bool = True
    ) -> None:
        super().__init__()
        self.factor = 2 ** (len(widths) - 1)
        finest, *above, deepest = widths
        steps = list(pairwise([inputs, finest, *above]))
        self.down = nn.ModuleList(_pair(a, b, b, norm=norm) for a, b in steps)
        last = widths[-2]
        self.bottom = _pair(last, deepest, last, norm=norm)
        # Coarse to fine: (512 + 512 -> 512 -> 256), (256 + 256 -> 256 -> 128), (128 + 128 -> 128 -> 64).
        self.up = nn.ModuleList(_pair(2 * b, b, a, norm=norm) for a, b in reversed(list(pairwise([finest, *above]))))
        inner = finest // 2 if norm else finest
        first: list[nn.Module] = [nn.Conv2d(2 * finest, inner, 3, padding=1)] + ([] if norm else [nn.ReLU()])
        self.end = nn.Sequential(*first, nn.Conv2d(inner, outputs, 3, padding=1))

    def forward(self, x: Tensor) -> Tensor:
        """Shape (batch, inputs, rows, columns) to (batch, outputs, rows, columns), sides multiples of ``factor``."""
        passed = []
        for level in self.down:
            passed.append(level(x))
            x = F.max_pool2d(passed[-1], 2)
        x = self.bottom(x)
        for level in (*self.up, self.end):
            x = F.interpolate(x, scale_factor=2.0, mode="bilinear", align_corners=False)
            x = level(torch.cat([passed.pop(), x], dim=1))
        return x


class DnCNN(nn.Module):
    """DnCNN as the paper changes it: leaky ReLU, and the image itself as the target rather than the residual.

    Args:
        inputs: Channels in.
        outputs: Channels out.
        width: Channels of the features.
        depth: Convolutions.
        norm: Whether activations but the first are normalised over the batch, as in the paper.
    """

    factor = 1

    def __init__(self, *, inputs: int, outputs: int, width: int = 64, depth: int = 17, norm: bool = True) -> None:
        super().__init__()
        leaky = nn.LeakyReLU(SLOPE, inplace=True)
        layers = _layer(inputs, width, leaky, norm=False)
        for _ in range(depth - 2):
            layers += _layer(width, width, leaky, norm=norm)
        self.layers = nn.Sequential(*layers)
        self.end = nn.Sequential(nn.Conv2d(width, outputs, 3, padding=1))

    def forward(self, x: Tensor) -> Tensor:
        """Shape (batch, inputs, rows, columns) to (batch, outputs, rows, columns)."""
        predicted: Tensor = self.end(self.layers(x))
        return predicted


class DenseBlock(nn.Module):
    """Convolutions of which each sees the block's input and what those before it have added."""

    def __init__(self, *, inputs: int, growth: int, convolutions: int) -> None:
        super().__init__()
        self.layers = nn.ModuleList(nn.Conv2d(inputs + i * growth, growth, 3, padding=1) for i in range(convolutions))

    def forward(self, x: Tensor) -> Tensor:
        """Shape (batch, inputs, rows, columns) to (batch, growth * convolutions, rows, columns)."""
        features = [x]
        for layer in self.layers:
            features.append(F.relu(layer(torch.cat(features, dim=1))))
        return torch.cat(features[1:], dim=1)


class SRDenseNet(nn.Module):
    """SRDenseNet as the paper changes it: shorter, and without upsampling.

    Args:
        inputs: Channels in.
        outputs: Channels out.
        growth: Channels that each convolution adds.
        blocks: Dense blocks.
        convolutions: In each of them.
        bottleneck: Channels to which the features of all blocks are brought.
        norm: Has no effect: this network has no normalisation.
    """

    factor = 1

    def __init__(
        self, *, inputs: int, outputs: int, growth: int = 16, blocks: int = 6, convolutions: int = 4,
        bottleneck: int = 256, norm: bool = True,
    ) -> None:  # fmt: skip
        super().__init__()
        width = growth * convolutions
        self.head = nn.Conv2d(inputs, width, 3, padding=1)
        self.blocks = nn.ModuleList(
            DenseBlock(inputs=width * (i + 1), growth=growth, convolutions=convolutions) for i in range(blocks)
        )
        self.bottleneck = nn.Conv2d(width * (blocks + 1), bottleneck, 1)
        self.end = nn.Sequential(nn.Conv2d(bottleneck, outputs, 3, padding=1))

    def forward(self, x: Tensor) -> Tensor:
        """Shape (batch, inputs, rows, columns) to (batch, outputs, rows, columns)."""
        features = [F.relu(self.head(x))]
        for block in self.blocks:
            features.append(block(torch.cat(features, dim=1)))
        predicted: Tensor = self.end(F.relu(self.bottleneck(torch.cat(features, dim=1))))
        return predicted


PREDICTORS: dict[str, Callable[..., nn.Module]] = {"unet": UNet, "dncnn": DnCNN, "srdensenet": SRDenseNet}


def start(predictor: nn.Module) -> None:
    """Draw a predictor's weights as the paper does; biases are 0.

    Convolutions from N(0, 0.02) and normalisations from N(1, 0.02); without normalisation such small weights would
    let a deep network's signal fade, and they are drawn to keep its variance instead (He et al., ICCV 2015).
    """
    normalised = any(isinstance(m, nn.BatchNorm2d) for m in predictor.modules())
    for module in predictor.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.normal_(module.weight, 1.0, 0.02)
        elif isinstance(module, nn.Conv2d):
            if normalised:
                nn.init.normal_(module.weight, 0.0, 0.02)
            else:
                nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
            assert module.bias is not None
            nn.init.zeros_(module.bias)
