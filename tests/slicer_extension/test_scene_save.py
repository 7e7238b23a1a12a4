"""Scenes saved with comparisons open with all of them: images, colors, layout and choices."""

import numpy as np
import pytest

from MedDenoiseLib.Difference import COLORS
from MedDenoiseLib.Images import voxels, voxelsOn
from MedDenoiseLib.Layout import LAYOUT, VIEWS
from MedDenoiseLib.Logic import Logic
from scene import GRIDS, Application, applicationOfTest, compare, phantom, slicer, smooth  # noqa: F401


def save(app, folder):
    """Writes scene and data as File > Save does to a folder, and gives the scene file."""
    folder.mkdir()
    assert app.scene.SaveSceneToSlicerDataBundleDirectory(str(folder), None)
    return next(folder.glob("*.mrml"))


def load(app, path):
    app.scene.SetURL(str(path))
    assert app.scene.Connect()


@pytest.mark.parametrize("name", ["oblique", "left-handed"])
@pytest.mark.parametrize("strength", [1.0, 0.4])
def test_reloaded_comparison_can_be_mixed_on(app, tmp_path, name, strength):
    logic, comparison = compare(app, tmp_path, where=GRIDS[name], warnings=("Small.",), spread=smooth)
    logic.setStrength(comparison, strength)
    logic.show(comparison)
    path = save(app, tmp_path / "saved")
    app.scene.Clear(0)
    assert logic.comparisons == []
    load(app, path)
    (found,) = logic.comparisons
    assert logic.shown == found
    assert (found.model, found.strength, found.warnings) == ("student", strength, ("Small.",))
    assert found.uncertainty is not None
    logic.setStrength(found, 1.0)
    np.testing.assert_array_equal(voxelsOn(found.original, found.denoised), smooth(voxels(found.original)))
    logic.setStrength(found, 0.0)
    np.testing.assert_array_equal(voxelsOn(found.original, found.denoised), voxels(found.original))
    logic.close()


def test_colors_and_window_of_the_difference_are_saved(app, tmp_path):
    logic, comparison = compare(app, tmp_path)
    window = comparison.difference.GetDisplayNode().GetWindow()
    path = save(app, tmp_path / "saved")
    app.scene.Clear(0)
    load(app, path)
    display = logic.comparisons[0].difference.GetDisplayNode()
    table = display.GetColorNode()
    assert table.GetName() == COLORS
    assert table.GetNumberOfColors() == 256
    neutral = [table.GetLookupTable().GetTableValue(index)[:3] for index in (127, 128)]
    np.testing.assert_allclose(neutral, 0, atol=0.01)
    blue, red = (table.GetLookupTable().GetTableValue(index) for index in (0, 255))
    assert blue[2] - blue[0] > 0.3 < red[0] - red[2]
    assert (display.GetWindow(), display.GetLevel()) == (pytest.approx(window), 0)
    logic.close()


def test_scene_opens_in_the_three_views_in_a_new_session(tmp_path):
    first = Application()
    logic, comparison = compare(first, tmp_path)
    logic.show(comparison)
    path = save(first, tmp_path / "saved")
    logic.close()
    first.close()
    second = Application()
    logic = Logic(second.scene, second.logic)  # as at start-up
    load(second, path)
    assert logic.layout.shown
    (found,) = logic.comparisons
    expected = [found.original, found.denoised, found.difference]
    composites = [second.logic.GetSliceLogicByLayoutName(tag).GetSliceCompositeNode() for tag in VIEWS]
    assert composites[0].GetBackgroundVolumeID() == expected[0].GetID()
    assert composites[1].GetForegroundVolumeID() == expected[1].GetID()
    assert composites[2].GetBackgroundVolumeID() == expected[2].GetID()
    logic.restoreLayout()
    assert second.layoutNode.GetViewArrangement() == slicer.vtkMRMLLayoutNode.SlicerLayoutFourUpView
    logic.close()
    second.close()


def test_loaded_comparison_has_linked_windows(app, tmp_path):
    logic, comparison = compare(app, tmp_path)
    logic.show(comparison)
    path = save(app, tmp_path / "saved")
    app.scene.Clear(0)
    assert not logic.windowLink.on
    load(app, path)
    found = logic.comparisons[0]
    found.denoised.GetDisplayNode().SetWindowLevel(77, 11)
    assert found.original.GetDisplayNode().GetWindow() == 77
    logic.close()


def test_scene_added_to_another_brings_its_comparisons_along(app, tmp_path):
    logic, _ = compare(app, tmp_path)
    path = save(app, tmp_path / "saved")
    told = []
    logic.onChanged = lambda: told.append(len(logic.comparisons))
    app.scene.SetURL(str(path))
    app.scene.Import()
    assert len(logic.comparisons) == 2
    assert told[-1] == 2
    first, second = logic.comparisons
    assert first.denoised is not second.denoised
    np.testing.assert_array_equal(voxels(first.denoised), voxels(second.denoised))
    logic.close()


def test_closing_the_scene_leaves_nothing_behind(app, tmp_path):
    logic, comparison = compare(app, tmp_path)
    logic.show(comparison)
    logic.setStrength(comparison, 0.5)
    display = comparison.original.GetDisplayNode()
    app.scene.Clear(0)
    assert logic.comparisons == []
    assert logic.shown is None
    assert not logic.windowLink.on
    display.SetWindowLevel(1, 2)  # nobody listens any more
    fresh, again = compare(app, tmp_path)
    assert fresh.comparisons == logic.comparisons == [again]
    fresh.close()
    logic.close()
    logic.close()


def test_layout_is_known_after_a_scene_close(app, tmp_path):
    logic, comparison = compare(app, tmp_path, phantom())
    logic.show(comparison)
    app.scene.Clear(0)
    assert app.layoutNode.IsLayoutDescription(LAYOUT)
    logic.close()
