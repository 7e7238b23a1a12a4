"""Writing a derived DICOM series from the files a volume was read from."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
from numpy.typing import NDArray
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, generate_uid

from meddenoise.errors import InputError, OutputError
from meddenoise.io.atomic import replacing_file, replacing_folder
from meddenoise.io.deidentify import Deidentifier
from meddenoise.io.dicom_file import DAMAGE, is_dicom, open_dicom, read_head, samples_of
from meddenoise.io.dicom_pixels import bit_range, padding_range, stored_values
from meddenoise.io.dicom_read import rescale_of
from meddenoise.io.dicom_tags import describe_derivation, describe_without_names, drop_what_no_longer_holds
from meddenoise.io.source import MARK, Provenance
from meddenoise.io.write import in_colours
from meddenoise.volume import Volume


def write_dicom_series(
    volume: Volume,
    folder: Path,
    provenance: Provenance,
    *,
    run: str | None = None,
    deidentifier: Deidentifier | None = None,
) -> list[Path]:
    """Write a derived series: one new object per source file, at its own position, with its own rescale.

    The values are physical, as ``read_volume`` gave them; each slice goes back through its file's slope and
    intercept, rounded and clipped to BitsStored. Padded pixels keep what was stored. Explicit VR Little Endian,
    uncompressed.

    Args:
        volume: A denoised volume whose header still names the DICOM files it was read from.
        folder: The series' own folder, replaced as a whole; or, for a volume of one slice, a name ending in .dcm.
        provenance: What it was made with.
        run: Any text of its own for one run over many inputs: what was one series before it is one series after it,
            even where its files are written one by one. By default each call makes a new series.
        deidentifier: Takes out who the patient is; files in a folder are then numbered.

    Returns:
        The files, in slice order.

    Raises:
        OutputError: The volume did not come from DICOM, or the place cannot be written.
        InputError: A source file is gone or damaged.
    """
    folder = Path(folder)
    sources = volume.header.sources
    if volume.header.ext != ".dcm":
        raise OutputError(f"{folder}: a DICOM series can only be derived from DICOM, got {volume.header.ext}")
    assert len(sources) == volume.array.shape[0], (len(sources), volume.array.shape)
    making = _Making(provenance, run or generate_uid(), datetime.now().astimezone(), deidentifier)
    if folder.suffix.lower() == ".dcm" and len(sources) == 1 and not folder.is_dir():
        with replacing_file(folder) as temporary:
            _write_slice(volume, 0, temporary, making)
        return [folder]
    _check_replaceable(folder)
    names = _names(sources) if deidentifier is None else _numbers(sources)
    with replacing_folder(folder) as temporary:
        for index, name in enumerate(names):
            _write_slice(volume, index, temporary / name, making)
    return [folder / name for name in names]


def to_stored(values: NDArray[Any], dataset: Dataset, path: Path) -> NDArray[Any]:
    """Physical values of one slice back to stored integers.

    Args:
        values: Physical values, shape (rows, columns), or (rows, columns, 3) for colour.
        dataset: The source object, with its rescale, bits and padding; its pixels are decoded only for the padding.
        path: The source file, for messages.

    Returns:
        Integers of BitsAllocated, within BitsStored; padded pixels as before, and no other pixel turned into padding.
    """
    slope, intercept = rescale_of(dataset, path)
    low, high = bit_range(dataset)
    sign = "int" if dataset.PixelRepresentation else "uint"
    dtype = np.dtype(f"{sign}{int(dataset.BitsAllocated)}")
    stored: NDArray[Any] = np.clip(np.rint((values.astype(np.float64) - intercept) / slope), low, high).astype(dtype)
    padding = padding_range(dataset)
    if padding is None:
        return stored
    first, last = padding
    before = stored_values(dataset, path)
    padded = (before >= first) & (before <= last)
    fallen = (stored >= first) & (stored <= last) & ~padded
    stored[fallen] = last + 1 if last < high else first - 1
    stored[padded] = before[padded].astype(dtype)
    return stored


@dataclass(frozen=True)
class _Making:
    """What the slices of one series have in common."""

    provenance: Provenance
    run: str
    now: datetime
    deidentifier: Deidentifier | None


def _write_slice(volume: Volume, index: int, target: Path, making: _Making) -> None:
    source = volume.header.sources[index]
    dataset = open_dicom(source)
    try:
        stored = in_colours(to_stored(volume.array[index], dataset, source), samples_of(dataset), grey_axes=2)
        series_uid = _series_uid(dataset, making.provenance, making.run)
        describe_derivation(dataset, making.provenance, making.now)
        drop_what_no_longer_holds(dataset)
        if making.deidentifier is not None:
            making.deidentifier(dataset)
            describe_without_names(dataset, making.provenance)
        dataset.SeriesInstanceUID = series_uid
        _set_pixels(dataset, stored)
        _save(dataset, target)
    except OSError:
        raise  # of the place written to: the caller says so
    except DAMAGE as error:
        raise InputError(f"{source}: a header field cannot be written again: {error}; correct it") from error


def _series_uid(dataset: Dataset, provenance: Provenance, run: str) -> str:
    """One new UID for each source series and run; objects without one are told apart by their study."""
    before = str(dataset.get("SeriesInstanceUID") or dataset.get("StudyInstanceUID") or "")
    return str(generate_uid(entropy_srcs=[before, provenance.sentence(), run]))


def _save(dataset: Dataset, target: Path) -> None:
    dataset.SOPInstanceUID = generate_uid()
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = dataset.SOPClassUID
    meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.file_meta, dataset.preamble = meta, b"\0" * 128
    dataset.is_little_endian, dataset.is_implicit_VR = True, False
    pydicom.dcmwrite(target, dataset, write_like_original=False)


def _set_pixels(dataset: Dataset, stored: NDArray[Any]) -> None:
    data = stored.astype(stored.dtype.newbyteorder("<")).tobytes()
    dataset.PixelData = data + b"\0" * (len(data) % 2)
    dataset["PixelData"].VR = "OB" if stored.dtype.itemsize == 1 else "OW"
    dataset["PixelData"].is_undefined_length = False
    dataset.HighBit = dataset.BitsStored - 1
    if samples_of(dataset) == 3:
        dataset.PhotometricInterpretation, dataset.PlanarConfiguration = "RGB", 0
    signed = "SS" if dataset.PixelRepresentation else "US"
    for keyword, value in (("SmallestImagePixelValue", stored.min()), ("LargestImagePixelValue", stored.max())):
        if keyword in dataset:
            dataset.add_new(keyword, signed, int(value))


def _names(sources: tuple[Path, ...]) -> list[str]:
    """The sources' own names with .dcm at the end; numbers where two would be the same."""
    names = [s.name if s.suffix.lower() == ".dcm" else f"{s.name}.dcm" for s in sources]
    return names if len({n.lower() for n in names}) == len(names) else _numbers(sources)


def _numbers(sources: tuple[Path, ...]) -> list[str]:
    return [f"{index:05d}.dcm" for index in range(len(sources))]


def _check_replaceable(folder: Path) -> None:
    """Only an empty folder or an earlier result of ours is replaced: nothing of the user's may vanish with it."""
    if not folder.is_dir():
        return
    for file in folder.iterdir():
        ours = file.is_file() and is_dicom(file)
        head = read_head(file, ["DerivationDescription"]) if ours else None
        if head is None or not str(head.get("DerivationDescription", "")).startswith(MARK):
            raise OutputError(
                f"{folder}: holds {file.name}, which is not a result of ours; choose another output folder"
            )
