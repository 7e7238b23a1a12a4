"""From the chosen volume to the results in the scene."""

from pathlib import Path

import numpy as np
import pytest
import vtk

from MedDenoiseLib.Images import GeometryError, ijkToRas, voxels
from MedDenoiseLib.Input import InputError
from MedDenoiseLib.Logic import Logic
from scene import FIGURES, GRIDS, applicationOfTest, compare, phantom, serve, slicer, smooth  # noqa: F401


def coded(value, scheme, meaning):
    entry = slicer.vtkCodedEntry()
    entry.SetValueSchemeMeaning(value, scheme, meaning)
    return entry


def ids(app):
    return [node.GetID() for node in slicer.util.getNodesByClass("vtkMRMLNode")]


def denoise(app, node, folder, how=smooth, region=None):
    logic = Logic(app.scene, app.logic, app.colorLogic)
    prepared = logic.prepare(node, region, str(folder))
    return logic, logic.accept(prepared, serve(prepared, how, spread=smooth))


@pytest.mark.parametrize("name", GRIDS)
@pytest.mark.parametrize("dtype", [np.int16, np.uint16, np.uint8, np.float32, np.float64])
def test_results_have_exactly_the_inputs_grid_and_type(app, tmp_path, name, dtype):
    node = app.volume(phantom(dtype=dtype), grid=GRIDS[name])
    logic, comparison = denoise(app, node, tmp_path)
    for result in (comparison.denoised, comparison.difference, comparison.uncertainty):
        np.testing.assert_array_equal(ijkToRas(result), ijkToRas(node))
        assert result.GetImageData().GetDimensions() == node.GetImageData().GetDimensions()
    assert voxels(comparison.denoised).dtype == dtype
    np.testing.assert_array_equal(voxels(comparison.denoised), smooth(phantom(dtype=dtype)))
    np.testing.assert_array_equal(voxels(comparison.uncertainty), smooth(phantom(dtype=dtype)).astype(np.float32))
    logic.close()


def test_radiograph_stays_a_single_image(app, tmp_path):
    node = app.volume(phantom((1, 40, 30), np.uint16), name="Chest PA")
    logic, comparison = denoise(app, node, tmp_path)
    assert voxels(comparison.denoised).shape == (1, 40, 30)
    logic.show(comparison)
    logic.setStrength(comparison, 0.5)
    logic.close()


def test_answer_in_another_type_is_brought_into_the_inputs(app, tmp_path):
    node = app.volume(phantom())
    logic, comparison = denoise(app, node, tmp_path, how=lambda sent: sent.astype(np.float32) + 0.6)
    assert voxels(comparison.denoised).dtype == np.int16
    np.testing.assert_array_equal(voxels(comparison.denoised), phantom() + 1)
    logic.close()


@pytest.mark.parametrize("className", ["vtkMRMLLinearTransformNode", "vtkMRMLGridTransformNode"])
def test_parent_transform_is_shared_linear_or_not(app, tmp_path, className):
    node = app.volume(phantom())
    transform = app.scene.AddNewNodeByClass(className)
    node.SetAndObserveTransformNodeID(transform.GetID())
    logic, comparison = denoise(app, node, tmp_path)
    for result in (comparison.denoised, comparison.difference, comparison.uncertainty):
        assert result.GetTransformNodeID() == transform.GetID()
    np.testing.assert_array_equal(ijkToRas(comparison.denoised), ijkToRas(node))
    logic.close()


def test_units_and_quantity_are_carried_over(app, tmp_path):
    node = app.volume(phantom(dtype=np.float32))
    node.SetVoxelValueUnits(coded("{SUVbw}g/ml", "UCUM", "Standardized Uptake Value body weight"))
    node.SetVoxelValueQuantity(coded("126400", "DCM", "Standardized Uptake Value"))
    logic, comparison = denoise(app, node, tmp_path)
    for result in (comparison.denoised, comparison.difference, comparison.uncertainty):
        assert result.GetVoxelValueUnits().GetCodeValue() == "{SUVbw}g/ml"
        assert result.GetVoxelValueQuantity().GetCodeMeaning() == "Standardized Uptake Value"
    assert comparison.modality == "PET"
    logic.close()


def test_results_do_not_claim_to_be_the_original_dicom_instances(app, tmp_path):
    node = app.volume(phantom())
    node.SetAttribute("DICOM.instanceUIDs", "1.2.3 1.2.4")
    logic, comparison = denoise(app, node, tmp_path)
    assert comparison.denoised.GetAttribute("DICOM.instanceUIDs") is None
    logic.close()


def test_input_node_is_left_alone(app, tmp_path):
    node = app.volume(phantom())
    node.SetAttribute("DICOM.instanceUIDs", "1.2.3")
    data, before = node.GetImageData(), _text(node)
    logic, comparison = denoise(app, node, tmp_path)
    logic.show(comparison)
    logic.setStrength(comparison, 0.5)
    logic.statistics(comparison)
    logic.remove(comparison)
    assert node.GetImageData() is data
    assert _text(node) == before
    np.testing.assert_array_equal(voxels(node), phantom())
    logic.close()


def _text(node):
    """All of a node that must not change: names, references, grid and when its voxels last did."""
    data = node.GetImageData()
    stamps = data.GetMTime(), data.GetPointData().GetScalars().GetMTime()
    names = node.GetName(), node.GetTransformNodeID(), node.GetStorageNodeID(), tuple(node.GetAttributeNames())
    return names, ijkToRas(node).tobytes(), stamps


def test_results_lie_beside_the_input_in_the_subject_hierarchy(app, tmp_path):
    node = app.volume(phantom())
    hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(app.scene)
    patient = hierarchy.CreateSubjectItem(hierarchy.GetSceneItemID(), "Jane Doe")
    study = hierarchy.CreateStudyItem(patient, "Thorax")
    hierarchy.CreateItem(study, node)
    logic, comparison = denoise(app, node, tmp_path)
    logic.setStrength(comparison, 0.5)
    results = comparison.results
    assert len(results) == 4
    for result in results:
        assert hierarchy.GetItemParent(hierarchy.GetItemByDataNode(result)) == study
    logic.remove(comparison)
    children = vtk.vtkIdList()
    hierarchy.GetItemChildren(study, children)
    assert children.GetNumberOfIds() == 1
    logic.close()


def test_name_of_the_file_says_nothing(app, tmp_path):
    logic = Logic(app.scene, app.logic)
    prepared = logic.prepare(app.volume(phantom(), name="Doe^Jane"), None, str(tmp_path))
    assert [path.name for path in tmp_path.iterdir()] == ["image.nrrd"]
    assert (prepared.name, prepared.note, prepared.region) == ("Doe^Jane", "", None)
    assert b"Doe" not in (tmp_path / "image.nrrd").read_bytes()
    logic.close()


def test_chosen_modality_goes_before_the_guess(app, tmp_path):
    logic = Logic(app.scene, app.logic)
    node = app.volume(phantom())
    node.SetAttribute("DICOM.Modality", "MR")
    assert logic.prepare(node, None, str(tmp_path)).modality == "MR"
    assert logic.prepare(node, None, str(tmp_path), modality="CT").modality == "CT"
    logic.close()


def test_unfit_input_leaves_no_file(app, tmp_path):
    logic = Logic(app.scene, app.logic)
    with pytest.raises(InputError):
        logic.prepare(app.scene.AddNewNodeByClass("vtkMRMLSegmentationNode"), None, str(tmp_path))
    assert list(tmp_path.iterdir()) == []
    logic.close()


@pytest.mark.parametrize("broken", ["volume", "uncertainty"])
def test_answer_that_does_not_fit_leaves_the_scene_as_it_was(app, tmp_path, broken):
    logic = Logic(app.scene, app.logic, app.colorLogic)
    prepared = logic.prepare(app.volume(phantom()), None, str(tmp_path))
    answer = serve(prepared, smooth, spread=smooth)
    path = answer.volumePath if broken == "volume" else answer.uncertaintyPath
    Path(path).write_text("<html>" if broken == "volume" else "NRRD0004\n")
    before = ids(app)
    with pytest.raises(GeometryError):
        logic.accept(prepared, answer)
    assert ids(app) == before
    logic.close()


class TestInputThatChanges:
    """The server may take minutes; nothing is lost, and nothing is compared with the wrong image."""

    @pytest.mark.parametrize("change", ["voxels", "grid", "removed"])
    def test_result_is_compared_with_what_was_sent(self, app, tmp_path, change):
        node = app.volume(phantom(), name="CT")
        logic = Logic(app.scene, app.logic, app.colorLogic)
        prepared = logic.prepare(node, None, str(tmp_path))
        answer = serve(prepared, smooth)
        if change == "voxels":
            voxels(node)[...] = 0
            slicer.util.arrayFromVolumeModified(node)
        elif change == "grid":
            node.SetOrigin(99, 0, 0)
        else:
            app.scene.RemoveNode(node)
        comparison = logic.accept(prepared, answer)
        assert comparison.original is not node
        assert comparison.original.GetName() == "CT original"
        np.testing.assert_array_equal(voxels(comparison.original), phantom())
        assert any("changed while" in sentence for sentence in comparison.warnings)
        logic.show(comparison)
        logic.close()

    def test_frame_of_a_sequence_is_kept_when_the_user_browses_on(self, app, tmp_path):
        sequence, proxy = app.sequence()
        shown = voxels(proxy).copy()
        logic, comparison = denoise(app, proxy, tmp_path)
        proxy.SetAndObserveImageData(sequence.GetNthDataNode(2).GetImageData())  # what browsing does
        logic.setStrength(comparison, 0.0)
        np.testing.assert_array_equal(voxels(comparison.denoised), shown)
        assert comparison.warnings == ()
        logic.close()


def test_first_answer_without_the_uncertainty_asked_for_still_counts(app, tmp_path):
    logic = Logic(app.scene, app.logic)
    prepared = logic.prepare(app.volume(phantom()), None, str(tmp_path))
    answer = serve(prepared, smooth, warnings=("This model gives no uncertainty.",))
    comparison = logic.accept(prepared, answer)
    assert comparison.uncertainty is None
    assert comparison.warnings == ("This model gives no uncertainty.",)
    assert comparison.figures == FIGURES
    logic.close()


def test_logic_adds_no_node_by_itself(app):
    before = ids(app)
    logic = Logic(app.scene, app.logic, app.colorLogic)
    assert logic.comparisons == []
    assert logic.activeVolume() is None
    assert ids(app) == before
    logic.close()


def test_logic_that_was_never_closed_is_not_called_any_more(app, tmp_path):
    logic, _ = compare(app, tmp_path)
    told = []
    logic.onChanged = lambda: told.append(1)
    del logic
    app.scene.Clear(0)
    assert told == []


class TestDrawing:
    def test_new_region_lies_on_the_volume(self, app, tmp_path):
        logic = Logic(app.scene, app.logic)
        node = app.volume(phantom((8, 40, 40)))
        roi = app.scene.AddNewNodeByClass("vtkMRMLMarkupsROINode", "Liver")
        logic.startDrawing(roi, node)
        assert logic.prepare(node, roi, str(tmp_path)).region.pasted.shape == (4, 20, 20)
        logic.close()

    def test_region_that_has_a_size_is_left_where_it_is(self, app):
        logic = Logic(app.scene, app.logic)
        roi = app.scene.AddNewNodeByClass("vtkMRMLMarkupsROINode", "Liver")
        roi.SetSize(1, 2, 3)
        logic.startDrawing(roi, app.volume(phantom()))
        assert roi.GetSize() == (1, 2, 3)
        logic.close()

    def test_next_clicks_into_a_view_draw_the_new_curve(self, app):
        logic = Logic(app.scene, app.logic)
        curve = app.scene.AddNewNodeByClass("vtkMRMLMarkupsClosedCurveNode", "Liver")
        logic.startDrawing(curve, app.volume(phantom()))
        assert app.logic.GetSelectionNode().GetActivePlaceNodeID() == curve.GetID()
        interaction = app.logic.GetInteractionNode()
        assert interaction.GetCurrentInteractionMode() == interaction.Place
        logic.close()

    def test_nothing_happens_for_a_segmentation_or_without_a_volume(self, app):
        logic = Logic(app.scene, app.logic)
        for name in ("vtkMRMLSegmentationNode", "vtkMRMLMarkupsROINode"):
            logic.startDrawing(app.scene.AddNewNodeByClass(name), None)
        interaction = app.logic.GetInteractionNode()
        assert interaction.GetCurrentInteractionMode() != interaction.Place
        logic.close()
