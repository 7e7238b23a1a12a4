"""The same window, level and colors for original and denoised, whichever of them the user changes."""

from __future__ import annotations

from typing import Any

import vtk


def copyLook(source: Any, target: Any) -> None:
    """Gives one vtkMRMLScalarVolumeDisplayNode the window, level, threshold, colors and interpolation of another.

    An automatic window of the source is taken as it is now: left automatic, the target would have one of its own.
    """
    changing = target.StartModify()
    target.SetAutoWindowLevel(0)
    target.SetWindowLevel(source.GetWindow(), source.GetLevel())
    target.SetAutoThreshold(0)
    target.SetApplyThreshold(source.GetApplyThreshold())
    target.SetLowerThreshold(source.GetLowerThreshold())
    target.SetUpperThreshold(source.GetUpperThreshold())
    target.SetInterpolate(source.GetInterpolate())
    if target.GetColorNodeID() != source.GetColorNodeID():
        target.SetAndObserveColorNodeID(source.GetColorNodeID())
    target.EndModify(changing)


class WindowLink:
    """Keeps display nodes looking the same until released."""

    def __init__(self) -> None:
        self._observed: list[tuple[Any, int]] = []
        self._copying = False

    @property
    def on(self) -> bool:
        """Whether it keeps any."""
        return bool(self._observed)

    def link(self, first: Any, *others: Any) -> None:
        """Makes volumes look like ``first`` now, and like the one that changes from now on.

        Args:
            first: Volume node.
            others: Volume nodes; those without a display node are left out.
        """
        self.release()
        displays = [node.GetDisplayNode() for node in (first, *others) if node and node.GetDisplayNode()]
        for display in displays[1:]:
            copyLook(displays[0], display)

        def changed(caller: Any, _event: str) -> None:
            self._follow(caller, displays)

        for display in displays:
            self._observed.append((display, display.AddObserver(vtk.vtkCommand.ModifiedEvent, changed)))

    def release(self) -> None:
        """Lets each go its own way; safe to call twice."""
        for display, tag in self._observed:
            display.RemoveObserver(tag)
        self._observed = []

    def _follow(self, changed: Any, displays: list[Any]) -> None:
        if self._copying:  # our own copy
            return
        self._copying = True
        try:
            for display in displays:
                if display is not changed:
                    copyLook(changed, display)
        finally:
            self._copying = False
