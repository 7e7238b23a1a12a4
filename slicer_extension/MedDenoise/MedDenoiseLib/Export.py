"""The denoised image as a DICOM series, through the exporter that Slicer has."""

from __future__ import annotations

import glob
import os
from typing import Any, Callable, Protocol

import numpy as np
import slicer

from MedDenoiseLib.Comparison import Comparison
from MedDenoiseLib.Errors import MedDenoiseError
from MedDenoiseLib.Images import makeVolume, voxels

DISCLAIMER = "research use, not a medical device"
TO_DICOM = {"PET": "PT", "XR": "CR"}
"""Our modality to DICOM's, where they differ. Slicer's writer knows of radiographs only CR."""
SHORT = np.iinfo(np.int16)


class ExportError(MedDenoiseError):
    """The image could not be written as DICOM."""


class Exporter(Protocol):
    """Slicer's DICOMScalarVolumePluginClass."""

    def examineForExport(self, itemId: int) -> list[Any]:
        """Exportables for an item of the subject hierarchy, with the tags of its study and patient."""

    def export(self, exportables: list[Any]) -> str:
        """Writes them; returns what went wrong, or ""."""


def slicersExporter() -> Exporter:
    """The plugin of Slicer's DICOM module.

    Raises:
        ExportError: This Slicer has none.
    """
    plugins = getattr(getattr(slicer, "modules", None), "dicomPlugins", {})
    if "DICOMScalarVolumePlugin" not in plugins:
        raise ExportError(
            "Slicer's DICOM module or its scalar volume plugin is missing.",
            "Switch both on in Slicer's settings under Modules, restart Slicer, and export again.",
        )
    return plugins["DICOMScalarVolumePlugin"]()


def exportDicom(
    comparison: Comparison,
    folder: str,
    exporter: Exporter | None = None,
    mark: Callable[[str, dict[str, Any]], None] | None = None,
) -> list[str]:
    """Writes the denoised image, at its present strength, as a new derived series of the original's study.

    Slicer's writer stores 16-bit integers and calls every image original. So other values are scaled to 16 bits, with
    the slope and intercept that bring them back (to half a slope), and the files are marked as derived afterwards.

    Args:
        comparison: A complete one, whose original lies under a patient and study.
        folder: Existing folder; the exporter makes one of its own in it.
        exporter: Slicer's by default.
        mark: Sets attributes, by keyword, in one file; by default with pydicom, which Slicer has.

    Returns:
        The files, sorted.

    Raises:
        ExportError: No study, no exporter, or it failed.
    """
    exporter = slicersExporter() if exporter is None else exporter
    mark = markWithPydicom if mark is None else mark
    denoised = comparison.denoised
    hierarchy = denoised.GetScene().GetFirstNodeByClass("vtkMRMLSubjectHierarchyNode")
    study = _studyOf(hierarchy, comparison)
    before = set(_files(folder))
    stored, slope, intercept = _asShort(voxels(denoised))
    volume = makeVolume(denoised.GetScene(), denoised.GetName(), denoised, stored, "")
    volume.SetAndObserveTransformNodeID(None)  # DICOM tells where the scanner saw it, like the original's series
    item = hierarchy.GetItemByDataNode(volume) or hierarchy.CreateItem(study, volume)
    hierarchy.SetItemParent(item, study)
    try:
        _run(exporter, item, _tags(comparison), folder)
    finally:
        hierarchy.RemoveItem(item)
        if volume.GetScene():
            denoised.GetScene().RemoveNode(volume)
    files = sorted(set(_files(folder)) - before)
    if not files:
        raise ExportError("Slicer's DICOM exporter wrote no file.", "Look into Slicer's error log for the reason.")
    for file in files:
        mark(file, _attributes(comparison, slope, intercept))
    return files


def markWithPydicom(file: str, attributes: dict[str, Any]) -> None:
    """Sets DICOM attributes by keyword in a file, which is replaced at once."""
    import pydicom

    dataset = pydicom.dcmread(file)
    for keyword, value in attributes.items():
        setattr(dataset, keyword, value)
    dataset.save_as(f"{file}.part")
    os.replace(f"{file}.part", file)


def _studyOf(hierarchy: Any, comparison: Comparison) -> int:
    item = hierarchy.GetItemByDataNode(comparison.original) if hierarchy else 0
    study = hierarchy.GetItemAncestorAtLevel(item, "Study") if item else 0
    if not study:
        raise ExportError(
            f"{comparison.original.GetName()} lies under no patient and study, which DICOM files need.",
            "In the Data module, create a study and drag the image onto it, then export again.",
        )
    return study


def _run(exporter: Exporter, item: int, tags: dict[str, str], folder: str) -> None:
    exportables = exporter.examineForExport(item)
    if not exportables:
        raise ExportError("Slicer's DICOM exporter does not take this image.", "Save it in another format.")
    exportable = exportables[0]
    exportable.directory = folder
    for name, value in tags.items():
        exportable.setTag(name, value)
    problem = exporter.export([exportable])
    if problem:
        raise ExportError(f"Slicer's DICOM exporter failed: {problem}", "Look into Slicer's error log for more.")


def _tags(comparison: Comparison) -> dict[str, str]:
    """Empty UIDs make the exporter give the series new ones."""
    return {
        "SeriesDescription": f"{comparison.model} denoised, {DISCLAIMER}"[:64],
        "Modality": TO_DICOM.get(comparison.modality, comparison.modality) or "OT",
        "Manufacturer": "MedDenoise",
        "Model": comparison.model,
        "SeriesNumber": "9000",
        "SeriesInstanceUID": "",
    }


def _attributes(comparison: Comparison, slope: float, intercept: float) -> dict[str, Any]:
    said = f"Denoised by MedDenoise, model {comparison.model} {comparison.version}, strength {comparison.strength:g}; "
    attributes: dict[str, Any] = {
        "ImageType": ["DERIVED", "SECONDARY"] + (["AXIAL"] if comparison.modality == "CT" else []),
        "DerivationDescription": said + DISCLAIMER,
        "ImageComments": said + DISCLAIMER,
    }
    if (slope, intercept) != (1.0, 0.0):
        attributes.update(RescaleSlope=f"{slope:.10g}", RescaleIntercept=f"{intercept:.10g}")
    return attributes


def _asShort(values: np.ndarray) -> tuple[np.ndarray, float, float]:
    """16-bit integers, and the slope and intercept that give the values back."""
    low, high = float(values.min()), float(values.max())
    if values.dtype.kind in "iu" and SHORT.min <= low and high <= SHORT.max:
        return values.astype(np.int16), 1.0, 0.0
    slope = float(f"{max(high - low, 1e-30) / (SHORT.max - 1) * 0.5:.10g}")
    intercept = float(f"{(low + high) / 2:.10g}")
    return np.rint((values - intercept) / slope).astype(np.int16), slope, intercept


def _files(folder: str) -> list[str]:
    return [path for path in glob.glob(os.path.join(folder, "**", "*"), recursive=True) if os.path.isfile(path)]
