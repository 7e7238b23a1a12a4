"""Untidy headers and odd compressions are read without remarks that the user can do nothing about."""

from __future__ import annotations

import warnings
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pydicom
from pydicom.data import get_testdata_file

from meddenoise.io import Provenance, read_volume, write_dicom_series

MADE_BY = Provenance("student", "1.0.0", 1.0)


def test_12_bit_jpeg_is_decoded_without_a_word(tmp_path, capfd):
    volume = read_volume(get_testdata_file("JPEG-lossy.dcm"))
    (file,) = write_dicom_series(volume, tmp_path / "o", MADE_BY)
    assert capfd.readouterr() == ("", "")
    np.testing.assert_array_equal(read_volume(file).array, volume.array)
    assert pydicom.dcmread(file).LossyImageCompression == "01"


def test_stderr_works_again_after_decoding(capfd):
    read_volume(get_testdata_file("JPEG-lossy.dcm"))
    import os

    os.write(2, b"still there")
    assert capfd.readouterr().err == "still there"


def test_pixels_are_not_decoded_again_for_writing_where_there_is_no_padding(tmp_path, make_series):
    def unpad(dataset, index):
        del dataset.PixelPaddingValue

    folder = make_series(tmp_path / "s", positions=(0.0,), each=unpad)
    volume = read_volume(folder)
    dataset = pydicom.dcmread(folder / "s000.dcm")
    dataset.PixelData = b""
    dataset.save_as(folder / "s000.dcm")
    (file,) = write_dicom_series(volume, tmp_path / "o", MADE_BY)
    np.testing.assert_array_equal(read_volume(file).array, volume.array)


def test_reading_in_threads_leaves_the_warning_filters_alone(tmp_path, make_series):
    folder = make_series(tmp_path / "s", positions=(0.0,))
    untidy = folder / "s000.dcm"
    untidy.write_bytes(untidy.read_bytes().replace(b"1.2.840.10008.5.1.4.1.1.2\0", b"1.2.840.10008.05.1.4.1.1.2", 1))
    read_volume(untidy)
    before = list(warnings.filters)
    with ThreadPoolExecutor(8) as pool:
        volumes = list(pool.map(read_volume, [untidy] * 32))
    assert warnings.filters == before
    assert len(volumes) == 32
