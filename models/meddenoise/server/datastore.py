"""The studies folder as MONAI Label sees it: its local datastore, with more kinds of image."""

from __future__ import annotations

from monailabel.config import settings
from monailabel.datastore.local import LocalDatastore

PATTERNS = ("*.nii.gz", "*.nii", "*.nrrd", "*.mha", "*.dcm", "*.png", "*.jpg", "*.jpeg", "*.tif", "*.tiff")
"""Files taken as images; each DICOM file is one image of its own (a DICOM series comes through a session)."""


def studies_folder(folder: str) -> LocalDatastore:
    """MONAI Label's datastore over a folder, for every format that can be denoised from a single file."""
    return LocalDatastore(
        folder,
        extensions=list(PATTERNS),
        auto_reload=settings.MONAI_LABEL_DATASTORE_AUTO_RELOAD,
        read_only=settings.MONAI_LABEL_DATASTORE_READ_ONLY,
    )
