"""DICOM export through Slicer's exporter, and what the files say."""

from pathlib import Path

import numpy as np
import pytest

from MedDenoiseLib.Export import ExportError, exportDicom, markWithPydicom, slicersExporter
from MedDenoiseLib.Images import voxels
from scene import applicationOfTest, compare, slicer  # noqa: F401


class Exportable:
    """Stands in for qSlicerDICOMExportable."""

    def __init__(self, itemId):
        self.itemId = itemId
        self.directory = ""
        self.tags = {"SeriesDescription": "No series description", "SeriesInstanceUID": "1.2.3"}

    def setTag(self, name, value):
        self.tags[name] = value


class Exporter:
    """Stands in for Slicer's plugin: writes the voxels it was given, one file a slice."""

    def __init__(self, problem=""):
        self.problem = problem

    def examineForExport(self, itemId):
        self.exportable = Exportable(itemId)
        return [self.exportable]

    def export(self, exportables):
        (exportable,) = exportables
        hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(slicer.mrmlScene)
        node = hierarchy.GetItemDataNode(exportable.itemId)
        self.stored = voxels(node).copy()
        self.study = hierarchy.GetItemParent(exportable.itemId)
        if not self.problem:
            folder = Path(exportable.directory) / f"ScalarVolume_{exportable.itemId}"
            folder.mkdir()
            for index, values in enumerate(self.stored):
                (folder / f"IMG{index:04}.dcm").write_bytes(values.tobytes())
        return self.problem


class NoFiles(Exporter):
    def export(self, exportables):
        return ""


class TakesNothing(Exporter):
    def examineForExport(self, itemId):
        return []


class Marks(dict):
    """Takes down what would be set in which file."""

    def __call__(self, file, attributes):
        self[Path(file).name] = attributes


def inStudy(app, comparison):
    hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(app.scene)
    patient = hierarchy.CreateSubjectItem(hierarchy.GetSceneItemID(), "Jane Doe")
    study = hierarchy.CreateStudyItem(patient, "Thorax")
    hierarchy.CreateItem(study, comparison.original)
    return study


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "dicom").mkdir()
    (tmp_path / "dicom" / "other.dcm").write_bytes(b"of the user")
    return tmp_path / "dicom"


def test_series_is_derived_new_and_says_what_it_is(app, tmp_path, folder):
    logic, comparison = compare(app, tmp_path)
    comparison.describe(modality="PET")
    study, exporter, marks = inStudy(app, comparison), Exporter(), Marks()
    files = exportDicom(comparison, str(folder), exporter, marks)
    assert [Path(file).name for file in files] == [f"IMG{index:04}.dcm" for index in range(6)]
    tags = exporter.exportable.tags
    assert "denoised, research use, not a medical device" in tags["SeriesDescription"]
    assert len(tags["SeriesDescription"]) <= 64  # DICOM's limit
    assert tags["SeriesInstanceUID"] == ""  # the exporter makes a new one
    assert tags["Modality"] == "PT"
    assert exporter.study == study
    assert sorted(marks) == [f"IMG{index:04}.dcm" for index in range(6)]
    said = marks["IMG0000.dcm"]
    assert said["ImageType"][:2] == ["DERIVED", "SECONDARY"]
    assert "student" in said["DerivationDescription"]
    assert "not a medical device" in said["DerivationDescription"]
    logic.close()


def test_what_is_shown_is_exported(app, tmp_path, folder):
    logic, comparison = compare(app, tmp_path)
    inStudy(app, comparison)
    logic.setStrength(comparison, 0.5)
    exporter, marks = Exporter(), Marks()
    exportDicom(comparison, str(folder), exporter, marks)
    np.testing.assert_array_equal(exporter.stored, voxels(comparison.denoised))
    assert "strength 0.5" in marks["IMG0000.dcm"]["DerivationDescription"]
    assert "RescaleSlope" not in marks["IMG0000.dcm"]
    logic.close()


@pytest.mark.parametrize("dtype", [np.float32, np.uint16, np.float64])
def test_values_that_16_bits_do_not_hold_come_back_by_slope_and_intercept(app, tmp_path, folder, dtype):
    array = (np.random.default_rng(0).random((2, 16, 16)) * 60000).astype(dtype)
    logic, comparison = compare(app, tmp_path, array)
    inStudy(app, comparison)
    exporter, marks = Exporter(), Marks()
    exportDicom(comparison, str(folder), exporter, marks)
    slope, intercept = (float(marks["IMG0000.dcm"][name]) for name in ("RescaleSlope", "RescaleIntercept"))
    assert exporter.stored.dtype == np.int16
    got = exporter.stored * slope + intercept
    np.testing.assert_allclose(got, voxels(comparison.denoised), atol=0.51 * slope)
    assert slope < 1
    logic.close()


def test_scene_is_as_before(app, tmp_path, folder):
    logic, comparison = compare(app, tmp_path)
    inStudy(app, comparison)
    for exporter in (Exporter(), Exporter("disk full")):
        before = [node.GetID() for node in slicer.util.getNodesByClass("vtkMRMLNode")]
        if exporter.problem:
            with pytest.raises(ExportError, match="disk full"):
                exportDicom(comparison, str(folder), exporter, Marks())
        else:
            exportDicom(comparison, str(folder), exporter, Marks())
        assert [node.GetID() for node in slicer.util.getNodesByClass("vtkMRMLNode")] == before
    assert (folder / "other.dcm").read_bytes() == b"of the user"
    logic.close()


def test_image_without_study_is_refused_with_the_way_out(app, tmp_path, folder):
    logic, comparison = compare(app, tmp_path)
    with pytest.raises(ExportError, match="no patient and study") as caught:
        exportDicom(comparison, str(folder), Exporter(), Marks())
    assert "Data module" in caught.value.advice
    logic.close()


@pytest.mark.parametrize(("exporter", "why"), [(NoFiles(), "no file"), (TakesNothing(), "does not take")])
def test_exporter_that_writes_nothing_is_noticed(app, tmp_path, folder, exporter, why):
    logic, comparison = compare(app, tmp_path)
    inStudy(app, comparison)
    with pytest.raises(ExportError, match=why):
        exportDicom(comparison, str(folder), exporter, Marks())
    logic.close()


def test_slicer_without_the_exporter_says_so(app, tmp_path, folder):
    with pytest.raises(ExportError, match="missing") as caught:
        slicersExporter()
    assert "settings" in caught.value.advice
    logic, comparison = compare(app, tmp_path)
    with pytest.raises(ExportError, match="missing"):
        logic.exportDicom(comparison, str(folder))
    logic.close()


def test_pydicom_marks_a_real_file(tmp_path):
    pydicom = pytest.importorskip("pydicom", reason="pydicom is not installed; Slicer has it")
    from pydicom.data import get_testdata_file

    path = tmp_path / "IMG0000.dcm"
    path.write_bytes(Path(get_testdata_file("CT_small.dcm")).read_bytes())
    before = pydicom.dcmread(path)
    markWithPydicom(str(path), {"ImageType": ["DERIVED", "SECONDARY"], "RescaleSlope": "0.25", "RescaleIntercept": "3"})
    after = pydicom.dcmread(path)
    assert list(after.ImageType) == ["DERIVED", "SECONDARY"]
    assert (after.RescaleSlope, after.RescaleIntercept) == (0.25, 3)
    assert after.PixelData == before.PixelData
    assert after.SOPInstanceUID == before.SOPInstanceUID
    assert [file.name for file in tmp_path.iterdir()] == ["IMG0000.dcm"]
