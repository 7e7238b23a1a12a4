"""Which image goes to the server's datastore, under which name, and with which clean partner."""

from __future__ import annotations

import uuid
from typing import Any, Callable

from MedDenoiseLib import Input, Texts
from MedDenoiseLib.Errors import MedDenoiseError
from MedDenoiseLib.I18n import tr as _
from MedDenoiseLib.ImagePanel import MODALITIES
from MedDenoiseTrainingLib.Deposit import Deposit
from MedDenoiseTrainingLib.Labels import enable, setText
from MedDenoiseTrainingLib.Pair import checkPair, prepare
from MedDenoiseTrainingLib.Pseudonyms import Pseudonyms, patientOf


class UploadPanel:
    """The second section.

    Args:
        ui: The widgets by name.
        scene: The vtkMRMLScene that the selectors list.
        applicationLogic: For the volume that the user looks at.
        pseudonyms: Names the patients.

    Attributes:
        whenChanged: called after every change by the user or the scene.
    """

    def __init__(self, ui: Any, scene: Any, applicationLogic: Any, pseudonyms: Pseudonyms):
        self.ui = ui
        self._scene = scene
        self._applicationLogic = applicationLogic
        self._pseudonyms = pseudonyms
        self.whenChanged: Callable[[], None] = lambda: None
        ui.modalityBox.addItem(_("Choose…"), "")
        for modality in MODALITIES:
            ui.modalityBox.addItem(_("X-ray") if modality == "XR" else modality, modality)
        ui.imageSelector.setMRMLScene(scene)
        ui.partnerSelector.setMRMLScene(scene)
        ui.imageSelector.currentNodeChanged.connect(self._onImage)
        ui.partnerSelector.currentNodeChanged.connect(self._onChange)
        ui.modalityBox.currentIndexChanged.connect(self._onChange)
        self.say("")
        self.suggestName()
        self._showRefusal()

    def preselect(self) -> None:
        """Choose the volume that the user looks at, unless one is chosen already."""
        if self.ui.imageSelector.currentNode() is None:
            self.ui.imageSelector.setCurrentNode(Input.activeVolume(self._scene, self._applicationLogic))

    def enable(self, refusal: str, uploading: bool, canceling: bool) -> None:
        """Enable what can be pressed, and say of the rest why not.

        Args:
            refusal: Why nothing can be asked of the server now, "" where something can.
            uploading: Whether an image is on its way.
            canceling: Whether that is no longer wanted.
        """
        ui = self.ui
        for widget in (ui.imageSelector, ui.partnerSelector, ui.modalityBox, ui.patientEdit, ui.nameEdit):
            widget.setEnabled(not uploading)
        ui.uploadBar.setVisible(uploading)
        ui.uploadButton.setText(_("Cancel") if uploading else _("&Upload"))
        if uploading:
            enable(ui.uploadButton, _("Canceling…") if canceling else "", _("Takes back what was sent."))
        else:
            ready = _("Stores the image on the server, and its clean partner where one is chosen.")
            enable(ui.uploadButton, refusal or self.refusal(), ready)

    def progress(self, progress: Any) -> None:
        """Show how far the upload is; other work tells of no progress."""
        bar = self.ui.uploadBar
        bar.setRange(0, 0 if progress.done is None else 1000)
        bar.setValue(round(1000 * (progress.done or 0.0)))
        stage = _("Sending") if progress.stage == "sending" else _("The server stores the image")
        self.say(f"{stage}: {progress.text}" if progress.text else f"{stage}…")

    def refusal(self) -> str:
        """Why the image cannot be uploaded as things stand; "" where it can."""
        image = self.ui.imageSelector.currentNode()
        if image is None:
            return _("Choose an image first.")
        if reason := self._reasonAgainst(image):
            return reason
        return "" if self._modality() else _("Choose the modality of the image first.")

    def deposit(self, folder: str) -> Deposit:
        """Write the files for the server into a folder.

        Raises:
            MedDenoiseError: What `prepare` raises.
        """
        ui = self.ui
        image, partner = ui.imageSelector.currentNode(), ui.partnerSelector.currentNode()
        name, patient = (edit.property("text").strip() for edit in (ui.nameEdit, ui.patientEdit))
        return prepare(image, partner, folder, name, patient, self._modality())

    def stored(self) -> None:
        """The image is on the server: the next one gets another name."""
        self.suggestName()
        self.ui.partnerSelector.setCurrentNode(None)

    def suggestName(self) -> None:
        """One that says nothing."""
        self.ui.nameEdit.setText(f"image-{uuid.uuid4().hex[:8]}")

    def say(self, text: str) -> None:
        """Show how the upload stands."""
        setText(self.ui.uploadText, text)

    def release(self) -> None:
        """Let go of the scene."""
        for selector in (self.ui.imageSelector, self.ui.partnerSelector):
            selector.blockSignals(True)
            selector.setMRMLScene(None)

    def _modality(self) -> str:
        return ("", *MODALITIES)[self.ui.modalityBox.property("currentIndex")]

    def _reasonAgainst(self, image: Any) -> str:
        try:
            checkPair(image, self.ui.partnerSelector.currentNode())
        except MedDenoiseError as error:
            return Texts.ofError(error)
        return ""

    def _showRefusal(self) -> None:
        image = self.ui.imageSelector.currentNode()
        reason = self._reasonAgainst(image) if image is not None else ""
        setText(self.ui.imageText, reason)

    def _onImage(self, *_args: Any) -> None:
        """Another image: its modality is guessed anew, and its patient is looked up."""
        image = self.ui.imageSelector.currentNode()
        usable = image is not None and Input.canDenoise(image)
        modality = Input.guessModality(image, self._scene) if usable else ""
        self.ui.modalityBox.setCurrentIndex(MODALITIES.index(modality) + 1 if modality else 0)
        self.ui.patientEdit.setText(self._pseudonyms.of(patientOf(image)) if image is not None else "")
        self._onChange()

    def _onChange(self, *_args: Any) -> None:
        self._showRefusal()
        self.whenChanged()
