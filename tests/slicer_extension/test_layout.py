"""Three linked views, the earlier layout, and the flicker."""

import numpy as np
import pytest

from MedDenoiseLib.Layout import DENOISED, DIFFERENCE, LAYOUT, ORIGINAL, VIEWS, registerLayouts
from scene import GRIDS, applicationOfTest, compare, grid, phantom, serve, slicer, smooth  # noqa: F401


def sliceLogic(app, tag):
    return app.logic.GetSliceLogicByLayoutName(tag)


def composites(app):
    return [sliceLogic(app, tag).GetSliceCompositeNode() for tag in VIEWS]


def sliceNodes(app):
    return [sliceLogic(app, tag).GetSliceNode() for tag in VIEWS]


def normal(node):
    return slicer.util.arrayFromVTKMatrix(node.GetSliceToRAS())[:3, 2]


def test_original_denoised_and_difference_stand_side_by_side(app, tmp_path):
    logic, comparison = compare(app, tmp_path)
    logic.show(comparison)
    left, middle, right = composites(app)
    assert left.GetBackgroundVolumeID() == comparison.original.GetID()
    assert not left.GetForegroundVolumeID()
    assert middle.GetForegroundVolumeID() == comparison.denoised.GetID()
    assert middle.GetForegroundOpacity() == 1
    assert right.GetBackgroundVolumeID() == comparison.difference.GetID()
    shown = app.layoutLogic.GetViewNodes()
    assert [shown.GetItemAsObject(index).GetLayoutName() for index in range(shown.GetNumberOfItems())] == list(VIEWS)
    logic.close()


def test_views_are_linked_among_themselves_only(app, tmp_path):
    logic, comparison = compare(app, tmp_path, phantom((20, 40, 40)))
    logic.show(comparison)
    red = sliceLogic(app, "Red")
    red.GetSliceCompositeNode().SetLinkedControl(1)
    app.mapViews()
    away = red.GetSliceOffset()
    first = sliceLogic(app, ORIGINAL)
    first.StartSliceNodeInteraction(slicer.vtkMRMLSliceNode.SliceToRASFlag)
    first.SetSliceOffset(first.GetSliceOffset() + 3)
    first.EndSliceNodeInteraction()
    assert [sliceLogic(app, tag).GetSliceOffset() for tag in VIEWS] == [first.GetSliceOffset()] * 3
    first.StartSliceNodeInteraction(slicer.vtkMRMLSliceNode.FieldOfViewFlag)
    width, height, depth = first.GetSliceNode().GetFieldOfView()
    first.GetSliceNode().SetFieldOfView(width / 2, height / 2, depth)
    first.EndSliceNodeInteraction()
    assert len({node.GetFieldOfView() for node in sliceNodes(app)}) == 1
    assert red.GetSliceOffset() == away
    logic.close()


def test_image_is_fitted_into_all_three_alike(app, tmp_path):
    logic, comparison = compare(app, tmp_path, where=GRIDS["anisotropic"])
    logic.show(comparison)
    assert len({node.GetFieldOfView() for node in sliceNodes(app)}) == 1
    assert len({node.GetXYZOrigin() for node in sliceNodes(app)}) == 1
    width = sliceNodes(app)[0].GetFieldOfView()[0]
    assert 18 <= width <= 40  # rows are 20 x 0.9 mm = 18 mm long
    logic.close()


@pytest.mark.parametrize("axis", [0, 1, 2], ids=["sagittal", "coronal", "axial"])
def test_radiograph_is_seen_in_its_own_plane(app, tmp_path, axis):
    turned = np.eye(4)[:, [*np.roll([0, 1, 2], 2 - axis), 3]]
    logic, comparison = compare(app, tmp_path, phantom((1, 40, 30)), where=turned)
    logic.show(comparison)
    for node in sliceNodes(app):
        assert abs(normal(node)[axis]) == pytest.approx(1)
        assert sliceLogic(app, ORIGINAL).GetSliceOffset() == pytest.approx(0, abs=0.51)
    logic.close()


def test_thick_sagittal_slices_are_seen_as_they_were_taken(app, tmp_path):
    sagittal = grid((1, 1, 5)) @ np.eye(4)
    sagittal[:3, :3] = np.array([[0, 0, 5], [1, 0, 0], [0, 1, 0]])
    logic, comparison = compare(app, tmp_path, where=sagittal)
    logic.show(comparison)
    assert abs(normal(sliceNodes(app)[0])[0]) == pytest.approx(1)
    logic.close()


def test_oblique_volume_is_seen_along_its_voxels(app, tmp_path):
    logic, comparison = compare(app, tmp_path, where=GRIDS["oblique"])
    logic.show(comparison)
    along = GRIDS["oblique"][:3, 2] / np.linalg.norm(GRIDS["oblique"][:3, 2])
    for node in sliceNodes(app):
        assert abs(normal(node) @ along) == pytest.approx(1)
    logic.close()


def test_earlier_layout_comes_back(app, tmp_path):
    app.layoutNode.SetViewArrangement(slicer.vtkMRMLLayoutNode.SlicerLayoutOneUpRedSliceView)
    logic, comparison = compare(app, tmp_path)
    assert not logic.layout.canRestore
    logic.show(comparison)
    logic.show(comparison)  # twice must not make our own layout the earlier one
    assert logic.layout.canRestore
    logic.restoreLayout()
    assert app.layoutNode.GetViewArrangement() == slicer.vtkMRMLLayoutNode.SlicerLayoutOneUpRedSliceView
    assert not logic.layout.canRestore
    logic.restoreLayout()
    assert app.layoutNode.GetViewArrangement() == slicer.vtkMRMLLayoutNode.SlicerLayoutOneUpRedSliceView
    logic.close()


def test_unknown_earlier_layout_becomes_slicers_four_views(app, tmp_path):
    logic, comparison = compare(app, tmp_path)
    logic.show(comparison)
    app.layoutNode.SetAttribute("MedDenoise.EarlierLayout", "9876")  # of an extension that is not installed
    logic.restoreLayout()
    assert app.layoutNode.GetViewArrangement() == slicer.vtkMRMLLayoutNode.SlicerLayoutFourUpView
    logic.close()


def test_registering_twice_is_harmless(app):
    registerLayouts(app.layoutNode)
    registerLayouts(app.layoutNode)
    assert app.layoutNode.IsLayoutDescription(LAYOUT)
    for label in ("Original", "Denoised", "Difference"):
        assert label in app.layoutNode.GetLayoutDescription(LAYOUT)


def test_flicker_swaps_original_and_denoised_in_the_middle_only(app, tmp_path):
    logic, comparison = compare(app, tmp_path)
    logic.show(comparison)
    middle = sliceLogic(app, DENOISED).GetSliceCompositeNode()
    assert middle.GetBackgroundVolumeID() == comparison.original.GetID()
    assert logic.flicker() is False
    assert middle.GetForegroundOpacity() == 0
    assert logic.flicker() is True
    assert middle.GetForegroundOpacity() == 1
    assert composites(app)[0].GetForegroundOpacity() == 0
    logic.close()


def test_denoised_is_on_top_again_once_it_is_shown_anew(app, tmp_path):
    logic, comparison = compare(app, tmp_path)
    logic.show(comparison)
    assert logic.layout.denoisedOnTop
    logic.flicker()
    assert not logic.layout.denoisedOnTop
    logic.show(comparison)
    assert logic.layout.denoisedOnTop
    logic.close()


def test_other_model_of_the_same_image_keeps_slice_and_zoom(app, tmp_path):
    logic, first = compare(app, tmp_path, phantom((20, 40, 40)))
    prepared = logic.prepare(first.original, None, str(tmp_path))
    second = logic.accept(prepared, serve(prepared, smooth))
    logic.show(first)
    sliceLogic(app, ORIGINAL).SetSliceOffset(3)
    logic.show(second)
    assert sliceLogic(app, ORIGINAL).GetSliceOffset() == pytest.approx(3)
    assert composites(app)[2].GetBackgroundVolumeID() == second.difference.GetID()
    logic.close()


def test_uncertainty_takes_the_place_of_the_difference_when_asked_for(app, tmp_path):
    logic, comparison = compare(app, tmp_path, spread=smooth)
    assert not logic.showUncertainty(True)  # nothing is shown yet
    logic.show(comparison)
    third = sliceLogic(app, DIFFERENCE).GetSliceCompositeNode()
    assert logic.showUncertainty(True)
    assert third.GetBackgroundVolumeID() == comparison.uncertainty.GetID()
    assert logic.layout.shows(comparison.uncertainty)
    assert not logic.showUncertainty(False)
    assert not logic.layout.shows(comparison.uncertainty)
    assert third.GetBackgroundVolumeID() == comparison.difference.GetID()
    logic.close()


def test_comparison_without_uncertainty_keeps_the_difference(app, tmp_path):
    logic, comparison = compare(app, tmp_path)
    logic.show(comparison)
    assert not logic.showUncertainty(True)
    logic.close()


def test_showing_needs_no_selection_and_changes_none(app, tmp_path):
    node = app.volume(phantom(), "other")
    app.logic.GetSelectionNode().SetActiveVolumeID(node.GetID())
    logic, comparison = compare(app, tmp_path)
    logic.show(comparison)
    assert app.logic.GetSelectionNode().GetActiveVolumeID() == node.GetID()
    logic.close()
