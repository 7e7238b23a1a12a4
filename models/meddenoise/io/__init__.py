"""Files in, files out: every format by SimpleITK, DICOM series by pydicom."""

from meddenoise.io.read import read_volume
from meddenoise.io.source import Provenance, Source
from meddenoise.io.sources import find_sources
from meddenoise.io.write import write_volume

__all__ = ["Provenance", "Source", "find_sources", "read_volume", "write_volume"]
