"""How much the model disagrees with itself over flips and turns, in the volume's own units and geometry."""

import numpy as np
import pytest
import torch

from meddenoise import Denoiser, Volume, weights
from meddenoise.inference.symmetries import SYMMETRIES, spread, turned, turned_back
from meddenoise.volume import Header

AFFINE = np.array([[0.7, 0, 0, -50], [0, 0.7, 0, 20], [0, 0, 3.0, 5], [0, 0, 0, 1.0]])


@pytest.fixture(scope="module")
def denoise():
    made = Denoiser(*weights.load("student"), device="cpu")
    made.precision = torch.float32
    return made


def ct(shape=(2, 40, 56)):
    """Tissue with an edge and noise of 40 HU; not square. The first rows are padding."""
    rng = np.random.default_rng(3)
    values = np.where(np.indices(shape)[2] > 20, 60.0, -90.0) + rng.normal(0, 40, shape)
    values[:, :4] = -2000
    header = Header("int16", (-32768.0, 32767.0), units="HU", padding=((-2000.0, -2000.0),))
    return Volume(np.rint(values).astype(np.int16), AFFINE, "CT", header)


def test_symmetries_are_eight_and_each_has_its_inverse():
    values = np.arange(2 * 3 * 4).reshape(2, 3, 4)
    seen = {turned(values, symmetry).tobytes() + bytes(turned(values, symmetry).shape) for symmetry in SYMMETRIES}
    assert len(seen) == len(SYMMETRIES) == 8
    for symmetry in SYMMETRIES:
        np.testing.assert_array_equal(turned_back(turned(values, symmetry), symmetry), values)


def test_spread_is_the_standard_deviation():
    members = np.random.default_rng(0).normal(1000, 3, (8, 2, 5, 6)).astype(np.float32)
    np.testing.assert_allclose(spread(iter(members)), members.std(axis=0), rtol=1e-4)


def test_uncertainty_is_the_deviation_over_the_results_for_all_symmetries(denoise):
    noisy = ct()
    found = denoise(noisy, uncertainty=True)
    results = []
    for symmetry in SYMMETRIES:
        as_float = np.ascontiguousarray(turned(noisy.array.astype(np.float32), symmetry))
        header = Header("float32", units="HU", padding=((-2000.0, -2000.0),))
        results.append(turned_back(denoise(Volume(as_float, AFFINE, "CT", header)).volume.array, symmetry))
    expected = np.std(results, axis=0)
    assert expected.max() > 1.0  # HU
    np.testing.assert_allclose(found.uncertainty.array, expected, atol=0.02)


def test_uncertainty_has_the_geometry_and_units_of_the_input_and_leaves_the_result_alone(denoise):
    noisy = ct()
    found = denoise(noisy, uncertainty=True)
    assert found.uncertainty.array.dtype == np.float32
    assert found.uncertainty.header.dtype == "float32"
    assert found.uncertainty.header.units == "HU"
    np.testing.assert_array_equal(found.uncertainty.affine, noisy.affine)
    np.testing.assert_array_equal(found.volume.array, denoise(noisy).volume.array)
    assert (found.uncertainty.array[:, :4] == 0).all()  # padding is kept, so nothing about it is uncertain


def test_uncertainty_follows_the_strength(denoise):
    full, half, none = (denoise(ct(), uncertainty=True, strength=s).uncertainty.array for s in (1.0, 0.5, 0.0))
    np.testing.assert_allclose(half, full / 2, rtol=1e-5)
    assert not none.any()


def test_uncertainty_is_given_only_where_asked_for(denoise):
    assert denoise(ct()).uncertainty is None


def test_progress_counts_each_slice_eight_times(denoise):
    seen = []
    denoise(ct(), uncertainty=True, progress=lambda done, total: seen.append((done, total)))
    assert seen == [(done, 16) for done in range(2, 17, 2)]


def test_uncertainty_of_a_coronal_stack_is_that_of_its_slices(denoise):
    noisy = ct()
    coronal = Volume(np.moveaxis(noisy.array, 0, 1).copy(), AFFINE[:, [0, 2, 1, 3]].copy(), "CT", noisy.header)
    assert coronal.slicing_axis == 1
    expected = denoise(noisy, uncertainty=True).uncertainty.array
    seen = []
    found = denoise(coronal, uncertainty=True, progress=lambda done, total: seen.append((done, total)))
    np.testing.assert_allclose(np.moveaxis(found.uncertainty.array, 1, 0), expected, atol=0.02)
    assert seen[-1] == (16, 16)
