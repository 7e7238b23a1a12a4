"""Body-weight SUV from DICOM tags."""

from __future__ import annotations

import math
from datetime import datetime

from pydicom.dataset import Dataset


def suv_factor(dataset: Dataset) -> float | None:
    """Factor from Bq/mL to body-weight SUV (g/mL), or None where the tags do not allow it.

    SUV = activity * weight / dose, with the dose decayed to the time the image is corrected to: the start of the scan
    (DecayCorrection START) or the injection (ADMIN).
    """
    if dataset.get("Units") != "BQML":
        return None
    corrected = dataset.get("CorrectedImage", [])
    if "DECY" not in ([corrected] if isinstance(corrected, str) else list(corrected)):
        return None
    drug = (dataset.get("RadiopharmaceuticalInformationSequence") or [Dataset()])[0]
    weight, dose = _positive(dataset.get("PatientWeight")), _positive(drug.get("RadionuclideTotalDose"))
    if weight is None or dose is None:
        return None
    decay = _decay(dataset, drug)
    return None if decay is None else weight * 1000.0 / (dose * decay)


def _decay(dataset: Dataset, drug: Dataset) -> float | None:
    """Share of the injected activity left at the time the image is corrected to."""
    correction = dataset.get("DecayCorrection")
    if correction == "ADMIN":
        return 1.0
    half_life, scan = _positive(drug.get("RadionuclideHalfLife")), _scan_start(dataset)
    if correction != "START" or half_life is None or scan is None:
        return None
    injected = _moment(str(drug.get("RadiopharmaceuticalStartDateTime", ""))[:14])
    if injected is None:  # only a time of day: on the day of the scan, or the evening before
        injected = _moment(scan.strftime("%Y%m%d") + str(drug.get("RadiopharmaceuticalStartTime", ""))[:6])
    if injected is None:
        return None
    seconds = (scan - injected).total_seconds()
    if seconds < 0 and not drug.get("RadiopharmaceuticalStartDateTime"):
        seconds += 86400
    return math.exp(-math.log(2) * seconds / half_life) if 0 <= seconds <= 10 * half_life else None


def _scan_start(dataset: Dataset) -> datetime | None:
    """Series time, unless a later reconstruction moved it behind this image's acquisition."""
    series = _moment(str(dataset.get("SeriesDate", "")) + str(dataset.get("SeriesTime", ""))[:6])
    acquired = _moment(str(dataset.get("AcquisitionDate", "")) + str(dataset.get("AcquisitionTime", ""))[:6])
    if series is not None and (acquired is None or series <= acquired):
        return series
    return acquired


def _moment(digits: str) -> datetime | None:
    try:
        return datetime.strptime(digits, "%Y%m%d%H%M%S")
    except ValueError:
        return None


def _positive(value: object) -> float | None:
    try:
        number = float(str(value))
    except ValueError:
        return None
    return number if math.isfinite(number) and number > 0 else None
