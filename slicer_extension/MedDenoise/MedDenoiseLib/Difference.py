"""What was removed: original minus denoised, signed, on a symmetric scale of colors."""

from __future__ import annotations

from typing import Any

import numpy as np
import slicer

from MedDenoiseLib.Images import addDisplay, makeVolume, unitOf, voxels, voxelsOn
from MedDenoiseLib.Input import nodesOf

COLORS = "MedDenoise difference"
STOPS = ((0.55, 0.80, 1.0), (0.15, 0.40, 0.70), (0.0, 0.0, 0.0), (0.65, 0.20, 0.10), (1.0, 0.75, 0.60))
"""Blue (denoised is brighter) over black (unchanged) to red (denoised is darker), told apart by the color-blind too.

Black, so that the view does not outshine the images beside it in a dark room, and the legend's white text can be read.
"""
SAMPLES = 1_000_000
TAIL = 99.5
"""Percentile of the changes that reaches the end of the scale."""


def makeDifference(scene: Any, name: str, original: Any, denoised: Any, colorLogic: Any = None, unit: str = "") -> Any:
    """Adds the volume ``name``: original minus denoised, float32, in the original's unit.

    The window is symmetric, so that zero has the neutral color, and stays when the strength changes, so that a weaker
    denoising looks weaker.

    Args:
        scene: The vtkMRMLScene.
        name: Of the new volume.
        original: Volume node.
        denoised: Volume node on the same grid, at full strength.
        colorLogic: vtkSlicerColorLogic that draws the legend; None, or one too old for it: no legend.
        unit: For the legend, where the original states none.
    """
    before, after = voxels(original), voxelsOn(original, denoised)
    change = np.empty(before.shape, np.float32)
    kind = workingType(before.dtype)
    for here, there, out in zip(before, after, change):
        np.subtract(here, there, out=out, dtype=kind, casting="unsafe")
    node = makeVolume(scene, name, original, change, "difference")
    display = addDisplay(node)
    display.SetWindowLevel(2.0 * _reach(voxels(node)), 0.0)
    display.SetAndObserveColorNodeID(colorTable(scene).GetID())
    _addLegend(node, colorLogic, unitOf(node) or unit)
    return node


def workingType(dtype: np.dtype) -> type:
    """The float type that holds every difference of two such values (of 64-bit integers: nearly)."""
    return np.float32 if dtype.itemsize <= 2 or dtype == np.float32 else np.float64


def colorTable(scene: Any) -> Any:
    """The scene's diverging color table, made if it is not there; visible, or Slicer would not save it."""
    for node in nodesOf(scene, "vtkMRMLColorTableNode"):
        if node.GetName() == COLORS:
            return node
    node = slicer.vtkMRMLColorTableNode()
    node.SetName(COLORS)
    node.SetTypeToUser()
    node.SetHideFromEditors(False)
    node.SetAttribute("Category", "MedDenoise")
    node.SetNumberOfColors(256)
    where = np.linspace(-1, 1, 255)
    where = np.insert(where, 127, 0.0)  # zero falls between entries 127 and 128: both are neutral
    stops = np.linspace(-1, 1, len(STOPS))
    for index, position in enumerate(where):
        red, green, blue = (float(np.interp(position, stops, channel)) for channel in zip(*STOPS))
        node.SetColor(index, f"{position:+.3f}", red, green, blue, 1.0)
    return scene.AddNode(node)


def removeUnusedColors(scene: Any) -> None:
    """Removes the color table once no volume is shown with it."""
    used = {display.GetColorNodeID() for display in nodesOf(scene, "vtkMRMLDisplayNode")}
    for node in nodesOf(scene, "vtkMRMLColorTableNode"):
        if node.GetName() == COLORS and node.GetID() not in used:
            scene.RemoveNode(node)


def legendOf(node: Any, colorLogic: Any) -> Any:
    """The volume's vtkMRMLColorLegendDisplayNode, or None."""
    return colorLogic.GetColorLegendDisplayNode(node) if hasattr(colorLogic, "GetColorLegendDisplayNode") else None


def _reach(change: np.ndarray) -> float:
    """A change that few voxels exceed; 1 where nothing changed."""
    flat = change.reshape(-1)
    sample = np.abs(flat[:: max(1, flat.size // SAMPLES)])
    changed = sample[sample > 0]
    return float(np.percentile(sample, TAIL)) or (float(changed.max()) if changed.size else 1.0)


def _addLegend(node: Any, colorLogic: Any, unit: str) -> None:
    add = getattr(colorLogic, "AddDefaultColorLegendDisplayNode", None)
    legend = add(node) if add else None
    if legend is None:
        return
    legend.SetTitleText("original \u2212 denoised" + (f" ({unit})" if unit else ""))
    legend.SetLabelFormat(legend.GetLabelFormat().replace(".1f", ".3g"))  # one decimal hides changes of SUV
    legend.SetVisibility(True)
