"""What is written for the server of an image and its clean partner, and what is refused with which words."""

from pathlib import Path

import numpy as np
import pytest
import vtk

from MedDenoiseLib.Images import GeometryError, ijkToRas, voxels
from MedDenoiseLib.Input import InputError
from MedDenoiseTrainingLib.Pair import checkPair, prepare
from MedDenoiseTrainingLib.Pseudonyms import Pseudonyms, patientOf
from scene import GRIDS, applicationOfTest, compare, grid, phantom, readNrrd, slicer, vectors  # noqa: F401

SHAPE = (6, 20, 24)


def pair(app, where=None, other=None, shape=SHAPE):
    """An image and a cleaner one."""
    image = app.volume(phantom(SHAPE), "CT of Jane Doe", grid=where)
    return image, app.volume(
        phantom(shape, seed=1), "CT of Jane Doe, full dose", grid=where if other is None else other
    )


def linear(app, matrix, name="moved"):
    node = app.scene.AddNewNodeByClass("vtkMRMLLinearTransformNode", name)
    node.SetMatrixTransformToParent(slicer.util.vtkMatrixFromArray(np.asarray(matrix, float)))
    return node


def bent(app):
    spline = vtk.vtkThinPlateSplineTransform()
    points = vtk.vtkPoints()
    for point in ((0, 0, 0), (9, 0, 0), (0, 9, 0), (0, 0, 9), (5, 5, 5)):
        points.InsertNextPoint(point)
    moved = vtk.vtkPoints()
    moved.DeepCopy(points)
    moved.SetPoint(4, 7, 5, 5)
    spline.SetSourceLandmarks(points)
    spline.SetTargetLandmarks(moved)
    node = app.scene.AddNewNodeByClass("vtkMRMLTransformNode", "respiration")
    node.SetAndObserveTransformToParent(spline)
    return node


def under(node, transform):
    node.SetAndObserveTransformNodeID(transform.GetID())


def gridOf(path):
    """IJK to LPS of a file, and its voxels."""
    fields, values = readNrrd(path)
    matrix = np.eye(4)
    matrix[:3, :3], matrix[:3, 3] = vectors(fields["space directions"]).T, vectors(fields["space origin"])[0]
    return matrix, values


def toLps(matrix):
    return np.diag([-1, -1, 1, 1]) @ matrix


@pytest.mark.parametrize("where", GRIDS)
def test_both_are_written_on_the_images_grid(app, tmp_path, where):
    image, partner = pair(app, GRIDS[where])
    deposit = prepare(image, partner, str(tmp_path), "ct-1", "patient 1", "CT")
    for path, node in ((deposit.imagePath, image), (deposit.partnerPath, partner)):
        written, values = gridOf(path)
        np.testing.assert_allclose(written, toLps(GRIDS[where]), atol=1e-9)
        np.testing.assert_array_equal(values, voxels(node))
    assert (deposit.name, deposit.patient, deposit.modality) == ("ct-1", "patient 1", "CT")


def test_partner_whose_slices_are_stored_the_other_way_round_is_turned(app, tmp_path):
    where = grid((0.7, 0.8, 2.0), (10, 20, 30))
    turned = where.copy()
    turned[:3, 2] *= -1
    turned[:3, 3] += where[:3, 2] * (SHAPE[0] - 1)
    image, partner = pair(app, where, turned)
    deposit = prepare(image, partner, str(tmp_path), "ct-1", "", "CT")
    written, values = gridOf(deposit.partnerPath)
    np.testing.assert_allclose(written, toLps(where), atol=1e-9)
    np.testing.assert_array_equal(values, voxels(partner)[::-1])


def test_files_say_nothing_but_voxels_and_place(app, tmp_path):
    image, partner = pair(app)
    image.SetAttribute("DICOM.PatientName", "Jane Doe")
    deposit = prepare(image, partner, str(tmp_path), "ct-1", "patient 1", "CT")
    for path in (deposit.imagePath, deposit.partnerPath):
        content = Path(path).read_bytes()
        assert b"Jane" not in content
        assert b"patient" not in content
    assert sorted(file.name for file in tmp_path.iterdir()) == ["image.nrrd", "partner.nrrd"]


@pytest.mark.parametrize(
    ("other", "shape", "said"),
    [
        (None, (5, 20, 24), "it has 24x20x5 voxels instead of 24x20x6"),
        (grid((1.0, 1.0, 2.5)), SHAPE, "its spacing is 1x1x2.5 mm instead of 1x1x1 mm"),
        (grid(origin=(3.0, 0.0, -4.0)), SHAPE, "its middle lies 5 mm away (R 3, A 0, S -4)"),
        (grid(angle=0.1), SHAPE, "its axes are turned by up to"),
    ],
)
def test_sentence_says_what_differs(app, tmp_path, other, shape, said):
    image, partner = pair(app, other=other, shape=shape)
    with pytest.raises(GeometryError) as caught:
        prepare(image, partner, str(tmp_path), "ct-1", "", "CT")
    assert said in str(caught.value)
    assert "CT of Jane Doe, full dose does not lie on the grid of CT of Jane Doe" in str(caught.value)
    assert "Resample" in caught.value.advice
    assert list(tmp_path.iterdir()) == []


def test_all_that_differs_is_said_at_once(app):
    image, partner = pair(app, other=grid((2.0, 1.0, 1.0), (0, 0, 50)), shape=(6, 20, 12))
    with pytest.raises(GeometryError, match=r"12x20x6 voxels .*; its spacing is 2x1x1 mm .*; its middle lies"):
        checkPair(image, partner)


class TestTransforms:
    def test_transform_that_both_share_is_left_out_even_where_it_bends(self, app, tmp_path):
        image, partner = pair(app)
        transform = bent(app)
        for node in (image, partner):
            under(node, transform)
        deposit = prepare(image, partner, str(tmp_path), "ct-1", "", "CT")
        np.testing.assert_allclose(gridOf(deposit.imagePath)[0], toLps(ijkToRas(image)), atol=1e-9)

    def test_partner_that_was_moved_into_place_fits(self, app, tmp_path):
        back = np.eye(4)
        back[:3, 3] = (-7, 0, 2)
        image, partner = pair(app, other=np.linalg.inv(back))
        under(partner, linear(app, back))
        before = ijkToRas(partner).copy()
        deposit = prepare(image, partner, str(tmp_path), "ct-1", "", "CT")
        np.testing.assert_allclose(gridOf(deposit.partnerPath)[0], toLps(ijkToRas(image)), atol=1e-9)
        np.testing.assert_array_equal(ijkToRas(partner), before)
        assert partner.GetTransformNodeID()

    def test_partner_that_was_moved_away_does_not_fit(self, app):
        image, partner = pair(app)
        away = np.eye(4)
        away[2, 3] = 30
        under(partner, linear(app, away))
        with pytest.raises(GeometryError, match=r"its middle lies 30 mm away \(R 0, A 0, S 30\)"):
            checkPair(image, partner)

    def test_partner_that_is_bent_is_refused_with_the_way_out(self, app):
        image, partner = pair(app)
        under(partner, bent(app))
        with pytest.raises(InputError, match="full dose is bent by the transform respiration") as caught:
            checkPair(image, partner)
        assert "Harden" in caught.value.advice

    def test_partner_that_is_sheared_is_refused(self, app):
        image, partner = pair(app)
        shear = np.eye(4)
        shear[0, 1] = 0.2
        under(partner, linear(app, shear, "gantry"))
        with pytest.raises(InputError, match="is sheared by the transform gantry"):
            checkPair(image, partner)


class TestRefused:
    def test_image_as_its_own_partner(self, app):
        image, _ = pair(app)
        with pytest.raises(InputError, match="cannot be its own clean partner"):
            checkPair(image, image)

    @pytest.mark.parametrize("kept", [False, True])
    def test_our_own_results_even_where_they_were_kept_as_plain_volumes(self, app, tmp_path, kept):
        logic, comparison = compare(app, tmp_path)
        original, denoised = comparison.original, comparison.denoised
        if kept:
            logic.keep(comparison)
        for image, partner in ((original, denoised), (denoised, None)):
            with pytest.raises(InputError, match="was made by MedDenoise; no training may learn from its own results"):
                checkPair(image, partner)
        logic.close()

    def test_copy_of_a_result_is_one_too(self, app, tmp_path):
        logic, comparison = compare(app, tmp_path)
        copy = slicer.vtkSlicerVolumesLogic.CloneVolume(app.scene, comparison.denoised, "copy")
        with pytest.raises(InputError, match="copy was made by MedDenoise"):
            checkPair(comparison.original, copy)
        logic.close()

    @pytest.mark.parametrize("which", [0, 1])
    def test_voxels_that_are_no_numbers(self, app, tmp_path, which):
        bad = phantom(SHAPE, np.float32)
        bad[2, 3, 4] = np.nan
        nodes = [app.volume(phantom(SHAPE, np.float32)), app.volume(phantom(SHAPE, np.float32), "partner")]
        slicer.util.updateVolumeFromArray(nodes[which], bad)
        with pytest.raises(InputError, match="has 1 voxels that are not numbers"):
            prepare(*nodes, str(tmp_path), "ct-1", "", "CT")
        assert list(tmp_path.iterdir()) == []

    def test_label_map(self, app):
        image, _ = pair(app)
        with pytest.raises(InputError, match="is a label map"):
            checkPair(image, app.scene.AddNewNodeByClass("vtkMRMLLabelMapVolumeNode", "labels"))

    @pytest.mark.parametrize("name", ["", "../up", "a/b", " a", "a.", "a..b", "Jäne", "a\nb", "x" * 101])
    def test_names_that_no_server_takes(self, app, tmp_path, name):
        image, _ = pair(app)
        with pytest.raises(InputError, match="name of the image on the server must be"):
            prepare(image, None, str(tmp_path), name, "", "CT")
        if name:
            with pytest.raises(InputError, match="pseudonym must be"):
                prepare(image, None, str(tmp_path), "ct-1", name, "CT")


class TestPseudonyms:
    def test_patient_is_always_called_the_same_and_differently_by_each_user(self, makeStore):
        store = makeStore()
        mine, again, yours = Pseudonyms(store), Pseudonyms(store), Pseudonyms(makeStore())
        assert mine.of("4711") == again.of("4711") != mine.of("4712")
        assert mine.of("4711") != yours.of("4711")
        assert "4711" not in mine.of("4711")

    def test_nothing_is_kept_where_there_is_no_patient(self, makeStore):
        store = makeStore()
        assert Pseudonyms(store).of("") == ""
        assert not store

    def test_patient_comes_from_the_subject_hierarchy(self, app):
        image, partner = pair(app)
        hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(app.scene)
        patient = hierarchy.CreateSubjectItem(hierarchy.GetSceneItemID(), "Jane Doe")
        hierarchy.SetItemAttribute(patient, "DICOM.PatientID", "4711")
        study = hierarchy.CreateStudyItem(patient, "study")
        hierarchy.CreateItem(study, image)
        assert patientOf(image) == "4711"
        assert patientOf(partner) == ""
