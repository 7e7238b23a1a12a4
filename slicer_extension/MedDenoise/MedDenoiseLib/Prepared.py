"""An image on its way to the server."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Any

import slicer
import vtk

from MedDenoiseLib.Exchange import writeForServer
from MedDenoiseLib.Images import ijkToRas
from MedDenoiseLib.Region import Region, regionOf

FILE = "image.nrrd"


@dataclass(frozen=True)
class Prepared:
    """What was sent, and what is needed to take the answer.

    Attributes:
        path: NRRD file to send, with a neutral name and no word about the image.
        modality: "CT", "MR", "PET", "XR" or "".
        name: Name of the input, for the results; never sent.
        note: Sentence about the region for the user, "" if there is nothing to say.
        region: What of the volume the file holds; None for all of it.
        node: The input node.
        snapshot: Copy of the input as it was sent, outside the scene.
        state: What tells whether the node still holds what was sent.
    """

    path: str
    modality: str
    name: str
    note: str
    region: Region | None
    node: Any
    snapshot: Any
    state: Any

    @classmethod
    def write(cls, node: Any, roi: Any, folder: str, modality: str) -> Prepared:
        """Writes the file for a checked volume, or for the part of it in a region.

        Args:
            node: Scalar volume node.
            roi: vtkMRMLMarkupsROINode, or None.
            folder: Existing folder.
            modality: Ours, or "".

        Raises:
            InputError: The region cannot be used.
        """
        region = regionOf(node, roi) if roi else None
        path = os.path.join(folder, FILE)
        writeForServer(node, region.sent if region else None, path)
        note = region.note if region else ""
        return cls(path, modality, node.GetName(), note, region, node, _snapshot(node), _state(node))

    @property
    def changed(self) -> bool:
        """Whether the node holds other voxels or another grid than those that were sent."""
        return _state(self.node) != self.state


def _snapshot(node: Any) -> Any:
    copy = slicer.vtkMRMLScalarVolumeNode()
    image = vtk.vtkImageData()
    image.DeepCopy(node.GetImageData())
    copy.SetAndObserveImageData(image)
    copy.CopyOrientation(node)
    copy.SetVoxelValueUnits(node.GetVoxelValueUnits())
    copy.SetVoxelValueQuantity(node.GetVoxelValueQuantity())
    copy.SetAndObserveTransformNodeID(node.GetTransformNodeID())
    return copy


def _state(node: Any) -> tuple[str, int, bytes]:
    image = node.GetImageData()
    where = image.GetAddressAsString("vtkImageData") if image else ""
    return where, image.GetMTime() if image else 0, ijkToRas(node).tobytes()
