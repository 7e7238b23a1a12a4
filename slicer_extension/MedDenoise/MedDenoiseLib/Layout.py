"""Original, denoised and difference side by side in three linked slice views."""

from __future__ import annotations

from typing import Any

import numpy as np
import slicer
import vtk

from MedDenoiseLib.Comparison import Comparison
from MedDenoiseLib.Images import ijkToRas

LAYOUT = 5247
"""Number of the layout; any above 100 that no other module uses."""
GROUP = 52
"""View group: linking stays inside these three views."""
VIEWS = {  # singleton tag: label on the view, color of its bar
    "MedDenoiseOriginal": ("Original", "#F34A33"),
    "MedDenoiseDenoised": ("Denoised", "#6EB04B"),
    "MedDenoiseDifference": ("Difference", "#EDD54C"),
}
ORIGINAL, DENOISED, DIFFERENCE = VIEWS
EARLIER = "MedDenoise.EarlierLayout"
"""Attribute of the layout node: the layout to go back to, saved with the scene."""
FLAT = 1.5
"""Slices thicker than this many pixels are looked at in the plane they were taken in."""


def registerLayouts(layoutNode: Any) -> None:
    """Makes the layout known. Called at start-up, so that scenes saved in it open with it.

    Args:
        layoutNode: The scene's vtkMRMLLayoutNode.
    """
    items = "".join(
        f'<item><view class="vtkMRMLSliceNode" singletontag="{tag}">'
        '<property name="orientation" action="default">Axial</property>'
        f'<property name="viewlabel" action="default">{label}</property>'
        f'<property name="viewcolor" action="default">{color}</property>'
        f'<property name="viewgroup" action="default">{GROUP}</property></view></item>'
        for tag, (label, color) in VIEWS.items()
    )
    description = f'<layout type="horizontal" split="true">{items}</layout>'
    if layoutNode.IsLayoutDescription(LAYOUT):
        layoutNode.SetLayoutDescription(LAYOUT, description)
    else:
        layoutNode.AddLayoutDescription(LAYOUT, description)


class Layout:
    """Shows one comparison at a time and gives the earlier layout back.

    Args:
        scene: The vtkMRMLScene.
        applicationLogic: vtkMRMLApplicationLogic whose slice logics fit the image into the views.
    """

    def __init__(self, scene: Any, applicationLogic: Any) -> None:
        self._scene = scene
        self._logic = applicationLogic

    @property
    def shown(self) -> bool:
        """Whether the three views are on the screen."""
        node = self._layoutNode()
        return node is not None and node.GetViewArrangement() == LAYOUT

    @property
    def canRestore(self) -> bool:
        """Whether there is a layout to go back to."""
        return self.shown

    @property
    def denoisedOnTop(self) -> bool:
        """Whether the middle view shows the denoised image, as it does until somebody flickers."""
        composite = self._composite(DENOISED)
        return composite is None or composite.GetForegroundOpacity() >= 0.5

    def shows(self, volume: Any) -> bool:
        """Whether this map is in the third view, and that view on the screen."""
        return self.shown and self._composite(DIFFERENCE).GetBackgroundVolumeID() == volume.GetID()

    def show(self, comparison: Comparison, fit: bool = True) -> None:
        """Brings the three views up with this comparison.

        Args:
            comparison: A complete one.
            fit: Also turns the views to the image's plane and fits it; False keeps slice and zoom, as when switching
                between models of the same image.
        """
        node = self._layoutNode()
        registerLayouts(node)
        if not self.shown:
            node.SetAttribute(EARLIER, str(node.GetViewArrangement()))
            node.SetViewArrangement(LAYOUT)
        images = (comparison.original, comparison.original, comparison.difference)
        for tag, image in zip(VIEWS, images):
            composite = self._composite(tag)
            composite.SetBackgroundVolumeID(image.GetID())
            composite.SetForegroundVolumeID(comparison.denoised.GetID() if tag == DENOISED else None)
            composite.SetForegroundOpacity(1.0 if tag == DENOISED else 0.0)
            composite.SetLabelVolumeID(None)
            composite.SetLinkedControl(1)
            composite.SetHotLinkedControl(1)
        self._legendOnlyBeside(comparison.difference)
        if fit:
            self._fit(comparison.original)

    def showMap(self, volume: Any) -> None:
        """Puts another map than the difference into the third view, such as the uncertainty."""
        self._composite(DIFFERENCE).SetBackgroundVolumeID(volume.GetID())

    def restore(self) -> None:
        """Goes back to the layout before show(), to Slicer's four views if it is unknown."""
        node = self._layoutNode()
        if not self.shown:
            return
        earlier = int(node.GetAttribute(EARLIER) or 0)
        known = earlier and earlier != LAYOUT and node.IsLayoutDescription(earlier)
        node.SetViewArrangement(earlier if known else slicer.vtkMRMLLayoutNode.SlicerLayoutFourUpView)
        node.RemoveAttribute(EARLIER)

    def flicker(self) -> bool:
        """Swaps original and denoised in the middle view.

        Returns:
            True if the denoised image is on top now.
        """
        turned = not self.denoisedOnTop
        self._composite(DENOISED).SetForegroundOpacity(1.0 if turned else 0.0)
        return turned

    def _layoutNode(self) -> Any:
        return self._scene.GetFirstNodeByClass("vtkMRMLLayoutNode")

    def _sliceNode(self, tag: str) -> Any:
        return self._scene.GetSingletonNode(tag, "vtkMRMLSliceNode")

    def _composite(self, tag: str) -> Any:
        logic = self._logic.GetSliceLogicByLayoutName(tag)
        return logic.GetSliceCompositeNode() if logic else None

    def _fit(self, original: Any) -> None:
        """Turns all three to the image's plane, fits it into the first and takes over slice and zoom."""
        for tag in VIEWS:
            turnTo(self._sliceNode(tag), original)
            logic = self._logic.GetSliceLogicByLayoutName(tag)
            logic.FitSliceToBackground() if hasattr(logic, "FitSliceToBackground") else logic.FitSliceToAll()
            logic.SnapSliceOffsetToIJK()

    def _legendOnlyBeside(self, difference: Any) -> None:
        for index in range(difference.GetNumberOfDisplayNodes()):
            display = difference.GetNthDisplayNode(index)
            if display.IsA("vtkMRMLColorLegendDisplayNode"):
                display.SetViewNodeIDs([self._sliceNode(DIFFERENCE).GetID()])


def turnTo(sliceNode: Any, volume: Any) -> None:
    """Turns a slice view to the plane a volume is best seen in.

    2D images and slices thicker than FLAT pixels are seen as they were taken, all others axially along the voxels.
    """
    sides = volume.GetImageData().GetDimensions()
    spacing = volume.GetSpacing()
    taken = sides[2] == 1 or spacing[2] > FLAT * max(spacing[:2])
    if taken:
        normal = np.abs(_directionToWorld(volume))
        sliceNode.SetOrientation(("Sagittal", "Coronal", "Axial")[int(normal.argmax())])
    else:
        sliceNode.SetOrientation("Axial")
    sliceNode.RotateToVolumePlane(volume)


def _directionToWorld(volume: Any) -> np.ndarray:
    """Where the volume's slices are stacked to, in world RAS."""
    matrix = ijkToRas(volume)
    points = [matrix[:3, 3], matrix[:3, 3] + matrix[:3, 2]]
    if volume.GetParentTransformNode():
        toWorld = vtk.vtkGeneralTransform()
        volume.GetParentTransformNode().GetTransformToWorld(toWorld)
        points = [np.array(toWorld.TransformPoint(*point)) for point in points]
    return points[1] - points[0]
