"""The signed difference, its colors, its window and its legend."""

import numpy as np
import pytest
import vtk
from vtk.util import numpy_support

from MedDenoiseLib.Difference import COLORS, colorTable, legendOf
from MedDenoiseLib.Images import ijkToRas, voxels
from MedDenoiseLib.Logic import Logic
from scene import FIGURES, GRIDS, applicationOfTest, compare, phantom, serve, slicer, smooth  # noqa: F401


def pixels(node):
    """What a view shows of a volume: colors 0 to 255, shape (slices, rows, columns, 3)."""
    display = node.GetDisplayNode()
    display.SetInputImageDataConnection(node.GetImageDataConnection())
    connection = display.GetOutputImageDataConnection()
    connection.GetProducer().Update()
    image = connection.GetProducer().GetOutputDataObject(connection.GetIndex())
    colors = numpy_support.vtk_to_numpy(image.GetPointData().GetScalars())
    return colors.reshape((*voxels(node).shape, -1))[..., :3].astype(int)


@pytest.mark.parametrize("dtype", [np.int16, np.uint16, np.uint8, np.float32, np.float64])
def test_difference_is_input_minus_result_with_its_sign(app, tmp_path, dtype):
    logic, comparison = compare(
        app, tmp_path, phantom(dtype=dtype), denoise=lambda sent: sent + np.array(2, sent.dtype)
    )
    assert voxels(comparison.difference).dtype == np.float32
    np.testing.assert_allclose(voxels(comparison.difference), -2, atol=1e-5)
    logic.close()


@pytest.mark.parametrize("name", GRIDS)
def test_difference_lies_on_the_inputs_grid(app, tmp_path, name):
    logic, comparison = compare(app, tmp_path, where=GRIDS[name])
    np.testing.assert_array_equal(ijkToRas(comparison.difference), ijkToRas(comparison.original))
    logic.close()


def test_zero_is_shown_in_the_neutral_color_and_both_signs_alike(app, tmp_path):
    def ramp(sent):
        return sent - np.linspace(-20, 20, sent.shape[2]).astype(np.int16)

    logic, comparison = compare(app, tmp_path, denoise=ramp)
    shown, change = pixels(comparison.difference), voxels(comparison.difference)
    zero = shown[change == 0]
    assert zero.size
    assert (zero == zero[0]).all()
    assert np.ptp(zero[0]) == 0  # gray
    red, blue = shown[change == 20][0], shown[change == -20][0]
    assert red[0] > red[2] + 50
    assert blue[2] > blue[0] + 50
    logic.close()


def test_window_is_symmetric_and_stays_when_the_strength_changes(app, tmp_path):
    logic, comparison = compare(app, tmp_path)
    display = comparison.difference.GetDisplayNode()
    assert display.GetLevel() == 0
    assert not display.GetAutoWindowLevel()
    change = np.abs(voxels(comparison.difference))
    assert display.GetWindow() / 2 == pytest.approx(np.percentile(change, 99.5))
    window = display.GetWindow()
    logic.setStrength(comparison, 0.2)
    assert display.GetWindow() == window
    logic.close()


def test_unchanged_image_has_a_window_too(app, tmp_path):
    logic, comparison = compare(app, tmp_path, denoise=lambda sent: sent)
    assert comparison.difference.GetDisplayNode().GetWindow() > 0
    logic.close()


def test_few_changed_voxels_are_not_lost_from_the_window(app, tmp_path):
    def oneVoxel(sent):
        answer = sent.copy()
        answer[0, 0, 0] += 10
        return answer

    logic, comparison = compare(app, tmp_path, denoise=oneVoxel)
    assert comparison.difference.GetDisplayNode().GetWindow() == 20
    logic.close()


def test_one_color_table_of_the_scene_serves_all_and_is_saved_with_it(app, tmp_path):
    logic, first = compare(app, tmp_path)
    other, second = compare(app, tmp_path)
    table = first.difference.GetDisplayNode().GetColorNode()
    assert second.difference.GetDisplayNode().GetColorNode() is table is colorTable(app.scene)
    assert table.GetName() == COLORS
    assert not table.GetHideFromEditors()
    assert table.GetSaveWithScene()
    assert table.GetDefaultStorageNodeClassName()
    logic.close()
    other.close()


def test_legend_names_the_unit_and_stays_beside_the_difference(app, tmp_path):
    logic, comparison = _compareHounsfield(app, tmp_path, app.colorLogic)
    legend = legendOf(comparison.difference, app.colorLogic)
    assert legend.GetTitleText() == "original \u2212 denoised (HU)"
    assert legend.GetVisibility()
    logic.show(comparison)
    assert list(legend.GetViewNodeIDs()) == ["vtkMRMLSliceNodeMedDenoiseDifference"]
    logic.close()


def test_legend_takes_the_servers_unit_where_the_image_states_none_and_shows_small_numbers(app, tmp_path):
    logic, comparison = compare(app, tmp_path, figures={"units": "g/ml"})
    legend = legendOf(comparison.difference, app.colorLogic)
    assert legend.GetTitleText() == "original \u2212 denoised (g/ml)"
    assert legend.GetLabelFormat() % 0.0042 == "0.0042"
    logic.close()


@pytest.mark.parametrize("colorLogic", [None, object()], ids=["none", "too old"])
def test_slicer_without_legends_still_shows_the_difference(app, tmp_path, colorLogic):
    logic, comparison = _compareHounsfield(app, tmp_path, colorLogic)
    assert comparison.difference.GetNumberOfDisplayNodes() == 1
    logic.remove(comparison)
    logic.close()


def _compareHounsfield(app, folder, colorLogic):
    node = app.volume(phantom())
    unit = slicer.vtkCodedEntry()
    unit.SetValueSchemeMeaning("[hnsf'U]", "UCUM", "Hounsfield unit")
    node.SetVoxelValueUnits(unit)
    logic = Logic(app.scene, app.logic, colorLogic)
    prepared = logic.prepare(node, None, str(folder))
    return logic, logic.accept(prepared, serve(prepared, smooth))


def test_difference_carries_unit_and_parent_transform(app, tmp_path):
    node = app.volume(phantom())
    transform = app.scene.AddNewNodeByClass("vtkMRMLLinearTransformNode")
    node.SetAndObserveTransformNodeID(transform.GetID())
    logic = Logic(app.scene, app.logic)
    prepared = logic.prepare(node, None, str(tmp_path))
    comparison = logic.accept(prepared, serve(prepared, smooth, figures=FIGURES))
    for result in (comparison.denoised, comparison.difference):
        assert result.GetParentTransformNode() is transform
    assert isinstance(transform.GetMatrixTransformToParent(), vtk.vtkMatrix4x4)
    logic.close()
