"""The two-stage denoiser: a network estimates the noise, a second one restores the image with attention to it.

Sharif, Naqvi and Loh, "Two-stage Deep Denoising with Self-guided Noise Attention for Multimodal Medical Images", IEEE
TRPMS 8(5):521-531 (2024). Table VII is met exactly: 283,776 trainable parameters and 18.56 G multiply-accumulates
for the first network, 302,466 and 19.78 G for the second, at 256x256 pixels of 3 channels.

What the paper leaves open or contradicts, and what is done here:

- Kernels (II-B1 says 3x3 everywhere): the projections into and out of the features are 1x1 without bias, as Table VII
  is met by no other; so are the noise gates.
- LeakyReLU (II-B1 gives no slope): 0.2, after all five convolutions of a dense block, the last one included.
- Residual scale (eqs 5 and 6 write none): 0.2 within and around the dense blocks, as in ESRGAN, which the paper cites.
- Range (II-B1 says N_E lies in [0, 1]): noise has both signs, so its estimate is signed and nothing bounds it.
- I_T in eq 9: the noisy image's features before the convolution C of eq 7, which is how the paper defines the symbol.
- Eq 8 uses Z_A for the convolution and for the mean: mean and maximum over channels, a 7x7 convolution, a sigmoid.
- Coarse to fine (II, II-B2): stage II corrects stage I's result I_N - N_E rather than make the image from nothing, so
  it keeps full precision where the features have only bfloat16's. Both start at zero: a fresh network is the identity.
- Objectives (eqs 10 to 13): separate, so no gradient flows from stage II into the noise estimate.
- Attended features (eq 9): N_T is added to them, which needs no parameter. As written, stage II would know the noise
  estimate through one weight per pixel alone; the variant "attention_alone" is that.
- Without attention (TWN, III-C): the features of N_E are added to those of I_N; the paper does not say.
- Units: the paper's images have 8 bits. Here noise from 5 HU in 4095 to 75 in 255 must look alike, so the network is
  shown each channel's local mean, and its detail scaled to one noise level.
"""

from __future__ import annotations

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from meddenoise.networks.detail import coarse_and_detail

CHANNELS = 3
SLOPE = 0.2
RESIDUAL_SCALE = 0.2
SHOWN_LEVEL = 0.125
"""The noise scale as the networks see it, on a grey scale of 0 to 1."""
CONVOLUTIONS = 5
DENSE_BLOCKS = 3

Variant = Literal["full", "attention_alone", "without_attention", "noise_only"]


class DenseBlock(nn.Module):
    """Residual dense block, eq 6: each of five 3x3 convolutions sees all features before it."""

    def __init__(self, *, width: int, growth: int) -> None:
        super().__init__()
        outputs = [growth] * (CONVOLUTIONS - 1) + [width]
        self.layers = nn.ModuleList(
            nn.Conv2d(width + i * growth, channels, 3, padding=1) for i, channels in enumerate(outputs)
        )

    def forward(self, x: Tensor) -> Tensor:
        """Shape (batch, width, rows, columns) in and out."""
        features = [x]
        for layer in self.layers:
            features.append(F.leaky_relu(layer(torch.cat(features, dim=1)), SLOPE, inplace=True))
        return x + RESIDUAL_SCALE * features[-1]


class GatedBlock(nn.Module):
    """Residual in residual dense blocks, eq 5, and beside them the noise gate, a 1x1 convolution (II-B1)."""

    def __init__(self, *, width: int, growth: int) -> None:
        super().__init__()
        self.dense = nn.Sequential(*(DenseBlock(width=width, growth=growth) for _ in range(DENSE_BLOCKS)))
        self.gate = nn.Conv2d(width, width, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """Shape (batch, width, rows, columns) in and out."""
        gated: Tensor = x + RESIDUAL_SCALE * self.dense(x) + self.gate(x)
        return gated


def _trunk(*, width: int, growth: int, blocks: int) -> nn.Sequential:
    """The gated blocks and the projection to the image's channels, which both stages share in form."""
    project = nn.Conv2d(width, CHANNELS, 1, bias=False)
    nn.init.zeros_(project.weight)
    return nn.Sequential(*(GatedBlock(width=width, growth=growth) for _ in range(blocks)), project)


class NoiseAttention(nn.Module):
    """Self-guided noise attention (II-B2, eqs 7 to 9): one weight per pixel for the noisy image's features."""

    def __init__(self, *, width: int) -> None:
        super().__init__()
        self.of_noise = nn.Conv2d(width, width, 3, padding=1)
        self.of_image = nn.Conv2d(width, width, 3, padding=1)
        self.spatial = nn.Conv2d(2, 1, 7, padding=3, bias=False)

    def forward(self, image: Tensor, noise: Tensor) -> Tensor:
        """Features I_T and N_T in, S_A out; all of shape (batch, width, rows, columns)."""
        both = torch.cat([self.of_noise(noise), self.of_image(image)], dim=1)  # X_C, (batch, 2 width, rows, columns)
        pooled = torch.cat([both.mean(dim=1, keepdim=True), both.amax(dim=1, keepdim=True)], dim=1)
        attended: Tensor = torch.sigmoid(self.spatial(pooled)) * image
        return attended


class NoiseEstimation(nn.Module):
    """Stage I, the noise estimation network (NEN, II-B1): noisy image in, signed noise out."""

    def __init__(self, *, width: int = 32, growth: int = 8, blocks: int = 3) -> None:
        super().__init__()
        self.project = nn.Conv2d(CHANNELS, width, 1, bias=False)
        self.trunk = _trunk(width=width, growth=growth, blocks=blocks)

    def forward(self, image: Tensor) -> Tensor:
        """Shape (batch, 3, rows, columns) in and out, float32 out."""
        noise: Tensor = self.trunk(self.project(image))
        return noise.float()


class Reconstruction(nn.Module):
    """Stage II, the reconstruction network (RN, II-B2): noisy image and estimated noise in, clean image out."""

    def __init__(self, *, width: int = 32, growth: int = 8, blocks: int = 3, variant: Variant = "full") -> None:
        super().__init__()
        self.project_image = nn.Conv2d(CHANNELS, width, 1, bias=False)
        self.project_noise = nn.Conv2d(CHANNELS, width, 1, bias=False)
        self.attention = None if variant == "without_attention" else NoiseAttention(width=width)
        self.adds_noise = variant != "attention_alone"
        self.trunk = _trunk(width=width, growth=growth, blocks=blocks)

    def forward(self, image: Tensor, noise: Tensor) -> Tensor:
        """Both of shape (batch, 3, rows, columns), float32; the same out."""
        seen, known = self.project_image(image), self.project_noise(noise)  # I_T and N_T, (batch, width, rows, columns)
        features = seen if self.attention is None else self.attention(seen, known)
        correction: Tensor = self.trunk(features + known if self.adds_noise else features)
        return image - noise + correction.float()


class TwoStage(nn.Module):
    """Both stages for images on any scale, given a map of the noise scale; see this file's head for the decisions.

    The three channels are three neighbouring slices, one slice three times, or red, green and blue.

    Args:
        width: Channels of the features.
        growth: Channels that each convolution adds within a dense block.
        blocks: Gated blocks of each stage.
        variant: "full"; or, for the paper's ablation, "without_attention" (TWN) or "noise_only" (NEN); or
            "attention_alone", which is eq 9 as written.
    """

    factor = 8
    """Rows and columns must be multiples of this."""
    channels = CHANNELS
    tile = 1024
    """Larger slices are cut: the features of all channels are held at full resolution."""

    def __init__(self, *, width: int = 32, growth: int = 8, blocks: int = 3, variant: Variant = "full") -> None:
        super().__init__()
        sizes = {"width": width, "growth": growth, "blocks": blocks}
        self.nen = NoiseEstimation(**sizes)
        self.rn = None if variant == "noise_only" else Reconstruction(**sizes, variant=variant)

    def forward(self, image: Tensor, level: Tensor) -> Tensor:
        """Remove the noise: the second of what `stages` gives."""
        return self.stages(image, level)[1]

    def stages(self, image: Tensor, level: Tensor) -> tuple[Tensor, Tensor]:
        """Estimate the noise, and remove it.

        Args:
            image: Network units (about 0 to 1), shape (batch, 3, rows, columns), float32, sides multiples of 8.
            level: Noise scale in the same units, same shape, positive.

        Returns:
            Estimated noise N_E and denoised image I_C, same shape and units, float32.
        """
        coarse, detail = coarse_and_detail(image, level)
        shown = coarse + SHOWN_LEVEL * detail
        unit = level / SHOWN_LEVEL
        noise = self.nen(shown)
        if self.rn is None:
            return unit * noise, image - unit * noise
        restored = self.rn(shown, noise.detach())
        return unit * noise, image - unit * (shown - restored)
