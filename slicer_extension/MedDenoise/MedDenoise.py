"""MedDenoise in 3D Slicer: the three classes that the application asks for. The work is done in MedDenoiseLib."""

from __future__ import annotations

import slicer
import slicer.util
import vtk
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

        manager = slicer.app.layoutManager()
        if manager is not None:  # Slicer runs without windows too
            Layout.registerLayouts(manager.layoutLogic().GetLayoutNode())


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
        selection = slicer.app.applicationLogic().GetSelectionNode()
        self.addObserver(selection, vtk.vtkCommand.ModifiedEvent, self.panel.onSelection)

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
            self.panel = None


class MedDenoiseTest(ScriptedLoadableModuleTest):
    """The module's self-test, without a server: an image goes through everything but the network.

    Testing/Python/MedDenoiseServerTest.py does the same with a server.
    """

    def setUp(self):
        """Begins with an empty scene."""
        slicer.mrmlScene.Clear(0)

    def runTest(self):
        """Runs all."""
        self.setUp()
        self.testResultsKeepTheGridAndTheInput()
        self.setUp()
        self.testLabelMapsAreRefused()

    def testResultsKeepTheGridAndTheInput(self):
        """The file that would be sent, taken for an answer, gives a difference of zero on the input's own grid."""
        import tempfile
        from types import SimpleNamespace

        import numpy as np

        from MedDenoiseLib.Logic import Logic

        self.delayDisplay("A volume goes out and comes back")
        values = np.arange(4 * 5 * 6, dtype=np.int16).reshape(4, 5, 6)
        volume = slicer.util.addVolumeFromArray(values, name="MedDenoise self-test")
        volume.SetSpacing(0.5, 0.7, 3.0)
        logic = Logic(slicer.mrmlScene, slicer.app.applicationLogic())
        with tempfile.TemporaryDirectory() as folder:
            prepared = logic.prepare(volume, None, folder, "CT")
            answer = SimpleNamespace(
                volumePath=prepared.path,
                uncertaintyPath=None,
                figures={},
                warnings=(),
                model="none",
                version="0",
                seconds=0.0,
                settings={},
            )
            comparison = logic.accept(prepared, answer)
        self.assertTrue(np.array_equal(slicer.util.arrayFromVolume(volume), values))
        self.assertTrue(np.array_equal(slicer.util.arrayFromVolume(comparison.denoised), values))
        self.assertFalse(slicer.util.arrayFromVolume(comparison.difference).any())
        self.assertEqual(comparison.denoised.GetSpacing(), volume.GetSpacing())
        logic.close()

    def testLabelMapsAreRefused(self):
        """What is no image is refused with a reason."""
        from MedDenoiseLib.Errors import MedDenoiseError
        from MedDenoiseLib.Logic import Logic

        self.delayDisplay("A label map is refused")
        logic = Logic(slicer.mrmlScene, slicer.app.applicationLogic())
        labels = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLLabelMapVolumeNode", "labels")
        with self.assertRaises(MedDenoiseError):
            logic.check(labels)
        logic.close()
