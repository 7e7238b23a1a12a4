"""What is trained, with which options, and how far it is."""

from __future__ import annotations

from typing import Any, Callable

from MedDenoiseLib.I18n import tr as _
from MedDenoiseTrainingLib import TrainingTexts
from MedDenoiseTrainingLib.Labels import enable, setText
from MedDenoiseTrainingLib.OptionForm import OptionForm
from MedDenoiseTrainingLib.Trainers import Trainer
from MedDenoiseTrainingLib.Training import Training


class TrainingPanel:
    """The third section.

    Args:
        ui: The widgets by name.

    Attributes:
        training: The latest of the server, None where there was none or nothing is known.
        form: The options.
        whenChanged: called when another training was chosen.
    """

    def __init__(self, ui: Any):
        self.ui = ui
        self.training: Training | None = None
        self.form = OptionForm(ui.optionsLayout)
        self.whenChanged: Callable[[], None] = lambda: None
        self._trainers: tuple[Trainer, ...] = ()
        self._shownLines: tuple[str, ...] = ()
        ui.optionsSection.setCollapsed(True)
        ui.trainerBox.currentIndexChanged.connect(self._onTrainer)
        ui.defaultsButton.clicked.connect(self.form.reset)
        self.setTrainers(())
        self.show(None)
        self.say("")

    @property
    def trainer(self) -> Trainer | None:
        """The chosen one."""
        index = self.ui.trainerBox.property("currentIndex")
        return self._trainers[index] if 0 <= index < len(self._trainers) else None

    @property
    def running(self) -> bool:
        """Whether the server trains, as far as is known."""
        return self.training is not None and self.training.running

    def setTrainers(self, trainers: tuple[Trainer, ...]) -> None:
        """Offer what a server can train; what is entered stays where it announces the same as before."""
        if trainers and trainers == self._trainers:
            return
        box = self.ui.trainerBox
        chosen = self.trainer.name if self.trainer is not None else ""
        box.blockSignals(True)
        box.clear()
        self._trainers = trainers
        for trainer in trainers:
            box.addItem(trainer.title)
        names = [trainer.name for trainer in trainers]
        box.setCurrentIndex(names.index(chosen) if chosen in names else 0 if names else -1)
        box.blockSignals(False)
        self._onTrainer()

    def enable(self, refusal: str, starting: bool, canceling: bool) -> None:
        """Enable what can be pressed, and say of the rest why not.

        Args:
            refusal: Why nothing can be asked of the server now, "" where something can.
            starting: Whether the server is looking at its images.
            canceling: Whether that is no longer wanted.
        """
        ui = self.ui
        if starting:
            ui.trainButton.setText(_("Cancel"))
            enable(ui.trainButton, _("Canceling…") if canceling else "", _("Does not wait for the server's answer."))
        elif self.running:
            ui.trainButton.setText(_("Stop trainin&g"))
            enable(ui.trainButton, refusal, _("Ends it; the same images and options go on with it later."))
        else:
            ui.trainButton.setText(_("Start trainin&g"))
            none = "" if self.trainer is not None else _("The server trains nothing.")
            ready = _("Looks at the images, then trains on the server. Slicer need not stay open.")
            enable(ui.trainButton, refusal or none, ready)
        for widget in (ui.trainerBox, ui.defaultsButton, self.form):
            widget.setEnabled(not self.running and not refusal)

    def show(self, training: Training | None, problem: str = "") -> None:
        """Show how far it is.

        Args:
            training: The latest.
            problem: Why that is not known, "" where it is.
        """
        if not problem:
            self.training = training
        ui, running = self.ui, self.running
        ui.trainingBar.setVisible(running)
        steps = self.training.steps if self.training is not None else 0
        ui.trainingBar.setRange(0, steps)
        if steps:
            ui.trainingBar.setValue(self.training.step)
        setText(ui.statusText, problem or TrainingTexts.ofTraining(training))
        lines = self.training.lines if self.training is not None else ()
        ui.linesEdit.setVisible(bool(lines))
        if lines != self._shownLines:
            self._shownLines = lines
            ui.linesEdit.setPlainText("\n".join(lines))
            bar = ui.linesEdit.verticalScrollBar()
            bar.setValue(bar.property("maximum"))

    def forget(self) -> None:
        """Nothing is known of any server."""
        self.show(None)
        setText(self.ui.statusText, "")
        self.say("")
        self.setTrainers(())

    def say(self, text: str) -> None:
        """Show what became of starting or stopping."""
        setText(self.ui.trainingText, text)

    def _onTrainer(self, *_args: Any) -> None:
        trainer = self.trainer
        self.form.show(trainer.options if trainer is not None else ())
        setText(self.ui.trainerText, trainer.description if trainer is not None else "")
        self.whenChanged()
