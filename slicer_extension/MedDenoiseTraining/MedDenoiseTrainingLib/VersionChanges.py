"""What the buttons below the versions do: activate, roll back, delete, look again."""

from __future__ import annotations

from typing import Any, Callable

from MedDenoiseLib.I18n import tr as _
from MedDenoiseTrainingLib import TrainingTexts
from MedDenoiseTrainingLib.VersionsPanel import VersionsPanel


class VersionChanges:
    """Asks the server for changes of its versions, and shows what it has then.

    Args:
        panel: Shows the versions.
        client: client() gives the TrainingClient.
        do: do(work, whenDone) runs work(progress, canceled) beside the GUI thread.
        take: take(overview) shows all that the server said.
        ask: ask(question) -> bool.
    """

    def __init__(
        self,
        panel: VersionsPanel,
        client: Callable[[], Any],
        do: Callable[[Callable, Callable], None],
        take: Callable[[Any], None],
        ask: Callable[[str], bool],
    ):
        self._panel, self._client, self._do, self._take, self._ask = panel, client, do, take, ask
        panel.ui.refreshButton.clicked.connect(self.refresh)
        panel.ui.activateButton.clicked.connect(self._onActivate)
        panel.ui.rollBackButton.clicked.connect(self._onRollBack)
        panel.ui.deleteButton.clicked.connect(self._onDelete)

    def refresh(self, *_args: Any) -> None:
        """Show what there is now."""
        self._change(lambda _canceled: None, "")

    def follow(self, model: str) -> None:
        """Show what there is now, and choose the active version of a model."""
        self._panel.chooseModel(model)
        self._change(lambda _canceled: None, "", follow=True)

    def _onActivate(self, *_args: Any) -> None:
        client, model, version = self._client(), self._panel.model.model, self._panel.version
        said = _("Version {version} is used from now on.").format(version=version.number)
        self._change(lambda canceled: client.activate(model, version.name, canceled), said)

    def _onRollBack(self, *_args: Any) -> None:
        client, model = self._client(), self._panel.model.model
        self._change(lambda canceled: client.rollBack(model, canceled), _("Rolled back."), follow=True)

    def _onDelete(self, *_args: Any) -> None:
        client, model, version = self._client(), self._panel.model.model, self._panel.version
        if self._ask(TrainingTexts.deleteQuestion(model, version.number, client.host)):
            said = _("Version {version} was deleted.").format(version=version.number)
            self._change(lambda canceled: client.delete(model, version.name, canceled), said, follow=True)

    def _change(self, work: Callable, said: str, follow: bool = False) -> None:
        """Do something, then show what there is; ``follow`` chooses the version that is active then."""
        client = self._client()

        def both(_progress: Callable, canceled: Callable[[], bool]) -> Any:
            work(canceled)
            return client.overview(canceled)

        def done(overview: Any) -> None:
            self._take(overview)
            if follow:
                self._panel.chooseActive()
            self._panel.say(said)

        self._panel.say("")
        self._do(both, done)
