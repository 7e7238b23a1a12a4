"""What the values mean: Hounsfield units or not, how many bits are in use, what lies outside the reconstruction."""

from __future__ import annotations

import numpy as np
import pytest
import SimpleITK as sitk  # noqa: N813

from meddenoise.intensity import intensity_of
from meddenoise.io import read_volume, write_volume


@pytest.mark.parametrize("ext", [".nii.gz", ".nrrd", ".mha"])
def test_12_bit_film_in_a_wider_type_goes_by_the_bits_in_use(tmp_path, make_volume, ext):
    volume = make_volume((1, 20, 30), "int16", np.eye(4), ndim=2)
    array = volume.array.copy()
    array[0, 0, 0] = 3000
    again = read_volume(write_volume(volume.with_array(array), tmp_path / f"a{ext}"), modality="XR")
    rule = intensity_of(again)
    assert (rule.offset, rule.scale, rule.rule) == (0.0, 4095.0, "stored bits")
    assert again.header.stored_range == (-32768, 32767)
    assert any("12-bit" in warning for warning in again.header.warnings)


@pytest.mark.parametrize(("low", "high", "offset"), [(-100, 3000, -4096), (-4096, 5, -4096), (-3, 100, -256)])
def test_signed_film_goes_by_a_signed_range(tmp_path, make_volume, low, high, offset):
    volume = make_volume((1, 20, 30), "int16", np.eye(4), ndim=2)
    array = np.linspace(low, high, volume.array.size).round().astype(np.int16).reshape(volume.array.shape)
    array[0, ::2, ::3] = low
    rule = intensity_of(read_volume(write_volume(volume.with_array(array), tmp_path / "a.nrrd"), modality="XR"))
    assert (rule.offset, rule.scale) == (offset, -2 * offset - 1)


def test_8_bit_image_is_a_display_image_signed_or_not(tmp_path):
    array = np.arange(-64, 64, dtype=np.int8).reshape(1, 8, 16)
    sitk.WriteImage(sitk.GetImageFromArray(array), str(tmp_path / "a.nrrd"))
    volume = read_volume(tmp_path / "a.nrrd")
    assert volume.header.display
    assert intensity_of(volume).forward(np.array([-128, 127])) == pytest.approx([0, 1])


def test_ct_whose_rescale_is_not_to_hu_has_no_units(tmp_path, make_series):
    volume = read_volume(make_series(tmp_path / "s", RescaleType="US"))
    assert (volume.modality, volume.header.units, intensity_of(volume).rule) == ("CT", "", "percentiles")
    assert any("RescaleType US is not HU" in warning for warning in volume.header.warnings)


def test_ct_without_rescale_is_warned_about(tmp_path, make_series):
    def strip(dataset, index):
        del dataset.RescaleSlope, dataset.RescaleIntercept

    volume = read_volume(make_series(tmp_path / "s", each=strip))
    assert volume.header.units == "HU"
    assert any("without RescaleSlope" in warning for warning in volume.header.warnings)


def test_ct_in_hu_is_not_warned_about(tmp_path, make_series):
    volume = read_volume(make_series(tmp_path / "s"))
    assert (volume.header.units, volume.header.warnings) == ("HU", ())


@pytest.mark.parametrize(("shift", "warned"), [(0, True), (-1000, False)])
def test_ct_by_option_without_a_value_below_0_is_warned_about(tmp_path, make_volume, shift, warned):
    volume = make_volume()
    path = write_volume(volume.with_array(volume.array + np.int16(shift)), tmp_path / "a.nrrd")
    again = read_volume(path, modality="CT")
    assert again.header.units == "HU"
    assert any("no value is below 0" in warning for warning in again.header.warnings) == warned


def test_padding_range_goes_through_each_slice_s_own_rescale(tmp_path, make_series, set_pixels):
    def pad(dataset, index):
        set_pixels(dataset, np.array([[-2000, -1990, -1980, 5]], np.int16))
        dataset.add_new("PixelPaddingRangeLimit", "SS", -1990)
        dataset.RescaleSlope, dataset.RescaleIntercept = 0.1 * (index + 1), 0

    volume = read_volume(make_series(tmp_path / "s", positions=(0.0, 5.0), each=pad))
    np.testing.assert_allclose(volume.header.padding, [(-200, -199), (-400, -398)], rtol=1e-6)
    np.testing.assert_array_equal(volume.padded(), [[[True, True, False, False]]] * 2)


def test_slices_without_padding_beside_one_with_it_have_none(tmp_path, make_series, set_pixels):
    def pad(dataset, index):
        set_pixels(dataset, np.array([[-2000, 5]], np.int16))
        if index == 1:
            del dataset.PixelPaddingValue

    volume = read_volume(make_series(tmp_path / "s", positions=(0.0, 5.0), each=pad))
    np.testing.assert_array_equal(volume.padded(), [[[True, False]], [[False, False]]])
