"""The part of a volume inside a region of interest, a closed curve or a segment."""

import tracemalloc

import numpy as np
import pytest
import vtk

from MedDenoiseLib.Images import ijkToRas, voxels
from MedDenoiseLib.Input import InputError
from MedDenoiseLib.Logic import Logic
from MedDenoiseLib.Region import fitRegion, maskOf, regionOf
from scene import GRIDS, applicationOfTest, grid, phantom, serve, slicer  # noqa: F401

BIG = (10, 80, 90)


def roiAround(app, center, size, turned=0.0):
    """A ROI in world RAS, turned about the S axis by ``turned`` degrees."""
    roi = app.scene.AddNewNodeByClass("vtkMRMLMarkupsROINode", "Liver")
    matrix = vtk.vtkTransform()
    matrix.Translate(*center)
    matrix.RotateZ(turned)
    roi.SetSize(*size)
    roi.SetAndObserveObjectToNodeMatrix(matrix.GetMatrix())
    return roi


def roiOfBox(app, node, start, stop):
    """A ROI whose faces run along the voxels, half a voxel outside of the centers of a box (slice, row, column)."""
    matrix = ijkToRas(node)
    low, high = (np.array(corner[::-1], float) for corner in (start, stop))
    spacing = np.linalg.norm(matrix[:3, :3], axis=0)
    axes = matrix[:3, :3] / spacing
    roi = app.scene.AddNewNodeByClass("vtkMRMLMarkupsROINode", "Liver")
    roi.SetSize(*((high - low) * spacing))
    placed = np.eye(4)
    placed[:3, :3] = axes
    placed[:3, 3] = matrix[:3, :3] @ ((low + high - 1) / 2) + matrix[:3, 3]
    roi.SetAndObserveObjectToNodeMatrix(slicer.util.vtkMatrixFromArray(placed))
    return roi


@pytest.mark.parametrize("name", GRIDS)
def test_box_along_the_voxels_is_found_exactly(app, name):
    node = app.volume(phantom(BIG), grid=GRIDS[name])
    region = regionOf(node, roiOfBox(app, node, (4, 30, 25), (6, 50, 60)))
    assert region.pasted.start == (4, 30, 25)
    assert region.pasted.stop == (6, 50, 60)
    assert region.note == ""


def test_context_is_sent_with_it_as_far_as_the_image_goes(app):
    node = app.volume(phantom(BIG))
    region = regionOf(node, roiOfBox(app, node, (1, 30, 60), (6, 50, 85)))
    assert region.sent.start == (0, 14, 44)
    assert region.sent.stop == (8, 66, 90)


def test_turned_region_gives_the_upright_box_around_it_and_says_so(app):
    node = app.volume(phantom(BIG))
    region = regionOf(node, roiAround(app, (40, 40, 5), (20, 20, 4), turned=45))
    assert region.pasted.start[1:] == (26, 26)  # half the diagonal of 20 mm is 14.1 mm
    assert region.pasted.stop[1:] == (55, 55)
    assert "turned" in region.note


def test_quarter_turn_needs_no_note(app):
    node = app.volume(phantom(BIG))
    region = regionOf(node, roiAround(app, (40, 40, 5), (20, 10, 4), turned=90))
    assert region.pasted.shape == (5, 21, 11)
    assert region.note == ""


def test_parent_transforms_of_volume_and_region_are_followed(app):
    node = app.volume(phantom(BIG))
    roi = roiOfBox(app, node, (4, 30, 25), (6, 50, 60))
    transform = app.scene.AddNewNodeByClass("vtkMRMLLinearTransformNode")
    matrix = vtk.vtkTransform()
    matrix.Translate(100, -50, 7)
    matrix.RotateX(30)
    transform.SetMatrixTransformToParent(matrix.GetMatrix())
    node.SetAndObserveTransformNodeID(transform.GetID())
    roi.SetAndObserveTransformNodeID(transform.GetID())
    assert regionOf(node, roi).pasted.start == (4, 30, 25)
    roi.SetAndObserveTransformNodeID(None)
    with pytest.raises(InputError, match="No voxel"):
        regionOf(node, roi)


def test_transform_that_bends_is_followed(app):
    node = app.volume(phantom(BIG))
    roi = roiAround(app, (40, 40, 5), (20, 20, 4))
    transform = app.scene.AddNewNodeByClass("vtkMRMLBSplineTransformNode")
    spline = vtk.vtkThinPlateSplineTransform()
    points, moved = vtk.vtkPoints(), vtk.vtkPoints()
    for corner in np.ndindex(2, 2, 2):
        points.InsertNextPoint(*(80.0 * np.array(corner)))
        moved.InsertNextPoint(*(80.0 * np.array(corner) + (10, 0, 0)))
    spline.SetBasisToR()
    spline.SetSourceLandmarks(points)
    spline.SetTargetLandmarks(moved)
    transform.SetAndObserveTransformToParent(spline)
    node.SetAndObserveTransformNodeID(transform.GetID())
    region = regionOf(node, roi)
    assert region.pasted.start[2] == pytest.approx(20, abs=1)  # 30 - 10
    assert "turned" in region.note


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (lambda roi: roi.SetInsideOut(True), "inside out"),
        (lambda roi: roi.SetSize(0, 0, 0), "no size"),
        (lambda roi: roi.SetCenter(500, 0, 0), "No voxel"),
    ],
)
def test_region_that_holds_nothing_is_refused(app, change, why):
    node = app.volume(phantom(BIG))
    roi = roiAround(app, (40, 40, 5), (20, 20, 4))
    change(roi)
    with pytest.raises(InputError, match=why):
        regionOf(node, roi)


def test_other_markups_are_no_region_to_denoise(app):
    line = app.scene.AddNewNodeByClass("vtkMRMLMarkupsLineNode", "Ruler")
    with pytest.raises(InputError, match="Ruler is no region"):
        regionOf(app.volume(phantom()), line)


@pytest.mark.parametrize("dtype", [np.int16, np.float32])
def test_outside_of_the_region_the_result_is_the_input_bit_for_bit(app, tmp_path, dtype):
    node = app.volume(phantom(BIG, dtype))
    before = phantom(BIG, dtype)
    roi = roiOfBox(app, node, (4, 30, 25), (6, 50, 60))
    logic = Logic(app.scene, app.logic)
    prepared = logic.prepare(node, roi, str(tmp_path))
    comparison = logic.accept(prepared, serve(prepared, lambda sent: sent + 3, spread=lambda sent: sent * 0 + 2))
    inside = np.zeros(BIG, bool)
    inside[4:6, 30:50, 25:60] = True
    np.testing.assert_array_equal(voxels(comparison.denoised)[~inside], before[~inside])
    np.testing.assert_array_equal(voxels(comparison.denoised)[inside], before[inside] + 3)
    np.testing.assert_array_equal(voxels(comparison.uncertainty), np.where(inside, 2, 0))
    logic.setStrength(comparison, 0.37)
    np.testing.assert_array_equal(voxels(comparison.denoised)[~inside], before[~inside])
    assert any("Outside of the region" in sentence for sentence in comparison.warnings)
    logic.close()


@pytest.mark.parametrize("name", GRIDS)
def test_new_region_lies_within_the_volume_and_can_be_seen(app, name):
    node = app.volume(phantom(BIG), grid=GRIDS[name])
    roi = app.scene.AddNewNodeByClass("vtkMRMLMarkupsROINode", "Liver")
    fitRegion(roi, node)
    assert roi.GetDisplayNode() is not None
    region = regionOf(node, roi)
    assert region.note == ""
    for start, stop, side in zip(region.pasted.start, region.pasted.stop, BIG, strict=True):
        assert start == pytest.approx(side / 4, abs=1)
        assert stop == pytest.approx(3 * side / 4, abs=1)


def test_new_region_of_a_radiograph_holds_its_only_slice(app):
    node = app.volume(phantom((1, 40, 60)))
    roi = app.scene.AddNewNodeByClass("vtkMRMLMarkupsROINode", "Liver")
    fitRegion(roi, node)
    assert regionOf(node, roi).pasted.shape[0] == 1


def test_new_region_follows_the_volumes_transform(app):
    node = app.volume(phantom(BIG))
    moved = vtk.vtkTransform()
    moved.Translate(200, -30, 5)
    moved.RotateZ(30)
    transform = app.scene.AddNewNodeByClass("vtkMRMLLinearTransformNode")
    transform.SetMatrixTransformToParent(moved.GetMatrix())
    node.SetAndObserveTransformNodeID(transform.GetID())
    roi = app.scene.AddNewNodeByClass("vtkMRMLMarkupsROINode", "Liver")
    fitRegion(roi, node)
    region = regionOf(node, roi)
    assert region.note == ""
    assert region.pasted.start[1] == pytest.approx(20, abs=1)


class TestMask:
    def test_turned_roi_holds_only_its_own_voxels(self, app):
        node = app.volume(phantom(BIG))
        box, mask = maskOf(node, roiAround(app, (40, 40, 5), (20, 20, 4), turned=45))
        assert mask.shape == box.shape
        assert mask.sum() / 5 == pytest.approx(20 * 20, rel=0.06)
        assert not mask[:, 0, 0].any()

    @pytest.mark.parametrize("turned", [0, 20])
    def test_roi_of_the_whole_image_takes_little_memory(self, app, turned):
        node = app.volume(np.zeros((60, 100, 120), np.int16))
        roi = roiAround(app, (60, 50, 30), (300, 300, 100), turned)
        tracemalloc.start()
        _, mask = maskOf(node, roi)
        _, most = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert mask.all()
        assert mask.shape == (60, 100, 120)
        assert most < 8 * mask.size

    def test_closed_curve_holds_the_disc_on_its_slice(self, app):
        node = app.volume(phantom(BIG), grid=grid((1, 1, 3)))
        curve = app.scene.AddNewNodeByClass("vtkMRMLMarkupsClosedCurveNode")
        for angle in np.linspace(0, 2 * np.pi, 24, endpoint=False):
            curve.AddControlPoint(40 + 12 * np.cos(angle), 40 + 12 * np.sin(angle), 12.9)
        box, mask = maskOf(node, curve)
        assert (box.start[0], box.stop[0]) == (4, 5)
        assert mask.sum() == pytest.approx(np.pi * 12**2, rel=0.05)

    def test_curve_on_a_sagittal_view_is_taken_there(self, app):
        node = app.volume(phantom((40, 50, 30)))
        curve = app.scene.AddNewNodeByClass("vtkMRMLMarkupsClosedCurveNode")
        for angle in np.linspace(0, 2 * np.pi, 24, endpoint=False):
            curve.AddControlPoint(7.2, 25 + 10 * np.cos(angle), 20 + 10 * np.sin(angle))
        box, mask = maskOf(node, curve)
        assert (box.start[2], box.stop[2]) == (7, 8)
        assert mask.sum() == pytest.approx(np.pi * 100, rel=0.05)

    def test_unfinished_curve_is_refused(self, app):
        curve = app.scene.AddNewNodeByClass("vtkMRMLMarkupsClosedCurveNode")
        curve.AddControlPoint(1, 1, 1)
        with pytest.raises(InputError, match="fewer than three points"):
            maskOf(app.volume(phantom()), curve)

    @pytest.mark.parametrize("name", GRIDS)
    def test_segment_holds_the_voxels_it_was_painted_on(self, app, name):
        node = app.volume(phantom(), grid=GRIDS[name])
        painted = np.zeros(phantom().shape, np.uint8)
        painted[2:4, 5:9, 6:12] = 1
        segmentation, segment = self._segmentation(app, node, painted)
        box, mask = maskOf(node, segmentation, segment)
        assert (box.start, box.stop) == ((2, 5, 6), (4, 9, 12))
        np.testing.assert_array_equal(mask, painted[box.slices] > 0)

    def test_missing_segment_is_refused(self, app):
        segmentation = app.scene.AddNewNodeByClass("vtkMRMLSegmentationNode", "Organs")
        with pytest.raises(InputError, match="no segment"):
            maskOf(app.volume(phantom()), segmentation)

    @staticmethod
    def _segmentation(app, node, painted):
        label = app.scene.AddNewNodeByClass("vtkMRMLLabelMapVolumeNode")
        slicer.util.updateVolumeFromArray(label, painted)
        label.CopyOrientation(node)
        image = slicer.vtkSlicerSegmentationsModuleLogic.CreateOrientedImageDataFromVolumeNode(label)
        image.UnRegister(None)
        segmentation = app.scene.AddNewNodeByClass("vtkMRMLSegmentationNode", "Organs")
        return segmentation, segmentation.AddSegmentFromBinaryLabelmapRepresentation(image, "tissue")
