from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

import numpy as np
import pydicom
import pytest
from pydicom.data import get_testdata_file
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence
from pydicom.uid import ImplicitVRLittleEndian

from meddenoise.errors import OutputError
from meddenoise.io import Provenance, provenance_of, read_volume, write_dicom_series

MADE_BY = Provenance("student", "1.0.0", 1.0)


def derive(volume, folder):
    return [pydicom.dcmread(file) for file in write_dicom_series(volume, folder, MADE_BY)]


def test_unchanged_values_come_back_bit_for_bit(tmp_path, make_series):
    folder = make_series(tmp_path / "s")
    volume = read_volume(folder)
    for before, after in zip(volume.header.sources, derive(volume, tmp_path / "o"), strict=True):
        np.testing.assert_array_equal(after.pixel_array, pydicom.dcmread(before).pixel_array)
    again = read_volume(tmp_path / "o")
    np.testing.assert_array_equal(again.array, volume.array)
    np.testing.assert_array_equal(again.affine, volume.affine)


def test_series_is_new_and_says_what_it_was_derived_from(tmp_path, make_series):
    volume = read_volume(make_series(tmp_path / "s", SeriesDescription="Chest B30f"))
    sources = [pydicom.dcmread(file) for file in volume.header.sources]
    results = derive(volume, tmp_path / "o")
    assert {r.SeriesInstanceUID for r in results}.isdisjoint({s.SeriesInstanceUID for s in sources})
    assert len({r.SeriesInstanceUID for r in results}) == 1
    assert len({r.SOPInstanceUID for r in results} | {s.SOPInstanceUID for s in sources}) == 8
    for source, result in zip(sources, results, strict=True):
        assert list(result.ImageType) == ["DERIVED", "SECONDARY", "AXIAL"]
        assert result.file_meta.MediaStorageSOPInstanceUID == result.SOPInstanceUID
        assert result.DerivationDescription.startswith("MedDenoise student 1.0.0, strength 1.0")
        assert result.SeriesDescription == "Chest B30f denoised, research use, not a medical device"
        assert result.SeriesNumber == source.SeriesNumber + 1000
        (reference,) = result.SourceImageSequence
        assert reference.ReferencedSOPInstanceUID == source.SOPInstanceUID
        assert reference.PurposeOfReferenceCodeSequence[0].CodeValue == "121322"
        assert result.DerivationCodeSequence[0].CodeValue == "113087"
        for keyword in ("StudyInstanceUID", "FrameOfReferenceUID", "PatientID", "ImagePositionPatient", "RescaleSlope"):
            assert result[keyword].value == source[keyword].value
        assert result.ContentDate != source.ContentDate


def test_long_description_is_cut_before_the_disclaimer(tmp_path, make_series):
    volume = read_volume(make_series(tmp_path / "s", positions=(0.0,), SeriesDescription="A" * 64))
    (result,) = derive(volume, tmp_path / "o")
    assert len(result.SeriesDescription) == 64
    assert result.SeriesDescription.endswith("denoised, research use, not a medical device")


def test_earlier_derivation_is_kept_behind_ours(tmp_path, make_series):
    volume = read_volume(make_series(tmp_path / "s", positions=(0.0,), DerivationDescription="resampled"))
    (result,) = derive(volume, tmp_path / "o")
    assert result.DerivationDescription.endswith("before: resampled")


def test_result_given_in_again_is_recognised(tmp_path, make_series):
    write_dicom_series(read_volume(make_series(tmp_path / "s")), tmp_path / "o", MADE_BY)
    assert "student 1.0.0" in provenance_of(tmp_path / "o")
    assert provenance_of(tmp_path / "s") is None


def test_values_go_back_through_each_slice_s_own_rescale(tmp_path, make_series):
    def scale(dataset, index):
        dataset.RescaleSlope, dataset.RescaleIntercept = 0.5 * (index + 1), -10
        del dataset.PixelPaddingValue

    volume = read_volume(make_series(tmp_path / "s", each=scale))
    results = derive(volume.with_array(np.full(volume.array.shape, 101.3, np.float32)), tmp_path / "o")
    for index, result in enumerate(results):
        assert result.RescaleSlope == 0.5 * (index + 1)
        assert (result.pixel_array == round((101.3 + 10) / (0.5 * (index + 1)))).all()


def test_values_are_clipped_to_the_stored_bits(tmp_path, make_series, set_pixels):
    def twelve(dataset, index):
        set_pixels(dataset, np.full((2, 2), 100, np.uint16))
        dataset.BitsStored, dataset.HighBit = 12, 11
        del dataset.PixelPaddingValue

    volume = read_volume(make_series(tmp_path / "s", positions=(0.0,), each=twelve))
    (result,) = derive(volume.with_array(np.array([[[-9e9, 9e9], [-1024.4, -1023.4]]], np.float32)), tmp_path / "o")
    np.testing.assert_array_equal(result.pixel_array, [[0, 4095], [0, 1]])


def test_padding_stays_and_no_tissue_becomes_padding(tmp_path, make_series, set_pixels):
    def pad(dataset, index):
        set_pixels(dataset, np.array([[-2000, 5], [6, 7]], np.int16))

    volume = read_volume(make_series(tmp_path / "s", positions=(0.0,), each=pad))
    (result,) = derive(volume.with_array(np.array([[[0, -3024], [-1018, -1017]]], np.int16)), tmp_path / "o")
    np.testing.assert_array_equal(result.pixel_array, [[-2000, -1999], [6, 7]])


def test_padding_written_as_unsigned_for_signed_pixels_is_understood(tmp_path, make_series, set_pixels):
    def pad(dataset, index):
        set_pixels(dataset, np.array([[-2000, 5]], np.int16))
        del dataset.PixelPaddingValue
        dataset.add_new("PixelPaddingValue", "US", 65536 - 2000)

    volume = read_volume(make_series(tmp_path / "s", positions=(0.0,), each=pad))
    assert volume.header.padding == ((-3024, -3024),)
    (result,) = derive(volume.with_array(np.zeros((1, 1, 2), np.int16)), tmp_path / "o")
    np.testing.assert_array_equal(result.pixel_array, [[-2000, 1024]])


def test_padding_range_of_an_implicit_file_stays(tmp_path, make_series, set_pixels):
    def pad(dataset, index):
        set_pixels(dataset, np.array([[-2000, -1990, -1980, 5]], np.int16))
        dataset.add_new("PixelPaddingRangeLimit", "SS", -1990)
        dataset.is_implicit_VR = True
        dataset.file_meta.TransferSyntaxUID = ImplicitVRLittleEndian

    volume = read_volume(make_series(tmp_path / "s", positions=(0.0,), each=pad))
    (result,) = derive(volume.with_array(np.full((1, 1, 4), -3015, np.int16)), tmp_path / "o")
    np.testing.assert_array_equal(result.pixel_array, [[-2000, -1990, -1989, -1989]])


def test_uneven_series_keeps_each_slice_at_its_place(tmp_path, make_series):
    volume = read_volume(make_series(tmp_path / "s", positions=(7.0, 0.0, 1.0)))
    assert [r.ImagePositionPatient[2] for r in derive(volume, tmp_path / "o")] == [0, 1, 7]


def test_time_of_creation_is_in_the_source_s_time_zone(tmp_path, make_series):
    volume = read_volume(make_series(tmp_path / "s", positions=(0.0,), TimezoneOffsetFromUTC="-0500"))
    (result,) = derive(volume, tmp_path / "o")
    stated = datetime.strptime(f"{result.ContentDate}{result.ContentTime}-0500", "%Y%m%d%H%M%S.%f%z")
    assert abs((datetime.now(UTC) - stated).total_seconds()) < 60


def test_private_tags_stay_and_what_no_longer_holds_goes(tmp_path, make_series):
    def dress(dataset, index):
        dataset.private_block(0x0019, "SOMEONE", create=True).add_new(0x01, "LO", "kept")
        dataset.IconImageSequence = Sequence([Dataset()])
        dataset.add_new(0x60000102, "US", 12)  # bit position of an overlay inside the pixels
        dataset.add_new(0x60020100, "US", 1)
        dataset.add_new(0x60023000, "OW", b"\0\0")

    volume = read_volume(make_series(tmp_path / "s", positions=(0.0,), each=dress))
    (result,) = derive(volume, tmp_path / "o")
    assert result.private_block(0x0019, "SOMEONE")[0x01].value == "kept"
    assert "IconImageSequence" not in result
    assert 0x60000102 not in result
    assert 0x60023000 in result


def test_inversion_and_lossy_history_are_kept(tmp_path, make_series):
    tags = {"PhotometricInterpretation": "MONOCHROME1", "LossyImageCompression": "01"}
    volume = read_volume(make_series(tmp_path / "s", positions=(0.0,), **tags))
    (result,) = derive(volume, tmp_path / "o")
    assert result.PhotometricInterpretation == "MONOCHROME1"
    assert result.LossyImageCompression == "01"


def test_pixel_statistics_follow_the_pixels(tmp_path, make_series):
    volume = read_volume(get_testdata_file("MR_small.dcm"))
    (result,) = derive(volume.with_array(np.full(volume.array.shape, 17, np.int16)), tmp_path / "o")
    assert (result.SmallestImagePixelValue, result.LargestImagePixelValue) == (17, 17)


def test_compressed_source_gives_an_uncompressed_result(tmp_path):
    volume = read_volume(get_testdata_file("MR_small_jp2klossless.dcm"))
    (result,) = derive(volume, tmp_path / "o")
    assert result.file_meta.TransferSyntaxUID.name == "Explicit VR Little Endian"
    np.testing.assert_array_equal(result.pixel_array, volume.array[0])


def test_big_endian_source_gives_a_right_result(tmp_path):
    volume = read_volume(get_testdata_file("MR_small_bigendian.dcm"))
    (result,) = derive(volume, tmp_path / "o")
    np.testing.assert_array_equal(result.pixel_array, volume.array[0])


def test_single_slice_can_be_written_to_one_file(tmp_path):
    volume = read_volume(get_testdata_file("CT_small.dcm"))
    assert write_dicom_series(volume, tmp_path / "a.dcm", MADE_BY) == [tmp_path / "a.dcm"]
    np.testing.assert_array_equal(read_volume(tmp_path / "a.dcm").array, volume.array)


def test_earlier_result_is_replaced_as_a_whole(tmp_path, make_series):
    write_dicom_series(read_volume(make_series(tmp_path / "s")), tmp_path / "o", MADE_BY)
    files = write_dicom_series(read_volume(make_series(tmp_path / "t", positions=(0.0, 5.0))), tmp_path / "o", MADE_BY)
    assert sorted(tmp_path.joinpath("o").iterdir()) == sorted(files)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["o", "s", "t"]


def test_folder_with_other_files_is_never_replaced(tmp_path, make_series):
    volume = read_volume(make_series(tmp_path / "s"))
    with pytest.raises(OutputError, match=r"holds s00\d\.dcm, which is not a result of ours"):
        write_dicom_series(volume, tmp_path / "s", MADE_BY)
    assert len(list((tmp_path / "s").iterdir())) == 4


def test_failure_halfway_leaves_nothing(tmp_path, make_series):
    volume = read_volume(make_series(tmp_path / "s"))
    volume.header.sources[-1].unlink()
    with pytest.raises(Exception, match=r"s003\.dcm"):
        write_dicom_series(volume, tmp_path / "o", MADE_BY)
    assert [p.name for p in tmp_path.iterdir()] == ["s"]


def test_volume_from_another_format_is_refused(tmp_path, make_volume):
    with pytest.raises(OutputError, match=r"only be derived from DICOM, got \.nrrd"):
        write_dicom_series(make_volume(), tmp_path / "o", MADE_BY)


@pytest.mark.parametrize("name", ["CT_small.dcm", "MR_small.dcm", "MR_small_RLE.dcm", "MR_small_jp2klossless.dcm"])
@pytest.mark.parametrize("options", [[], ["-new"]])
def test_validator_finds_no_error_the_source_did_not_have(tmp_path, dciodvfy, name, options):
    volume = read_volume(get_testdata_file(name))
    (file,) = write_dicom_series(volume, tmp_path / "o", MADE_BY)
    assert dciodvfy(file, *options) <= dciodvfy(get_testdata_file(name), *options)


REAL_SERIES = [
    "CT/CRLM-CT-1004", "CT/LIDC-IDRI-0314", "CT/Lung_Dx-A0002_B40f", "CT/NEMA_WG04_CT1_J2KR", "CT/NEMA_WG04_CT2_J2KR",
    "MR/STS_001_T1_raw", "MR/Seg3D_cardiac_GRE", "MR/UCSF-BR-06_3DFGRE_pre", "MR/VS-SEG-001_T1Gd",
    "MR/studyforrest_sub02_T1w", "PET/STS_001_FDG_PET_raw", "XR/CBIS-DDSM_P_00038_ROI", "XR/NEMA_WG04_RG1_J2KI",
    "XR/NEMA_WG04_RG2_J2KR", "XR/NEMA_WG04_XA1_J2KR", "evaluation_only/CT/LDCT_L096_D45f_full",
]  # fmt: skip


@pytest.mark.parametrize("path", REAL_SERIES)
def test_real_series_comes_back_valid_and_unchanged(tmp_path, data, dciodvfy, path):
    volume = read_volume(data / path)
    if volume.array.shape[0] > 12:  # keep the test short: a third of the long series is enough
        volume = replace(
            volume, array=volume.array[:12], header=replace(volume.header, sources=volume.header.sources[:12])
        )
    files = write_dicom_series(volume, tmp_path / "o", MADE_BY)
    np.testing.assert_array_equal(read_volume(tmp_path / "o").array, volume.array)
    for index in (0, -1):
        new = dciodvfy(files[index], "-new") - dciodvfy(volume.header.sources[index], "-new")
        assert not new
