"""What a site's image is worth to a training: looked at once, and remembered as long as its files do not change."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from meddenoise.errors import InputError
from meddenoise.inference.noise_estimate import level_in, noise_map, slices_of, tissue
from meddenoise.io import find_sources, provenance_of, read_volume
from meddenoise.io.dicom_file import read_head
from meddenoise.noise_level import gaussian_blur
from meddenoise.training.losses import CORRELATED, correlation
from meddenoise.training.pairs import SAME_PLACE
from meddenoise.volume import Modality, Volume

LOOKED_AT = 8
"""Slices by which the noise of a volume is judged."""
ALIKE = 0.5
"""Least correlation of an image and its partner, both smoothed; a label map or another patient has less."""
CLEANER = 0.95
"""Most noise of a clean partner, as a share of the image's."""
AIR = -1000.0


@dataclass(frozen=True)
class Partner:
    """Another image of the same, or why it cannot serve as one.

    Attributes:
        tag: Of its label; for a series of a PACS, its SeriesInstanceUID.
        clean: Whether it is the clean partner rather than a repeated acquisition.
        problem: Why it cannot be used; "" where it can.
    """

    tag: str
    clean: bool
    problem: str = ""


@dataclass(frozen=True)
class Looked:
    """What was seen of an image.

    Attributes:
        patient: Pseudonym of the patient.
        modality: "CT", "MR", "PET" or "XR".
        slices: How many it has.
        voxels: How many it has.
        noise: Standard deviation of the noise over the mean signal; None where that cannot be told.
        correlated: Whether the noise of neighbouring pixels is so correlated that nothing can be learned from it alone.
        partners: Its labels that are no results of ours, or the clean series of its study.
        problem: Why it cannot be used; "" where it can.
        ours: Whether that is because it is a result of ours.
    """

    patient: str = ""
    modality: str = ""
    slices: int = 0
    voxels: int = 0
    noise: float | None = None
    correlated: bool = False
    partners: tuple[Partner, ...] = field(default_factory=tuple)
    problem: str = ""
    ours: bool = False

    @property
    def clean(self) -> list[str]:
        """Tags of the clean partners that can be used."""
        return [partner.tag for partner in self.partners if partner.clean and not partner.problem]

    @property
    def repeats(self) -> list[str]:
        """Tags of the repeated acquisitions that can be used."""
        return [partner.tag for partner in self.partners if not (partner.clean or partner.problem)]


def look_at(
    path: Path,
    partners: Mapping[str, Path],
    clean: set[str],
    *,
    told: str,
    otherwise: str,
    modality: Modality | None = None,
    kind: Modality | None = None,
) -> Looked:
    """Read an image and its partners, and tell what they can be used for; nothing that is wrong with them is raised.

    Args:
        path: File, or folder of one DICOM series.
        partners: The partners' files or folders by tag.
        clean: Tags of the clean ones.
        told: The patient's name where somebody said it, else ""; a DICOM header counts less, as it may be anonymous.
        otherwise: Name where no DICOM header says it either.
        modality: That of the images to train on; None for any.
        kind: The image's own modality where somebody said it; None for what the file says, else a guess.
    """
    try:
        volume = read_volume(path, modality=kind)
        if provenance_of(volume) is not None:
            return Looked(problem="is a result of MedDenoise", ours=True)
        if volume.colour:
            raise InputError(f"{path}: a colour picture; give grey images to train on")
    except InputError as error:
        return Looked(problem=_without_folder(error, path))
    slices, voxels = volume.array.shape[volume.slicing_axis], int(volume.array.size)
    patient = _pseudonym(told or _patient(path) or otherwise)
    if modality is not None and volume.modality != modality:
        return Looked(patient, volume.modality, slices, voxels, problem=f"is {volume.modality}, not {modality}")
    noise, correlated = noise_of(volume)
    found = tuple(
        Partner(tag, tag in clean, _problem(volume, noise, file, cleaner=tag in clean))
        for tag, file in sorted(partners.items())
    )
    return Looked(patient, volume.modality, slices, voxels, noise, correlated, found)


def noise_of(volume: Volume) -> tuple[float | None, bool]:
    """The noise over the mean signal where the tissue is, None if it cannot be told; and whether it is correlated.

    A CT's signal counts from air, that of others from zero.
    """
    slices = slices_of(volume, LOOKED_AT)
    smooth = gaussian_blur(slices, 2.0)
    where, _ = tissue(volume, slices, smooth)
    in_hu = volume.header.units == "HU"
    level = level_in(noise_map(slices, in_hu=in_hu), where)
    if level is None:
        return None, False
    signal = float(smooth[where].mean()) - (AIR if in_hu else min(0.0, float(smooth.min()))) if level else 0.0
    white = min(slices.shape[-2:]) >= 16 and correlation(slices) <= CORRELATED
    return (level / signal if signal > 0 else 0.0), not white


def _problem(volume: Volume, noise: float | None, path: Path, *, cleaner: bool) -> str:
    """Why the partner at a path cannot serve the volume, or ""."""
    try:
        partner = read_volume(path, modality=volume.modality)
        _check_fits(volume, partner)
    except InputError as error:
        return _without_folder(error, path)
    other = noise_of(partner)[0] if cleaner else None
    if noise and other is not None and other > CLEANER * noise:
        shares = f"{100 * other:.2g} % of the signal, that of the image {100 * noise:.2g} %"
        return f"is not cleaner than the image: its noise is {shares}"
    return ""


def _check_fits(volume: Volume, partner: Volume) -> None:
    """Raise InputError unless the partner shows what the volume shows, at the same place."""
    if provenance_of(partner) is not None:
        raise InputError("is a result of MedDenoise")
    if partner.array.shape != volume.array.shape:
        raise InputError(f"has {partner.array.shape} voxels, the image {volume.array.shape}")
    if not np.allclose(partner.affine, volume.affine, atol=SAME_PLACE):
        raise InputError("lies elsewhere than the image, or has another spacing; resample one to the other")
    (other, unit) = (v.header.units or "grey levels" for v in (partner, volume))
    if (other, partner.header.display) != (unit, volume.header.display):
        raise InputError(f"is in {other}, the image in {unit}")
    if (alike := _likeness(volume, partner)) < ALIKE:
        raise InputError(f"does not show what the image shows (correlation {alike:.2f})")


def _likeness(one: Volume, other: Volume) -> float:
    """Correlation of both after a Gaussian of 2 pixels."""
    smooth = [gaussian_blur(slices_of(volume, LOOKED_AT), 2.0).flatten() for volume in (one, other)]
    if min(float(values.std()) for values in smooth) == 0.0:
        return 0.0
    found: NDArray[np.float64] = np.corrcoef(torch.stack(smooth).double().numpy())
    return float(found[0, 1])


def _patient(path: Path) -> str:
    """The PatientID of DICOM, "" where there is none."""
    sources, _ = find_sources([path])
    if not sources or sources[0].series_uid is None or not sources[0].files:
        return ""
    head = read_head(sources[0].files[0], ["PatientID"])
    return str(head.get("PatientID") or "").strip() if head is not None else ""


def _pseudonym(patient: str) -> str:
    return hashlib.sha256(patient.encode()).hexdigest()[:16]


def _without_folder(error: InputError, path: Path) -> str:
    """A client is not told where the server keeps its files, and the name of the image stands before."""
    return str(error).replace(f"{path}: ", "").replace(f"{path.parent}/", "")
