"""How far an image is from its reference. The data range is always named by the caller: a guessed one flatters.

Images are tensors or arrays of shape (..., rows, columns); the last two axes are the image plane. A mask is boolean, of
the same shape, and chooses the pixels that count.
"""

from __future__ import annotations

from typing import Any

import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from meddenoise.errors import OptionError

Image = Tensor | NDArray[Any]

SSIM_TAPS = 11
SSIM_SIGMA = 1.5
SSIM_K1, SSIM_K2 = 0.01, 0.03


def rmse(image: Image, reference: Image, *, mask: Image | None = None) -> float:
    """Root of the mean squared error, in the images' units.

    Raises:
        OptionError: shapes that differ, or a mask without a pixel.
    """
    return float(torch.sqrt(_error(image, reference, mask).square().mean()))


def bias(image: Image, reference: Image, *, mask: Image | None = None) -> float:
    """Mean shift, image minus reference, in the images' units; its sign says which way.

    Raises:
        OptionError: shapes that differ, or a mask without a pixel.
    """
    return float(_error(image, reference, mask).mean())


def psnr(image: Image, reference: Image, *, data_range: float, mask: Image | None = None) -> float:
    """Peak signal-to-noise ratio in decibels; infinite for equal images.

    Args:
        image: What is judged.
        reference: What it should be.
        data_range: Width of the range of possible values, such as 255.
        mask: Pixels that count; all where None.

    Raises:
        OptionError: data_range not positive, shapes that differ, or a mask without a pixel.
    """
    _check_range(data_range)
    error = rmse(image, reference, mask=mask)
    return (
        20.0 * float(torch.log10(torch.tensor(data_range / error, dtype=torch.float64))) if error > 0 else float("inf")
    )


def ssim(image: Image, reference: Image, *, data_range: float, mask: Image | None = None) -> float:
    """Structural similarity of the slices, 1 for equal images.

    Gaussian window of 11 x 11 taps with sigma 1.5, K1 = 0.01, K2 = 0.03, population variances; windows that reach
    over the border are left out, so five pixels on every side do not count. Wang et al. 2004,
    doi:10.1109/TIP.2003.819861.

    Args:
        image: What is judged.
        reference: What it should be.
        data_range: Width of the range of possible values, such as 255.
        mask: Window centres that count; all where None.

    Raises:
        OptionError: data_range not positive, shapes that differ, images smaller than the window, or an empty mask.
    """
    _check_range(data_range)
    x, y = _pair(image, reference)
    if min(x.shape[-2:]) < SSIM_TAPS:
        raise OptionError(f"SSIM needs images of at least {SSIM_TAPS} x {SSIM_TAPS} pixels, got {tuple(x.shape[-2:])}")
    mean_x, mean_y, mean_xx, mean_yy, mean_xy = (_blur(t) for t in (x, y, x * x, y * y, x * y))
    variance_x, variance_y = mean_xx - mean_x**2, mean_yy - mean_y**2
    covariance = mean_xy - mean_x * mean_y
    c1, c2 = (SSIM_K1 * data_range) ** 2, (SSIM_K2 * data_range) ** 2
    luminance = (2 * mean_x * mean_y + c1) / (mean_x**2 + mean_y**2 + c1)
    structure = (2 * covariance + c2) / (variance_x + variance_y + c2)
    edge = SSIM_TAPS // 2
    inside = None if mask is None else torch.as_tensor(mask)[..., edge:-edge, edge:-edge]
    return float(_chosen(luminance * structure, inside).mean())


def _blur(image: Tensor) -> Tensor:
    """Weighted mean in the window around each pixel that has a whole one; shape (..., rows - 10, columns - 10)."""
    offsets = torch.arange(SSIM_TAPS, dtype=image.dtype, device=image.device) - SSIM_TAPS // 2
    weights = torch.exp(-offsets.square() / (2 * SSIM_SIGMA**2))
    weights = weights / weights.sum()
    slices = image.reshape(-1, 1, *image.shape[-2:])
    slices = F.conv2d(slices, weights.view(1, 1, -1, 1))
    slices = F.conv2d(slices, weights.view(1, 1, 1, -1))
    return slices.reshape(*image.shape[:-2], *slices.shape[-2:])


def _error(image: Image, reference: Image, mask: Image | None) -> Tensor:
    x, y = _pair(image, reference)
    return _chosen(x - y, None if mask is None else torch.as_tensor(mask))


def _pair(image: Image, reference: Image) -> tuple[Tensor, Tensor]:
    x, y = (torch.as_tensor(values).to(torch.float64) for values in (image, reference))
    if x.shape != y.shape:
        raise OptionError(f"image and reference must have one shape, got {tuple(x.shape)} and {tuple(y.shape)}")
    return x, y.to(x.device)


def _chosen(values: Tensor, mask: Tensor | None) -> Tensor:
    if mask is None:
        return values
    if mask.dtype != torch.bool or mask.shape != values.shape:
        raise OptionError(f"mask must be boolean of shape {tuple(values.shape)}, got {mask.dtype} {tuple(mask.shape)}")
    if not mask.any():
        raise OptionError("mask must choose at least one pixel, got none")
    return values[mask.to(values.device)]


def _check_range(data_range: float) -> None:
    if not data_range > 0:
        raise OptionError(f"data_range must be positive, got {data_range}")
