"""The pictures of a comparison, fetched one at a time and kept nowhere."""

from __future__ import annotations

import os
import tempfile
from typing import Any, Callable

import qt

from MedDenoiseLib import Texts
from MedDenoiseLib.I18n import tr as _
from MedDenoiseLib.Runner import RUNNING, TICK_MILLISECONDS, Runner

WIDTH = 420
"""Pixels of the picture in the page."""


class PicturePanel:
    """Below the table of cases.

    Args:
        ui: The widgets by name.
        fetch: fetch(model, version, name, canceled) gives a PNG file; called in another thread. None: not connected.
    """

    def __init__(self, ui: Any, fetch: Callable[[], Callable | None]):
        self.ui = ui
        self._fetch = fetch
        self._shown: tuple = ()
        self._window: Any = None
        self._pixmap: Any = None
        self._timer = qt.QTimer()
        self._timer.setInterval(TICK_MILLISECONDS)
        self.runner = Runner(self._timer)
        self._timer.timeout.connect(self.runner.tick)
        ui.pictureBox.currentIndexChanged.connect(self._onPicture)
        ui.zoomButton.clicked.connect(self._onZoom)
        self.show("", "", ())

    def show(self, model: str, version: str, names: tuple[str, ...]) -> None:
        """Offer the pictures of a version, and show the first of a patient."""
        if (model, version, names) == self._shown:
            return
        self._shown = (model, version, names)
        ui = self.ui
        ui.pictureBox.blockSignals(True)
        ui.pictureBox.clear()
        for name in names:
            ui.pictureBox.addItem(titleOf(name))
        first = next((index for index, name in enumerate(names) if "-patient-" in name), 0)
        ui.pictureBox.setCurrentIndex(first if names else -1)
        ui.pictureBox.blockSignals(False)
        for widget in (ui.pictureLabel, ui.pictureBox, ui.zoomButton, ui.pictureView):
            widget.setVisible(bool(names))
        self._onPicture()

    def stop(self) -> None:
        """The page goes away."""
        self.runner.abandon()
        if self._window is not None:
            self._window.close()
            self._window = None

    def _onPicture(self, *_args: Any) -> None:
        self.runner.abandon(0.0)
        self._setPixmap(None)
        model, version, names = self._shown
        index, fetch = self.ui.pictureBox.property("currentIndex"), self._fetch()
        if fetch is None or not 0 <= index < len(names):
            return
        self.ui.pictureView.setText(_("Loading…"))
        self.runner.start(
            RUNNING,
            lambda _progress, canceled: fetch(model, version, names[index], canceled),
            self._onContent,
            self._onNone,
        )

    def _onContent(self, content: bytes) -> None:
        """By a file, because what Qt takes of bytes differs between PythonQt and PySide."""
        with tempfile.TemporaryDirectory(prefix="MedDenoise-") as folder:
            path = os.path.join(folder, "picture.png")
            with open(path, "wb") as file:
                file.write(content)
            self._setPixmap(qt.QPixmap(path))

    def _onNone(self, error: Exception) -> None:
        self._setPixmap(None)
        self.ui.pictureView.setText(Texts.inWords(error))

    def _setPixmap(self, pixmap: Any) -> None:
        self._pixmap = pixmap
        self.ui.zoomButton.setEnabled(pixmap is not None)
        if pixmap is None:
            self.ui.pictureView.clear()
        else:
            self.ui.pictureView.setPixmap(pixmap.scaledToWidth(WIDTH, qt.Qt.SmoothTransformation))

    def _onZoom(self, *_args: Any) -> None:
        """A window that can be closed without closing anything else."""
        self._window = qt.QScrollArea()
        self._window.setWindowTitle(self.ui.pictureBox.property("currentText"))
        picture = qt.QLabel()
        picture.setPixmap(self._pixmap)
        self._window.setWidget(picture)
        self._window.resize(min(self._pixmap.width() + 4, 1600), min(self._pixmap.height() + 4, 1000))
        self._window.show()


def titleOf(name: str) -> str:
    """comparison-patient-1.png as people would call it."""
    stem = name.rsplit(".", 1)[0]
    return stem.split("-", 1)[-1].replace("-", " ") if stem.startswith("comparison-") else stem
