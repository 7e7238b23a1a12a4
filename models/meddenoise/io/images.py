"""Reading images of every format SimpleITK knows, after checks that SimpleITK leaves out."""

# mypy: disable-error-code="no-untyped-call"
# (SimpleITK has no types)

from __future__ import annotations

import os
import tempfile
import types
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import SimpleITK as sitk  # noqa: N813
from numpy.typing import NDArray

from meddenoise.errors import InputError
from meddenoise.io.checks import check_file, check_nifti, check_no_labels
from meddenoise.io.marks import read_mark
from meddenoise.io.nifti import CODE, as_stored, code_of
from meddenoise.io.source import DICOM_EXTENSIONS, IMAGE_EXTENSIONS, MARK, PICTURE_EXTENSIONS, extension_of
from meddenoise.volume import Header

sitk.ProcessObject.SetGlobalWarningDisplay(False)  # what matters in them is said in our own words
os.environ.setdefault("ITK_NIFTI_SFORM_PERMISSIVE", "1")  # lets ITK read sheared NIfTI; _geometry puts the shear back

_ROUNDING = 1e-5
"""Cosine between two axes up to which they are at right angles but for rounding."""
_LPS_FROM_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])
_META_MODALITIES = {"MET_MOD_CT": "CT", "MET_MOD_MR": "MR"}
_DROPPED = ("ITK_", "NRRD_kinds", "NRRD_space", "NRRD_centerings", "NRRD_sizes", "NRRD_thicknesses", "NRRD_axis")
_NIFTI = (".nii", ".nii.gz")
_NIFTI_KEPT = ("descrip", "aux_file", "intent_name")


@dataclass(frozen=True)
class Read:
    """What a reader hands on: the values as in Volume, LPS affine, header, and the modality stated, if any."""

    array: NDArray[Any]
    affine: NDArray[np.float64]
    header: Header
    stated: str | None = None


def read_image(path: Path) -> Read:
    """Read one 2D or 3D image file: grey, or a picture in colours of 8 bits.

    Raises:
        InputError: The file is missing, empty, truncated, not an image, or not of two or three axes; it holds vectors,
            or colours in another way.
    """
    size = check_file(path)
    ext = extension_of(path)
    if ext not in IMAGE_EXTENSIONS:
        if ext in DICOM_EXTENSIONS:
            raise InputError(f"{path}: is not DICOM by its content, whatever its name; export it again")
        known = ", ".join(IMAGE_EXTENSIONS)
        raise InputError(f"{path}: unknown format {path.suffix!r}; use DICOM or one of {known}")
    with _in_small_letters(path, ext) as readable:
        image, metadata = _open(path, readable, ext, size)
    array, grey_note = without_equal_colours(path.name, _voxels(image))
    array, scaling = as_stored(path.name, array, metadata) if ext in _NIFTI else (array, ())
    if ext not in PICTURE_EXTENSIONS:
        check_no_labels(path, metadata, array)
    if array.dtype == np.float64:
        array = _as_float32(array)
    affine, warnings = _geometry(path, image, metadata)
    stated = _META_MODALITIES.get(metadata.get("Modality", ""))
    stored_range, note = _stored_range(path, ext, array)
    header = Header(
        dtype=array.dtype.name,
        stored_range=stored_range,
        display=array.dtype.kind in "iu" and array.dtype.itemsize == 1,
        samples=image.GetNumberOfComponentsPerPixel(),
        ndim=min(3, image.GetDimension()),
        sources=(path,),
        ext=ext,
        metadata=types.MappingProxyType(_kept(path, ext, metadata, affine)),
        warnings=scaling + warnings + note + grey_note,
    )
    return Read(array, affine, header, stated)


def is_picture(path: Path) -> bool:
    """True for the formats that hold pictures rather than measurements."""
    return extension_of(path) in PICTURE_EXTENSIONS


@contextmanager
def _in_small_letters(path: Path, ext: str) -> Iterator[Path]:
    """The file under a name ITK recognises: it does not know .NII.GZ or .MHA."""
    if path.name.endswith(ext) or ext not in (*_NIFTI, ".mha"):
        yield path
        return
    with tempfile.TemporaryDirectory(prefix="meddenoise-") as folder:
        link = Path(folder) / f"image{ext}"
        link.symlink_to(path.resolve())
        yield link


def _open(path: Path, readable: Path, ext: str, size: int) -> tuple[sitk.Image, dict[str, str]]:
    reader = sitk.ImageFileReader()
    reader.SetFileName(str(readable))
    try:
        reader.ReadImageInformation()
        metadata = {key: reader.GetMetaData(key) for key in reader.GetMetaDataKeys()}
        if ext in _NIFTI and "dim[0]" in metadata:
            check_nifti(path, metadata, size)
        _check_shape(path, reader)
        return reader.Execute(), metadata
    except (RuntimeError, MemoryError) as error:
        raise InputError(f"{path}: cannot be read as an image, it is damaged or truncated: {_gist(error)}") from error


def _check_shape(path: Path, reader: sitk.ImageFileReader) -> None:
    shape, parts = reader.GetSize(), reader.GetNumberOfComponents()
    pixel = sitk.GetPixelIDValueAsString(reader.GetPixelID())
    if parts > 1 and not (is_picture(path) and parts == 3 and "8-bit unsigned" in pixel):
        kind = "colour" if is_picture(path) or ("8-bit" in pixel and parts in (3, 4)) else "vectors"
        raise InputError(
            f"{path}: holds {kind}, {parts} values per voxel ({pixel}); give a grey image, or a PNG, TIFF, JPEG "
            "or DICOM in colours of 8 bits without transparency"
        )
    if "complex" in pixel:
        raise InputError(f"{path}: holds complex values; give their magnitude")
    if 0 in shape:
        raise InputError(f"{path}: has no voxels, its size is {' x '.join(map(str, shape))}")
    if len([n for n in shape[3:] if n > 1]) > 0 or len(shape) < 2:
        raise InputError(
            f"{path}: must have two or three axes, got {' x '.join(map(str, shape))}; give one volume of it"
        )


def _voxels(image: sitk.Image) -> NDArray[Any]:
    """Values of shape (slices, rows, columns), with a fourth axis for colours."""
    values = sitk.GetArrayFromImage(image)
    colours = values.shape[image.GetDimension() :]
    return values.reshape((1, 1, 1, *values.shape[: image.GetDimension()])[-3:] + colours)


def without_equal_colours(name: str, array: NDArray[Any]) -> tuple[NDArray[Any], tuple[str, ...]]:
    """One grey value a voxel where all three colours are equal everywhere, and a sentence that says so."""
    if array.ndim == 3 or (array != array[..., :1]).any():
        return array, ()
    return array[..., 0], (f"{name}: its three colours are equal everywhere; it is taken as the grey image it is",)


def _as_float32(array: NDArray[Any]) -> NDArray[np.float32]:
    """float64 to float32; what is too large for it becomes infinite and is then refused by name."""
    with np.errstate(over="ignore"):
        return array.astype(np.float32)


def _stored_range(path: Path, ext: str, array: NDArray[Any]) -> tuple[tuple[float, float] | None, tuple[str, ...]]:
    """Range of the type; for 16-bit pictures that of the bits in use, as such files often hold 10 to 14 bits."""
    if array.dtype.kind not in "iu":
        return None, ()
    info = np.iinfo(array.dtype)
    if ext not in PICTURE_EXTENSIONS or array.dtype != np.uint16:
        return (float(info.min), float(info.max)), ()
    return used_range(path.name, array)


def used_range(name: str, array: NDArray[Any]) -> tuple[tuple[float, float], tuple[str, ...]]:
    """Range of the 8 or more bits that integers use, and a sentence where those are fewer than their type has."""
    low, high = int(array.min()), int(array.max())
    bits = max(8, high.bit_length(), (-low - 1).bit_length() if low < 0 else 0)
    signed, held = low < 0, 8 * array.dtype.itemsize
    note = f"{name}: {held}-bit integers, taken as {bits + signed}-bit data by their values from {low} to {high}"
    return (float(-(2**bits) if signed else 0), float(2**bits - 1)), (note,) if bits + signed < held else ()


def _geometry(
    path: Path, image: sitk.Image, metadata: Mapping[str, str]
) -> tuple[NDArray[np.float64], tuple[str, ...]]:
    """Affine of the image; for a NIfTI with a sheared sform that sform itself, which ITK straightens in silence."""
    affine = affine_of(image)
    if int(metadata.get("sform_code", "0")) <= 0:
        return affine, ()
    rows = [[float(v) for v in metadata[f"srow_{axis}"].split()] for axis in "xyz"]
    exact = _LPS_FROM_RAS @ np.array([*rows, [0.0, 0.0, 0.0, 1.0]])
    if _cosine(exact) < _ROUNDING:
        return affine, ()
    off = sheared_by(exact, image.GetSize())
    if off == 0:
        return exact, ()
    return exact, (
        f"{path.name}: its axes are sheared (sform, up to {off:.2f} mm off right angles); this is kept, but the result "
        "can only be written as NRRD, MHA or MHD",
    )


def sheared_by(affine: NDArray[np.float64], size: tuple[int, ...]) -> float:
    """Millimetres by which straight axes would be wrong across a volume; 0 below a tenth of a voxel.

    Args:
        affine: 4x4, of index (column, row, slice).
        size: Voxels along those axes, or along the first two.
    """
    extent = float(np.linalg.norm(affine[:3, :3] @ np.array([*size, 1][:3], float)))
    off = _cosine(affine) * extent
    return off if off > 0.1 * np.linalg.norm(affine[:3, :3], axis=0).min() else 0.0


def _cosine(affine: NDArray[np.float64]) -> float:
    """Largest cosine between two axes; 0 where all are at right angles."""
    axes = affine[:3, :3] / np.linalg.norm(affine[:3, :3], axis=0)
    return float(np.abs(axes.T @ axes - np.eye(3)).max())


def affine_of(image: sitk.Image) -> NDArray[np.float64]:
    """4x4 LPS affine of a 2D or 3D image; a 2D image lies in the plane z = 0 with slices 1 mm apart."""
    dimension = image.GetDimension()
    n = min(3, dimension)
    affine = np.eye(4)
    directions = np.reshape(image.GetDirection(), (dimension, dimension))[:n, :n]
    affine[:n, :n] = directions * np.asarray(image.GetSpacing()[:n])
    affine[:n, 3] = image.GetOrigin()[:n]
    return affine


def _kept(path: Path, ext: str, metadata: Mapping[str, str], affine: NDArray[np.float64]) -> dict[str, str]:
    """Header fields to carry over, and our own mark where the file is a result of ours."""
    if ext in _NIFTI:
        kept = {key: metadata[key] for key in _NIFTI_KEPT if metadata.get(key, "").strip()}
        code = code_of(metadata, affine)
        kept |= {CODE: code} if code else {}
    elif ext in PICTURE_EXTENSIONS:
        kept = {}
    else:
        kept = {key: value for key, value in metadata.items() if not key.startswith(_DROPPED)}
    mark = read_mark(path, ext, metadata)
    return kept | {MARK: mark} if mark else kept


def _gist(error: Exception) -> str:
    """The last line of an ITK error that says something."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1].removeprefix("ITK ERROR:").strip() if lines else type(error).__name__
