"""What SimpleITK lets pass in silence: truncated streams, headers that promise more than the file holds, label maps."""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from meddenoise.errors import InputError
from meddenoise.io.source import extension_of

_CHUNK = 1 << 22
_ENDS = {".png": b"IEND", ".jpg": b"\xff\xd9", ".jpeg": b"\xff\xd9"}
_FEW_LABELS, _MOST_LABELS = 32, 256
_SAMPLE, _SLICES = 1 << 18, 16
_LABEL_INTENT, _VECTOR_INTENTS = 1002, range(1003, 1012)


def check_file(path: Path) -> int:
    """Check that a file is there and whole as far as its container tells.

    Returns:
        Its size in bytes, after decompression for .nii.gz.

    Raises:
        InputError: Missing, a folder, unreadable, empty, or truncated.
    """
    try:
        if path.is_dir():
            raise InputError(f"{path}: the folder holds no image to denoise; name a folder with DICOM or image files")
        size = path.stat().st_size
        if size == 0:
            raise InputError(f"{path}: the file is empty (0 bytes); copy or export it again")
        ext = extension_of(path)
        if ext in _ENDS:
            _check_end(path, size, _ENDS[ext])
        return _unpacked_size(path, size) if ext == ".nii.gz" else size
    except FileNotFoundError:
        raise InputError(f"{path}: no such file or folder; check the name") from None
    except OSError as error:
        raise InputError(f"{path}: cannot be opened: {error.strerror or error}") from error


def _check_end(path: Path, size: int, mark: bytes) -> None:
    with path.open("rb") as file:
        file.seek(max(0, size - 4096))
        if mark not in file.read():
            raise InputError(f"{path}: the file is truncated or not a {path.suffix} image; copy or export it again")


def _unpacked_size(path: Path, size: int) -> int:
    """Length of a gzip stream, read to its end so that its checksum is verified."""
    total = 0
    try:
        with gzip.open(path) as stream:
            while chunk := stream.read(_CHUNK):
                total += len(chunk)
    except EOFError:
        raise InputError(
            f"{path}: the file is truncated: its compressed stream stops after {size} bytes without an end; "
            "copy or export it again"
        ) from None
    except (gzip.BadGzipFile, zlib.error) as error:
        raise InputError(f"{path}: not an intact gzip file ({error}); is it really a .nii.gz image?") from error
    return total


def check_nifti(path: Path, metadata: Mapping[str, str], size: int) -> None:
    """Check a NIfTI file's promises: enough data, and an image rather than labels or vectors.

    Args:
        path: The file.
        metadata: Its header fields by SimpleITK's names.
        size: What ``check_file`` gave.

    Raises:
        InputError: The data is shorter than the header says, or it is a label map or vector field.
    """
    axes = max(0, min(7, int(metadata.get("dim[0]", "0"))))
    voxels = int(np.prod([max(1, int(metadata[f"dim[{i + 1}]"])) for i in range(axes)], dtype=object))
    needed = voxels * int(metadata.get("bitpix", "8")) // 8
    if metadata.get("nifti_type", "1") == "1":
        needed += int(float(metadata.get("vox_offset", "0")))
    if size < needed:
        raise InputError(f"{path}: the file is truncated: its header needs {needed} bytes, got {size}; copy it again")
    intent = int(metadata.get("intent_code", "0"))
    if intent == _LABEL_INTENT:
        raise InputError(f"{path}: is a label map (NIfTI intent 1002); denoise the image it was drawn on")
    if intent in _VECTOR_INTENTS:
        raise InputError(f"{path}: holds vectors or matrices (NIfTI intent {intent}); give a scalar image")


def check_no_labels(path: Path, metadata: Mapping[str, str], values: NDArray[Any]) -> None:
    """Refuse segmentations: by name, by Slicer's header fields, or by few values, all whole, in flat regions.

    Raises:
        InputError: It is a label map.
    """
    way_out = "denoise the image it was drawn on"
    if path.name.lower().endswith(".seg.nrrd") or any(key.startswith("Segment0_") for key in metadata):
        raise InputError(f"{path}: is a segmentation; {way_out}")
    values = _telling_slices(values)
    found = _few_values(values) if values.size and values.shape[-1] > 1 else None
    if found is None:
        return
    span = int(found[-1]) - int(found[0]) + 1
    dense = 0.9 if span < 2 * len(found) else 0.75  # images of 8 bits use most values of their range, labels do not
    limit = 0.6 if len(found) <= _FEW_LABELS else dense
    if _flatness(values) >= limit:
        raise InputError(
            f"{path}: looks like a label map ({len(found)} values from {int(found[0])} to {int(found[-1])} in flat "
            f"regions); {way_out}"
        )


def _telling_slices(values: NDArray[Any]) -> NDArray[Any]:
    """At most 16 slices, evenly spread, of those that are not constant."""
    telling = [index for index, one in enumerate(values) if one.min() != one.max()]
    return values[telling[:: -(-len(telling) // _SLICES) or 1]]


def _few_values(values: NDArray[Any]) -> NDArray[Any] | None:
    """The sorted values that occur, or None where they are too many for labels or not whole numbers."""
    for some in (values.ravel()[:: max(1, values.size // _SAMPLE)], values):  # a sample tells most images apart
        found = np.unique(some)
        if len(found) > _MOST_LABELS or not np.isfinite(found).all() or (found != np.rint(found)).any():
            return None
    few: NDArray[Any] = found
    return few


def _flatness(values: NDArray[Any]) -> float:
    """Share of neighbours along a row that are equal, among those not both of the most frequent value."""
    kinds, counts = np.unique(values, return_counts=True)
    background = kinds[counts.argmax()]
    left, right = values[..., 1:], values[..., :-1]
    inside = (left != background) | (right != background)
    return float(np.mean((left == right)[inside])) if inside.any() else 0.0
