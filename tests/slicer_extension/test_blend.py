"""The strength slider: mixed at once, exact at both ends."""

import numpy as np
import pytest

from MedDenoiseLib.Images import GeometryError, voxels
from scene import GRIDS, applicationOfTest, compare, phantom, smooth  # noqa: F401

TYPES = [np.int16, np.uint16, np.uint8, np.float32, np.float64]


def jagged(values):
    """An answer at the ends of the type beside fine changes."""
    answer = values.copy()
    answer[:, ::2] = answer[:, ::2] // 3 if values.dtype.kind in "iu" else answer[:, ::2] * 0.3337
    if values.dtype.kind in "iu":
        answer[0, 0, :2] = np.iinfo(values.dtype).max, np.iinfo(values.dtype).min
    return answer


@pytest.mark.parametrize("dtype", TYPES)
def test_full_strength_is_the_answer_and_none_the_input_bit_for_bit(app, tmp_path, dtype):
    before = phantom(dtype=dtype)
    logic, comparison = compare(app, tmp_path, before, denoise=jagged)
    np.testing.assert_array_equal(voxels(comparison.denoised), jagged(before))
    for strength in (0.4, 0.0, 0.7, 1.0, 0.0, 1.0):
        logic.setStrength(comparison, strength)
        if strength in (0.0, 1.0):
            expected = jagged(before) if strength else before
            assert voxels(comparison.denoised).tobytes() == expected.tobytes()
    logic.close()


@pytest.mark.parametrize("dtype", TYPES)
@pytest.mark.parametrize("strength", [0.25, 0.5, 0.99])
def test_in_between_the_mix_is_rounded_and_stays_in_the_type(app, tmp_path, dtype, strength):
    before = phantom(dtype=dtype)
    logic, comparison = compare(app, tmp_path, before, denoise=jagged)
    logic.setStrength(comparison, strength)
    expected = before.astype(float) + strength * (jagged(before).astype(float) - before)
    got = voxels(comparison.denoised)
    assert got.dtype == dtype
    tolerance = 0.5001 if np.dtype(dtype).kind in "iu" else 1e-4
    np.testing.assert_allclose(got.astype(float), expected, atol=tolerance)
    logic.close()


def test_difference_follows_exactly(app, tmp_path):
    logic, comparison = compare(app, tmp_path, denoise=jagged)
    for strength in (0.3, 1.0, 0.0):
        logic.setStrength(comparison, strength)
        expected = phantom().astype(np.float32) - voxels(comparison.denoised)
        np.testing.assert_array_equal(voxels(comparison.difference), expected)
    logic.close()


def test_input_is_never_changed(app, tmp_path):
    node = app.volume(phantom())
    stamp = node.GetImageData().GetMTime()
    logic, comparison = compare(app, tmp_path)
    original = comparison.original
    stamps = (original.GetImageData().GetMTime(), original.GetImageData().GetPointData().GetScalars().GetMTime())
    for strength in (0.3, 0.0, 1.0):
        logic.setStrength(comparison, strength)
    now = (original.GetImageData().GetMTime(), original.GetImageData().GetPointData().GetScalars().GetMTime())
    assert now == stamps
    assert node.GetImageData().GetMTime() == stamp
    np.testing.assert_array_equal(voxels(original), phantom())
    logic.close()


def test_views_hear_of_every_move(app, tmp_path):
    logic, comparison = compare(app, tmp_path)
    before = [node.GetImageData().GetMTime() for node in (comparison.denoised, comparison.difference)]
    logic.setStrength(comparison, 0.5)
    after = [node.GetImageData().GetMTime() for node in (comparison.denoised, comparison.difference)]
    assert all(late > early for early, late in zip(before, after, strict=True))
    logic.close()


def test_answer_is_kept_in_a_visible_volume_once_it_is_no_longer_shown(app, tmp_path):
    logic, comparison = compare(app, tmp_path)
    assert comparison.answer is comparison.denoised
    logic.setStrength(comparison, 0.5)
    assert comparison.answer is not comparison.denoised
    assert not comparison.answer.GetHideFromEditors()  # Slicer saves no hidden volumes
    np.testing.assert_array_equal(voxels(comparison.answer), smooth(phantom()))
    logic.setStrength(comparison, 1.0)
    np.testing.assert_array_equal(voxels(comparison.denoised), voxels(comparison.answer))
    logic.close()


@pytest.mark.parametrize("strength", [-0.01, 1.01, float("nan")])
def test_strength_outside_of_its_range_is_refused(app, tmp_path, strength):
    logic, comparison = compare(app, tmp_path)
    with pytest.raises(ValueError, match="strength must be 0 to 1"):
        logic.setStrength(comparison, strength)
    logic.close()


def test_volume_moved_since_is_refused_and_nothing_changes(app, tmp_path):
    logic, comparison = compare(app, tmp_path)
    before = voxels(comparison.denoised).copy()
    comparison.original.SetOrigin(5, 0, 0)
    with pytest.raises(GeometryError, match="away") as caught:
        logic.setStrength(comparison, 0.5)
    assert caught.value.advice
    np.testing.assert_array_equal(voxels(comparison.denoised), before)
    assert comparison.strength == 1.0
    logic.close()


@pytest.mark.parametrize("name", GRIDS)
def test_volumes_stored_in_turned_voxel_order_are_still_mixed_right(app, tmp_path, name):
    logic, comparison = compare(app, tmp_path, where=GRIDS[name])
    expected = voxels(comparison.denoised).copy()
    for node in (comparison.denoised, comparison.difference):  # as after saving and loading a left-handed volume
        _turnSlices(node)
    logic.setStrength(comparison, 0.5)
    logic.setStrength(comparison, 1.0)
    np.testing.assert_array_equal(voxels(comparison.denoised)[::-1], expected)
    np.testing.assert_array_equal(voxels(comparison.difference)[::-1], phantom().astype(np.float32) - expected)
    logic.close()


def _turnSlices(node):
    from scene import slicer

    matrix = slicer.util.arrayFromVTKMatrix(_matrix(node))
    values = voxels(node)[::-1].copy()
    matrix[:3, 3] += matrix[:3, 2] * (len(values) - 1)
    matrix[:3, 2] *= -1
    node.SetIJKToRASMatrix(slicer.util.vtkMatrixFromArray(matrix))
    voxels(node)[...] = values


def _matrix(node):
    import vtk

    matrix = vtk.vtkMatrix4x4()
    node.GetIJKToRASMatrix(matrix)
    return matrix
