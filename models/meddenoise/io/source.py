"""What is going to be read and what marks a result of ours: two small records the whole package shares."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from meddenoise.notice import NOTICE

MARK = "MedDenoise"
"""Key (NRRD, MHA) and first word (DICOM, NIfTI, TIFF) by which a result of ours is recognised again."""

IMAGE_EXTENSIONS = (
    ".nii.gz", ".nii", ".nrrd", ".nhdr", ".mha", ".mhd", ".png", ".tif", ".tiff", ".jpg", ".jpeg",
)  # fmt: skip
"""Formats read and written through SimpleITK; the longest match wins."""

PICTURE_EXTENSIONS = (".png", ".tif", ".tiff", ".jpg", ".jpeg")
"""Formats of pictures: no physical unit, no place in the patient."""

DICOM_EXTENSIONS = (".dcm", ".dicom", ".dic", ".ima")


@dataclass(frozen=True)
class Source:
    """One image or one DICOM series, found but not yet read.

    Attributes:
        path: The file, or the folder of a DICOM series as the user named it.
        files: The files that hold it, unsorted, those that a detached header names among them; empty for a folder
            without images, which then cannot be read.
        stem: Name for results: the file name without its (double) extension; for a series the folder's name, with
            "-<SeriesNumber>" where one folder holds several image series.
        series_uid: SeriesInstanceUID for DICOM, else None.
    """

    path: Path
    files: tuple[Path, ...]
    stem: str
    series_uid: str | None


@dataclass(frozen=True)
class Provenance:
    """What a result was made with.

    Attributes:
        model: Name of the model, such as "student".
        version: The model's version.
        strength: 0 (nothing changed) to 1 (full effect).
    """

    model: str
    version: str
    strength: float

    def sentence(self) -> str:
        """The mark written into results, such as "student 1.0.0, strength 1.0, research use, not a medical device"."""
        strength = round(float(self.strength), 3)
        return f"{self.model} {self.version}, strength {strength}, {NOTICE}"


def extension_of(path: Path) -> str:
    """The known image extension at the end of a name, in small letters (".nii.gz" counts as one), else ""."""
    name = path.name.lower()
    return next((ext for ext in IMAGE_EXTENSIONS + DICOM_EXTENSIONS if name.endswith(ext)), "")


def stem_of(path: Path) -> str:
    """The file name without its known extension: "a.nii.gz" gives "a", "1.2.840" stays as it is."""
    ext = extension_of(path)
    return path.name[: -len(ext)] if ext and len(path.name) > len(ext) else path.name
