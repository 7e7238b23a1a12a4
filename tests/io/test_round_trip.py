from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import SimpleITK as sitk  # noqa: N813

from meddenoise.errors import GeometryError, OutputError
from meddenoise.io import provenance_of, read_volume, write_volume

VOLUME_FORMATS = [".nii", ".nii.gz", ".nrrd", ".nhdr", ".mha", ".mhd"]
MARK = "student 1.0.0, strength 1.0, research use, not a medical device"


@pytest.mark.parametrize("ext", VOLUME_FORMATS)
@pytest.mark.parametrize("dtype", ["uint8", "int16", "uint16", "int32", "float32"])
def test_values_type_and_oblique_geometry_come_back(tmp_path, make_volume, ext, dtype):
    volume = make_volume(dtype=dtype)
    again = read_volume(write_volume(volume, tmp_path / f"a{ext}"), modality="CT")
    assert again.header.dtype == dtype
    np.testing.assert_array_equal(again.array, volume.array)
    np.testing.assert_allclose(again.affine, volume.affine, atol=1e-4)
    assert again.header.ext == ext


@pytest.mark.parametrize("ext", VOLUME_FORMATS)
def test_left_handed_geometry_comes_back(tmp_path, make_volume, ext):
    affine = np.diag([0.5, -2.0, 3.0, 1.0])
    affine[:3, 3] = [10, 20, -30]
    again = read_volume(write_volume(make_volume(affine=affine), tmp_path / f"a{ext}"))
    np.testing.assert_allclose(again.affine, affine, atol=1e-5)


@pytest.mark.parametrize("ext", VOLUME_FORMATS)
def test_2d_image_keeps_spacing_and_origin(tmp_path, make_volume, ext):
    affine = np.diag([0.5, 2.0, 1.0, 1.0])
    affine[:2, 3] = [10, 20]
    again = read_volume(write_volume(make_volume((1, 5, 7), affine=affine, ndim=2), tmp_path / f"a{ext}"))
    assert again.array.shape == (1, 5, 7)
    np.testing.assert_allclose(again.affine, affine, atol=1e-5)


@pytest.mark.parametrize("ext", VOLUME_FORMATS)
def test_one_slice_volume_keeps_its_place(tmp_path, make_volume, ext):
    volume = make_volume((1, 5, 7))
    again = read_volume(write_volume(volume, tmp_path / f"a{ext}"))
    assert again.header.ndim == 3
    np.testing.assert_allclose(again.affine, volume.affine, atol=1e-5)


@pytest.mark.parametrize("ext", [".nrrd", ".mha"])
def test_sheared_axes_come_back_exactly(tmp_path, make_volume, ext):
    affine = np.eye(4)
    affine[1, 2] = 0.2
    again = read_volume(write_volume(make_volume(affine=affine), tmp_path / f"a{ext}"))
    np.testing.assert_allclose(again.affine, affine, atol=1e-6)


def test_sheared_axes_are_refused_for_nifti(tmp_path, make_volume):
    affine = np.eye(4)
    affine[1, 2] = 0.2
    with pytest.raises(GeometryError, match=r"sheared.*write .nrrd"):
        write_volume(make_volume(affine=affine), tmp_path / "a.nii")
    assert not list(tmp_path.iterdir())


def test_sheared_nifti_is_read_exactly_with_a_warning(tmp_path, make_volume):
    path = write_volume(make_volume(affine=np.diag([-1.0, -1, 2, 1])), tmp_path / "a.nii")
    data = bytearray(path.read_bytes())
    rows = np.array([[1, 0, 0, 5], [0, 1, 0.6, 6], [0, 0, 2, 7]], "<f4")
    data[280:328] = rows.tobytes()  # srow_x, srow_y, srow_z
    data[252:254] = b"\0\0"  # qform_code
    path.write_bytes(data)
    volume = read_volume(path)
    expected = np.diag([-1.0, -1, 1, 1]) @ np.vstack([rows, [0, 0, 0, 1]])
    np.testing.assert_allclose(volume.affine, expected, atol=1e-6)
    assert "sheared" in volume.header.warnings[0]


@pytest.mark.parametrize("ext", [".png", ".tif", ".tiff"])
@pytest.mark.parametrize("dtype", ["uint8", "uint16"])
def test_picture_keeps_values_and_type(tmp_path, make_volume, ext, dtype):
    volume = make_volume((1, 20, 30), dtype, ndim=2)
    again = read_volume(write_volume(volume, tmp_path / f"a{ext}"))
    assert again.header.dtype == dtype
    assert again.modality == "XR"
    assert again.header.display == (dtype == "uint8")
    np.testing.assert_array_equal(again.array, volume.array)


def test_jpeg_is_written_with_small_loss(tmp_path, make_volume):
    smooth = np.add.outer(np.arange(40), np.arange(60)).astype("uint8")[None]
    volume = replace(make_volume((1, 40, 60), "uint8", ndim=2), array=smooth)
    again = read_volume(write_volume(volume, tmp_path / "a.jpg"))
    assert again.array.dtype == np.uint8
    assert np.abs(again.array.astype(int) - smooth).max() <= 4


@pytest.mark.parametrize("ext", [".tif", ".nii"])
def test_float_stays_float32(tmp_path, make_volume, ext):
    volume = make_volume((1, 20, 30), "float32", ndim=2)
    again = read_volume(write_volume(volume, tmp_path / f"a{ext}"))
    np.testing.assert_array_equal(again.array, volume.array)
    assert again.header.stored_range is None


def test_float64_is_read_as_float32(tmp_path):
    sitk.WriteImage(sitk.GetImageFromArray(np.linspace(0, 1, 24).reshape(2, 3, 4)), str(tmp_path / "a.nrrd"))
    assert read_volume(tmp_path / "a.nrrd").header.dtype == "float32"


def test_16_bit_picture_goes_by_the_bits_in_use(tmp_path, make_volume):
    volume = make_volume((1, 20, 30), "uint16", ndim=2)
    array = volume.array.copy()
    array[0, 0, 0] = 3000
    again = read_volume(write_volume(volume.with_array(array), tmp_path / "a.png"), modality="CT")
    assert again.header.stored_range == (0.0, 4095.0)
    assert again.modality == "XR"
    assert any("12-bit" in w for w in again.header.warnings)


@pytest.mark.parametrize("ext", [*VOLUME_FORMATS, ".png", ".tif", ".jpg"])
def test_result_of_ours_is_recognised(tmp_path, make_volume, ext):
    volume = make_volume((1, 20, 30), "uint8", np.eye(4), ndim=2, metadata={"MedDenoise": MARK})
    path = write_volume(volume, tmp_path / f"a{ext}")
    assert MARK in provenance_of(path)
    assert any("already a result" in w for w in read_volume(path).header.warnings)


@pytest.mark.parametrize("ext", [".nii.gz", ".nrrd", ".mha", ".png", ".tif", ".jpg"])
def test_other_files_are_not_taken_for_results(tmp_path, make_volume, ext):
    assert provenance_of(write_volume(make_volume((1, 20, 30), "uint8", ndim=2), tmp_path / f"a{ext}")) is None


@pytest.mark.parametrize("ext", [".nrrd", ".mha"])
def test_header_fields_are_carried_over(tmp_path, make_volume, ext):
    image = sitk.GetImageFromArray(make_volume().array)
    image.SetMetaData("Scanner", "Model X: 3T")
    sitk.WriteImage(image, str(tmp_path / f"a{ext}"))
    write_volume(read_volume(tmp_path / f"a{ext}"), tmp_path / f"b{ext}")
    assert sitk.ReadImage(str(tmp_path / f"b{ext}")).GetMetaData("Scanner") == "Model X: 3T"


def test_nifti_description_is_carried_over(tmp_path, make_volume):
    image = sitk.GetImageFromArray(make_volume().array)
    image.SetMetaData("ITK_FileNotes", "TE=30")
    sitk.WriteImage(image, str(tmp_path / "a.nii"))
    write_volume(read_volume(tmp_path / "a.nii"), tmp_path / "b.nii")
    assert sitk.ReadImage(str(tmp_path / "b.nii")).GetMetaData("descrip") == "TE=30"


@pytest.mark.parametrize(("dtype", "low", "high"), [("uint8", 0, 255), ("int16", -32768, 32767)])
def test_integers_are_rounded_and_clipped(tmp_path, make_volume, dtype, low, high):
    volume = make_volume((1, 2, 2), dtype)
    wild = np.array([[[1.5001, -1e6], [1e6, 2.4999]]], np.float32)
    again = read_volume(write_volume(volume.with_array(wild), tmp_path / "a.nrrd"))
    np.testing.assert_array_equal(again.array, [[[2, low], [high, 2]]])


def test_integers_are_clipped_to_the_stored_range(tmp_path, make_volume):
    volume = make_volume((1, 2, 2), "int16", stored_range=(-1024.0, 3071.0))
    wild = np.array([[[-5000, 5000], [0, 1]]], np.float32)
    again = read_volume(write_volume(volume.with_array(wild), tmp_path / "a.nrrd"))
    np.testing.assert_array_equal(again.array, [[[-1024, 3071], [0, 1]]])


@pytest.mark.parametrize(
    ("name", "dtype", "shape", "message"),
    [
        ("a.xyz", "uint8", (1, 4, 4), "unknown format"),
        ("a.png", "int16", (1, 4, 4), "holds uint8 or uint16, got int16"),
        ("a.jpg", "uint8", (2, 4, 4), "holds one slice, got 2"),
    ],
)
def test_format_that_cannot_hold_the_image_is_refused(tmp_path, make_volume, name, dtype, shape, message):
    with pytest.raises(OutputError, match=message):
        write_volume(make_volume(shape, dtype), tmp_path / name)
    assert not list(tmp_path.iterdir())


def test_uneven_slices_are_refused_for_volume_formats(tmp_path, make_volume):
    with pytest.raises(GeometryError, match="unevenly spaced"):
        write_volume(make_volume(even=False), tmp_path / "a.nrrd")


def test_rounding_in_a_nifti_sform_is_no_shear(tmp_path, make_volume):
    path = write_volume(make_volume(affine=np.diag([-1.0, -1, 2, 1])), tmp_path / "a.nii")
    data = bytearray(path.read_bytes())
    data[280:328] = np.array([[1, 0, 0, 5], [0, 1, 0.0002, 6], [0, 0, 2, 7]], "<f4").tobytes()
    path.write_bytes(data)
    volume = read_volume(path, modality="MR")
    assert volume.header.warnings == ()
    write_volume(volume, tmp_path / "b.nii")


@pytest.mark.parametrize("name", ["A.NII.GZ", "A.Nii", "A.NRRD", "A.MHA", "A.PNG", "A.TIF"])
def test_extension_in_capitals_is_understood(tmp_path, make_volume, name):
    volume = make_volume((1, 20, 30), "uint8", np.eye(4), ndim=2)
    again = read_volume(write_volume(volume, tmp_path / name))
    assert [p.name for p in tmp_path.iterdir()] == [name]
    np.testing.assert_array_equal(again.array, volume.array)


@pytest.mark.parametrize("dtype", ["int32", "int64", "uint32"])
def test_wide_integers_are_clipped_not_wrapped(tmp_path, make_volume, dtype):
    volume = make_volume((1, 1, 2), dtype)
    again = read_volume(write_volume(volume.with_array(np.array([[[-1e30, 1e30]]])), tmp_path / "a.nrrd"))
    assert again.array.tolist() == [[[np.iinfo(dtype).min, np.iinfo(dtype).max]]]


def test_multi_page_tiff_comes_back(tmp_path, make_volume):
    volume = make_volume((3, 20, 30), "uint16", np.eye(4))
    np.testing.assert_array_equal(read_volume(write_volume(volume, tmp_path / "a.tif")).array, volume.array)
