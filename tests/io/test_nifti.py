"""What ITK drops of NIfTI comes back: the stored type under a shift, and the space of the affine."""

from __future__ import annotations

import gzip
import struct

import numpy as np
import pytest
import SimpleITK as sitk  # noqa: N813

from meddenoise.io import read_volume, write_volume


@pytest.fixture
def nifti(tmp_path, make_volume):
    """nifti(dtype, at={offset: bytes}): a file with bytes of its header replaced."""

    def make(dtype="int16", at=None):
        path = write_volume(make_volume(dtype=dtype, affine=np.diag([-1.0, -1, 2, 1])), tmp_path / "a.nii")
        data = bytearray(path.read_bytes())
        for offset, piece in (at or {}).items():
            data[offset : offset + len(piece)] = piece
        path.write_bytes(data)
        return path

    return make


def scaled(slope, intercept):
    return {112: struct.pack("<ff", slope, intercept)}


@pytest.mark.parametrize(
    ("stored", "shift", "kept"),
    [("int16", -1024, "int16"), ("uint16", 10, "uint16"), ("uint16", -1024, "int16"), ("uint8", -200, "int16")],
)
def test_shifted_integers_stay_integers(nifti, make_volume, tmp_path, stored, shift, kept):
    volume = read_volume(nifti(stored, scaled(1, shift)), modality="MR")
    assert (volume.header.dtype, volume.header.warnings) == (kept, ())
    np.testing.assert_array_equal(volume.array, make_volume(dtype=stored).array.astype(int) + shift)
    again = read_volume(write_volume(volume, tmp_path / "b.nii.gz"), modality="MR")
    assert again.header.dtype == kept
    np.testing.assert_array_equal(again.array, volume.array)


@pytest.mark.parametrize(("slope", "shift"), [(0.5, 0), (1, 0.25)])
def test_scaled_integers_become_float_with_a_warning(nifti, slope, shift):
    volume = read_volume(nifti("int16", scaled(slope, shift)), modality="MR")
    assert volume.header.dtype == "float32"
    assert f"slope {slope:g} and intercept {shift:g}" in volume.header.warnings[0]


@pytest.mark.parametrize("ext", [".nii", ".nii.gz"])
@pytest.mark.parametrize(("qform", "sform", "kept"), [(1, 4, 4), (0, 4, 4), (2, 0, 2), (1, 1, 1)])
def test_space_of_the_affine_is_kept(nifti, tmp_path, ext, qform, sform, kept):
    volume = read_volume(nifti("int16", {252: struct.pack("<hh", qform, sform)}))
    path = write_volume(volume, tmp_path / f"b{ext}")
    header = (gzip.decompress(path.read_bytes()) if ext == ".nii.gz" else path.read_bytes())[:348]
    assert struct.unpack("<hh", header[252:256]) == (kept, kept)
    np.testing.assert_array_equal(sitk.GetArrayFromImage(sitk.ReadImage(str(path))), volume.array)
    assert sorted(file.name for file in tmp_path.iterdir()) == ["a.nii", f"b{ext}"]
