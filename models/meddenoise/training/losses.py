"""What the recipes minimise beside PyTorch's own losses (torch only)."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

GAMMA = 1.0
"""Weight of the second term of neighbor2neighbor; the paper uses 1 for synthetic noise and more for real noise."""
CORRELATED = 0.2
"""Correlation of neighbouring pixels' noise above which neighbor2neighbor is said to leave noise."""


def noise_scale(noisy: Tensor, clean: Tensor, level: Tensor) -> Tensor:
    """By what an image's errors are divided, so that noise of 8 HU counts about as much as noise of 75 grey levels.

    It is the noise's standard deviation; where the level map is larger, because an image is rich in detail for its
    faint noise, the geometric mean of the two, so that such images do not outweigh all others.
    Images and level map: network units, shape (batch, channels, rows, columns); the result: shape (batch,).
    """
    noise = ((noisy - clean) ** 2).mean(dim=(1, 2, 3)).sqrt().clamp_min(1e-3)
    return (noise * torch.maximum(noise, level.mean(dim=(1, 2, 3)))).sqrt()


def relative_error(denoised: Tensor, noisy: Tensor, clean: Tensor, level: Tensor) -> Tensor:
    """Mean absolute and mean squared error of the pixels plus the absolute error of 8x8 means, over the noise scale.

    The square asks for the mean where clipping or magnitudes make the possible truths skewed. The means keep large
    areas where they were: pixel errors alone leave them a shift that is small beside the noise yet visible in the
    tissue's HU. Arguments as in noise_scale.
    """
    error = (denoised - clean) / noise_scale(noisy, clean, level).reshape(-1, 1, 1, 1)
    return error.abs().mean() + error.square().mean() + F.avg_pool2d(error, 8).abs().mean()


def neighbor2neighbor(denoise: Callable[[Tensor], Tensor], noisy: Tensor, generator: torch.Generator) -> Tensor:
    """Self-supervised loss from noisy images alone: one of two neighbouring pixels foretells the other.

    Of each 2x2 cell two neighbouring pixels are drawn, which gives two images of half the size with nearly the same
    content. The network denoises the first towards the second; a second term takes out what their contents differ by,
    which is known from the network's own result on the whole image. Huang et al., "Neighbor2Neighbor: Self-Supervised
    Denoising from Single Noisy Images", CVPR 2021, section 4.

    It only works where the noise of neighbouring pixels is independent and has zero mean. Reconstructed CT and PET, MR
    that was interpolated, and everything that was resampled or compressed have correlated noise, of which the network
    then learns to keep the correlated part: correlation() says how much of it there is.

    No gradient flows through the second term's known part, so the loss itself need not fall while the noise does.

    Args:
        denoise: Network units in and out, shape (batch, channels, rows, columns), any even sides.
        noisy: Same units, sides multiples of 2.
        generator: On the CPU; chooses the pixels.
    """
    first, second = _neighbors(noisy, generator)
    with torch.no_grad():
        whole = denoise(noisy)
    pairs = [_chosen(image, choice) for image in (noisy, whole) for choice in (first, second)]
    source, target, whole_source, whole_target = pairs
    difference = denoise(source) - target
    drift = difference - (whole_source - whole_target)
    return (difference**2).mean() + GAMMA * (drift**2).mean()


def _neighbors(images: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Which pixel (0 to 3, row by row) each of the two images takes from each 2x2 cell; all channels alike."""
    shape = (len(images), 1, images.shape[-2] // 2, images.shape[-1] // 2)
    first = torch.randint(4, shape, generator=generator)
    # Row neighbours differ in the last bit, column neighbours in the first.
    second = first ^ (1 + torch.randint(2, shape, generator=generator))
    return first.to(images.device), second.to(images.device)


def _chosen(images: Tensor, choice: Tensor) -> Tensor:
    """One pixel of each 2x2 cell, shape (batch, channels, rows / 2, columns / 2)."""
    batch, channels, rows, columns = images.shape
    cells = F.pixel_unshuffle(images, 2).view(batch, channels, 4, rows // 2, columns // 2)
    index = choice.unsqueeze(2).expand(batch, channels, 1, rows // 2, columns // 2)
    return cells.gather(2, index).squeeze(2)


def correlation(noisy: Tensor) -> float:
    """Estimated correlation of the noise of neighbouring pixels, 0 for white noise; between -1 and 1.

    It is the median over the flattest quarter of blocks of 16x16 pixels, after a quadratic surface has been taken off
    each. Images: any unit, shape (batch, channels, rows, columns), sides of at least 16.
    """
    side = 16
    blocks = noisy.flatten(0, 1).unfold(1, side, side).unfold(2, side, side).reshape(-1, side * side).double()
    blocks = blocks[blocks.std(dim=1) > 0]
    if len(blocks) == 0:
        return 0.0
    y, x = torch.meshgrid(*[torch.linspace(-1, 1, side, dtype=torch.float64, device=noisy.device)] * 2, indexing="ij")
    surface = torch.linalg.qr(torch.stack([x**0, x, y, x * y, x**2, y**2], dim=-1).view(-1, 6)).Q
    rest = (blocks - blocks @ surface @ surface.T).view(-1, side, side)
    variance = rest.square().mean(dim=(1, 2))
    flat = rest[variance.argsort()[: max(1, len(rest) // 4)]]
    power = flat.square().mean(dim=(1, 2))
    along = (flat[:, :, 1:] * flat[:, :, :-1]).mean(dim=(1, 2)) + (flat[:, 1:] * flat[:, :-1]).mean(dim=(1, 2))
    return float((0.5 * along / power.clamp_min(1e-30)).median())
