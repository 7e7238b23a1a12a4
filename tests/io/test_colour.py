"""Pictures and DICOM in colours of 8 bits go in and come out in colour; grey ones stored as colours stay stored so."""

import numpy as np
import pydicom
import pytest
import SimpleITK as sitk  # noqa: N813
from PIL import Image
from pydicom.data import get_testdata_file

from meddenoise.errors import InputError, OutputError
from meddenoise.io import Provenance, find_sources, read_volume, write_dicom_series, write_volume

EXACT = [".png", ".tif", ".tiff"]
MADE_BY = Provenance("two_stage", "0.0.1", 1.0)


def skin(side=24):
    """Colours that change from place to place, not square."""
    y, x = np.mgrid[:side, : side + 8]
    return np.stack([8 * y, 250 - 6 * x, 100 + 2 * x + y], axis=-1).astype(np.uint8)


def grey():
    return np.repeat(skin()[..., :1], 3, axis=-1)


@pytest.mark.parametrize("ext", [*EXACT, ".jpg", ".jpeg"])
def test_a_colour_picture_is_read_as_red_green_and_blue(tmp_path, ext):
    Image.fromarray(skin()).save(tmp_path / f"a{ext}", quality=100, subsampling=0)
    volume = read_volume(tmp_path / f"a{ext}")
    assert volume.colour
    assert volume.array.dtype == np.uint8
    assert np.abs(volume.array[0].astype(int) - skin()).max() <= (0 if ext in EXACT else 4)
    assert volume.header.display
    assert volume.header.units == ""
    assert volume.header.warnings == ()


@pytest.mark.parametrize("ext", EXACT)
def test_colours_type_and_pixel_size_come_back(tmp_path, ext):
    image = sitk.GetImageFromArray(skin(), isVector=True)
    image.SetSpacing((0.5, 0.25))
    sitk.WriteImage(image, str(tmp_path / f"a{ext}"))
    volume = read_volume(tmp_path / f"a{ext}")
    path = write_volume(volume, tmp_path / f"b{ext}")
    with Image.open(path) as again:
        assert again.mode == "RGB"
        assert np.array_equal(np.asarray(again), skin())
    assert np.allclose(read_volume(path).affine, volume.affine)
    assert volume.spacing[:2] == pytest.approx((0.5, 0.25), rel=1e-3)


@pytest.mark.parametrize("ext", [*EXACT, ".jpg"])
def test_a_grey_picture_stored_as_colours_is_grey_and_is_stored_as_colours_again(tmp_path, ext):
    Image.fromarray(grey()).save(tmp_path / f"a{ext}")
    volume = read_volume(tmp_path / f"a{ext}")
    assert volume.array.shape == (1, 24, 32)
    assert any("its three colours are equal everywhere" in sentence for sentence in volume.header.warnings)
    with Image.open(write_volume(volume, tmp_path / f"b{ext}")) as again:
        assert again.mode == "RGB"
        assert np.abs(np.asarray(again)[..., 0].astype(int) - volume.array[0]).max() <= (0 if ext in EXACT else 4)


@pytest.mark.parametrize("ext", [".nrrd", ".mha"])
def test_a_colour_result_can_be_written_as_a_volume_of_three_values(tmp_path, ext):
    Image.fromarray(skin()).save(tmp_path / "a.png")
    path = write_volume(read_volume(tmp_path / "a.png"), tmp_path / f"b{ext}")
    assert np.array_equal(sitk.GetArrayFromImage(sitk.ReadImage(str(path))), skin())


def test_colour_is_refused_by_nifti(tmp_path):
    Image.fromarray(skin()).save(tmp_path / "a.png")
    with pytest.raises(OutputError, match=r"written in grey only; write a colour image as \.png, \.tif or \.nrrd"):
        write_volume(read_volume(tmp_path / "a.png"), tmp_path / "b.nii.gz")


@pytest.mark.parametrize("ext", [".mha", ".nrrd"])
def test_three_bytes_a_voxel_in_other_formats_are_refused(tmp_path, ext):
    sitk.WriteImage(sitk.Image([16, 16], sitk.sitkVectorUInt8, 3), str(tmp_path / f"a{ext}"))
    with pytest.raises(InputError, match="holds colour, 3 values per voxel"):
        read_volume(tmp_path / f"a{ext}")


def test_transparency_is_refused(tmp_path):
    Image.fromarray(np.full((16, 16, 4), 200, np.uint8)).save(tmp_path / "a.png")
    with pytest.raises(InputError, match="colours of 8 bits without transparency"):
        read_volume(tmp_path / "a.png")


@pytest.mark.parametrize("ext", [".png", ".tif"])
def test_colours_of_16_bits_are_refused(tmp_path, ext):
    sitk.WriteImage(sitk.Image([16, 16], sitk.sitkVectorUInt16, 3), str(tmp_path / f"a{ext}"))
    with pytest.raises(InputError, match=r"holds colour, 3 values per voxel \(vector of 16-bit"):
        read_volume(tmp_path / f"a{ext}")


DICOM = [
    "SC_rgb_small_odd", "SC_rgb_small_odd_jpeg", "ExplVR_BigEnd", "SC_rgb_rle", "SC_rgb_gdcm_KY", "SC_rgb_jpeg_gdcm",
    "SC_rgb_dcmtk_+eb+cy+np", "SC_rgb_dcmtk_+eb+cr", "SC_ybr_full_422_uncompressed",
]  # fmt: skip


@pytest.mark.parametrize("name", DICOM)
def test_dicom_in_colour_is_read_as_itk_reads_it_and_written_as_rgb(tmp_path, name):
    source = get_testdata_file(f"{name}.dcm", download=False)
    volume = read_volume(source)
    expected = sitk.GetArrayFromImage(sitk.ReadImage(str(source)))
    found = volume.array if volume.colour else np.repeat(volume.array[..., None], 3, axis=-1)
    assert np.abs(found.astype(int) - expected).max() <= 1  # rounding of the colours' conversion
    (path,) = write_dicom_series(volume, tmp_path / "a.dcm", MADE_BY)
    result = pydicom.dcmread(path)
    assert (result.PhotometricInterpretation, result.PlanarConfiguration, result.SamplesPerPixel) == ("RGB", 0, 3)
    assert np.array_equal(result.pixel_array, found[0])
    assert np.array_equal(read_volume(path).array, volume.array)


def test_dicom_in_colour_as_we_write_it_has_no_new_faults(tmp_path, dciodvfy):
    source = get_testdata_file("SC_rgb_jpeg_dcmtk.dcm", download=False)
    (path,) = write_dicom_series(read_volume(source), tmp_path / "a.dcm", MADE_BY)
    assert dciodvfy(path) <= dciodvfy(source)


@pytest.mark.parametrize("name", ["SC_rgb_rle_16bit", "SC_rgb_rle_2frame"])
def test_dicom_of_wide_colours_or_several_frames_is_refused(name):
    with pytest.raises(InputError, match=r"BitsAllocated must be 8 for colour, got 16|multi-frame object"):
        read_volume(get_testdata_file(f"{name}.dcm", download=False))


def test_screenshots_in_colour_beside_grey_slices_are_left_out_unless_named(tmp_path, make_series):
    folder = make_series(tmp_path / "s")
    shot = pydicom.dcmread(get_testdata_file("SC_rgb_small_odd.dcm", download=False))
    shot.save_as(folder / "shot.dcm")
    sources, skipped = find_sources([folder])
    assert [len(source.files) for source in sources] == [4]
    assert any("shot.dcm: skipped, in colour beside grey images" in sentence for sentence in skipped)
    assert read_volume(folder / "shot.dcm").colour
    assert read_volume(find_sources([folder], series=str(shot.SeriesInstanceUID))[0][0]).colour


def test_a_folder_of_colour_alone_is_read(tmp_path):
    for number, name in enumerate(("SC_rgb_small_odd", "SC_rgb_rle")):
        pydicom.dcmread(get_testdata_file(f"{name}.dcm", download=False)).save_as(tmp_path / f"{number}.dcm")
    sources, skipped = find_sources([tmp_path])
    assert skipped == []
    assert all(read_volume(source).colour for source in sources)
    assert len(sources) == 2
