"""Images whose truth is known: soft organs, bone, lungs and fat drawn as ellipsoids, as each modality shows them."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from meddenoise.noise import CTNoise, Spectrum, ct_noise, gaussian_blur
from meddenoise.volume import Header, Modality, Volume

AIR = -1000.0
PET_FWHM = 6.0
"""Millimetres."""
FIELD = (307.2, 230.4, 64.0)
"""Millimetres that the columns, rows and slices cover, however many there are."""
NOISE_HU = 40.0
"""About a quarter of the usual dose in the abdomen, soft kernel."""
OVERSAMPLING = 3
"""Points per pixel side, so that edges have partial volume as in a scanner."""


class Ellipsoid(NamedTuple):
    """A part of the body: centre and half axes in millimetres as (x, y, z), z = 0 in the middle slice.

    Its values are Hounsfield units, the signal of a T1-weighted MR image, and the uptake (SUV) of a PET image.
    """

    hounsfield: float
    signal: float
    uptake: float
    center: tuple[float, float, float]
    axes: tuple[float, float, float]


BODY = (  # each one covers those before it
    Ellipsoid(-100.0, 900.0, 0.3, (0, 0, 0), (135, 100, 400)),  # fat
    Ellipsoid(50.0, 350.0, 0.7, (0, 0, 0), (122, 87, 400)),  # muscle
    Ellipsoid(-20.0, 820.0, 0.4, (0, -12, 0), (105, 62, 300)),  # fat between the organs
    Ellipsoid(60.0, 480.0, 2.2, (-52, -12, 0), (48, 52, 70)),  # liver
    Ellipsoid(45.0, 300.0, 1.8, (58, -18, 5), (30, 34, 45)),  # spleen
    Ellipsoid(35.0, 380.0, 4.0, (48, 30, -5), (20, 16, 40)),  # kidney
    Ellipsoid(160.0, 220.0, 1.6, (8, 20, 0), (11, 11, 400)),  # aorta with contrast
    Ellipsoid(-850.0, 40.0, 0.4, (62, -30, 45), (26, 30, 24)),  # lower tip of a lung
    Ellipsoid(250.0, 600.0, 1.3, (0, 56, 0), (22, 19, 400)),  # vertebra
    Ellipsoid(700.0, 60.0, 0.8, (0, 42, 0), (17, 3, 400)),  # its cortex
    Ellipsoid(15.0, 160.0, 0.5, (0, 66, 0), (8, 7, 400)),  # spinal canal
    Ellipsoid(20.0, 330.0, 7.0, (-70, -25, 0), (8, 8, 10)),  # lesions in the liver, 40, 25 and 15 HU below it
    Ellipsoid(35.0, 390.0, 4.5, (-45, 12, -4), (6, 6, 10)),
    Ellipsoid(45.0, 430.0, 0.9, (-38, -30, 6), (10, 10, 12)),
    Ellipsoid(110.0, 200.0, 1.7, (-60, 2, 4), (2.4, 2.4, 30)),  # vessels
    Ellipsoid(110.0, 200.0, 1.7, (-78, 6, 0), (1.6, 1.6, 30)),
)


def phantom(shape: tuple[int, int, int] = (16, 144, 192), *, seed: int = 0) -> tuple[Volume, Volume]:
    """The truth and a noisy measurement of it, both int16 in HU; shape is (slices, rows, columns)."""
    spacing = [field / n for field, n in zip(FIELD, reversed(shape), strict=True)]
    clean = _draw(shape, "hounsfield", AIR)
    generator = torch.Generator().manual_seed(seed)
    slices, rows, columns = shape
    one = torch.ones(slices)
    # A soft body kernel, noisiest along the rows because rays from side to side cross the most tissue.
    spectrum = Spectrum(cutoff=0.24 * one, falloff=2.1 * one, anisotropy=0.4 * one, direction=1.57 * one, ramp=True)
    parameters = CTNoise(level=NOISE_HU * one, variation=0.2 * one, spectrum=spectrum)
    noise = ct_noise((slices, 1, rows, columns), parameters, generator=generator)[:, 0].numpy()
    affine = np.diag([*spacing, 1.0])
    affine[:3, 3] = [-(n - 1) / 2 * step for n, step in zip((columns, rows, slices), spacing, strict=True)]
    header = Header(dtype="int16", stored_range=(-32768.0, 32767.0), units="HU", modality_source="option")
    truth, noisy = (np.rint(values).astype(np.int16) for values in (clean, np.maximum(clean + noise, -1024.0)))
    return Volume(truth, affine, "CT", header), Volume(noisy, affine.copy(), "CT", header)


def anatomy(modality: Modality, shape: tuple[int, int, int] | None = None) -> Volume:
    """The truth without noise as a modality shows it.

    CT in HU; MR in any unit; PET in SUV, blurred by some 6 mm; XR as one slice of 12 bits, seen from the front: the
    logarithm of what the rays lose, bone white.

    Args:
        modality: Which.
        shape: (slices, rows, columns) of the body.
    """
    shape = shape or ((96, 48, 192) if modality == "XR" else (4, 144, 192))
    z, y, x = (field / n for field, n in zip(reversed(FIELD), shape, strict=True))
    if modality == "XR":
        path = ((_draw(shape, "hounsfield", AIR) - AIR) / -AIR).sum(axis=1)
        header = Header(dtype="uint16", stored_range=(0.0, 4095.0), modality_source="option", ndim=2)
        pixels = np.rint(3500 * path / path.max()).astype(np.uint16)[None]
        return Volume(pixels, np.diag([x, z, FIELD[1], 1.0]), modality, header)  # as deep as the body
    kind, outside, units = {"CT": ("hounsfield", AIR, "HU"), "MR": ("signal", 0.0, ""), "PET": ("uptake", 0.0, "SUV")}[
        modality
    ]
    values = _draw(shape, kind, outside)
    if modality == "PET":
        blurred = gaussian_blur(torch.from_numpy(values[:, None]).float(), torch.full((len(values),), PET_FWHM / y))
        header = Header(units=units, modality_source="option")
        return Volume(blurred[:, 0].numpy(), np.diag([x, y, z, 1.0]), modality, header)
    header = Header(dtype="int16", stored_range=(-32768.0, 32767.0), units=units, modality_source="option")
    return Volume(np.rint(values).astype(np.int16), np.diag([x, y, z, 1.0]), modality, header)


def _draw(shape: tuple[int, int, int], kind: str, outside: float) -> NDArray[np.float64]:
    slices, rows, columns = shape
    fine = (slices, rows * OVERSAMPLING, columns * OVERSAMPLING)
    points = (((np.arange(n) + 0.5) / n - 0.5) * field for n, field in zip(fine, reversed(FIELD), strict=True))
    z, y, x = np.meshgrid(*points, indexing="ij", sparse=True)
    values = np.full(fine, outside)
    for part in BODY:
        (a, b, c), (u, v, w) = part.center, part.axes
        values[((x - a) / u) ** 2 + ((y - b) / v) ** 2 + ((z - c) / w) ** 2 <= 1] = getattr(part, kind)
    pixels: NDArray[np.float64] = values.reshape(slices, rows, OVERSAMPLING, columns, OVERSAMPLING).mean(axis=(2, 4))
    return pixels
