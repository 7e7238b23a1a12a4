from __future__ import annotations

from pathlib import Path

import numpy as np
import pydicom
import pytest
import SimpleITK as sitk  # noqa: N813

from meddenoise.errors import MedDenoiseError
from meddenoise.io import find_sources, read_volume, write_volume
from meddenoise.io.images import affine_of

BUNDLED = Path(pydicom.__file__).parent / "data" / "test_files"


def test_every_file_pydicom_carries_is_read_or_refused_by_name():
    read = 0
    for path in sorted(p for p in BUNDLED.rglob("*") if p.is_file()):
        try:
            volume = read_volume(path)
        except MedDenoiseError as error:
            assert path.name in str(error)  # noqa: PT017
        else:
            read += 1
            assert volume.array.size > 0
    assert read > 30


@pytest.mark.parametrize("folder", ["CT", "MR", "PET", "XR"])
def test_every_training_image_is_read_as_its_modality(data, folder):
    for path in sorted((data / folder).iterdir()):
        sources, skipped = find_sources([path])
        assert skipped == []
        for source in sources:
            volume = read_volume(source, modality=None if source.series_uid else folder)
            assert volume.modality == folder or volume.header.display
            assert np.isfinite(volume.array).all()
            assert not volume.colour
            assert volume.header.samples == (3 if path.name.startswith("Sunnybrook") else 1)


def test_real_niftis_keep_values_and_geometry(tmp_path, data):
    paths = sorted(data.glob("*/*/*.nii.gz"))
    assert paths
    for path in paths:
        volume = read_volume(path)
        again = read_volume(write_volume(volume, tmp_path / "a.nii.gz"))
        np.testing.assert_array_equal(again.array, volume.array)
        np.testing.assert_allclose(again.affine, volume.affine, atol=1e-3)


@pytest.mark.parametrize("ext", [".nrrd", ".mha"])
def test_real_series_keeps_values_and_geometry_as_volume(tmp_path, data, ext):
    for name in ("CT/CRLM-CT-1004", "MR/VS-SEG-001_T1Gd", "PET/STS_001_FDG_PET_raw", "XR/NEMA_WG04_RG2_J2KR"):
        volume = read_volume(data / name)
        again = read_volume(write_volume(volume, tmp_path / f"a{ext}"))
        np.testing.assert_array_equal(again.array, volume.array)
        np.testing.assert_allclose(again.affine, volume.affine, atol=1e-5)


@pytest.mark.parametrize("path", ["CT/CRLM-CT-1004", "MR/VS-SEG-001_T1Gd", "MR/studyforrest_sub02_T1w"])
def test_series_agrees_with_itk_s_own_reader(data, path):
    reader = sitk.ImageSeriesReader()
    reader.SetFileNames(reader.GetGDCMSeriesFileNames(str(data / path)))
    image, volume = reader.Execute(), read_volume(data / path)
    np.testing.assert_array_equal(sitk.GetArrayFromImage(image), volume.array)
    np.testing.assert_allclose(affine_of(image), volume.affine, atol=1e-5)


def test_scattered_slices_are_read_with_a_warning(data):
    volume = read_volume(data / "evaluation_only" / "CT" / "LDCT_L096_D45f_full")
    assert not volume.header.even
    assert "got 4.00-108.00 mm" in volume.header.warnings[0]
    assert volume.header.stored_range == (-1024, 3071)


def test_inverted_j2k_radiograph_is_decoded_as_stored(data):
    volume = read_volume(data / "XR" / "NEMA_WG04_RG1_J2KI")
    assert (volume.array.min(), volume.array.max()) == (803, 26512)  # as OpenJPEG gives them, not inverted
    assert volume.header.stored_range == (0, 32767)
