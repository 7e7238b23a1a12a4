"""Which modality an image is: by what the file says, else by option, else by a guess that is reported."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from meddenoise.volume import Modality

BY_DICOM: dict[str, Modality] = {
    "CT": "CT",
    "MR": "MR",
    "PT": "PET",
    **dict.fromkeys(("CR", "DX", "XA", "RF", "MG", "XR", "RG", "IO", "PX", "RTIMAGE"), "XR"),
}
"""DICOM Modality to ours; others (US, NM, OT, ...) are guessed."""


class Decision(NamedTuple):
    """The modality, how it was decided ("file", "option" or "guess"), and sentences for the user."""

    modality: Modality
    source: str
    warnings: tuple[str, ...]


def decide(name: str, *, stated: str | None, option: Modality | None, values: NDArray[Any], picture: bool) -> Decision:
    """Decide by the option, else by the DICOM Modality, else by a guess.

    Args:
        name: The file, for the warnings.
        stated: DICOM Modality, or None for formats that state none.
        option: What the user asked for; wins, with a warning where the file says otherwise.
        values: Physical values, any shape.
        picture: True for PNG, JPEG, TIFF and 8-bit images.
    """
    from_file = BY_DICOM.get(stated or "")
    if option is not None:
        if from_file is not None and from_file != option:
            return Decision(
                option, "option", (f"{name}: the file says modality {stated}, the option {option}; the option is used",)
            )
        return Decision(option, "option", ())
    if from_file is not None:
        return Decision(from_file, "file", ())
    guess, why = _guess(values, picture)
    said = f"DICOM modality {stated} is not one of CT, MR, PET, XR" if stated else "the file states no modality"
    return Decision(guess, "guess", (f"{name}: {said}; {guess} is guessed ({why}); say --modality to change it",))


def _guess(values: NDArray[Any], picture: bool) -> tuple[Modality, str]:
    if picture:
        return "XR", "a picture or 8-bit image"
    low, high = float(values.min()), float(values.max())
    if low < -500 and high <= 40000:
        thinned = values.reshape(-1)[:: max(1, values.size // 1_000_000)]
        air = float(np.mean((thinned < -800) & (thinned >= -3100)))
        if air > 0.02:
            return "CT", f"{100 * air:.0f} % of the values lie near air, -1000 HU"
    return "MR", "no sign of Hounsfield units"
