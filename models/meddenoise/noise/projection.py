"""Parallel-beam projection, back-projection and the filters between them, for simulating tomographic noise.

A ray is named by its angle and its signed distance t from the centre of the image, ``t = x cos(angle) + y sin(angle)``
with x along columns and y along rows (downwards). The projection at an angle thus holds the image's frequencies in
the direction ``atan2(fy, fx) = angle``. Modern scanners rebin their fan beam to this geometry before reconstruction.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

SAMPLES_AT_ONCE = 2**22


@dataclass(frozen=True)
class Kernel:
    """Reconstruction kernel: what filtered back-projection multiplies the ramp by, ``exp(-(f / cutoff)^falloff / 2)``.

    The noise power of the reconstruction is thus ``f exp(-(f / cutoff)^falloff)``.

    Attributes:
        cutoff: In 1/mm. Soft body kernels lie near 0.3, sharp ones near 0.85, a bare ramp at infinity.
        falloff: Exponent; 2 is a Gaussian, larger is steeper.
    """

    cutoff: float
    falloff: float = 2.1

    def gain(self, frequency: Tensor) -> Tensor:
        """The factor at frequencies in 1/mm; 1 at frequency 0, so that values keep their scale."""
        return torch.exp(-0.5 * (frequency / self.cutoff) ** self.falloff)


RAMP = Kernel(math.inf)


def half_turn(count: int, device: torch.device | str = "cpu") -> Tensor:
    """Angles in radians, evenly over [0, pi), shape (count,)."""
    return torch.arange(count, device=device) * (math.pi / count)


def detectors_for(shape: tuple[int, int], spacing: float, detector_spacing: float) -> int:
    """How many detectors see the whole image under every angle."""
    return math.ceil(math.hypot(*shape) * spacing / detector_spacing) + 1


def project(
    image: Tensor,
    angles: Tensor,
    *,
    spacing: float = 1.0,
    detector_spacing: float | None = None,
    detectors: int | None = None,
) -> Tensor:
    """Line integrals along parallel rays, shape (batch, 1, angles, detectors), in the image's units times mm.

    Rays are sampled at every ``spacing`` with bilinear interpolation; outside the image lies 0.

    Args:
        image: Shape (batch, 1, rows, columns).
        angles: In radians, shape (angles,).
        spacing: Side of a pixel in mm.
        detector_spacing: Distance of neighbouring rays in mm, that of the pixels if not given.
        detectors: Their number, centred; enough to see the whole image if not given.
    """
    rows, columns = image.shape[-2:]
    pitch = detector_spacing or spacing
    count = detectors or detectors_for((rows, columns), spacing, pitch)
    t = _centred(count, image.device) * (pitch / spacing)
    s = _centred(detectors_for((rows, columns), 1.0, 1.0), image.device)
    together = max(1, SAMPLES_AT_ONCE // (len(t) * len(s) * len(image)))
    parts = []
    for some in torch.split(angles.to(image.device), together):
        cos, sin = torch.cos(some).reshape(-1, 1, 1), torch.sin(some).reshape(-1, 1, 1)
        x, y = t[:, None] * cos - s * sin, t[:, None] * sin + s * cos
        grid = torch.stack((x * (2 / columns), y * (2 / rows)), dim=-1).flatten(0, 1)
        # The batch goes where grid_sample has its channels: the same rays are computed once for all images.
        values = F.grid_sample(image.transpose(0, 1), grid[None], align_corners=False)
        parts.append(values.sum(dim=-1).reshape(len(image), 1, len(some), count) * spacing)
    return torch.cat(parts, dim=2)


def backproject(
    sinogram: Tensor,
    angles: Tensor,
    shape: tuple[int, int],
    *,
    spacing: float = 1.0,
    detector_spacing: float | None = None,
) -> Tensor:
    """Sum over the angles of the ray through each pixel, shape (batch, 1, rows, columns).

    Linear interpolation between detectors; beyond the outermost lies 0. Up to interpolation this is the adjoint of
    ``project`` times ``detector_spacing / spacing**2`` (times 1 where both spacings are 1).

    Args:
        sinogram: Shape (batch, 1, angles, detectors), centred.
        angles: In radians, shape (angles,).
        shape: Rows and columns of the image.
        spacing: Side of a pixel in mm.
        detector_spacing: Distance of neighbouring rays in mm, that of the pixels if not given.
    """
    count = sinogram.shape[-1]
    y, x = _centred(shape[0], sinogram.device)[:, None], _centred(shape[1], sinogram.device)
    scale = spacing / (detector_spacing or spacing)
    image = sinogram.new_zeros(len(sinogram), shape[0] * shape[1])
    padded = F.pad(sinogram[:, 0], (1, 2))
    for k, angle in enumerate(angles.tolist()):
        at = (x * (math.cos(angle) * scale) + y * (math.sin(angle) * scale)).flatten() + ((count - 1) / 2 + 1)
        at = at.clamp(0, count + 1)
        left = at.floor()
        index = left.long()
        image += torch.lerp(padded[:, k, index], padded[:, k, index + 1], at - left)
    return image.reshape(-1, 1, *shape)


def ramp_filter(sinogram: Tensor, kernel: Kernel = RAMP, *, detector_spacing: float = 1.0) -> Tensor:
    """Filter every projection with the ramp, band-limited at the detectors, times the kernel.

    Source: Kak and Slaney, "Principles of computerized tomographic imaging", 1988, section 3.3.3: the ramp is made in
    space, which keeps the mean right where sampling |f| would not.

    Args:
        sinogram: Shape (batch, 1, angles, detectors).
        kernel: What the ramp is multiplied by.
        detector_spacing: In mm.
    """
    count = sinogram.shape[-1]
    length = 2 ** math.ceil(math.log2(2 * count))
    index = torch.arange(length, device=sinogram.device)
    distance = torch.minimum(index, length - index)
    ramp = torch.where(distance % 2 == 1, -1 / (math.pi * distance.clamp(min=1)) ** 2, 0.0)
    ramp[0] = 0.25
    response = torch.fft.rfft(ramp).real / detector_spacing
    response = response * kernel.gain(torch.fft.rfftfreq(length, d=detector_spacing, device=sinogram.device))
    filtered: Tensor = torch.fft.irfft(torch.fft.rfft(sinogram, length) * response, length)
    return filtered[..., :count]


def filtered_backprojection(
    sinogram: Tensor,
    angles: Tensor,
    shape: tuple[int, int],
    kernel: Kernel = RAMP,
    *,
    spacing: float = 1.0,
    detector_spacing: float | None = None,
) -> Tensor:
    """The image whose line integrals over evenly spaced angles of half a turn are given; arguments as above."""
    filtered = ramp_filter(sinogram, kernel, detector_spacing=detector_spacing or spacing)
    image = backproject(filtered, angles, shape, spacing=spacing, detector_spacing=detector_spacing)
    return image * (math.pi / len(angles))


def _centred(count: int, device: torch.device) -> Tensor:
    return torch.arange(count, device=device, dtype=torch.float32) - (count - 1) / 2
