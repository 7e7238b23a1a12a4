"""What two models are compared on: a site's held-back patients, and phantoms that come with the program."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray

from meddenoise.errors import InputError
from meddenoise.inference import estimate_noise
from meddenoise.inference.noise_estimate import foreground_threshold, slices_of, tissue
from meddenoise.intensity import CT_AIR, intensity_of
from meddenoise.noise_level import gaussian_blur
from meddenoise.phantom import anatomy
from meddenoise.training.physical import NOISE
from meddenoise.volume import MODALITIES, Volume

RUN = 4
"""Neighbouring slices that are denoised together, as a network that looks at neighbours needs them."""
RUNS = 4
"""At most this many runs of each patient, evenly spread."""
LOUDER = 2.0
"""Made noise is at least this many times that of the image: a quarter of the dose adds 1.7 to 2.1 times."""
LEAST_SIDE = 8
"""Slices narrower than this many pixels cannot be judged."""
PHANTOM_SEED = 20


@dataclass(frozen=True)
class Case:
    """One patient.

    Attributes:
        noisy: What is denoised, or without a reference, what noise is added to.
        reference: The clean partner, of the same geometry, noisy itself perhaps.
        exact: Whether the reference is the truth, which only a phantom's is.
    """

    noisy: Volume
    reference: Volume | None = None
    exact: bool = False


@dataclass(frozen=True)
class Run:
    """Neighbouring slices of a case, arrays of shape (slices, rows, columns) in the volume's unit.

    Attributes:
        noisy: What is denoised.
        reference: What the result is compared with, float64.
        body: Where errors count.
        tissue: Where the mean shift is taken: soft tissue in CT, the body otherwise.
    """

    noisy: Volume
    reference: NDArray[np.float64]
    body: NDArray[np.bool_]
    tissue: NDArray[np.bool_]


def built_in_cases(modalities: Sequence[str]) -> list[Case]:
    """A phantom of each of the modalities, each of its slices with another noise of the training's family.

    The same in every call: the noise is drawn from a fixed seed.
    """
    cases = []
    for number, modality in enumerate(m for m in MODALITIES if m in modalities):
        truth = anatomy(modality)
        truth = replace(truth, array=truth.array.repeat(RUNS // len(truth.array), axis=0))  # a radiograph is one slice
        slices = [
            with_made_noise(_cut(truth, k, k + 1), seed=PHANTOM_SEED + 10 * number + k) for k in range(len(truth.array))
        ]
        noisy = truth.with_array(np.concatenate([one.array for one in slices]))
        cases.append(Case(noisy, truth, exact=True))
    return cases


def runs_of(case: Case, *, seed: int = 0) -> list[Run]:
    """The parts of a case that are judged; those without a voxel of the body are left out.

    Args:
        case: Noise is added to it where it has no reference.
        seed: Of that noise.

    Raises:
        InputError: A colour image, one too small or with voxels that are no number, or partners of different shape.
    """
    _check(case)
    noisy = case.noisy.as_slices()
    reference = None if case.reference is None else case.reference.as_slices()
    level = estimate_noise(noisy).level if reference is None else None
    found = []
    for number, (start, stop) in enumerate(_parts(len(noisy.array), 1 if case.exact else RUN, RUNS)):
        part = _cut(noisy, start, stop)
        clean = part if reference is None else _cut(reference, start, stop)
        if reference is None:
            part = with_made_noise(part, seed=seed + number, level=level or 0.0)
        run = _run(part, clean)
        if run.body.any() and run.tissue.any():
            found.append(run)
    return found


def with_made_noise(volume: Volume, *, seed: int, level: float = 0.0) -> Volume:
    """Add noise of the modality, drawn from the family that networks are trained on.

    Args:
        volume: Slices first.
        seed: Of parameters and noise.
        level: Standard deviation of the noise that the volume has already; what is added is LOUDER times it, or more.
    """
    rule = intensity_of(volume)
    clean = torch.from_numpy(rule.forward(volume.array))[None]
    generator = torch.Generator().manual_seed(seed)
    added = (NOISE[volume.modality](clean, generator) - clean)[0].numpy() * rule.scale
    spread = float(added.std())
    added = added * (max(1.0, LOUDER * level / spread) if spread > 0 else 1.0)
    low, high = volume.header.stored_range or (-np.inf, np.inf)
    low = max(low, CT_AIR if volume.header.units == "HU" else min(0.0, float(volume.array.min())))
    noisy = np.clip(volume.array + added, low, high)
    noisy = np.rint(noisy) if volume.array.dtype.kind in "iu" else noisy
    kept = volume.padded()
    return volume.with_array(np.where(kept, volume.array, noisy).astype(volume.array.dtype))


def _check(case: Case) -> None:
    for volume in filter(None, (case.noisy, case.reference)):
        if volume.colour:
            raise InputError("models are compared on grey images; a held-back image is in colour")
        if not np.isfinite(volume.array).all():
            raise InputError("a held-back image has voxels that are NaN or infinite; leave it out")
        if volume.array.size == 0 or min(volume.as_slices().array.shape[1:]) < LEAST_SIDE:
            raise InputError(f"a held-back image of {volume.array.shape} voxels is too small to judge a model by")
    if case.reference is not None and case.reference.array.shape != case.noisy.array.shape:
        raise InputError(
            f"a held-back image and its partner must have one shape, got {case.noisy.array.shape} and "
            f"{case.reference.array.shape}"
        )


def _parts(slices: int, length: int, most: int) -> list[tuple[int, int]]:
    """Starts and ends of at most ``most`` parts of ``length`` slices, evenly spread and apart from one another."""
    length = min(length, slices)
    count = min(most, slices // length)
    starts = np.linspace(0, slices - length, count).round().astype(int) if count > 1 else [(slices - length) // 2]
    return [(int(start), int(start) + length) for start in starts]


def _cut(volume: Volume, start: int, stop: int) -> Volume:
    """Some of the slices of a volume whose slices come first."""
    affine = volume.affine.copy()
    affine[:3, 3] += start * affine[:3, 2]
    padding = volume.header.padding
    padding = padding[start:stop] if padding and len(padding) > 1 else padding
    header = replace(volume.header, padding=padding, sources=())
    return replace(volume, array=np.ascontiguousarray(volume.array[start:stop]), affine=affine, header=header)


def _run(noisy: Volume, clean: Volume) -> Run:
    slices = slices_of(clean)
    smooth = gaussian_blur(slices, 2.0)
    body = (smooth > foreground_threshold(clean, smooth)[0])[:, 0].numpy() & ~noisy.padded() & ~clean.padded()
    place = tissue(clean, slices, smooth)[0][:, 0].numpy() & body
    return Run(noisy, clean.array.astype(np.float64), body, place)
