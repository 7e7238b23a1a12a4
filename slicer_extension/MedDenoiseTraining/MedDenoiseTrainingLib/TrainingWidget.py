"""The page of a server's administrator: upload, train, watch, choose versions, without keeping Slicer waiting."""

from __future__ import annotations

import shutil
import tempfile
from typing import Any, Callable

import qt
import slicer

from MedDenoiseLib import Texts
from MedDenoiseLib.Errors import MedDenoiseError
from MedDenoiseLib.I18n import tr as _
from MedDenoiseLib.Runner import CONNECTING, IDLE, RUNNING, TICK_MILLISECONDS, Runner
from MedDenoiseLib.ServerPanel import ServerPanel
from MedDenoiseTrainingLib import TrainingTexts
from MedDenoiseTrainingLib.PicturePanel import PicturePanel
from MedDenoiseTrainingLib.Surroundings import Surroundings
from MedDenoiseTrainingLib.Training import RUNNING as STATE_RUNNING
from MedDenoiseTrainingLib.Training import Training
from MedDenoiseTrainingLib.TrainingClient import Overview
from MedDenoiseTrainingLib.TrainingPanel import TrainingPanel
from MedDenoiseTrainingLib.UploadPanel import UploadPanel
from MedDenoiseTrainingLib.VersionChanges import VersionChanges
from MedDenoiseTrainingLib.VersionsPanel import VersionsPanel
from MedDenoiseTrainingLib.Watch import Watch

UPLOADING, STARTING, CHANGING = "uploading", "starting", "changing"
"""What the runner does where it is RUNNING."""


class TrainingWidget:
    """Wires the sections to the runner, and decides what can be pressed.

    Args:
        widget: The loaded MedDenoiseTraining.ui.
        ui: Its widgets by name.
        around: What it needs of the application.

    Attributes:
        runner: Runs what the user asked for.
        watch: Asks how far the training is while the page is shown.
    """

    def __init__(self, widget: Any, ui: Any, around: Surroundings):
        self.widget, self.ui = widget, ui
        self._folder = self._what = ""
        self._client: Any = None
        self._shown = True
        self._timer = qt.QTimer()
        self._timer.setInterval(TICK_MILLISECONDS)
        self.runner = Runner(self._timer)
        self._timer.timeout.connect(self.runner.tick)
        self.watch = Watch(self._onTold, self._onNotTold)
        self.server = ServerPanel(ui, around.settings, around.secrets, around.makeClient, around.ask, TrainingTexts)
        self.upload = UploadPanel(ui, around.scene, around.applicationLogic, around.pseudonyms)
        self.training = TrainingPanel(ui)
        self.versions = VersionsPanel(ui)
        self.pictures = PicturePanel(ui, lambda: self._client.picture if self._client is not None else None)
        self.changes = VersionChanges(
            self.versions,
            lambda: self._client,
            lambda work, whenDone: self._do(CHANGING, self.versions.say, work, whenDone),
            self._take,
            around.ask,
        )
        self.runner.whenStateChanged = self.upload.whenChanged = self.training.whenChanged = self.update
        self.runner.whenProgressed = self.upload.progress
        self.server.whenChanged = self._onServer
        self.versions.whenChanged = self._onVersion
        ui.connectButton.clicked.connect(self._onConnect)
        ui.uploadButton.clicked.connect(self._onUpload)
        ui.trainButton.clicked.connect(self._onTrain)
        self.update()

    @classmethod
    def inSlicer(cls, path: str) -> TrainingWidget:
        """The page as the application shows it.

        Args:
            path: MedDenoiseTraining.ui.
        """
        widget = slicer.util.loadUI(path)
        return cls(widget, slicer.util.childWidgetVariables(widget), Surroundings.inSlicer())

    def enter(self) -> None:
        """The module is shown: look at the training again."""
        self._shown = True
        self.upload.preselect()
        if self._client is not None:
            self.watch.begin(self._client, soon=True)
            self.watch.look()

    def exit(self) -> None:
        """Another module is shown; what was asked for goes on, and the training is not watched meanwhile."""
        self._shown = False
        self.watch.end()

    def cleanup(self) -> None:
        """The page goes away for good. Safe to call twice."""
        self._client = None
        self.watch.end()
        self.pictures.stop()
        self._abandon()
        self.upload.release()

    def onSceneStartClose(self, *_args: Any) -> None:
        """The scene goes away: an upload from it stops; a training is the server's and goes on."""
        if self._doing(UPLOADING):
            self._abandon()
            self.upload.say("")

    def update(self) -> None:
        """Enable what can be pressed, and say of the rest why not."""
        ui, state = self.ui, self.runner.state
        ui.connectButton.setEnabled(state in (IDLE, CONNECTING))
        ui.connectButton.setText(_("Cancel") if state == CONNECTING else _("&Connect"))
        for widget in (ui.addressBox, ui.tokenEdit, ui.certificateEdit, ui.withdrawButton):
            widget.setEnabled(state == IDLE)
        refusal = self._refusal()
        self.upload.enable(refusal, self._doing(UPLOADING), canceling=state != RUNNING)
        self.training.enable(refusal, self._doing(STARTING), canceling=state != RUNNING)
        self.versions.enable(refusal)

    def _doing(self, what: str) -> bool:
        return self.runner.state not in (IDLE, CONNECTING) and self._what == what

    def _refusal(self) -> str:
        """Why nothing can be asked of the server now, "" where something can."""
        if self._client is None:
            return _("Connect to a server first.")
        return _("Wait until the server has answered.") if self.runner.state != IDLE else ""

    def _do(self, what: str, say: Callable[[str], None], work: Callable, whenDone: Callable[[Any], None]) -> None:
        """Run work(progress, canceled); what goes wrong is told by ``say``."""
        self._what = what
        self.runner.start(RUNNING, work, whenDone, lambda error: self._failed(say, error))

    def _failed(self, say: Callable[[str], None], error: Exception) -> None:
        self._removeFolder()
        say(Texts.inWords(error))
        self.update()
        self.watch.look()

    def _onConnect(self, *_args: Any) -> None:
        if self.runner.state == CONNECTING:
            self.runner.cancel()
            return
        self.server.forget()
        try:
            client = self.server.client()
        except MedDenoiseError as error:
            self.server.say(Texts.inWords(error))
            return
        self.server.say(_("Connecting…"))
        self.runner.start(
            CONNECTING,
            lambda _progress, canceled: client.overview(canceled),
            lambda overview: self._onConnected(client, overview),
            lambda error: self.server.say(Texts.inWords(error)),
        )

    def _onConnected(self, client: Any, overview: Overview) -> None:
        self._client = client
        self.server.connected(overview)

    def _onServer(self) -> None:
        """A server was connected to, or is no longer."""
        overview = self.server.info
        if overview is None:
            self._client = None
            self.watch.end()
            self.training.forget()
            self.versions.setModels(())
            self.versions.say("")
        else:
            self._take(overview)
        self.update()

    def _take(self, overview: Overview) -> None:
        """Show all that a server said."""
        self.server.say(TrainingTexts.connected(overview))
        self.training.setTrainers(overview.trainers)
        self.versions.setModels(overview.models)
        self._show(overview.training)

    def _show(self, training: Any) -> None:
        """Show how far the training is, and ask again later."""
        self.training.show(training)
        if self._shown:
            self.watch.begin(self._client, soon=self.training.running)
        self.update()

    def _onTold(self, training: Any) -> None:
        """The watch has news; where a training has ended, there may be a new version."""
        ended = self.training.running and not (training is not None and training.running)
        self.training.show(training)
        self.update()
        if ended and self.runner.state == IDLE:
            self.changes.follow(training.recipe if training is not None else "")

    def _onNotTold(self, error: Exception) -> None:
        self.training.show(None, Texts.inWords(error))

    def _onUpload(self, *_args: Any) -> None:
        if self._doing(UPLOADING):
            self.runner.cancel()
            self.upload.say(_("Canceling…"))
            return
        client, self._folder = self._client, tempfile.mkdtemp(prefix="MedDenoise-")
        try:
            deposit = self.upload.deposit(self._folder)
        except Exception as error:
            self._failed(self.upload.say, error)
            return

        there: list[bool] = []

        def work(progress: Callable, canceled: Callable[[], bool]) -> None:
            client.store(deposit, progress, canceled)
            there.append(True)

        def failed(error: Exception) -> None:
            if there:  # it was canceled once all was done
                self._onStored(deposit)
            else:
                self._failed(self.upload.say, error)

        self.upload.say(_("Sending…"))
        self._what = UPLOADING
        self.runner.start(RUNNING, work, lambda _none: self._onStored(deposit), failed)

    def _onStored(self, deposit: Any) -> None:
        self._removeFolder()
        self.upload.stored()
        self.upload.say(TrainingTexts.stored(deposit.name, bool(deposit.partnerPath)))
        self.changes.refresh()

    def _onTrain(self, *_args: Any) -> None:
        client, panel = self._client, self.training
        if self._doing(STARTING):
            self.runner.cancel()
        elif panel.running:
            panel.say(_("Stopping…"))
            self._do(CHANGING, panel.say, lambda _p, canceled: _stopped(client, canceled), self._onStopped)
        else:
            try:
                name, values = panel.trainer.name, panel.form.values()
            except MedDenoiseError as error:
                panel.say(Texts.inWords(error))
                return
            panel.say(_("The server looks at its images…"))
            self._do(
                STARTING,
                panel.say,
                lambda _progress, canceled: client.start(name, values, canceled),
                lambda data: self._onStarted(name, data),
            )

    def _onStarted(self, name: str, data: dict[str, Any]) -> None:
        self.training.say(TrainingTexts.started(data))
        self._show(Training(STATE_RUNNING, name))
        self.watch.look()

    def _onStopped(self, told: tuple) -> None:
        wasOurs, training = told
        self._show(training)
        elsewhere = _("This training was not started by this server, which cannot stop it.")
        self.training.say(elsewhere if not wasOurs and self.training.running else "")

    def _onVersion(self) -> None:
        model, version = self.versions.model, self.versions.version
        names = version.pictures if version is not None else ()
        self.pictures.show(model.model if model else "", version.name if version else "", names)
        self.update()

    def _abandon(self) -> None:
        self.runner.abandon()
        self._removeFolder()

    def _removeFolder(self) -> None:
        """The files that were sent are nobody's business any more."""
        if self._folder:
            shutil.rmtree(self._folder, ignore_errors=True)
            self._folder = ""


def _stopped(client: Any, canceled: Callable[[], bool]) -> tuple:
    return client.stop(canceled), client.training(canceled)
