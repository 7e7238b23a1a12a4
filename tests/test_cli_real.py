"""Real images of every kind through the command line, and the DICOM that comes out before Debian's validator."""

import shutil

import numpy as np
import pytest

from meddenoise.cli import main
from meddenoise.io import read_volume

SERIES = ["CT/CRLM-CT-1004", "MR/VS-SEG-001_T1Gd", "PET/STS_001_FDG_PET_raw", "XR/NEMA_WG04_RG2_J2KR"]
FILES = [
    "CT/LDCT8bit_C016_00227_full/C016H00227.png",
    "CT/TotalSeg_aorta_ct_cropped/ct_cropped.nii.gz",
    "MR/torchio_fernando_FLAIR/t2.nii.gz",
    "MR/sct_T2star_cervical/t2s_uncropped.nii.gz",
    "PET/IBSI_STS_005_PET/PET_image.nii.gz",
    "XR/NIH_00000218_000/00000218_000.png",
]


def denoised(source, out):
    """The input and the one result, which must differ in nothing but its values."""
    assert main(["denoise", str(source), "-o", str(out)]) == 0
    (result,) = out.iterdir()
    before, after = read_volume(source), read_volume(result)
    assert (after.header.ext, after.array.shape) == (before.header.ext, before.array.shape)
    np.testing.assert_allclose(after.affine, before.affine, atol=1e-3)
    assert not np.array_equal(after.array, before.array)
    assert "MedDenoise" in after.header.metadata
    return before, after


@pytest.mark.parametrize("path", FILES)
def test_real_file_of_every_kind_keeps_its_format_type_and_geometry(real_images, tmp_path, path):
    before, after = denoised(real_images / path, tmp_path / "out")
    assert after.header.dtype == before.header.dtype


@pytest.mark.parametrize("path", SERIES)
def test_denoised_series_of_every_modality_is_valid(real_images, tmp_path, dciodvfy, path):
    folder = tmp_path / "series"
    folder.mkdir()
    for file in sorted((real_images / path).iterdir())[:3]:
        shutil.copy(file, folder / file.name)
    before, after = denoised(folder, tmp_path / "out")
    assert after.modality == path.split("/")[0]
    for source, result in zip(before.header.sources, after.header.sources, strict=True):
        assert not dciodvfy(result, "-new") - dciodvfy(source, "-new")
