"""MedDenoise in 3D Slicer: the three classes that the application asks for. The work is done in MedDenoiseLib."""

from __future__ import annotations

import slicer
from slicer.ScriptedLoadableModule import (
    ScriptedLoadableModule,
    ScriptedLoadableModuleTest,
    ScriptedLoadableModuleWidget,
)
from slicer.util import VTKObservationMixin

from MedDenoiseLib import Texts
from MedDenoiseLib.I18n import translate


class MedDenoise(ScriptedLoadableModule):
    """Describes the module to the application."""

    def __init__(self, parent):
        ScriptedLoadableModule.__init__(self, parent)
        self.parent.title = "MedDenoise"
        self.parent.categories = [translate("qSlicerAbstractCoreModule", "Filtering")]
        self.parent.dependencies = []
        self.parent.contributors = ["MedDenoise developers"]
        self.parent.helpText = Texts.help()
        self.parent.acknowledgementText = Texts.acknowledgement()
        slicer.app.connect("startupCompleted()", self.whenStarted)

    @staticmethod
    def whenStarted():
        """Makes the compare layout known, so that scenes saved with it open in it."""
        from MedDenoiseLib import Layout

        Layout.registerLayouts(slicer.app.layoutManager().layoutLogic().GetLayoutNode())


class MedDenoiseWidget(ScriptedLoadableModuleWidget, VTKObservationMixin):
    """Hosts the panel and tells it what happens to the scene."""

    def __init__(self, parent=None):
        ScriptedLoadableModuleWidget.__init__(self, parent)
        VTKObservationMixin.__init__(self)
        self.panel = None

    def setup(self):
        """Called once, when the module is opened for the first time."""
        from MedDenoiseLib.Widget import Widget

        ScriptedLoadableModuleWidget.setup(self)
        self.panel = Widget.inSlicer(self.resourcePath("UI/MedDenoise.ui"))
        self.layout.addWidget(self.panel.widget)
        scene = slicer.mrmlScene
        self.addObserver(scene, scene.StartCloseEvent, self.panel.onSceneStartClose)
        self.addObserver(scene, scene.EndCloseEvent, self.panel.onSceneEndClose)
        self.addObserver(scene, scene.EndImportEvent, self.panel.onSceneImported)

    def enter(self):
        """Called whenever the module is shown."""
        self.panel.enter()

    def exit(self):
        """Called whenever another module is shown."""
        self.panel.exit()

    def cleanup(self):
        """Called before the module is reloaded or the application ends."""
        self.removeObservers()
        if self.panel is not None:
            self.panel.cleanup()


class MedDenoiseTest(ScriptedLoadableModuleTest):
    """The module's self-test: everything but a server, which Testing/Python/MedDenoiseServerTest.py brings."""

    def runTest(self):
        """Runs all."""
