"""Images by which a training on pairs keeps what the running model can do with others.

A network that learns from some images of one scanner forgets how others look, which the comparison with the running
model then finds. So it also learns, as "Learning without Forgetting" has it (Li and Hoiem, TPAMI 2018), to do as before
on images that are at hand, of the modalities that it learns: phantoms, and the site's own partners shown as each of
them, with noise made on them. What the running model makes of these is the target, not the truth: of phantoms a network
would learn that images have no texture. Other modalities need none of it: another version goes on denoising them.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray

from meddenoise.comparison.cases import with_made_noise
from meddenoise.inference import Denoiser
from meddenoise.io import read_volume, write_volume
from meddenoise.noise_level import gaussian_blur
from meddenoise.phantom import anatomy
from meddenoise.server.site_data import Example, Files, SiteData
from meddenoise.training.pairs import CLEAN, NOISY
from meddenoise.training.slices import is_validation
from meddenoise.volume import MODALITIES, Header, Modality, Volume

SHARE = 0.75
"""Rehearsed images for each of the site's; every modality gets a phantom and a partner at least."""
SLICES, DRAWS = 4, 200
"""Slices of a rehearsed image, each with another noise, and of all of them together, at least: a network would learn a
few noises by heart."""
HALVED_FROM = 128
"""Pixels of the narrower side from which on slices are halved, which takes out part of the partner's own noise."""
DARKEST, BRIGHTEST = (1.0, 60.0), 99.5
"""Percentiles that become black, drawn between these, and white."""
PHANTOM_ROWS, PHANTOM_COLUMNS = (112, 208), (144, 256)
CT_WIDTH, CT_LOW, CT_OWN = 1300.0, -1000.0, (-1024.0, 3071.0)
GREY = 1000.0
PET_BLUR = 2.0
"""Standard deviation in pixels by which an image is blurred that is to pass for PET."""


def rehearsal(site: SiteData, files: Files, running: Denoiser, folder: Path, *, seed: int) -> Iterator[dict[str, Any]]:
    """Write the images, and give the rows of the table of pairs that name them.

    Args:
        site: Pairs.
        files: As for write_folder.
        running: What is not to be forgotten.
        folder: For the images; it is made if absent.
        seed: Of how they are shown, and of their noise.
    """
    folder.mkdir(parents=True, exist_ok=True)
    examples = [one for one in site.examples if not is_validation(site.subjects[one.looked.patient])]
    known = [m for m in MODALITIES if m in running.card.modalities and m in site.modalities]
    subject = next(name for name in (f"rehearsal-{i}" for i in range(1000)) if not is_validation(name))
    rng = np.random.default_rng(seed)
    images = max(2 * len(known), round(SHARE * len(examples))) if known else 0
    slices = max(SLICES, -(-DRAWS // max(1, images)))
    for number in range(images):
        modality, example = known[number // 2 % len(known)], examples[rng.integers(len(examples))]
        if number % 2:
            clean = _shown_as(modality, _partner(example, files), slices, rng)
        else:
            clean = _phantom(modality, slices, rng)
        noisy = _noisy(clean, rng)
        paths = [folder / f"{kind}-{number}.nrrd" for kind in (NOISY, CLEAN)]
        for path, volume in zip(paths, (noisy, running(noisy).volume), strict=True):
            write_volume(volume, path)
        yield {NOISY: paths[0], CLEAN: paths[1], "subject": subject, "modality": modality}


def _phantom(modality: Modality, slices: int, rng: np.random.Generator) -> Volume:
    """One of any size, in the units that a file keeps."""
    rows, columns = (int(rng.integers(*sides)) for sides in (PHANTOM_ROWS, PHANTOM_COLUMNS))
    drawn = anatomy(modality, (rows, SLICES, columns) if modality == "XR" else (SLICES, rows, columns))
    header = replace(drawn.header, units="HU" if modality == "CT" else "", ndim=3)  # an image would be one slice
    return replace(drawn, array=_as_many(drawn.array, slices), header=header)


def _partner(one: Example, files: Files) -> Volume:
    modality: Modality = next(m for m in MODALITIES if m == one.looked.modality)
    return read_volume(files[one.image, one.partner], modality=modality)


def _shown_as(modality: Modality, volume: Volume, count: int, rng: np.random.Generator) -> Volume:
    """Some slices of an image in the units of a modality, as 32-bit floats; those of X-ray in 12 bits."""
    slices = _some_slices(volume, count)
    low, high = np.percentile(slices, (rng.uniform(*DARKEST), BRIGHTEST))
    grey = np.clip((slices - low) / max(float(high - low), 1e-6), 0.0, 1.0)
    header = Header(modality_source="option", units="HU" if modality == "CT" else "")
    if modality == "CT":
        own = volume.modality == "CT" and volume.header.units == "HU"
        values = np.clip(slices, *CT_OWN) if own else CT_LOW + CT_WIDTH * grey
    elif modality == "XR":
        values = np.rint(4095.0 * grey).astype(np.uint16)
        header = replace(header, dtype="uint16", stored_range=(0.0, 4095.0))
    else:
        values = GREY * (_blurred(grey) if modality == "PET" else grey)
    return Volume(values.astype(header.dtype), np.eye(4), modality, header)


def _some_slices(volume: Volume, count: int) -> NDArray[np.float32]:
    array = volume.as_slices().array
    picks = np.unique(np.linspace(0, len(array) - 1, count).round().astype(int))
    slices = torch.from_numpy(array[picks].astype(np.float32))[:, None]
    if min(slices.shape[-2:]) >= HALVED_FROM:
        slices = F.avg_pool2d(slices, 2)
    return _as_many(slices[:, 0].numpy(), count)


def _as_many(slices: NDArray[np.generic], count: int) -> NDArray[Any]:
    """So many slices, which come again where there are fewer."""
    return np.concatenate([slices] * -(-count // len(slices)))[:count]


def _blurred(slices: NDArray[np.float32]) -> NDArray[np.float32]:
    found: NDArray[np.float32] = gaussian_blur(torch.from_numpy(slices).float()[:, None], PET_BLUR)[:, 0].numpy()
    return found


def _noisy(clean: Volume, rng: np.random.Generator) -> Volume:
    """Each slice with another noise of the modality."""
    slices = [
        with_made_noise(replace(clean, array=one[None]), seed=int(rng.integers(2**31))).array for one in clean.array
    ]
    return clean.with_array(np.concatenate(slices))
