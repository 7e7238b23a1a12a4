from __future__ import annotations

import gzip

import numpy as np
import pytest
import SimpleITK as sitk  # noqa: N813

from meddenoise.errors import InputError
from meddenoise.io import find_sources, read_volume, write_volume

EVERY_FORMAT = [".nii", ".nii.gz", ".nrrd", ".mha", ".mhd", ".nhdr", ".png", ".tif", ".jpg"]


def cut(path, share):
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * share)])


@pytest.mark.parametrize("ext", EVERY_FORMAT)
def test_missing_file_is_named(tmp_path, ext):
    with pytest.raises(InputError, match=rf"gone{ext}: no such file"):
        read_volume(tmp_path / f"gone{ext}")


@pytest.mark.parametrize("ext", [*EVERY_FORMAT, ".dcm", ""])
def test_empty_file_is_refused(tmp_path, ext):
    (tmp_path / f"a{ext}").touch()
    with pytest.raises(InputError, match="is empty"):
        read_volume(tmp_path / f"a{ext}")


@pytest.mark.parametrize("ext", [".nii", ".nii.gz", ".nrrd", ".mha", ".png", ".tif", ".jpg"])
@pytest.mark.parametrize("share", [0.04, 0.5, 0.97])
def test_truncated_file_is_refused(tmp_path, make_volume, ext, share):
    path = write_volume(make_volume((1, 200, 300), "uint8", ndim=2), tmp_path / f"a{ext}")
    cut(path, share)
    with pytest.raises(InputError, match=r"truncated|intact"):
        read_volume(path)


@pytest.mark.parametrize("ext", [".mhd", ".nhdr"])
def test_truncated_data_file_is_refused(tmp_path, make_volume, ext):
    path = write_volume(make_volume(), tmp_path / f"a{ext}")
    cut(tmp_path / "a.raw", 0.5)
    with pytest.raises(InputError, match="truncated"):
        read_volume(path)


def test_gzip_with_a_wrong_checksum_is_refused(tmp_path, make_volume):
    path = write_volume(make_volume(), tmp_path / "a.nii.gz")
    data = bytearray(path.read_bytes())
    data[-8] ^= 1
    path.write_bytes(data)
    with pytest.raises(InputError, match="CRC"):
        read_volume(path)


def test_whole_gzip_around_a_truncated_image_is_refused(tmp_path, make_volume):
    path = write_volume(make_volume((3, 50, 50)), tmp_path / "a.nii")
    (tmp_path / "b.nii.gz").write_bytes(gzip.compress(path.read_bytes()[:5000]))
    with pytest.raises(InputError, match="header needs 15352 bytes, got 5000"):
        read_volume(tmp_path / "b.nii.gz")


@pytest.mark.parametrize("ext", EVERY_FORMAT)
def test_text_with_an_image_name_is_refused(tmp_path, ext):
    (tmp_path / f"a{ext}").write_text("this is no image\n" * 100)
    with pytest.raises(InputError, match=rf"a{ext}: "):
        read_volume(tmp_path / f"a{ext}")


def test_unknown_format_is_refused(tmp_path):
    (tmp_path / "a.docx").write_text("hello")
    with pytest.raises(InputError, match=r"unknown format '.docx'"):
        read_volume(tmp_path / "a.docx")


def test_nonfinite_voxels_are_counted(tmp_path, make_volume):
    array = make_volume(dtype="float32").array.copy()
    array[0, 0, :3], array[1, 1, 1] = np.nan, -np.inf
    path = write_volume(make_volume(dtype="float32").with_array(array), tmp_path / "a.nrrd")
    with pytest.raises(InputError, match=r"3 of 105 voxels are NaN and 1 infinite.*--replace-nonfinite"):
        read_volume(path)


def test_nonfinite_voxels_are_replaced_on_request(tmp_path, make_volume):
    array = make_volume(dtype="float32").array.copy()
    array[0, 0, :3] = np.nan
    path = write_volume(make_volume(dtype="float32").with_array(array), tmp_path / "a.nrrd")
    volume = read_volume(path, replace_nonfinite=-5)
    np.testing.assert_array_equal(volume.array[0, 0, :3], -5)
    np.testing.assert_array_equal(volume.array[1:], array[1:])
    assert any("3 voxels" in w for w in volume.header.warnings)


@pytest.mark.parametrize("ext", [".nii.gz", ".nrrd", ".mha"])
def test_4d_image_is_refused(tmp_path, ext):
    image = sitk.JoinSeries([sitk.Image(4, 5, 6, sitk.sitkInt16)] * 3)
    sitk.WriteImage(image, str(tmp_path / f"a{ext}"))
    with pytest.raises(InputError, match="two or three axes, got 4 x 5 x 6 x 3"):
        read_volume(tmp_path / f"a{ext}")


@pytest.mark.parametrize("ext", [".nii.gz", ".nrrd", ".mha"])
def test_vector_field_is_refused(tmp_path, ext):
    sitk.WriteImage(sitk.Image([6, 6, 6], sitk.sitkVectorFloat32, 3), str(tmp_path / f"a{ext}"))
    with pytest.raises(InputError, match="vectors"):
        read_volume(tmp_path / f"a{ext}")


def labels() -> np.ndarray:
    array = np.zeros((4, 60, 60), np.uint8)
    array[:, 10:30, 10:30], array[:, 30:50, 20:50] = 1, 2
    return array


@pytest.mark.parametrize("name", ["a.nii.gz", "a.nrrd", "a.mha"])
def test_label_map_is_refused(tmp_path, name):
    sitk.WriteImage(sitk.GetImageFromArray(labels()), str(tmp_path / name))
    with pytest.raises(InputError, match=r"label map \(3 values from 0 to 2"):
        read_volume(tmp_path / name)


def test_slicer_segmentation_is_refused(tmp_path):
    image = sitk.GetImageFromArray(labels())
    image.SetMetaData("Segment0_ID", "Segment_1")
    sitk.WriteImage(image, str(tmp_path / "a.nrrd"))
    with pytest.raises(InputError, match="is a segmentation"):
        read_volume(tmp_path / "a.nrrd")


def test_nifti_label_intent_is_refused(tmp_path, make_volume):
    path = write_volume(make_volume(), tmp_path / "a.nii")
    data = bytearray(path.read_bytes())
    data[68:70] = (1002).to_bytes(2, "little")
    path.write_bytes(data)
    with pytest.raises(InputError, match=r"label map \(NIfTI intent 1002\)"):
        read_volume(path)


@pytest.mark.parametrize("value", [0, 7])
@pytest.mark.parametrize("dtype", ["uint8", "int16", "float32"])
def test_constant_image_is_read(tmp_path, make_volume, value, dtype):
    volume = make_volume(dtype=dtype)
    path = write_volume(volume.with_array(np.full(volume.array.shape, value, dtype)), tmp_path / "a.nrrd")
    assert (read_volume(path).array == value).all()


def test_zero_size_image_is_refused(tmp_path):
    (tmp_path / "a.nrrd").write_text("NRRD0004\ntype: short\ndimension: 3\nsizes: 0 4 4\nencoding: raw\n\n")
    with pytest.raises(InputError, match=r"a\.nrrd"):
        read_volume(tmp_path / "a.nrrd")


def test_header_that_promises_terabytes_is_refused(tmp_path):
    header = "NRRD0004\ntype: short\ndimension: 3\nsizes: 100000 100000 100000\nencoding: raw\n\n"
    (tmp_path / "a.nrrd").write_text(header)
    with pytest.raises(InputError, match=r"a\.nrrd"):
        read_volume(tmp_path / "a.nrrd")


def test_folder_without_images_is_refused(tmp_path):
    (tmp_path / "notes.txt").write_text("hello")
    sources, skipped = find_sources([tmp_path])
    assert len(sources) == 1
    assert "notes.txt: skipped" in skipped[0]
    with pytest.raises(InputError, match="holds no image"):
        read_volume(sources[0])
    with pytest.raises(InputError, match=r"holds no image.*notes\.txt"):
        read_volume(tmp_path)


def test_folder_given_with_an_image_name_is_refused(tmp_path):
    (tmp_path / "a.nrrd").mkdir()
    with pytest.raises(InputError, match="holds no image"):
        read_volume(tmp_path / "a.nrrd")


def test_8_bit_image_on_a_large_black_background_is_no_label_map(tmp_path, make_volume):
    array = np.zeros((2, 200, 200), np.uint8)
    array[:, 90:110, 90:110] = np.random.default_rng(0).integers(0, 256, (2, 20, 20))
    sitk.WriteImage(sitk.GetImageFromArray(array), str(tmp_path / "a.nii.gz"))
    np.testing.assert_array_equal(read_volume(tmp_path / "a.nii.gz").array, array)


def test_smooth_8_bit_image_is_no_label_map(tmp_path):
    array = np.tile(np.arange(512, dtype=np.uint16) // 2, (1, 64, 1)).astype(np.uint8)
    sitk.WriteImage(sitk.GetImageFromArray(array), str(tmp_path / "a.nii.gz"))
    assert read_volume(tmp_path / "a.nii.gz").header.display
