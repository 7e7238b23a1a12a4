from __future__ import annotations

import numpy as np
import pytest
from pydicom.data import get_testdata_file

from meddenoise.io import read_volume, write_volume


def ct_like() -> np.ndarray:
    array = np.full((3, 20, 20), -1000, np.int16)
    array[:, 5:15, 5:15] = 40 + np.arange(100).reshape(10, 10)
    return array


@pytest.mark.parametrize("dtype", ["int16", "float32"])
def test_air_near_minus_1000_is_guessed_as_ct(tmp_path, make_volume, dtype):
    volume = make_volume((3, 20, 20), dtype).with_array(ct_like().astype(dtype))
    again = read_volume(write_volume(volume, tmp_path / "a.nrrd"))
    assert (again.modality, again.header.units, again.header.modality_source) == ("CT", "HU", "guess")
    assert "CT is guessed" in again.header.warnings[0]


def test_positive_volume_is_guessed_as_mr_without_units(tmp_path, make_volume):
    again = read_volume(write_volume(make_volume(), tmp_path / "a.nii.gz"))
    assert (again.modality, again.header.units, again.header.modality_source) == ("MR", "", "guess")


def test_option_decides_where_the_file_says_nothing(tmp_path, make_volume):
    again = read_volume(write_volume(make_volume(), tmp_path / "a.nii.gz"), modality="PET")
    assert (again.modality, again.header.modality_source, again.header.warnings) == ("PET", "option", ())


def test_option_wins_over_dicom_with_a_warning():
    volume = read_volume(get_testdata_file("CT_small.dcm"), modality="MR")
    assert volume.modality == "MR"
    assert "the file says modality CT, the option MR" in volume.header.warnings[0]


def test_8_bit_volume_is_a_display_image_whatever_the_option(tmp_path, make_volume):
    again = read_volume(write_volume(make_volume(dtype="uint8"), tmp_path / "a.nii.gz"), modality="CT")
    assert again.header.display
    assert again.header.units == ""


def test_modality_in_an_mha_header_is_believed(tmp_path, make_volume):
    path = write_volume(make_volume(), tmp_path / "a.mha")
    path.write_bytes(path.read_bytes().replace(b"MET_MOD_UNKNOWN", b"MET_MOD_CT"))
    if b"MET_MOD_CT" not in path.read_bytes():
        path.write_bytes(path.read_bytes().replace(b"NDims = 3\n", b"NDims = 3\nModality = MET_MOD_CT\n"))
    assert read_volume(path).header.modality_source == "file"
