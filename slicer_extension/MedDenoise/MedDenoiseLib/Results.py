"""Turns the server's answer into volumes of the scene."""

from __future__ import annotations

import os
from typing import Any

import numpy as np

from MedDenoiseLib.Comparison import Comparison
from MedDenoiseLib.Difference import legendOf, makeDifference, removeUnusedColors
from MedDenoiseLib.Exchange import asType, readBack
from MedDenoiseLib.Images import addDisplay, makeVolume, voxels
from MedDenoiseLib.Region import Region
from MedDenoiseLib.WindowLink import copyLook

OUTSIDE = "Outside of the region the result is the original, and the uncertainty is not known and shown as 0."


class Results:
    """Adds the volumes of one answer, beside the original in the subject hierarchy, or none of them.

    Args:
        scene: The vtkMRMLScene.
        original: Volume node in the scene that was denoised.
        region: What of it was sent and is pasted; None for all of it.
        colorLogic: vtkSlicerColorLogic for the legend, or None.
    """

    def __init__(self, scene: Any, original: Any, region: Region | None = None, colorLogic: Any = None) -> None:
        self._scene = scene
        self._original = original
        self._region = region
        self._colorLogic = colorLogic

    def add(self, name: str, answer: Any) -> Comparison:
        """Reads the files of a Client.Answer and adds ``name denoised``, ``name difference`` and ``name uncertainty``.

        Raises:
            GeometryError: A file is not on the grid that was sent; the scene is as before.
        """
        values = self._whole(answer.volumePath, voxels(self._original))
        path = answer.uncertaintyPath
        blank = np.zeros(values.shape, np.float32) if path and os.path.isfile(path) else None
        spread = self._whole(path, blank) if blank is not None else None
        denoised = makeVolume(self._scene, f"{name} denoised", self._original, values, "denoised")
        self._showLike(denoised)
        unit = str(answer.figures.get("units") or "")
        difference = makeDifference(
            self._scene, f"{name} difference", self._original, denoised, colorLogic=self._colorLogic, unit=unit
        )
        uncertainty = self._addUncertainty(name, spread) if spread is not None else None
        for node in (denoised, difference, uncertainty):
            placeBeside(self._original, node)
        label = f"{name}: {answer.model}" if answer.model else name
        comparison = Comparison.create(
            self._scene,
            label,
            original=self._original,
            denoised=denoised,
            difference=difference,
            uncertainty=uncertainty,
        )
        comparison.describe(model=answer.model, version=answer.version, figures=answer.figures)
        comparison.describe(limited=str(self._region is not None))
        comparison.describe(warnings=[*answer.warnings, *([OUTSIDE] if self._region and spread is not None else [])])
        return comparison

    def _whole(self, path: str, around: np.ndarray) -> np.ndarray:
        """What the file holds, in the type of ``around``; where only a region was sent, pasted into a copy of that."""
        region = self._region
        read = readBack(path, self._original, region.sent if region else None)
        if region is None:
            return asType(read, around.dtype)
        whole = around.copy()
        whole[region.pasted.slices] = asType(read, around.dtype)[region.pasted.inside(region.sent)]
        return whole

    def _showLike(self, denoised: Any) -> None:
        if self._original.GetDisplayNode() is None:
            self._original.CreateDefaultDisplayNodes()
        copyLook(self._original.GetDisplayNode(), addDisplay(denoised))

    def _addUncertainty(self, name: str, spread: np.ndarray) -> Any:
        node = makeVolume(self._scene, f"{name} uncertainty", self._original, spread, "uncertainty")
        flat = spread.reshape(-1)
        high = float(np.percentile(flat[:: max(1, flat.size // 1_000_000)], 99.5)) or float(flat.max()) or 1.0
        display = addDisplay(node)
        display.SetWindowLevelMinMax(0.0, high)
        display.SetAndObserveColorNodeID("vtkMRMLColorTableNodeGrey")
        return node


def placeBeside(original: Any, node: Any) -> None:
    """Puts a node under the same parent in the subject hierarchy; nothing happens where the original is in none."""
    hierarchy = original.GetScene().GetFirstNodeByClass("vtkMRMLSubjectHierarchyNode")
    item = hierarchy.GetItemByDataNode(original) if hierarchy and node else 0
    if item:
        parent = hierarchy.GetItemParent(item)
        own = hierarchy.GetItemByDataNode(node) or hierarchy.CreateItem(parent, node)
        hierarchy.SetItemParent(own, parent)


def removeVolume(scene: Any, node: Any, colorLogic: Any = None) -> None:
    """Removes a volume made by us with its legend, display, file and place in the hierarchy."""
    legend = legendOf(node, colorLogic)
    attached = [node.GetNthDisplayNode(index) for index in range(node.GetNumberOfDisplayNodes())]
    attached += [node.GetNthStorageNode(index) for index in range(node.GetNumberOfStorageNodes())]
    hierarchy = scene.GetFirstNodeByClass("vtkMRMLSubjectHierarchyNode")
    item = hierarchy.GetItemByDataNode(node) if hierarchy else 0
    if item:
        hierarchy.RemoveItem(item, False)
    for gone in (node, legend, *attached):  # first the volume: a view would give it a new display node
        if gone and gone.GetScene():
            scene.RemoveNode(gone)
    removeUnusedColors(scene)
