"""Training MedDenoise from 3D Slicer: the three classes that the application asks for. MedDenoiseTrainingLib works."""

from __future__ import annotations

import slicer
import slicer.util
from slicer.ScriptedLoadableModule import (
    ScriptedLoadableModule,
    ScriptedLoadableModuleTest,
    ScriptedLoadableModuleWidget,
)
from slicer.util import VTKObservationMixin

from MedDenoiseLib import Texts
from MedDenoiseLib.I18n import translate
from MedDenoiseTrainingLib import TrainingTexts


class MedDenoiseTraining(ScriptedLoadableModule):
    """Describes the module to the application."""

    def __init__(self, parent):
        ScriptedLoadableModule.__init__(self, parent)
        self.parent.title = "MedDenoise Training"
        self.parent.categories = [translate("qSlicerAbstractCoreModule", "Filtering")]
        self.parent.dependencies = ["MedDenoise"]  # whose library it uses
        self.parent.contributors = ["MedDenoise developers"]
        self.parent.helpText = TrainingTexts.help()
        self.parent.acknowledgementText = Texts.acknowledgement()


class MedDenoiseTrainingWidget(ScriptedLoadableModuleWidget, VTKObservationMixin):
    """Hosts the page and tells it what happens to the scene."""

    def __init__(self, parent=None):
        ScriptedLoadableModuleWidget.__init__(self, parent)
        VTKObservationMixin.__init__(self)
        self.page = None

    def setup(self):
        """Called once, when the module is opened for the first time."""
        from MedDenoiseTrainingLib.TrainingWidget import TrainingWidget

        ScriptedLoadableModuleWidget.setup(self)
        self.page = TrainingWidget.inSlicer(self.resourcePath("UI/MedDenoiseTraining.ui"))
        self.layout.addWidget(self.page.widget)
        self.addObserver(slicer.mrmlScene, slicer.mrmlScene.StartCloseEvent, self.page.onSceneStartClose)

    def enter(self):
        """Called whenever the module is shown."""
        self.page.enter()

    def exit(self):
        """Called whenever another module is shown."""
        self.page.exit()

    def cleanup(self):
        """Called before the module is reloaded or the application ends."""
        self.removeObservers()
        if self.page is not None:
            self.page.cleanup()
            self.page = None


class MedDenoiseTrainingTest(ScriptedLoadableModuleTest):
    """The module's self-test, without a server: what would be uploaded, and what is refused."""

    def setUp(self):
        """Begins with an empty scene."""
        slicer.mrmlScene.Clear(0)

    def runTest(self):
        """Runs all."""
        self.setUp()
        self.testPairIsWrittenOnOneGrid()
        self.setUp()
        self.testPartnerOfAnotherSizeIsRefused()

    def testPairIsWrittenOnOneGrid(self):
        """Both files hold the voxels of their volumes, in the same order."""
        import tempfile

        import numpy as np

        from MedDenoiseLib.Exchange import readBack
        from MedDenoiseTrainingLib.Pair import prepare

        self.delayDisplay("A pair is written")
        values = np.arange(4 * 5 * 6, dtype=np.int16).reshape(4, 5, 6)
        pair = [slicer.util.addVolumeFromArray(values + number, name=f"self-test {number}") for number in range(2)]
        with tempfile.TemporaryDirectory() as folder:
            deposit = prepare(*pair, folder, "self-test", "", "CT")
            written = [readBack(path, pair[0], None) for path in (deposit.imagePath, deposit.partnerPath)]
        for number in range(2):
            self.assertTrue(np.array_equal(written[number], values + number))

    def testPartnerOfAnotherSizeIsRefused(self):
        """With a sentence that says what differs."""
        import numpy as np

        from MedDenoiseLib.Images import GeometryError
        from MedDenoiseTrainingLib.Pair import checkPair

        self.delayDisplay("A partner of another size is refused")
        sizes = ((4, 5, 6), (3, 5, 6))
        pair = [slicer.util.addVolumeFromArray(np.zeros(size, np.int16), name="self-test") for size in sizes]
        with self.assertRaises(GeometryError):
            checkPair(*pair)
