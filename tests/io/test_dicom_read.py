from __future__ import annotations

import numpy as np
import pydicom
import pytest
from pydicom.data import get_testdata_file
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence
from pydicom.uid import EnhancedCTImageStorage, RLELossless, generate_uid

from meddenoise.errors import GeometryError, InputError
from meddenoise.io import Source, find_sources, read_volume


def test_ct_slice_is_read_in_hounsfield_units(tmp_path):
    volume = read_volume(get_testdata_file("CT_small.dcm"))
    dataset = pydicom.dcmread(get_testdata_file("CT_small.dcm"))
    np.testing.assert_array_equal(volume.array[0], dataset.pixel_array.astype(int) - 1024)
    assert (volume.modality, volume.header.units, volume.header.modality_source) == ("CT", "HU", "file")
    assert volume.header.dtype == "int16"
    assert volume.header.padding == ((-3024, -3024),)
    assert volume.header.stored_range == (-33792, 31743)
    assert volume.spacing == pytest.approx((0.661468, 0.661468, 5.0))
    np.testing.assert_allclose(volume.affine[:3, 3], [-158.135803, -179.035797, -75.699997])


def test_slices_are_sorted_by_position_not_by_name(tmp_path, make_series):
    def stamp(dataset, index):
        array = dataset.pixel_array.copy()
        array[0, 0] = index
        dataset.PixelData = array.tobytes()

    volume = read_volume(make_series(tmp_path / "s", positions=(10.0, 0.0, 15.0, 5.0), each=stamp))
    assert list(volume.array[:, 0, 0] + 1024) == [1, 3, 0, 2]
    np.testing.assert_allclose(volume.affine[:3, 2], [0, 0, 5])
    assert volume.header.even
    assert [f.name for f in volume.header.sources] == ["s001.dcm", "s003.dcm", "s000.dcm", "s002.dcm"]


def test_oblique_series_has_the_affine_of_its_tags(tmp_path, make_series):
    cosines = [0.8, 0.6, 0.0, -0.6, 0.8, 0.0]

    def turn(dataset, index):
        dataset.ImageOrientationPatient, dataset.PixelSpacing = cosines, [2.0, 0.5]

    affine = read_volume(make_series(tmp_path / "s", each=turn)).affine
    np.testing.assert_allclose(affine[:3, 0], [0.4, 0.3, 0])
    np.testing.assert_allclose(affine[:3, 1], [-1.2, 1.6, 0])


def test_uneven_series_is_marked_and_warned_about(tmp_path, make_series):
    volume = read_volume(make_series(tmp_path / "s", positions=(0.0, 1.0, 4.0)))
    assert not volume.header.even
    assert "got 1.00-3.00 mm" in volume.header.warnings[0]


def test_gantry_tilt_is_kept_in_the_affine(tmp_path, make_series):
    def tilt(dataset, index):
        x, y, z = dataset.ImagePositionPatient
        dataset.ImagePositionPatient = [x, y + 0.2 * float(z), z]

    volume = read_volume(make_series(tmp_path / "s", each=tilt))
    np.testing.assert_allclose(volume.affine[:3, 2], [0, 1, 5], atol=1e-6)
    assert volume.header.even
    assert "tilt of 11.3 degrees" in volume.header.warnings[0]


def test_rescale_per_slice_is_applied(tmp_path, make_series):
    def scale(dataset, index):
        dataset.RescaleSlope, dataset.RescaleIntercept = 0.5 * (index + 1), 0

    folder = make_series(tmp_path / "s", each=scale)
    raw = pydicom.dcmread(get_testdata_file("CT_small.dcm")).pixel_array
    volume = read_volume(folder)
    assert volume.array.dtype == np.float32
    for index in range(4):
        np.testing.assert_array_equal(volume.array[index], np.float32(raw * 0.5 * (index + 1)))


def test_bits_outside_bits_stored_are_cleared(tmp_path, make_series, set_pixels):
    def overlay(dataset, index):
        set_pixels(dataset, np.array([[0xF123, 0x0456], [0x8FFF, 0x0000]], np.uint16))
        dataset.BitsStored, dataset.HighBit = 12, 11
        dataset.RescaleIntercept = 0

    volume = read_volume(make_series(tmp_path / "s", positions=(0.0,), each=overlay))
    np.testing.assert_array_equal(volume.array[0], [[0x123, 0x456], [0xFFF, 0]])
    assert volume.header.stored_range == (0, 4095)


def test_signed_values_below_16_bits_are_extended(tmp_path, make_series, set_pixels):
    def signed(dataset, index):
        set_pixels(dataset, np.array([[0x0FFF, 0x0800], [0x07FF, 1]], np.int16))
        dataset.BitsStored, dataset.HighBit, dataset.RescaleIntercept = 12, 11, 0

    volume = read_volume(make_series(tmp_path / "s", positions=(0.0,), each=signed))
    np.testing.assert_array_equal(volume.array[0], [[-1, -2048], [2047, 1]])


def test_8_bit_dicom_is_a_display_image(tmp_path, make_series, set_pixels):
    def eight(dataset, index):
        set_pixels(dataset, np.arange(64, dtype=np.uint8).reshape(8, 8))
        dataset.RescaleIntercept = 0

    header = read_volume(make_series(tmp_path / "s", positions=(0.0,), each=eight)).header
    assert header.display
    assert header.dtype == "uint8"


def test_rle_compressed_slice_is_decoded(tmp_path):
    dataset = pydicom.dcmread(get_testdata_file("CT_small.dcm"))
    raw = dataset.pixel_array.copy()
    dataset.compress(RLELossless)
    dataset.save_as(tmp_path / "a.dcm")
    np.testing.assert_array_equal(read_volume(tmp_path / "a.dcm").array[0], raw - 1024)


@pytest.mark.parametrize("name", ["MR_small_jp2klossless.dcm", "MR_small_RLE.dcm"])
def test_compressed_test_files_equal_the_plain_one(name):
    plain = read_volume(get_testdata_file("MR_small.dcm"))
    np.testing.assert_array_equal(read_volume(get_testdata_file(name)).array, plain.array)


def test_big_endian_slice_is_decoded():
    plain = read_volume(get_testdata_file("MR_small.dcm"))
    np.testing.assert_array_equal(read_volume(get_testdata_file("MR_small_bigendian.dcm")).array, plain.array)


def test_file_without_preamble_or_extension_is_read(tmp_path):
    dataset = pydicom.dcmread(get_testdata_file("MR_small.dcm"))
    bare = Dataset()
    bare.update(dataset)
    bare.is_little_endian, bare.is_implicit_VR = True, True
    bare.save_as(tmp_path / "IM0001")
    np.testing.assert_array_equal(read_volume(tmp_path / "IM0001").array[0], dataset.pixel_array)


def test_inverted_x_ray_keeps_its_stored_values(tmp_path, make_series):
    def invert(dataset, index):
        dataset.PhotometricInterpretation, dataset.Modality = "MONOCHROME1", "CR"
        del dataset.ImagePositionPatient

    volume = read_volume(make_series(tmp_path / "s", positions=(0.0,), each=invert))
    raw = pydicom.dcmread(get_testdata_file("CT_small.dcm")).pixel_array
    np.testing.assert_array_equal(volume.array[0], raw - 1024)
    assert volume.modality == "XR"
    assert volume.header.ndim == 2


def test_multi_frame_object_is_refused_by_name(tmp_path, make_series):
    def enhance(dataset, index):
        dataset.SOPClassUID, dataset.NumberOfFrames = EnhancedCTImageStorage, 2
        dataset.PixelData *= 2

    folder = make_series(tmp_path / "s", positions=(0.0,), each=enhance)
    with pytest.raises(InputError, match=r"multi-frame object \(Enhanced CT Image Storage, 2 frames\)"):
        read_volume(folder)


def test_dicom_in_a_palette_is_refused(tmp_path, make_series):
    folder = make_series(tmp_path / "s", positions=(0.0,), PhotometricInterpretation="PALETTE COLOR")
    with pytest.raises(InputError, match=r"in colour \(PALETTE COLOR, 1 values per pixel\) is not in grey, RGB or YBR"):
        read_volume(folder / "s000.dcm")
    with pytest.raises(InputError, match=r"in colour .* is not in grey, RGB or YBR"):
        read_volume(folder)


def test_object_without_image_is_refused_by_name():
    with pytest.raises(InputError, match="RT Plan Storage"):
        read_volume(get_testdata_file("rtplan.dcm"))


@pytest.mark.parametrize("share", [0.1, 0.5, 0.9])
def test_truncated_dicom_is_refused(tmp_path, share):
    with open(get_testdata_file("MR_small.dcm"), "rb") as file:  # noqa: PTH123
        data = file.read()
    (tmp_path / "a.dcm").write_bytes(data[: int(len(data) * share)])
    with pytest.raises(InputError, match=r"a\.dcm"):
        read_volume(tmp_path / "a.dcm")


def test_two_volumes_at_the_same_positions_are_refused_where_no_tag_tells_them_apart(tmp_path, make_series):
    folder = make_series(tmp_path / "s", positions=(0.0, 5.0, 0.0, 5.0), SeriesTime="120000")
    (source,), _ = find_sources([folder])
    with pytest.raises(GeometryError, match="2 of 4 slices share a position"):
        read_volume(source)


def test_echoes_at_the_same_positions_are_read_apart(tmp_path, make_series):
    def echo(dataset, index):
        dataset.EchoNumbers = 1 + index // 2

    folder = make_series(tmp_path / "s", positions=(0.0, 5.0, 0.0, 5.0), each=echo)
    sources, _ = find_sources([folder])
    assert [read_volume(s).array.shape[0] for s in sources] == [2, 2]
    assert len({s.stem for s in sources}) == 2


def pet_tags(dataset, index):
    drug = Dataset()
    drug.RadionuclideTotalDose, drug.RadionuclideHalfLife = 370e6, 6586.2
    drug.RadiopharmaceuticalStartTime = "110000"
    dataset.RadiopharmaceuticalInformationSequence = Sequence([drug])
    dataset.Modality, dataset.Units, dataset.PatientWeight = "PT", "BQML", 70
    dataset.CorrectedImage, dataset.DecayCorrection = ["DECY", "ATTN"], "START"
    dataset.SeriesDate = dataset.AcquisitionDate = "20200101"
    dataset.SeriesTime = dataset.AcquisitionTime = "120000"
    dataset.RescaleSlope, dataset.RescaleIntercept = 1.5, 0


def test_pet_gets_the_factor_to_body_weight_suv(tmp_path, make_series):
    volume = read_volume(make_series(tmp_path / "s", each=pet_tags))
    left = 370e6 * 0.5 ** (3600 / 6586.2)
    assert (volume.modality, volume.header.units) == ("PET", "BQML")
    assert volume.header.suv_factor == pytest.approx(70_000 / left)


def test_pet_corrected_to_the_injection_needs_no_decay(tmp_path, make_series):
    def admin(dataset, index):
        pet_tags(dataset, index)
        dataset.DecayCorrection = "ADMIN"

    assert read_volume(make_series(tmp_path / "s", each=admin)).header.suv_factor == pytest.approx(70_000 / 370e6)


@pytest.mark.parametrize("tag", ["PatientWeight", "Units", "RadiopharmaceuticalInformationSequence", "DecayCorrection"])
def test_pet_without_the_tags_has_no_suv_factor(tmp_path, make_series, tag):
    def without(dataset, index):
        pet_tags(dataset, index)
        delattr(dataset, tag)

    assert read_volume(make_series(tmp_path / "s", each=without)).header.suv_factor is None


def test_series_of_two_sizes_given_as_one_source_is_refused(tmp_path, make_series, set_pixels):
    def resize(dataset, index):
        if index == 1:
            set_pixels(dataset, np.zeros((64, 64), np.int16))

    folder = make_series(tmp_path / "s", positions=(0.0, 5.0), each=resize)
    source = Source(folder, tuple(sorted(folder.iterdir())), "s", generate_uid())
    with pytest.raises(GeometryError, match="one size, got 64 x 64, 128 x 128"):
        read_volume(source)


def test_zero_slope_is_refused(tmp_path, make_series):
    with pytest.raises(InputError, match="RescaleSlope must be a number other than 0"):
        read_volume(make_series(tmp_path / "s", RescaleSlope=0))
