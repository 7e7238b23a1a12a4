"""What the module does, without a window: send, take the answer, mix, compare, keep, remove."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Callable, Protocol

from MedDenoiseLib.Comparison import Comparison
from MedDenoiseLib.Parameters import Parameters


class Answer(Protocol):
    """What the client brings back; see Client.Answer."""

    volumePath: str
    uncertaintyPath: str | None
    figures: dict[str, Any]
    warnings: tuple[str, ...]
    model: str
    version: str


@dataclass
class Prepared:
    """An image on its way to the server.

    Attributes:
        path: NRRD file to send, with a neutral name and no word about the image.
        modality: "CT", "MR", "PET", "XR" or "": guessed.
        name: Name of the input, for the results; never sent.
        note: Sentence about the region for the user, "" if there is nothing to say.
        region: Region.Region or None: what of the volume the file holds.
        node: The input node.
        snapshot: Copy of the input as it was sent, outside the scene.
    """

    path: str
    modality: str
    name: str
    note: str
    region: Any
    node: Any
    snapshot: Any


class Logic:
    """Everything on the scene; call it from the GUI thread only.

    Args:
        scene: The vtkMRMLScene.
        applicationLogic: vtkMRMLApplicationLogic (slicer.app.applicationLogic()).
        colorLogic: vtkSlicerColorLogic (slicer.modules.colors.logic()) for the legend; None: no legend.

    Attributes:
        parameters: The user's choices.
        layout: The three views.
        windowLink: Keeps the windows of original and denoised the same.
    """

    parameters: Parameters

    def __init__(self, scene: Any, applicationLogic: Any, colorLogic: Any = None) -> None:
        """Adds no node yet. close() ends all observing."""

    def activeVolume(self) -> Any:
        """The scalar volume the user looks at (foreground or background of a slice view, else the active one), or None."""

    def check(self, node: Any) -> None:
        """Raises InputError (says why, .advice the way out) where ``node`` (may be None) cannot be denoised."""

    def guessModality(self, node: Any) -> str:
        """ "CT", "MR", "PET", "XR", or "" where the user has to choose."""

    def prepare(self, node: Any, region: Any, folder: str, modality: str = "") -> Prepared:
        """Checks the volume and writes the file to send into ``folder``; region: vtkMRMLMarkupsROINode or None.

        Raises:
            InputError: The volume or the region cannot be used.
        """

    def accept(self, prepared: Prepared, answer: Answer) -> Comparison:
        """Adds the results to the scene; does not show them. The scene is as before where it raises.

        Raises:
            GeometryError: The answer is not on the grid that was sent.
        """

    def show(self, comparison: Comparison) -> None:
        """Brings up the three views; comparisons of the same image keep slice and zoom. Sets parameters.shown."""

    def restoreLayout(self) -> None:
        """Back to the layout from before show()."""

    def flicker(self) -> bool:
        """Swaps original and denoised in the middle view; True if denoised is on top now."""

    @property
    def comparisons(self) -> list[Comparison]:
        """All of the scene, oldest first."""

    @property
    def shown(self) -> Comparison | None:
        """The one on display, by parameters.shown; None for none."""

    def setStrength(self, comparison: Comparison, strength: float) -> None:
        """Mixes anew at once; denoised and difference follow."""

    def linkWindows(self, on: bool) -> None:
        """Same window, level and colors for original and denoised of the one shown, from now on or no longer."""

    def statistics(self, comparison: Comparison, region: Any = None, segment: str = "") -> list[Any]:
        """Statistics.Row objects (quantity, original, denoised, unit, source) for the table.

        Args:
            comparison: A complete one.
            region: vtkMRMLMarkupsROINode, closed curve or segmentation node; None: whole volume.
            segment: Id of the segment where ``region`` is a segmentation.

        Raises:
            InputError: Too little of the image lies in the region.
        """

    def exportDicom(self, comparison: Comparison, folder: str) -> list[str]:
        """Writes the denoised image as a derived DICOM series; returns the files.

        Raises:
            ExportError: Slicer's exporter is missing or failed; says what to do.
        """

    def keep(self, comparison: Comparison) -> None:
        """Takes the images out of the module's care: they stay in the scene as plain volumes, no longer compared."""

    def remove(self, comparison: Comparison) -> None:
        """Removes the results from the scene; the original stays."""

    def sceneClosed(self) -> None:
        """Forgets what is gone: observers, the earlier layout. Call at the scene's StartCloseEvent."""

    def close(self) -> None:
        """Ends all observing; call at the module's cleanup. Safe to call twice."""

    onChanged: Callable[[], None] | None = None
