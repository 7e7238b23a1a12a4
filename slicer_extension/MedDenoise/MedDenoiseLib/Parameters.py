"""What the user chose, kept in the scene so that a saved scene opens as it was left."""

from __future__ import annotations

from typing import Any, Callable

import slicer
import vtk

MODULE = "MedDenoise"
ALONE = "MedDenoise"
"""The singleton tag: one such node in a scene."""


def _node(role: str) -> property:
    """A reference to a node of the scene; None where nothing is chosen or the node is gone."""

    def read(self: Parameters) -> Any:
        return self.node.GetNodeReference(role)

    def write(self: Parameters, value: Any) -> None:
        self.node.SetNodeReferenceID(role, value.GetID() if value else None)

    return property(read, write)


def _text(name: str, default: str = "") -> property:
    """A text parameter."""

    def read(self: Parameters) -> str:
        return self.node.GetParameter(name) or default

    def write(self: Parameters, value: str) -> None:
        self.node.SetParameter(name, value)

    return property(read, write)


def _flag(name: str, default: bool) -> property:
    """A parameter that is on or off."""

    def read(self: Parameters) -> bool:
        return (self.node.GetParameter(name) or str(default)) == str(True)

    def write(self: Parameters, value: bool) -> None:
        self.node.SetParameter(name, str(bool(value)))

    return property(read, write)


class Parameters:
    """The module's choices on one vtkMRMLScriptedModuleNode, made when first needed, and again after a scene close.

    Attributes:
        inputVolume: Volume to denoise, or None.
        region: Markups ROI that limits the work, or None for the whole volume.
        statisticsRegion: ROI, closed curve or segmentation that the table looks at, or None.
        statisticsSegment: Id of the segment where statisticsRegion is a segmentation.
        modality: "CT", "MR", "PET", "XR", or "" while nobody has said.
        model: Name of the server's model, "" for the recommended one.
        uncertainty: Whether to ask for the uncertainty map too.
        linkWindows: Whether original and denoised keep the same window, level and colors.
        shown: Id of the comparison on display (Comparison.id), "" for none.
    """

    inputVolume = _node("inputVolume")
    region = _node("region")
    statisticsRegion = _node("statisticsRegion")
    statisticsSegment = _text("statisticsSegment")
    modality = _text("modality")
    model = _text("model")
    uncertainty = _flag("uncertainty", False)
    linkWindows = _flag("linkWindows", True)

    def __init__(self, scene: Any) -> None:
        self._scene = scene
        self._observed: tuple[Any, int] | None = None

    @property
    def node(self) -> Any:
        """The vtkMRMLScriptedModuleNode that holds them."""
        node = self._scene.GetSingletonNode(ALONE, "vtkMRMLScriptedModuleNode")
        if node is None:
            node = slicer.vtkMRMLScriptedModuleNode()
            node.SetSingletonTag(ALONE)
            node.SetName(MODULE)
            node.SetModuleName(MODULE)
            node.SetHideFromEditors(True)
            node = self._scene.AddNode(node)
        return node

    @property
    def shown(self) -> str:
        """Id of the comparison on display; a reference, so that it follows the ids that loading a scene changes."""
        return self.node.GetNodeReferenceID("shown") or ""

    @shown.setter
    def shown(self, comparisonId: str) -> None:
        self.node.SetNodeReferenceID("shown", comparisonId or None)

    def observe(self, changed: Callable[[], None]) -> None:
        """Calls ``changed`` at every change, of parameters and references alike, until release().

        After a scene was closed or loaded the node is another one: call it again then.
        """
        self.release()
        node = self.node
        self._observed = (node, node.AddObserver(vtk.vtkCommand.ModifiedEvent, lambda *_: changed()))

    def release(self) -> None:
        """Stops calling; safe to call twice."""
        if self._observed:
            node, tag = self._observed
            node.RemoveObserver(tag)
        self._observed = None
