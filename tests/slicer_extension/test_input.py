"""Which nodes can be denoised, which is preselected, and which modality it is."""

import numpy as np
import pytest
import vtk

from MedDenoiseLib.Input import InputError, activeVolume, checkInput, guessModality
from scene import applicationOfTest, compare, phantom, slicer  # noqa: F401


def coded(value, meaning):
    entry = slicer.vtkCodedEntry()
    entry.SetValueSchemeMeaning(value, "UCUM", meaning)
    return entry


@pytest.mark.parametrize("dtype", [np.int16, np.uint16, np.uint8, np.float32, np.float64])
def test_scalar_volumes_of_any_type_are_taken(app, dtype):
    checkInput(app.volume(phantom(dtype=dtype)))


def test_radiograph_of_one_slice_is_taken(app):
    checkInput(app.volume(phantom((1, 32, 24), np.uint16)))


def test_nothing_chosen_says_so():
    with pytest.raises(InputError, match="No volume is chosen"):
        checkInput(None)


@pytest.mark.parametrize(
    ("className", "reason"),
    [
        ("vtkMRMLLabelMapVolumeNode", "label map"),
        ("vtkMRMLVectorVolumeNode", "color or vector"),
        ("vtkMRMLSegmentationNode", "segmentation"),
        ("vtkMRMLSequenceNode", "sequence"),
        ("vtkMRMLModelNode", "no volume"),
        ("vtkMRMLScalarVolumeNode", "empty"),
    ],
)
def test_what_is_no_image_is_refused_with_the_reason_and_the_way_out(app, className, reason):
    node = app.scene.AddNewNodeByClass(className, "Liver")
    with pytest.raises(InputError, match=f"Liver .*{reason}") as caught:
        checkInput(node)
    assert caught.value.advice


def test_color_image_in_a_scalar_volume_is_refused(app):
    node = app.volume(phantom())
    image = vtk.vtkImageData()
    image.SetDimensions(4, 4, 2)
    image.AllocateScalars(vtk.VTK_UNSIGNED_CHAR, 3)
    node.SetAndObserveImageData(image)
    with pytest.raises(InputError, match="3 values per voxel"):
        checkInput(node)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_values_that_are_no_numbers_are_refused_and_counted(app, bad):
    array = phantom(dtype=np.float32)
    array[0, 0, :3] = bad
    with pytest.raises(InputError, match="3 voxels"):
        checkInput(app.volume(array))


def test_difference_map_is_refused_and_denoised_image_is_not(app, tmp_path):
    logic, comparison = compare(app, tmp_path)
    checkInput(comparison.denoised)
    with pytest.raises(InputError, match="map made by this module"):
        checkInput(comparison.difference)
    logic.close()


def test_current_frame_of_a_sequence_is_taken(app):
    _, proxy = app.sequence()
    checkInput(proxy)


class TestActiveVolume:
    def test_background_of_a_view_comes_before_the_foreground(self, app):
        back, front = app.volume(phantom(), "CT"), app.volume(phantom(), "PET")
        composite = app.logic.GetSliceLogicByLayoutName("Red").GetSliceCompositeNode()
        composite.SetForegroundVolumeID(front.GetID())
        assert activeVolume(app.scene) is front
        composite.SetBackgroundVolumeID(back.GetID())
        assert activeVolume(app.scene) is back

    def test_views_on_the_screen_come_first(self, app):
        hidden, seen = app.volume(phantom(), "hidden"), app.volume(phantom(), "seen")
        for name, volume in (("Red", hidden), ("Yellow", seen)):
            app.logic.GetSliceLogicByLayoutName(name).GetSliceCompositeNode().SetBackgroundVolumeID(volume.GetID())
            slicer.util.getNode(f"vtkMRMLSliceNode{name}").SetMappedInLayout(name == "Yellow")
        assert activeVolume(app.scene) is seen

    def test_selected_volume_counts_where_no_view_shows_any(self, app):
        app.volume(phantom(), "first")
        second = app.volume(phantom(), "second")
        assert activeVolume(app.scene, app.logic) is None
        app.logic.GetSelectionNode().SetActiveVolumeID(second.GetID())
        assert activeVolume(app.scene, app.logic) is second

    def test_only_volume_of_a_scene_is_taken(self, app):
        assert activeVolume(app.scene, app.logic) is None
        only = app.volume(phantom())
        app.scene.AddNewNodeByClass("vtkMRMLLabelMapVolumeNode")
        assert activeVolume(app.scene, app.logic) is only

    def test_our_own_results_are_passed_over(self, app, tmp_path):
        logic, comparison = compare(app, tmp_path)
        logic.show(comparison)
        assert activeVolume(app.scene, app.logic) is comparison.original
        logic.close()


class TestModality:
    @pytest.mark.parametrize(("stated", "ours"), [("CT", "CT"), ("MR", "MR"), ("PT", "PET"), ("DX", "XR"), ("US", "")])
    def test_dicom_modality_of_the_subject_hierarchy_counts(self, app, stated, ours):
        node = app.volume(np.full((2, 8, 8), -1000, np.int16))
        hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(app.scene)
        item = hierarchy.CreateItem(hierarchy.GetSceneItemID(), node)
        hierarchy.SetItemAttribute(item, "DICOM.Modality", stated)
        assert guessModality(node) == ours

    @pytest.mark.parametrize(
        ("value", "meaning", "ours"),
        [
            ("[hnsf'U]", "Hounsfield unit", "CT"),
            ("{SUVbw}g/ml", "Standardized Uptake Value body weight", "PET"),
            ("Bq/ml", "Becquerels per milliliter", "PET"),
            ("mm", "millimeter", ""),
        ],
    )
    def test_unit_tells(self, app, value, meaning, ours):
        node = app.volume(phantom())
        node.SetVoxelValueUnits(coded(value, meaning))
        assert guessModality(node) == ours

    def test_quantity_tells(self, app):
        node = app.volume(phantom())
        node.SetVoxelValueQuantity(coded("112031", "Attenuation Coefficient"))
        assert guessModality(node) == "CT"

    def test_air_of_hounsfield_numbers_tells(self, app):
        array = phantom()
        array[:, :3] = -1000
        assert guessModality(app.volume(array)) == "CT"

    @pytest.mark.parametrize("dtype", [np.int16, np.uint16, np.uint8, np.float32])
    def test_brightness_alone_tells_nothing(self, app, dtype):
        assert guessModality(app.volume(phantom(dtype=dtype))) == ""

    def test_little_air_tells_nothing(self, app):
        array = phantom()
        array[0, 0, 0] = -1000
        assert guessModality(app.volume(array)) == ""
