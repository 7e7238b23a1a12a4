"""Tiny phantoms: volumes, and DICOM series made from the CT slice that pydicom carries."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pydicom
import pytest
from pydicom.data import get_testdata_file
from pydicom.uid import generate_uid

from meddenoise.volume import Header, Volume


@pytest.fixture
def make_volume() -> Callable[..., Volume]:
    """make_volume(shape=(3, 5, 7), dtype="int16", affine=None, **header): random values, oblique by default."""

    def make(shape=(3, 5, 7), dtype="int16", affine=None, modality="CT", **header) -> Volume:
        rng = np.random.default_rng(7)
        values = rng.normal(40, 30, shape)
        array = np.clip(np.rint(values), 0, 255).astype(dtype) if np.dtype(dtype).kind in "iu" else values.astype(dtype)
        return Volume(array, oblique() if affine is None else affine, modality, Header(dtype=dtype, **header))

    return make


def oblique() -> np.ndarray:
    """Rotated about two axes, spacing 0.7 x 1.1 x 3 mm, origin far from zero."""
    a, b = 0.3, -0.2
    about_z = np.array([[np.cos(a), -np.sin(a), 0], [np.sin(a), np.cos(a), 0], [0, 0, 1]])
    about_x = np.array([[1, 0, 0], [0, np.cos(b), -np.sin(b)], [0, np.sin(b), np.cos(b)]])
    affine = np.eye(4)
    affine[:3, :3] = about_z @ about_x * [0.7, 1.1, 3.0]
    affine[:3, 3] = [-120.5, 33.25, 871.0]
    return affine


@pytest.fixture
def make_series() -> Callable[..., Path]:
    """make_series(folder, positions=[...], each=function(dataset, index)): a CT series of 128 x 128 slices."""

    def make(folder: Path, *, positions=(0.0, 5.0, 10.0, 15.0), each=None, **tags) -> Path:
        folder.mkdir(parents=True, exist_ok=True)
        series = generate_uid()
        for index, z in enumerate(positions):
            dataset = pydicom.dcmread(get_testdata_file("CT_small.dcm"))
            dataset.remove_private_tags()
            dataset.SeriesInstanceUID, dataset.SOPInstanceUID = series, generate_uid()
            dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
            dataset.InstanceNumber = index + 1
            x, y = dataset.ImagePositionPatient[:2]
            dataset.ImagePositionPatient = [x, y, z]
            for keyword, value in tags.items():
                setattr(dataset, keyword, value)
            if each is not None:
                each(dataset, index)
            dataset.save_as(folder / f"s{len(list(folder.iterdir())):03d}.dcm")
        return folder

    return make


@pytest.fixture
def set_pixels() -> Callable[..., None]:
    """set_pixels(dataset, array): stored values, with rows, columns, bits and sign to match."""

    def put(dataset: pydicom.Dataset, array: np.ndarray) -> None:
        dataset.Rows, dataset.Columns = array.shape
        dataset.BitsAllocated = dataset.BitsStored = array.dtype.itemsize * 8
        dataset.HighBit = dataset.BitsStored - 1
        dataset.PixelRepresentation = int(array.dtype.kind == "i")
        dataset.PixelData = array.tobytes()

    return put


@pytest.fixture
def data() -> Path:
    """Folder of real images; the test is skipped where it is not there."""
    folder = os.environ.get("MEDDENOISE_DATA")
    if not folder:
        pytest.skip("MEDDENOISE_DATA is not set: no real images to test on")
    return Path(folder)
