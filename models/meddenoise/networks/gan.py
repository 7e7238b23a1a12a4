"""The GAN denoiser's generator: one network predicts the content, another the noise, and what they say is fused.

Osman et al., "Medical Images Noise Removal using Improved Adversarial Generative Network", Seminars in Medical Writing
and Education 4:838 (2025), "Proposed Approach" and figure 2. The predictors are in predictors.py, what judges them in
discriminator.py, how they are trained in recipes/gan.py.

What the paper leaves open or garbles, and what is done here:

- Two networks or one with two outputs ("predictors and CNNs share the same network design"): two, with weights of
  their own; for mixed pairs such as U-Net with DnCNN there is no other way.
- Fusion ("concatenating the data ... an order 1x1 convolution"): of the predicted content and of the input minus the
  predicted noise, two weights and a constant, written out so that they stay in float32 where networks run in bfloat16.
- Units: images were divided by their variance in the paper's relative, by which equal tissue gets another value in
  each slice. Here the networks see each pixel's local mean and its detail over the noise scale, as two_stage does, and
  predict detail over the noise scale: one network serves noise of 5 HU and of 75 grey levels. The local mean of about
  8 pixels passes by, and corrections of it are part of what is predicted.
- Start: the noise predictor's last layer is 0 and the fusion takes the input minus the noise alone, so that a fresh
  network is the identity; the content predictor earns its share in the fusion. A content predictor that stands alone
  has nothing to be the identity with, as the paper's predictors have no path around them.
- Size: the paper's networks work at full resolution: as U-Nets 43,825,029 parameters and 72.6 G multiply-accumulates
  at 256x256 (the relative has 384 parameters more, in normalisations that it never uses). The light form is ours: half
  the resolution, each 2x2 pixels as channels, no batch normalisation, and told the scale of the noise and the grey
  value, from which a network can know modality and noise model.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from meddenoise.networks.detail import coarse_and_detail
from meddenoise.networks.predictors import PREDICTORS, start

SHOWN_LEVEL = 0.125
"""The noise scale as the predictors and the discriminator see it, on a grey scale of 0 to 1."""
LOCAL_MEAN = 8
"""Side in pixels of the blocks of which the local mean is taken."""


class Gan(nn.Module):
    """Content and noise predictor and their fusion, for images on any scale, given a map of the noise scale.

    Args:
        content: Kind of the content predictor, a key of PREDICTORS, or None for the noise predictor alone.
        noise: Kind of the noise predictor, or None for the content predictor alone.
        sizes: Widths and other arguments of the predictors, by kind; the paper's where nothing is said.
        light: Half the resolution and no batch normalisation, instead of the paper's form.
    """

    channels = 1

    def __init__(
        self,
        *,
        content: str | None = "unet",
        noise: str | None = "unet",
        sizes: Mapping[str, Mapping[str, Any]] | None = None,
        light: bool = False,
    ) -> None:
        super().__init__()
        assert content or noise, "there must be a predictor"
        self.content, self.noise = (_predictor(kind, sizes or {}, light=light) for kind in (content, noise))
        if self.noise is not None:
            end: nn.Conv2d = self.noise.end[-1]  # type: ignore[index, assignment]
            nn.init.zeros_(end.weight)
            nn.init.zeros_(end.bias)  # type: ignore[arg-type]
        both = content is not None and noise is not None
        self.shares = nn.Parameter(torch.tensor([0.0, 1.0])) if both else None
        self.constant = nn.Parameter(torch.zeros(())) if both else None
        factors = [int(p.factor) for p in (self.content, self.noise) if p is not None]  # type: ignore[arg-type]
        self.light = light
        self.factor = max(LOCAL_MEAN, *((2 if light else 1) * factor for factor in factors))
        self.tile = 1024 if light else 512

    def forward(self, image: Tensor, level: Tensor) -> Tensor:
        """Remove the noise: the second of what `stages` gives."""
        return self.stages(image, level)[1]

    def stages(self, image: Tensor, level: Tensor) -> tuple[Tensor, Tensor]:
        """Estimate the noise, and remove it: the last two of what `parts` gives."""
        return self.parts(image, level)[1:]

    def parts(self, image: Tensor, level: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Predict the content and the noise, and fuse them.

        Args:
            image: Network units (about 0 to 1), shape (batch, 1, rows, columns), float32, sides multiples of
                ``factor``.
            level: Noise scale in the same units, same shape, positive.

        Returns:
            Predicted content, predicted noise and denoised image, same shape and units, float32. A single predictor's
            content is the denoised image, and its noise what the content leaves of the input.
        """
        coarse, detail = coarse_and_detail(image, level)
        seen = coarse + SHOWN_LEVEL * detail
        if self.light:
            seen = F.pixel_unshuffle(torch.cat([detail, 4.0 * image, level.log() + 4.0], dim=1), 2)
        content, noise = (None if p is None else self._detail(p, seen) for p in (self.content, self.noise))
        if content is None:
            assert noise is not None
            content = detail - noise
        noise = detail - content if noise is None else noise
        fused = content
        if self.shares is not None and self.constant is not None:
            fused = self.shares[0] * content + self.shares[1] * (detail - noise) + self.constant
        return image - level * (detail - content), level * noise, image - level * (detail - fused)

    def _detail(self, predictor: nn.Module, seen: Tensor) -> Tensor:
        """What a predictor says, over the noise scale, shape (batch, 1, rows, columns)."""
        predicted: Tensor = predictor(seen)
        return (F.pixel_shuffle(predicted, 2) if self.light else predicted).float()


def _predictor(kind: str | None, sizes: Mapping[str, Mapping[str, Any]], *, light: bool) -> nn.Module | None:
    if kind is None:
        return None
    inputs, outputs = (3 * 4, 4) if light else (1, 1)
    predictor = PREDICTORS[kind](inputs=inputs, outputs=outputs, norm=not light, **sizes.get(kind, {}))
    start(predictor)
    return predictor


def shown(content: Tensor, noise: Tensor, image: Tensor, level: Tensor) -> Tensor:
    """An image, its noise and its noisy form as the discriminator is shown them.

    Args:
        content: Clean or denoised image in network units, shape (batch, 1, rows, columns).
        noise: What it lacks of ``image``, the same.
        image: Noisy image, the same.
        level: Noise scale, the same.

    Returns:
        Shape (batch, 3, rows, columns), on a grey scale on which the noise scale is SHOWN_LEVEL.
    """
    coarse, detail = coarse_and_detail(image, level)
    unit = level / SHOWN_LEVEL
    seen = coarse + SHOWN_LEVEL * detail
    return torch.cat([seen - (image - content) / unit, noise / unit, seen], dim=1)
