"""The administrator's page over a scene, as tests and pictures want it."""

from pathlib import Path

import slicer.util

from MedDenoiseLib.Settings import SessionSecrets, Settings
from MedDenoiseTrainingLib.Pseudonyms import Pseudonyms
from MedDenoiseTrainingLib.Surroundings import AGREEMENTS, Surroundings, makeClient
from MedDenoiseTrainingLib.TrainingWidget import TrainingWidget

UI = Path(__file__).resolve().parents[2] / "slicer_extension/MedDenoiseTraining/Resources/UI/MedDenoiseTraining.ui"


def pageOver(inside, store, ask, client=None):
    """A page that is not shown yet.

    Args:
        inside: A scene.Application.
        store: Settings.
        ask: Answers questions.
        client: What it talks to; None for a real client.
    """
    widget = slicer.util.loadUI(str(UI))
    around = Surroundings(
        scene=inside.scene,
        applicationLogic=inside.logic,
        settings=Settings(store, AGREEMENTS),
        pseudonyms=Pseudonyms(store),
        secrets=SessionSecrets(),
        makeClient=makeClient if client is None else lambda *_args: client,
        ask=ask,
    )
    return TrainingWidget(widget, slicer.util.childWidgetVariables(widget), around)
