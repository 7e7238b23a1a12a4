"""Between physical units and the networks' own scale: one invertible rule per modality.

The networks see values that are about 0 to 1. The rule is linear, so noise keeps its statistics and a difference in
physical units is a difference in network units times ``scale``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from meddenoise.volume import Volume

CT_AIR = -1024.0
"""Lower end of the Hounsfield scale as scanners store it; smaller values are padding, not tissue."""
CT_RANGE = 4095.0
SUV_RANGE = 10.0
PERCENTILES = (0.1, 99.9)


@dataclass(frozen=True)
class Intensity:
    """``forward(x) = (x - offset) / scale`` and its inverse.

    Attributes:
        offset: Physical value that maps to 0.
        scale: Physical width that maps to 1; positive.
        rule: One of "display 0-255", "HU", "percentiles", "SUV", "stored bits"; stated in the report.
    """

    offset: float
    scale: float
    rule: str

    def forward(self, values: NDArray[Any]) -> NDArray[np.float32]:
        """Physical units to network units, any shape, as float32."""
        return ((np.asarray(values, np.float64) - self.offset) / self.scale).astype(np.float32)

    def inverse(self, values: NDArray[Any]) -> NDArray[np.float32]:
        """Network units to physical units, any shape, as float32."""
        return (np.asarray(values, np.float64) * self.scale + self.offset).astype(np.float32)


def intensity_of(volume: Volume) -> Intensity:
    """The rule for a volume: display images by 0-255, CT by HU, PET by SUV, X-ray by stored bits, else percentiles.

    CT in other units, PET without the tags for SUV, X-ray stored as floats, and MR go by the 0.1 and 99.9 percentiles
    of all voxels but padding, or by their range where those percentiles coincide. A constant image maps to 0 with
    scale 1.
    """
    header = volume.header
    if header.display:
        return Intensity(header.stored_range[0] if header.stored_range else 0.0, 255.0, "display 0-255")
    if volume.modality == "CT" and header.units == "HU":
        return Intensity(CT_AIR, CT_RANGE, "HU")
    if volume.modality == "PET" and header.units == "SUV":
        return Intensity(0.0, SUV_RANGE, "SUV")
    if volume.modality == "PET" and header.suv_factor:
        return Intensity(0.0, SUV_RANGE / header.suv_factor, "SUV")
    bits = header.used_range or header.stored_range
    if volume.modality == "XR" and bits is not None:
        low, high = bits
        return Intensity(low, high - low, "stored bits")
    values = volume.array if header.padding is None else volume.array[~volume.padded()]
    low, high = (float(p) for p in np.percentile(values, PERCENTILES)) if values.size else (0.0, 0.0)
    if high <= low and values.size:  # a few bright voxels on nothing
        low, high = float(values.min()), float(values.max())
    return Intensity(low, high - low if high > low else 1.0, "percentiles")
