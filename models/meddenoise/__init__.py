"""MedDenoise: takes the noise out of CT, MR, PET and X-ray images. Research use, not a medical device.

Names are handed on lazily, so that ``import meddenoise`` loads neither torch nor SimpleITK.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from meddenoise.errors import MedDenoiseError
    from meddenoise.inference import Denoiser, Result, estimate_noise
    from meddenoise.io import find_sources, read_volume, write_dicom_series, write_volume
    from meddenoise.volume import Volume

__version__ = "0.1.0"

_HOMES = {
    "Denoiser": "meddenoise.inference",
    "MedDenoiseError": "meddenoise.errors",
    "Result": "meddenoise.inference",
    "Volume": "meddenoise.volume",
    "estimate_noise": "meddenoise.inference",
    "find_sources": "meddenoise.io",
    "read_volume": "meddenoise.io",
    "write_dicom_series": "meddenoise.io",
    "write_volume": "meddenoise.io",
}

__all__ = [
    "Denoiser",
    "MedDenoiseError",
    "Result",
    "Volume",
    "__version__",
    "estimate_noise",
    "find_sources",
    "read_volume",
    "write_dicom_series",
    "write_volume",
]


def __getattr__(name: str) -> Any:
    """Import a public name on first use (PEP 562)."""
    if name in _HOMES:
        return getattr(importlib.import_module(_HOMES[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
