"""Label maps are refused, whatever their values and type; flat and dark images are not."""

from __future__ import annotations

import numpy as np
import pytest
import SimpleITK as sitk  # noqa: N813

from meddenoise.errors import InputError
from meddenoise.io import read_volume


def regions(*values):
    """Boxes of the values on the first of them."""
    array = np.full((4, 60, 60), values[0])
    for index, value in enumerate(values[1:]):
        array[:, 10 + 15 * index : 25 + 15 * index, 10:50] = value
    return array


@pytest.mark.parametrize(
    "array",
    [
        regions(0, 255).astype(np.uint8),
        regions(0, 2, 1001, 2035).astype(np.int32),
        regions(0, 1).astype(np.float32),
        regions(1, 2).astype(np.uint8),
        regions(-1, 0, 1).astype(np.int16),
        np.kron(np.arange(64).reshape(8, 8) * 17, np.ones((1, 12, 12))).astype(np.float64),
    ],
    ids=["mask 0/255", "FreeSurfer", "float mask", "no background 0", "signed", "64 regions"],
)
@pytest.mark.parametrize("ext", [".nii.gz", ".nrrd"])
def test_label_map_of_any_values_is_refused(tmp_path, array, ext):
    sitk.WriteImage(sitk.GetImageFromArray(array), str(tmp_path / f"a{ext}"))
    with pytest.raises(InputError, match=rf"looks like a label map \({len(np.unique(array))} values"):
        read_volume(tmp_path / f"a{ext}")


@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.float32])
def test_noisy_image_of_few_whole_values_is_read(tmp_path, dtype):
    array = np.random.default_rng(0).poisson(4, (3, 40, 40)).astype(dtype)
    sitk.WriteImage(sitk.GetImageFromArray(array), str(tmp_path / "a.nrrd"))
    np.testing.assert_array_equal(read_volume(tmp_path / "a.nrrd").array, array)


def test_flat_float_image_of_fractions_is_read(tmp_path):
    sitk.WriteImage(sitk.GetImageFromArray(regions(0.0, 0.5, 0.7)), str(tmp_path / "a.nrrd"))
    assert read_volume(tmp_path / "a.nrrd").array.max() == np.float32(0.7)


def test_small_region_in_few_slices_of_a_long_stack_is_found(tmp_path):
    array = np.zeros((150, 30, 30), np.uint8)
    array[71:73, 10:20, 10:20] = 1
    sitk.WriteImage(sitk.GetImageFromArray(array), str(tmp_path / "a.nrrd"))
    with pytest.raises(InputError, match="looks like a label map"):
        read_volume(tmp_path / "a.nrrd")
