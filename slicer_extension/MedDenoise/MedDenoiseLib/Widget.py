"""The panel: three sections, one button, and a runner that keeps Slicer responsive meanwhile."""

from __future__ import annotations

import shutil
import tempfile
from dataclasses import dataclass
from typing import Any, Callable

import qt
import slicer

from MedDenoiseLib import Texts
from MedDenoiseLib.Client import Client, Request
from MedDenoiseLib.Errors import MedDenoiseError
from MedDenoiseLib.I18n import tr as _
from MedDenoiseLib.ImagePanel import ImagePanel
from MedDenoiseLib.Logic import Logic
from MedDenoiseLib.ResultPanel import FLICKER_KEY, ResultPanel
from MedDenoiseLib.Runner import CANCELING, CONNECTING, IDLE, RUNNING, TICK_MILLISECONDS, Runner
from MedDenoiseLib.ServerPanel import ServerPanel
from MedDenoiseLib.Settings import SessionSecrets, Settings


@dataclass
class Surroundings:
    """What the panel needs of the application; tests bring their own.

    Attributes:
        scene: The vtkMRMLScene.
        logic: Logic on that scene.
        settings: What is kept on disk.
        secrets: What is kept in memory only.
        makeClient: makeClient(address, token, certificate file or "", consented) gives a client.
        ask: ask(question) -> bool.
        askFolder: askFolder() -> a folder, "" for none.
        window: The widget whose keyboard the flicker key listens to, or None.
    """

    scene: Any
    logic: Any
    settings: Any
    secrets: Any
    makeClient: Callable
    ask: Callable[[str], bool]
    askFolder: Callable[[], str]
    window: Any = None


class Widget:
    """Wires the sections to the runner, and decides what can be pressed.

    Args:
        widget: The loaded MedDenoise.ui.
        ui: Its widgets by name.
        around: What it needs of the application.

    Attributes:
        runner: Runs what takes time.
    """

    def __init__(self, widget: Any, ui: Any, around: Surroundings):
        self.widget = widget
        self.ui = ui
        self.logic = around.logic
        self._folder = ""
        self._timer = qt.QTimer()
        self._timer.setInterval(TICK_MILLISECONDS)
        self.runner = Runner(self._timer)
        self._timer.timeout.connect(self.runner.tick)
        self.server = ServerPanel(ui, around.settings, around.secrets, around.makeClient, around.ask)
        self.image = ImagePanel(ui, around.logic, around.settings, around.scene)
        self.result = ResultPanel(ui, around.logic, around.scene, around.askFolder, around.ask)
        self.runner.whenStateChanged = self.update
        self.runner.whenProgressed = self._onProgress
        self.server.whenChanged = self._onServer
        self.image.whenChanged = self.update
        self.logic.onChanged = self._onComparisons
        ui.connectButton.clicked.connect(self._onConnect)
        ui.denoiseButton.clicked.connect(self._onDenoise)
        self._key = qt.QShortcut(widget if around.window is None else around.window)
        self._key.setKey(qt.QKeySequence(FLICKER_KEY))
        self._key.activated.connect(self.result.flicker)
        self._key.setEnabled(False)
        self._say("")
        self.onSceneImported()

    @classmethod
    def inSlicer(cls, path: str) -> Widget:
        """The panel as the application shows it.

        Args:
            path: MedDenoise.ui.
        """
        widget = slicer.util.loadUI(path)
        colors = getattr(slicer.modules, "colors", None)
        logic = Logic(slicer.mrmlScene, slicer.app.applicationLogic(), colors.logic() if colors is not None else None)
        around = Surroundings(
            scene=slicer.mrmlScene,
            logic=logic,
            settings=Settings(qt.QSettings()),
            secrets=SessionSecrets(),
            makeClient=makeClient,
            ask=lambda question: slicer.util.confirmYesNoDisplay(question, windowTitle="MedDenoise"),
            askFolder=lambda: qt.QFileDialog.getExistingDirectory(widget, _("Folder for the DICOM series")),
            window=slicer.util.mainWindow(),
        )
        return cls(widget, slicer.util.childWidgetVariables(widget), around)

    def enter(self) -> None:
        """The module is shown: look what the user looks at, listen to the key."""
        self._key.setEnabled(True)
        self.image.preselectVolume()
        self.image.update()
        self.update()
        self.logic.sceneOpened()  # another panel, or a script, may have brought comparisons

    def onSelection(self, *_args: Any) -> None:
        """Another volume came into the views."""
        if self._key.property("enabled"):  # the module is shown
            self.image.preselectVolume()

    def exit(self) -> None:
        """Another module is shown; what runs goes on."""
        self._key.setEnabled(False)

    def cleanup(self) -> None:
        """The panel goes away for good. Safe to call twice."""
        if self._key is None:
            return
        self._abandon()
        self._key.deleteLater()  # the main window would keep it
        self._key = None
        self.logic.onChanged = None
        self.logic.parameters.release()
        self.logic.close()
        for selector in (self.ui.inputSelector, self.ui.regionSelector, self.ui.measureSelector):
            selector.blockSignals(True)  # the choices belong to the scene, which may stay
            selector.setMRMLScene(None)

    def onSceneStartClose(self, *_args: Any) -> None:
        """The scene goes away: stop what runs, forget what it was for."""
        self._abandon()
        self.logic.parameters.release()
        self.logic.sceneClosed()
        self._say("")

    def onSceneEndClose(self, *_args: Any) -> None:
        """There is a new, empty scene."""
        self.onSceneImported()

    def onSceneImported(self, *_args: Any) -> None:
        """The scene's nodes are others than before."""
        self.logic.parameters.observe(self._onParameters)
        self._onParameters()
        self._onComparisons()

    def update(self) -> None:
        """Enable what can be pressed, and say of the rest why not."""
        state, reason = self.runner.state, self._reason()
        ui, busy = self.ui, self.runner.state != IDLE
        ui.connectButton.setEnabled(not busy or state == CONNECTING)
        ui.connectButton.setText(_("Cancel") if state == CONNECTING else _("&Connect"))
        for widget in (ui.addressBox, ui.tokenEdit, ui.certificateEdit, ui.withdrawButton):
            widget.setEnabled(not busy)
        for widget in (ui.inputSelector, ui.modalityBox, ui.modelBox, ui.regionSelector):
            widget.setEnabled(not busy)
        running = state in (RUNNING, CANCELING)
        ui.denoiseButton.setText(_("Cancel") if running else _("De&noise"))
        ui.denoiseButton.setEnabled(state == RUNNING or (state == IDLE and not reason))
        ui.denoiseButton.setToolTip(
            _("Stops the server's work; nothing is changed.") if running else reason or Texts.ready()
        )
        ui.progressBar.setVisible(running)

    def _reason(self) -> str:
        """Why nothing can be denoised now, "" where something can."""
        if self.server.info is None:
            return _("Connect to a server first.")
        return self.image.refusal()

    def _onServer(self) -> None:
        self.image.setModels(self.server.info.models if self.server.info is not None else ())
        self.update()

    def _onParameters(self) -> None:
        self.image.update()
        self.update()

    def _onComparisons(self) -> None:
        self.result.update()
        self.result.showFigures()

    def _onConnect(self, *_args: Any) -> None:
        if self.runner.state == CONNECTING:
            self.runner.cancel()
            return
        self.server.forget()
        try:
            client = self.server.client()
        except MedDenoiseError as error:
            self._onNoConnection(error)
            return
        self.server.say(_("Connecting…"))
        self.runner.start(
            CONNECTING, lambda _progress, canceled: client.info(canceled), self.server.connected, self._onNoConnection
        )

    def _onNoConnection(self, error: Exception) -> None:
        self.server.say(Texts.inWords(error))

    def _onDenoise(self, *_args: Any) -> None:
        if self.runner.state == RUNNING:
            self.runner.cancel()
            self._say(_("Canceling…"))
            return
        try:
            self._start()
        except Exception as error:
            self._end(error)

    def _start(self) -> None:
        """Write the image and let the job send it.

        Raises:
            MedDenoiseError: no consent, or an image that is refused.
        """
        client = self.server.client()
        parameters = self.logic.parameters
        self._folder = tempfile.mkdtemp(prefix="MedDenoise-")
        prepared = self.logic.prepare(parameters.inputVolume, parameters.region, self._folder, parameters.modality)
        request = Request(
            model=self.image.model.name,
            imagePath=prepared.path,
            modality=prepared.modality,
            uncertainty=parameters.uncertainty and self.image.model.uncertainty,
            folder=self._folder,
        )
        self.ui.progressBar.setRange(0, 0)
        self._say(_("Sending…"))
        self.runner.start(
            RUNNING,
            lambda progress, canceled: client.denoise(request, progress, canceled),
            lambda answer: self._onAnswer(prepared, answer),
            self._end,
        )

    def _onAnswer(self, prepared: Any, answer: Any) -> None:
        try:
            comparison = self.logic.accept(prepared, answer)
            self.logic.show(comparison)
        except Exception as error:
            self._end(error)
            return
        self._end(_("Done in {seconds:.1f} s.").format(seconds=answer.seconds))
        self._onComparisons()
        self.ui.resultSection.setCollapsed(False)

    def _onProgress(self, progress: Any) -> None:
        bar = self.ui.progressBar
        if progress.done is None:
            bar.setRange(0, 0)
        else:
            bar.setRange(0, 1000)
            bar.setValue(round(1000 * progress.done))
        self._say(Texts.ofProgress(progress))

    def _abandon(self) -> None:
        self.runner.abandon()
        self.result.stop()
        self._removeFolder()

    def _end(self, said: Any) -> None:
        """After a denoising, whatever became of it; an error is told in words."""
        self._removeFolder()
        self._say(Texts.inWords(said) if isinstance(said, Exception) else said)
        self.update()

    def _removeFolder(self) -> None:
        """The image that was sent and what came back are nobody's business any more."""
        if self._folder:
            shutil.rmtree(self._folder, ignore_errors=True)
            self._folder = ""

    def _say(self, text: str) -> None:
        self.ui.progressText.setText(text)
        self.ui.progressText.setVisible(bool(text))


def makeClient(address: str, token: str, certificate: str, consented: Callable[[str], bool]) -> Client:
    """A client as the panel wants it."""
    return Client(address, token=token, certificateFile=certificate, consented=consented)
