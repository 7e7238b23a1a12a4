"""Pictures of the extension's page for administrators, clicked against a server that really trains.

Three redistributable CTs are the hospital's images: noise is added to each, and the image as it was is its clean
partner. A training of a minute seldom makes a better network; what it makes is then published by hand, with its true
comparison, and rolled back over the button. `slicer_screenshots.py` calls this and says how to run it.
"""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import SimpleITK as sitk  # noqa: N813
from common import data_folder
from PySide6 import QtCore, QtGui

from meddenoise import weights
from meddenoise.server.train_job import status, training_folder
from meddenoise.weights import versions

IMAGES = {"Chest CT": "CT/LIDC-IDRI-0314", "Abdominal CT": "CT/CRLM-CT-1004", "Leg CT": "CT/IBSI_STS_003_CT"}
LICENCE = (
    "CT: LIDC-IDRI-0314 and Soft-tissue-Sarcoma STS_003 (CC BY 3.0), Colorectal-Liver-Metastases CRLM-CT-1004"
    " (CC BY 4.0), The Cancer Imaging Archive; noise added"
)
SIDE, SLICES, NOISE, SMOOTH = 128, 10, 60.0, 0.5
"""Pixels and slices of each image's middle; HU of the noise that is added, and pixels that it is blurred by."""
OPTIONS = {"steps": 60, "patch": 48, "batch": 4, "learning_rate": "3e-5"}
WIDTH = 480


def middle(path: Path) -> sitk.Image:
    """The middle of a CT in HU."""
    names = sitk.ImageSeriesReader.GetGDCMSeriesFileNames(str(path))
    image = sitk.ReadImage(names or str(next(path.glob("*.nii.gz"))))
    start = [max(0, (size - side) // 2) for size, side in zip(image.GetSize(), (SIDE, SIDE, SLICES), strict=True)]
    ends = [min(size, at + side) for size, at, side in zip(image.GetSize(), start, (SIDE, SIDE, SLICES), strict=True)]
    return image[start[0] : ends[0], start[1] : ends[1], start[2] : ends[2]]


def load(inside: Any, name: str, path: Path, generator: np.random.Generator) -> tuple[Any, Any]:
    """The image with noise, and without, as volume nodes."""
    image = middle(path)
    grid = np.eye(4)
    grid[:3, :3] = np.array(image.GetDirection()).reshape(3, 3) @ np.diag(image.GetSpacing())
    grid[:3, 3] = image.GetOrigin()
    grid = np.diag([-1, -1, 1, 1]) @ grid
    clean = np.clip(sitk.GetArrayFromImage(image), -1024, 3071).astype(np.float32)
    white = sitk.GetImageFromArray(generator.normal(0, 1, clean.shape).astype(np.float32))
    noise = sitk.GetArrayFromImage(sitk.DiscreteGaussian(white, [SMOOTH**2, SMOOTH**2, 0.0]))
    noisy = clean + NOISE * noise / noise.std()  # cut off nowhere, which would move means
    pair = ((noisy, f"{name}, noise added"), (clean, name))
    return tuple(inside.volume(np.rint(values).astype(np.int16), title, grid=grid) for values, title in pair)


def grab(application: Any, page: Any, path: Path, label: str, shown: tuple[str, ...]) -> None:
    """Write the page with some of its sections open, and below it what the picture is."""
    sections = ("serverSection", "uploadSection", "trainingSection", "optionsSection", "versionsSection")
    for name in sections:
        section = getattr(page.ui, name)
        section.setCollapsed(name not in shown)
        section.setMaximumHeight(16777215 if name in shown else 24)
    for _ in range(20):
        application.processEvents()
    page.widget.setFixedWidth(WIDTH)
    page.widget.resize(WIDTH, page.widget.layout().totalHeightForWidth(WIDTH))
    for _ in range(20):
        application.processEvents()
    content = page.widget.grab()
    words = QtCore.QRect(8, content.height(), WIDTH - 16, 70)
    picture = QtGui.QPixmap(WIDTH, content.height() + words.height())
    picture.fill(QtGui.QColor("#efefef"))
    painter = QtGui.QPainter(picture)
    painter.drawPixmap(0, 0, content)
    painter.drawText(words, QtCore.Qt.TextWordWrap | QtCore.Qt.AlignVCenter, f"{label}. {LICENCE}.")
    painter.end()
    if not picture.save(str(path)):
        sys.exit(f"{path} could not be written")
    print(path.name, picture.width(), "x", picture.height())


class Clicks:
    """The administrator's hand: uploads, trains, looks at versions.

    Args:
        application: The QApplication.
        inside: What is inside the stand-in application.
        page: The extension's page.
        wait: wait(application, condition, seconds) lets the event loop run until something is so.
        grab: grab(name, sections) writes a picture.
    """

    def __init__(self, application: Any, inside: Any, page: Any, wait: Callable[..., None], grab: Callable[..., None]):
        self.application, self.inside, self.page, self.wait, self.grab = application, inside, page, wait, grab

    def idle(self) -> None:
        """Wait for the answer."""
        self.wait(self.application, lambda: self.page.runner.state == "idle")

    def connect(self, address: str) -> None:
        """Press Connect."""
        self.page.ui.addressBox.setEditText(address)
        self.page.ui.connectButton.click()
        self.idle()

    def upload(self) -> None:
        """Every image with its partner."""
        ui, generator = self.page.ui, np.random.default_rng(0)
        for number, (name, where) in enumerate(IMAGES.items(), 1):
            noisy, clean = load(self.inside, name, data_folder() / where, generator)
            ui.imageSelector.setCurrentNode(noisy)
            ui.partnerSelector.setCurrentNode(clean)
            ui.modalityBox.setCurrentIndex(ui.modalityBox.findData("CT"))
            ui.patientEdit.setText(f"patient {number}")
            ui.nameEdit.setText(f"ct-{number}")
            if number == len(IMAGES):
                self.grab("upload", ("serverSection", "uploadSection"))
            ui.uploadButton.click()
            self.idle()
            print(ui.uploadText.text())

    def train(self) -> None:
        """Enter the options and press Start; wait for the end."""
        ui, training = self.page.ui, self.page.training
        for name, value in OPTIONS.items():
            widget = training.form._widgets[name]
            widget.setText(value) if hasattr(widget, "setText") else widget.setValue(value)
        self.grab("options", ("trainingSection", "optionsSection"))
        ui.trainButton.click()
        self.idle()
        print(ui.trainingText.text())
        self.wait(self.application, lambda: training.training.step > 10 and training.training.secondsLeft, 1800.0)
        self.grab("training", ("trainingSection",))
        start = time.monotonic()
        self.wait(self.application, lambda: not training.running, 3600.0)
        print(ui.statusText.text(), f"({time.monotonic() - start:.0f} s)")
        self.idle()

    def look(self) -> None:
        """The latest version with its comparison, after going back to the one before."""
        ui = self.page.ui
        for button in (ui.refreshButton, ui.rollBackButton):
            button.click()
            self.idle()
            print(ui.versionsText.text())
        ui.versionsTable.setCurrentCell(ui.versionsTable.rowCount() - 1, 0)
        self.wait(self.application, ui.zoomButton.isEnabled)
        self.grab("versions", ("versionsSection",))


def publish_by_hand(home: Path) -> None:
    """Make a version of what the latest training made, with the comparison that found it not better."""
    with mock.patch.dict(os.environ, {"MEDDENOISE_HOME": str(home)}):
        told = status().read()
        run = training_folder() / told["run"]
        network, card = weights.load(str(run / f"{told['recipe']}.safetensors"))

        def beside(folder: Path) -> None:
            for file in run.glob("comparison*"):
                shutil.copyfile(file, folder / file.name)

        print("published by hand:", versions.publish(network, card, beside=beside).version)


def training_pictures(
    application: Any, inside: Any, server: tuple[str, Path], out: Path, label: str, wait: Callable[..., None]
) -> None:
    """Upload, train and look at the versions over the buttons, and take pictures on the way.

    Args:
        application: The QApplication.
        inside: What is inside the stand-in application.
        server: Its address, and its MEDDENOISE_HOME.
        out: Folder of the pictures.
        label: What every picture says that it is.
        wait: wait(application, condition, seconds) lets the event loop run until something is so.
    """
    from training_page import pageOver  # once the stand-ins are in place

    with tempfile.TemporaryDirectory() as folder:
        store = QtCore.QSettings(str(Path(folder, "settings.ini")), QtCore.QSettings.IniFormat)
        page = pageOver(inside, store, lambda _question: True)

        def take(name: str, shown: tuple[str, ...]) -> None:
            grab(application, page, out / f"{name}.png", label, shown)

        clicks = Clicks(application, inside, page, wait, take)
        page.widget.show()
        page.enter()
        clicks.connect(server[0])
        clicks.upload()
        clicks.train()
        if not page.training.training.published:
            publish_by_hand(server[1])
        clicks.look()
        page.cleanup()
