"""What the page needs of the application around it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Callable

import qt
import slicer

from MedDenoiseLib.Settings import SessionSecrets, Settings
from MedDenoiseTrainingLib.Pseudonyms import Pseudonyms
from MedDenoiseTrainingLib.TrainingClient import TrainingClient

AGREEMENTS = "agreedTrainingHosts"
"""Who may get an image to denoise it may not therefore keep images to train on them."""


@dataclass
class Surroundings:
    """Tests bring their own.

    Attributes:
        scene: The vtkMRMLScene.
        applicationLogic: For the volume that the user looks at.
        settings: What is kept on disk.
        pseudonyms: Names the patients.
        secrets: What is kept in memory only.
        makeClient: makeClient(address, token, certificate file or "", consented) gives a TrainingClient.
        ask: ask(question) -> bool.
    """

    scene: Any
    applicationLogic: Any
    settings: Any
    pseudonyms: Any
    secrets: Any
    makeClient: Callable
    ask: Callable[[str], bool]

    @classmethod
    def inSlicer(cls) -> Surroundings:
        """Those of the application."""
        return cls(
            scene=slicer.mrmlScene,
            applicationLogic=slicer.app.applicationLogic(),
            settings=Settings(qt.QSettings(), AGREEMENTS),
            pseudonyms=Pseudonyms(qt.QSettings()),
            secrets=SessionSecrets(),
            makeClient=makeClient,
            ask=lambda question: slicer.util.confirmYesNoDisplay(question, windowTitle="MedDenoise Training"),
        )


def makeClient(address: str, token: str, certificate: str, consented: Callable[[str], bool]) -> TrainingClient:
    """A client as the page wants it."""
    return TrainingClient(address, token=token, certificateFile=certificate, consented=consented)
