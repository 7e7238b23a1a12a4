"""Which image: volume, modality, model, region, and why an image cannot be denoised."""

from __future__ import annotations

from typing import Any, Callable

import qt

from MedDenoiseLib.Errors import MedDenoiseError
from MedDenoiseLib.I18n import tr as _

MODALITIES = ("CT", "MR", "PET", "XR")


class ImagePanel:
    """The middle section; what is chosen lives in the scene's parameters.

    Args:
        ui: The widgets by name.
        logic: Logic; checks volumes and guesses modalities.
        settings: Remembers the model chosen for each modality.
        scene: The vtkMRMLScene that the selectors list.

    Attributes:
        whenChanged: called after every change by the user or the scene.
    """

    def __init__(self, ui: Any, logic: Any, settings: Any, scene: Any):
        self.ui = ui
        self.logic = logic
        self.settings = settings
        self.whenChanged: Callable[[], None] = lambda: None
        self._models: tuple = ()
        self._updating = False
        self._checked: tuple = ()
        self._reason = ""
        ui.modalityBox.addItem(_("Choose…"), "")
        for modality in MODALITIES:
            ui.modalityBox.addItem(_("X-ray") if modality == "XR" else modality, modality)
        for selector in (ui.inputSelector, ui.regionSelector):
            selector.setMRMLScene(scene)
            selector.currentNodeChanged.connect(self._onNodes)
        ui.regionSelector.nodeAddedByUser.connect(self._onNewRegion)
        ui.modalityBox.currentIndexChanged.connect(self._onModality)
        ui.modelBox.currentIndexChanged.connect(self._onModel)
        ui.uncertaintyBox.toggled.connect(self._onUncertainty)

    @property
    def model(self) -> Any:
        """The chosen model of the server, or None."""
        index = self.ui.modelBox.property("currentIndex")
        return self._models[index] if 0 <= index < len(self._models) else None

    def setModels(self, models: tuple) -> None:
        """Offer the models of a server; none when it is not connected."""
        self._models = tuple(models)
        self._updating = True
        self.ui.modelBox.clear()
        for index, model in enumerate(self._models):
            self.ui.modelBox.addItem(model.title or model.name)
            self.ui.modelBox.setItemData(index, model.description, qt.Qt.ToolTipRole)
        self._updating = False
        self._preselectModel()
        self.update()

    def preselectVolume(self) -> None:
        """Choose the volume that the user looks at, unless one is chosen already."""
        if self.logic.parameters.inputVolume is None:
            self._take(self.logic.activeVolume())

    def refusal(self) -> str:
        """Why the image cannot be denoised as things stand; "" where it can."""
        parameters = self.logic.parameters
        if parameters.inputVolume is None:
            return _("Choose a volume first.")
        if self._check():
            return self._reason
        if not parameters.modality:
            return _("Choose the modality of the image first.")
        if self.model is None:
            return _("The server offers no model.") if self._models == () else _("Choose a model first.")
        return ""

    def update(self) -> None:
        """Show what the parameters say."""
        parameters, ui = self.logic.parameters, self.ui
        self._updating = True
        ui.inputSelector.setCurrentNode(parameters.inputVolume)
        ui.regionSelector.setCurrentNode(parameters.region)
        ui.modalityBox.setCurrentIndex(MODALITIES.index(parameters.modality) + 1 if parameters.modality else 0)
        ui.uncertaintyBox.setChecked(parameters.uncertainty)
        offered = self.model is not None and self.model.uncertainty
        ui.uncertaintyBox.setEnabled(self.model is None or offered)
        self._updating = False
        self._show(ui.inputText, self._check())
        self._show(ui.modelText, self._describeModel())

    def _check(self) -> str:
        """Why the volume is refused, "" where it is not; looks again only when the volume changed."""
        node = self.logic.parameters.inputVolume
        image = node.GetImageData() if node is not None else None
        seen = (node.GetID(), node.GetMTime(), image.GetMTime() if image is not None else 0) if node is not None else ()
        if seen != self._checked:
            self._checked = seen
            self._reason = self._reasonAgainst(node) if node is not None else ""
        return self._reason

    def _reasonAgainst(self, node: Any) -> str:
        try:
            self.logic.check(node)
        except MedDenoiseError as error:
            return f"{error} {error.advice}".strip()
        return ""

    def _describeModel(self) -> str:
        model, modality = self.model, self.logic.parameters.modality
        if model is None:
            return ""
        text = f"{model.description} ({_('version')} {model.version})" if model.version else model.description
        if modality and model.modalities and modality not in model.modalities:
            text += " " + _("It was not made for {modality} images.").format(modality=modality)
        return text

    def _preselectModel(self) -> None:
        """The one chosen last time for this modality, else the recommended one, else the first."""
        modality, names = self.logic.parameters.modality, [model.name for model in self._models]
        recommended = [model.name for model in self._models if modality and modality in model.recommendedFor]
        wanted = [self.logic.parameters.model, self.settings.modelFor(modality) if modality else "", *recommended]
        index = next((names.index(name) for name in wanted if name in names), 0 if names else -1)
        self._updating = True
        self.ui.modelBox.setCurrentIndex(index)
        self._updating = False

    def _take(self, node: Any) -> None:
        """Make a volume the input; its modality is guessed anew."""
        parameters = self.logic.parameters
        if node is parameters.inputVolume:
            return
        parameters.inputVolume = node
        parameters.modality = self.logic.guessModality(node) if node is not None and not self._check() else ""
        parameters.model = ""
        self._preselectModel()

    def _onNodes(self, *_args: Any) -> None:
        if self._updating:
            return
        self._take(self.ui.inputSelector.currentNode())
        self.logic.parameters.region = self.ui.regionSelector.currentNode()
        self._changed()

    def _onNewRegion(self, *_args: Any) -> None:
        """A box that was just made has no size; it is placed on the volume, to be dragged from there."""
        region = self.ui.regionSelector.currentNode()
        if region is not None:
            self.logic.startDrawing(region, self.logic.parameters.inputVolume)

    def _onModality(self, *_args: Any) -> None:
        if self._updating:
            return
        index = self.ui.modalityBox.property("currentIndex")
        self.logic.parameters.modality = ("", *MODALITIES)[index]
        self.logic.parameters.model = ""
        self._preselectModel()
        self._changed()

    def _onModel(self, *_args: Any) -> None:
        if self._updating or self.model is None:
            return
        self.logic.parameters.model = self.model.name
        if self.logic.parameters.modality:
            self.settings.setModelFor(self.logic.parameters.modality, self.model.name)
        self._changed()

    def _onUncertainty(self, *_args: Any) -> None:
        if not self._updating:
            self.logic.parameters.uncertainty = self.ui.uncertaintyBox.property("checked")
            self._changed()

    def _changed(self) -> None:
        self.update()
        self.whenChanged()

    @staticmethod
    def _show(label: Any, text: str) -> None:
        label.setText(text)
        label.setVisible(bool(text))
