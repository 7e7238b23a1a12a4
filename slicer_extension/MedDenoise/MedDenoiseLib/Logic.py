"""What the module does, without a window: send, take the answer, mix, compare, keep, remove."""

from __future__ import annotations

import weakref
from typing import Any, Callable, Protocol

from MedDenoiseLib import Blend, Export, Input, Statistics
from MedDenoiseLib.Comparison import Comparison
from MedDenoiseLib.Images import ROLE, addDisplay, makeVolume, voxels
from MedDenoiseLib.Layout import Layout, registerLayouts
from MedDenoiseLib.Parameters import Parameters
from MedDenoiseLib.Prepared import Prepared
from MedDenoiseLib.Region import fitRegion
from MedDenoiseLib.Results import Results, placeBeside, removeVolume
from MedDenoiseLib.WindowLink import WindowLink, copyLook

CHANGED = "{name} changed while it was being denoised; the result belongs to the copy {copy}, as it was sent."


class Answer(Protocol):
    """What the client brings back; see Client.Answer."""

    volumePath: str
    uncertaintyPath: str | None
    figures: dict[str, Any]
    warnings: tuple[str, ...]
    model: str
    version: str


class Logic:
    """Everything on the scene; call it from the GUI thread only. Adds no node before there is something to keep.

    Args:
        scene: The vtkMRMLScene.
        applicationLogic: vtkMRMLApplicationLogic (slicer.app.applicationLogic()).
        colorLogic: vtkSlicerColorLogic (slicer.modules.colors.logic()) for the legend; None: no legend.

    Attributes:
        parameters: The user's choices.
        layout: The three views.
        windowLink: Keeps the windows of original and denoised the same.
        onChanged: Called when comparisons come or go or another one is shown, also by the user's hand; None: nobody.
    """

    def __init__(self, scene: Any, applicationLogic: Any, colorLogic: Any = None) -> None:
        """close() ends all observing."""
        self._scene = scene
        self._applicationLogic = applicationLogic
        self._colorLogic = colorLogic
        self.parameters = Parameters(scene)
        self.layout = Layout(scene, applicationLogic)
        self.windowLink = WindowLink()
        self.onChanged: Callable[[], None] | None = None
        self._known: list[Comparison] = self.comparisons
        events = {
            scene.StartCloseEvent: self.sceneClosed,
            scene.EndImportEvent: self.sceneOpened,
            scene.NodeRemovedEvent: self._nodeRemoved,
        }
        self._tags = [scene.AddObserver(event, _Weakly(call)) for event, call in events.items()]
        if scene.GetFirstNodeByClass("vtkMRMLLayoutNode"):
            registerLayouts(scene.GetFirstNodeByClass("vtkMRMLLayoutNode"))

    def activeVolume(self) -> Any:
        """The scalar volume the user looks at (background or foreground of a view, else the active one), or None."""
        coming = self._scene.IsClosing() or self._scene.IsImporting()  # or going
        return None if coming else Input.activeVolume(self._scene, self._applicationLogic)

    def check(self, node: Any) -> None:
        """Raises InputError (says why, .advice the way out) where ``node`` (may be None) cannot be denoised."""
        Input.checkInput(node)

    def guessModality(self, node: Any) -> str:
        """One of "CT", "MR", "PET", "XR", or "" where the user has to choose."""
        return Input.guessModality(node, self._scene)

    def prepare(self, node: Any, region: Any, folder: str, modality: str = "") -> Prepared:
        """Checks the volume and writes the file to send.

        Args:
            node: Volume node.
            region: vtkMRMLMarkupsROINode, or None for the whole volume.
            folder: Existing folder for the file.
            modality: What the user chose; "" for a guess.

        Raises:
            InputError: The volume or the region cannot be used.
        """
        self.check(node)
        return Prepared.write(node, region, folder, modality or self.guessModality(node))

    def accept(self, prepared: Prepared, answer: Answer) -> Comparison:
        """Adds the results to the scene; does not show them.

        Where the input was changed, browsed to another frame or removed meanwhile, or is a sequence's frame, which the
        user will browse on from, its copy as sent is added too and becomes the original.

        Raises:
            GeometryError: The answer is not on the grid that was sent; the scene is as before.
        """
        original, said = prepared.node, [prepared.note] if prepared.note else []
        copied = original.GetScene() is not self._scene or prepared.changed
        if copied or Input.isSequenceFrame(original):
            original = self._addSnapshot(prepared)
            said += [CHANGED.format(name=prepared.name, copy=original.GetName())] if copied else []
        try:
            results = Results(self._scene, original, prepared.region, self._colorLogic)
            comparison = results.add(prepared.name, answer)
        except Exception:
            if original is not prepared.node:
                removeVolume(self._scene, original)
            raise
        comparison.describe(modality=prepared.modality, warnings=[*comparison.warnings, *said])
        self._changed()
        return comparison

    def show(self, comparison: Comparison) -> None:
        """Brings up the three views; comparisons of the same image keep slice and zoom. Sets parameters.shown."""
        before = self.shown
        same = before is not None and before.original is comparison.original and self.layout.shown
        self.layout.show(comparison, fit=not same)
        self.parameters.shown = comparison.id
        self._link()
        if before != comparison:
            self._tell()

    def showUncertainty(self, on: bool) -> bool:
        """Puts the uncertainty map, or the difference again, into the third view; returns whether it is the map."""
        shown = self.shown
        if shown is None or not self.layout.shown:
            return False
        on = on and shown.uncertainty is not None
        self.layout.showMap(shown.uncertainty if on else shown.difference)
        return on

    def restoreLayout(self) -> None:
        """Back to the layout from before show()."""
        self.layout.restore()

    def flicker(self) -> bool:
        """Swaps original and denoised in the middle view; True if denoised is on top now."""
        return self.layout.flicker()

    @property
    def comparisons(self) -> list[Comparison]:
        """All of the scene, oldest first."""
        return Comparison.allIn(self._scene)

    @property
    def shown(self) -> Comparison | None:
        """The one on display, by parameters.shown; None for none."""
        wanted = self.parameters.shown
        return next((comparison for comparison in self.comparisons if comparison.id == wanted), None)

    def setStrength(self, comparison: Comparison, strength: float) -> None:
        """Mixes anew at once; denoised and difference follow. See Blend.setStrength."""
        first = comparison.answer is comparison.denoised
        Blend.setStrength(comparison, strength)
        if first and comparison.answer is not comparison.denoised:
            placeBeside(comparison.original, comparison.answer)

    def linkWindows(self, on: bool) -> None:
        """Same window, level and colors for original and denoised of the one shown, from now on or no longer."""
        self.parameters.linkWindows = on
        self._link()

    def startDrawing(self, drawn: Any, volume: Any) -> None:
        """Helps with a region that was just made: a ROI is placed on the volume, a curve is drawn by the next clicks.

        Args:
            drawn: Markups ROI or closed curve; all else is left alone.
            volume: Volume node, or None.
        """
        if drawn.IsA("vtkMRMLMarkupsROINode") and volume is not None and not any(drawn.GetSize()):
            fitRegion(drawn, volume)
        elif drawn.IsA("vtkMRMLMarkupsClosedCurveNode"):
            drawn.CreateDefaultDisplayNodes()
            selection = self._applicationLogic.GetSelectionNode()
            selection.SetReferenceActivePlaceNodeClassName(drawn.GetClassName())
            selection.SetActivePlaceNodeID(drawn.GetID())
            self._applicationLogic.GetInteractionNode().SwitchToSinglePlaceMode()

    def statistics(self, comparison: Comparison, region: Any = None, segment: str = "") -> list[Statistics.Row]:
        """Rows for the table.

        Args:
            comparison: A complete one.
            region: vtkMRMLMarkupsROINode, closed curve or segmentation node; None: whole volume.
            segment: Id of the segment where ``region`` is a segmentation.

        Raises:
            InputError: Too little of the image lies in the region.
        """
        if region is None:
            return Statistics.statisticsOf(comparison)
        return Statistics.regionStatisticsOf(comparison, region, segment)

    def exportDicom(self, comparison: Comparison, folder: str) -> list[str]:
        """Writes the denoised image as a derived DICOM series; returns the files.

        Raises:
            ExportError: Slicer's exporter is missing or failed; says what to do.
        """
        return Export.exportDicom(comparison, folder)

    def keep(self, comparison: Comparison) -> None:
        """Takes the images out of the module's care: they stay in the scene as plain volumes, no longer compared."""
        for node in (comparison.denoised, comparison.answer):
            node.RemoveAttribute(ROLE)
        self._forget(comparison)

    def remove(self, comparison: Comparison) -> None:
        """Removes the results from the scene; the original stays."""
        results = comparison.results
        self._forget(comparison, tell=False)
        for node in results:
            removeVolume(self._scene, node, self._colorLogic)
        self._changed()

    def sceneClosed(self) -> None:
        """Lets go of nodes that are about to vanish; called at the scene's StartCloseEvent too."""
        self.windowLink.release()
        self.parameters.release()
        self._known = []

    def sceneOpened(self) -> None:
        """Takes up what the scene, or another logic, brought along; called at the scene's EndImportEvent too."""
        self._known = self.comparisons
        self._link()
        self._tell()

    def close(self) -> None:
        """Ends all observing; call at the module's cleanup. Safe to call twice."""
        for tag in self._tags:
            self._scene.RemoveObserver(tag)
        self._tags = []
        self.sceneClosed()

    def _link(self) -> None:
        shown = self.shown
        if shown is not None and self.parameters.linkWindows:
            self.windowLink.link(shown.original, shown.denoised)
        else:
            self.windowLink.release()

    def _forget(self, comparison: Comparison, tell: bool = True) -> None:
        if self.parameters.shown == comparison.id:
            self.windowLink.release()
            self.parameters.shown = ""
        self._scene.RemoveNode(comparison.node)
        if tell:
            self._changed()

    def _nodeRemoved(self) -> None:
        """The user may delete an image in another module: its comparison is then no longer one."""
        if not self._scene.IsClosing() and self.comparisons != self._known:
            if self.shown is None:
                self.windowLink.release()
            self._changed()

    def _changed(self) -> None:
        if self.comparisons != self._known:
            self._known = self.comparisons
            self._tell()

    def _tell(self) -> None:
        if self.onChanged:
            self.onChanged()

    def _addSnapshot(self, prepared: Prepared) -> Any:
        snapshot = prepared.snapshot
        original = makeVolume(self._scene, f"{prepared.name} original", snapshot, voxels(snapshot), "")
        source = prepared.node.GetDisplayNode()
        if source:
            copyLook(source, addDisplay(original))
        if prepared.node.GetScene() is self._scene:
            placeBeside(prepared.node, original)
        return original


class _Weakly:
    """Calls a method as long as its object lives: a scene that outlives the logic must not call it any more.

    No function, which Python may take apart before the scene when it collects both.
    """

    def __init__(self, method: Callable[[], None]) -> None:
        self._method = weakref.WeakMethod(method)

    def __call__(self, *_: Any) -> None:
        reference = getattr(self, "_method", None)
        method = reference() if reference else None
        if method:
            method()
