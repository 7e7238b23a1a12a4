"""Files in, files out: every format by SimpleITK, DICOM by pydicom; bad input is refused before anything is written."""

from meddenoise.io.deidentify import Deidentifier
from meddenoise.io.dicom_write import write_dicom_series
from meddenoise.io.read import provenance_of, read_volume
from meddenoise.io.source import Provenance, Source
from meddenoise.io.sources import find_sources
from meddenoise.io.write import write_volume

__all__ = [
    "Deidentifier",
    "Provenance",
    "Source",
    "find_sources",
    "provenance_of",
    "read_volume",
    "write_dicom_series",
    "write_volume",
]
