"""What ITK drops of NIfTI: the stored type under a shift, and the space that the affine leads to."""

from __future__ import annotations

import gzip
import shutil
import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

CODE = "nifti_xform_code"
"""Our key for the space of a NIfTI affine where it is not the scanner's: 2 aligned, 3 Talairach, 4 MNI 152, 5 other."""
_SCANNER = 1
_TYPES = {2: "uint8", 256: "int8", 4: "int16", 512: "uint16", 8: "int32", 768: "uint32"}
_EXACT = 2  # bytes: ITK shifts and scales in float32, which holds no 32-bit integers
_CODES_AT = 252


def as_stored(name: str, array: NDArray[Any], metadata: Mapping[str, str]) -> tuple[NDArray[Any], tuple[str, ...]]:
    """Bring integers back that ITK made floats because the header shifts or scales them.

    Args:
        name: The file, for the warning.
        array: Physical values as ITK gives them.
        metadata: Header fields by SimpleITK's names.

    Returns:
        Integers of the stored type, or the next that holds the shifted values, where the header only shifts by a whole
        number; else the array as it is, with a sentence for the user.
    """
    stored = _TYPES.get(int(metadata.get("datatype", "0")))
    if stored is None or array.dtype.kind != "f":
        return array, ()
    slope, shift = float(metadata.get("scl_slope", "1")), float(metadata.get("scl_inter", "0"))
    if slope == 1 and shift.is_integer() and np.dtype(stored).itemsize <= _EXACT:
        low, high = float(array.min()), float(array.max())
        for kind in (stored, "int16", "uint16", "int32"):
            if np.iinfo(kind).min <= low and high <= np.iinfo(kind).max:
                return np.rint(array).astype(kind), ()
    note = (
        f"{name}: stored as {stored} with slope {slope:g} and intercept {shift:g}; the result is float32 without them"
    )
    return array, (note,)


def code_of(metadata: Mapping[str, str], affine: NDArray[np.float64]) -> str | None:
    """The code of the space that the affine leads to, or None for the scanner's own and for unknown ones.

    Args:
        metadata: Header fields by SimpleITK's names.
        affine: 4x4 LPS, as read: from the sform or from the qform, whose codes may differ.
    """
    code = int(metadata.get("qform_code", "0"))
    if int(metadata.get("sform_code", "0")) > 0:
        rows = np.array([[float(v) for v in metadata[f"srow_{axis}"].split()] for axis in "xyz"])
        sform = np.diag([-1.0, -1.0, 1.0]) @ rows
        if code <= 0 or np.allclose(sform, affine[:3], rtol=1e-4, atol=1e-3):
            code = int(metadata["sform_code"])
    return str(code) if code > _SCANNER else None


def set_code(path: Path, ext: str, code: str) -> None:
    """Write a code for both affines of a NIfTI file just written by ITK, which are the same."""
    plain = path.with_name("plain.nii") if ext == ".nii.gz" else path
    if plain != path:
        with gzip.open(path) as packed, plain.open("wb") as file:
            shutil.copyfileobj(packed, file, 1 << 22)
    with plain.open("r+b") as file:
        file.seek(_CODES_AT)
        file.write(struct.pack("<hh", int(code), int(code)))
    if plain != path:
        with plain.open("rb") as file, gzip.open(path, "wb", compresslevel=6) as packed:
            shutil.copyfileobj(file, packed, 1 << 22)
        plain.unlink()
