"""Original, denoised and difference side by side in three linked slice views."""

from __future__ import annotations

from typing import Any

import slicer

from MedDenoiseLib.Comparison import Comparison

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
        self._earlier: int | None = None

    @property
    def shown(self) -> bool:
        """Whether the three views are on the screen."""
        node = self._layoutNode()
        return node is not None and node.GetViewArrangement() == LAYOUT

    @property
    def canRestore(self) -> bool:
        """Whether there is an earlier layout to go back to."""
        return self.shown and self._earlier is not None

    def show(self, comparison: Comparison, fit: bool = True) -> None:
        """Brings the three views up with this comparison.

        Args:
            comparison: A complete one.
            fit: Also turns the views to the image's plane and fits it; False keeps slice and zoom, as when switching
                between models of the same image.
        """

    def restore(self) -> None:
        """Goes back to the layout before show(); nothing happens where there is none."""

    def flicker(self) -> bool:
        """Swaps original and denoised in the middle view.

        Returns:
            True if the denoised image is on top now.
        """

    def _layoutNode(self) -> Any:
        return self._scene.GetFirstNodeByClass("vtkMRMLLayoutNode")
