"""Which volumes can be denoised, which one the user looks at, and which modality it is."""

from __future__ import annotations

from typing import Any

import numpy as np

from MedDenoiseLib.Errors import MedDenoiseError
from MedDenoiseLib.Images import ROLE, unitOf, voxels

BY_DICOM = {"CT": "CT", "MR": "MR", "PT": "PET"}
BY_DICOM.update(dict.fromkeys(("CR", "DX", "XA", "RF", "MG", "XR", "RG", "IO", "PX", "RTIMAGE"), "XR"))
"""DICOM Modality to ours."""
KINDS = (  # what the node is, what the user reads about it, the way out; subclasses of the scalar volume first
    ("vtkMRMLLabelMapVolumeNode", "is a label map, which holds labels instead of brightness", "Choose the image."),
    ("vtkMRMLVectorVolumeNode", "is a color or vector volume", "Convert it to gray with Vector to Scalar Volume."),
    ("vtkMRMLSegmentationNode", "is a segmentation", "Choose the image that it was drawn on."),
    ("vtkMRMLSequenceNode", "is a sequence", "Choose the volume that its sequence browser shows: the current frame."),
    ("vtkMRMLDiffusionWeightedVolumeNode", "holds many directions", "Extract one of its volumes first."),
    ("vtkMRMLMultiVolumeNode", "holds many frames", "Extract one of its frames first."),
)


class InputError(MedDenoiseError):
    """This node or region cannot be denoised."""


def checkInput(node: Any) -> None:
    """Raises InputError, with the reason and the way out, unless it is a scalar volume of finite values.

    Args:
        node: Any MRML node, or None where nothing is chosen. A sequence's current frame is the volume that the
            sequence browser shows.
    """
    checkKind(node)
    name = node.GetName()
    values = voxels(node)
    if values.dtype.kind == "f":
        bad = values.size - int(np.count_nonzero(np.isfinite(values)))
        if bad:
            raise InputError(
                f"{name} has {bad} voxels that are not numbers (NaN) or infinite.",
                "Replace them first, for example with Simple Filters.",
            )


def checkKind(node: Any) -> None:
    """Raises InputError, with the reason and the way out, unless it is a scalar volume; looks at no values."""
    if node is None:
        raise InputError("No volume is chosen.", "Load an image and choose it as the input.")
    name = node.GetName()
    for className, what, wayOut in KINDS:
        if node.IsA(className):
            raise InputError(f"{name} {what}; it cannot be denoised.", wayOut)
    if not node.IsA("vtkMRMLScalarVolumeNode"):
        raise InputError(f"{name} is no volume.", "Choose an image.")
    image = node.GetImageData()
    if image is None or not image.GetNumberOfPoints() or image.GetPointData().GetScalars() is None:
        raise InputError(f"{name} is empty.", "Load the image again, or choose another.")
    if image.GetNumberOfScalarComponents() != 1:
        raise InputError(
            f"{name} has {image.GetNumberOfScalarComponents()} values per voxel; it cannot be denoised.",
            "Convert it to a volume with one value per voxel.",
        )
    if node.GetAttribute(ROLE) in ("difference", "uncertainty"):
        raise InputError(f"{name} is a map made by this module, no image.", "Choose the image it was made from.")


def canDenoise(node: Any) -> bool:
    """Whether the node is of the right kind; values are not looked at, so it is fast."""
    try:
        checkKind(node)
    except InputError:
        return False
    return True


def activeVolume(scene: Any, applicationLogic: Any = None) -> Any:
    """The volume that the user looks at: background, then foreground of the views on the screen, then the active one.

    Our own results are passed over: they are seldom what shall be denoised next.

    Args:
        scene: The vtkMRMLScene.
        applicationLogic: For the active volume; None leaves that out.

    Returns:
        A scalar volume node, the only one of the scene where no view shows any, or None.
    """
    candidates = [scene.GetNodeByID(name) if name else None for name in _shownIds(scene)]
    if applicationLogic is not None:
        candidates.append(scene.GetNodeByID(applicationLogic.GetSelectionNode().GetActiveVolumeID() or ""))
    ours = [node.GetAttribute(ROLE) for node in candidates if node]
    volumes = [node for node in candidates if node and canDenoise(node) and not node.GetAttribute(ROLE)]
    if not volumes:
        everything = [node for node in nodesOf(scene, "vtkMRMLScalarVolumeNode") if canDenoise(node)]
        alone = [node for node in everything if not node.GetAttribute(ROLE)]
        volumes = alone if len(alone) == 1 and not any(ours) else []
    return volumes[0] if volumes else None


def guessModality(node: Any, scene: Any = None) -> str:
    """What kind of image it is, from what its node says, else from Hounsfield numbers.

    Looks at the DICOM modality (node and subject hierarchy), the quantity, the unit, and last whether the values have
    air as only CT has: at least 2 % near -1000 and nothing above 40000.

    Returns:
        "CT", "MR", "PET", "XR", or "" where nothing is sure and the user has to choose.
    """
    scene = scene or node.GetScene()
    stated = node.GetAttribute("DICOM.Modality") or _dicomModality(node, scene)
    if stated:
        return BY_DICOM.get(stated, "")
    return _byUnit(node) or ("CT" if _holdsAir(voxels(node)) else "")


def nodesOf(scene: Any, className: str) -> list[Any]:
    """All nodes of a class and its children, in the scene's order."""
    found = scene.GetNodesByClass(className)
    found.UnRegister(None)
    return [found.GetItemAsObject(index) for index in range(found.GetNumberOfItems())]


def isSequenceFrame(node: Any) -> bool:
    """Whether a sequence browser swaps the voxels of this volume as the user browses."""
    browsers = nodesOf(node.GetScene(), "vtkMRMLSequenceBrowserNode") if node.GetScene() else []
    return any(browser.IsProxyNodeID(node.GetID()) for browser in browsers)


def _shownIds(scene: Any) -> list[str]:
    """Ids of the volumes in the views: backgrounds, then visible foregrounds; views on the screen first."""
    composites = nodesOf(scene, "vtkMRMLSliceCompositeNode")
    mapped = {node.GetLayoutName() for node in nodesOf(scene, "vtkMRMLSliceNode") if node.IsMappedInLayout()}
    composites.sort(key=lambda composite: composite.GetLayoutName() not in mapped)
    backgrounds = [composite.GetBackgroundVolumeID() for composite in composites]
    return backgrounds + [composite.GetForegroundVolumeID() for composite in composites]


def _dicomModality(node: Any, scene: Any) -> str:
    if scene is None:
        return ""
    hierarchy = scene.GetFirstNodeByClass("vtkMRMLSubjectHierarchyNode")
    item = hierarchy.GetItemByDataNode(node) if hierarchy else 0
    return hierarchy.GetItemAttribute(item, "DICOM.Modality") if item else ""


def _byUnit(node: Any) -> str:
    quantity = node.GetVoxelValueQuantity()
    words = [(quantity.GetCodeMeaning() or "").lower()] if quantity else []
    entry = node.GetVoxelValueUnits()
    words += [(text or "").lower() for text in (entry.GetCodeValue(), entry.GetCodeMeaning())] if entry else []
    said = " ".join(words)
    if unitOf(node) == "HU" or "hounsfield" in said or "attenuation coefficient" in said:
        return "CT"
    return "PET" if any(sign in said for sign in ("suv", "bq", "uptake value")) else ""


def _holdsAir(values: np.ndarray) -> bool:
    if values.dtype.kind == "u" or values.min() >= -500 or values.max() > 40000:
        return False
    thinned = values.reshape(-1)[:: max(1, values.size // 1_000_000)]
    return float(np.mean((thinned < -800) & (thinned >= -3100))) > 0.02
