"""Pictures of the 3D Slicer extension for its README, without 3D Slicer.

One window holds the extension's own panel and three slice views that slicer-core's real MRML logic fills. The panel is
clicked: it connects to a server that this script starts, and denoises a slab of a redistributable CT. Qt, CTK and the
application around them are the tests' stand-ins, which every picture says in words. Then the page for administrators is
clicked (slicer_training_pictures.py), with a training that really runs: some minutes.

    xvfb-run -s "-screen 0 2000x1100x24" python benchmarks/slicer_screenshots.py

needs `python -m pip install '.[test]'`, MEDDENOISE_DATA, and Debian's xvfb,
libxcb-cursor0, libxcb-icccm4, libxcb-keysyms1 and libxkbcommon-x11-0.
"""

from __future__ import annotations

import os
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
EXTENSION = ROOT / "slicer_extension"
os.environ["QT_QPA_PLATFORM"] = "xcb"
sys.path[:0] = [str(ROOT / "models"), str(ROOT / "tests" / "slicer_extension")]
sys.path[:0] = [str(EXTENSION / name) for name in ("MedDenoise", "MedDenoiseTraining")]

import numpy as np
import slicer
import slicer.util
import vtk
from common import data_folder
from PySide6 import QtCore, QtGui, QtWidgets
from slicer_training_pictures import training_pictures
from vtkmodules.qt.QVTKRenderWindowInteractor import QVTKRenderWindowInteractor

import slicer_stand_in

IMAGE = "CT/LIDC-IDRI-0314"
SLICES = slice(4, 20)
LICENCE = "CT: LIDC-IDRI-0314, The Cancer Imaging Archive, CC BY 3.0"
LABEL = "stand-in window, not 3D Slicer desktop"
OUT = EXTENSION / "Screenshots"
WIDTH, HEIGHT, PANEL = 1920, 860, 470


class View(QtWidgets.QWidget):
    """One slice view, filled by slicer-core's slice logic."""

    def __init__(self, title: str, color: str):
        super().__init__()
        column = QtWidgets.QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        column.setSpacing(0)
        bar = QtWidgets.QLabel(title)
        bar.setAlignment(QtCore.Qt.AlignCenter)
        bar.setStyleSheet(f"background: {color}; color: black; padding: 3px; font-weight: bold")
        self.screen = QVTKRenderWindowInteractor(self)
        column.addWidget(bar)
        column.addWidget(self.screen, 1)
        self.renderer = vtk.vtkRenderer()
        self.screen.GetRenderWindow().SetMultiSamples(0)
        self.screen.GetRenderWindow().AddRenderer(self.renderer)
        self.image = vtk.vtkActor2D()
        mapper = vtk.vtkImageMapper()
        mapper.SetColorWindow(255)
        mapper.SetColorLevel(127.5)
        self.image.SetMapper(mapper)
        self.renderer.AddViewProp(self.image)
        self.connected = False

    def connect(self, logic) -> None:
        """Draw what a slice logic gives."""
        self.image.GetMapper().SetInputConnection(logic.GetImageDataConnection())
        self.connected = True

    def add_legend(self, display, title: str) -> None:
        """The colors of a display node; Slicer itself draws its color legend node here."""
        table = vtk.vtkLookupTable()
        table.DeepCopy(display.GetColorNode().GetLookupTable())
        middle, half = display.GetLevel(), display.GetWindow() / 2
        table.SetTableRange(middle - half, middle + half)
        bar = vtk.vtkScalarBarActor()
        bar.SetLookupTable(table)
        bar.SetTitle(title)
        bar.SetNumberOfLabels(5)
        bar.SetLabelFormat("{:.0f}" if "{" in bar.GetLabelFormat() else "%.0f")
        bar.SetUnconstrainedFontSize(True)
        for text in (bar.GetTitleTextProperty(), bar.GetLabelTextProperty()):
            text.SetFontSize(13)
            text.BoldOff()
            text.ItalicOff()
        bar.SetPosition(0.80, 0.05)
        bar.SetPosition2(0.18, 0.42)
        self.renderer.AddViewProp(bar)

    def size_of_screen(self) -> tuple[int, int]:
        """Pixels of the render window."""
        return tuple(self.screen.GetRenderWindow().GetSize())


def load(inside):
    """A slab of the CT, as a volume node under a neutral name."""
    import SimpleITK as sitk  # noqa: N813

    names = sitk.ImageSeriesReader.GetGDCMSeriesFileNames(str(data_folder() / IMAGE))
    image = sitk.ReadImage(names)[:, :, SLICES]
    direction = np.array(image.GetDirection()).reshape(3, 3) @ np.diag(image.GetSpacing())
    grid = np.eye(4)
    grid[:3, :3], grid[:3, 3] = direction, image.GetOrigin()
    return inside.volume(sitk.GetArrayFromImage(image), "Chest CT", (400, 40), np.diag([-1, -1, 1, 1]) @ grid)


def wait(application, condition, seconds=120.0) -> None:
    """Let the event loop run until something is so."""
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            sys.exit("what was waited for did not happen in time")
        application.processEvents()
        time.sleep(0.001)


def make_panel(inside):
    """The extension's panel, whose user agrees to everything."""
    from MedDenoiseLib.Logic import Logic
    from MedDenoiseLib.Settings import SessionSecrets, Settings
    from MedDenoiseLib.Widget import Surroundings, Widget, makeClient

    widget = slicer.util.loadUI(str(EXTENSION / "MedDenoise" / "Resources" / "UI" / "MedDenoise.ui"))
    store = QtCore.QSettings(str(Path(tempfile.mkdtemp(), "settings.ini")), QtCore.QSettings.IniFormat)
    around = Surroundings(
        scene=inside.scene,
        logic=Logic(inside.scene, inside.logic, inside.colorLogic),
        settings=Settings(store),
        secrets=SessionSecrets(),
        makeClient=makeClient,
        ask=lambda _question: True,
        askFolder=lambda: "",
    )
    return Widget(widget, slicer.util.childWidgetVariables(widget), around)


def make_window(panel, views) -> QtWidgets.QWidget:
    """The panel beside the views; below them, what the picture is."""
    window = QtWidgets.QWidget()
    window.setWindowTitle(LABEL)
    grid = QtWidgets.QGridLayout(window)
    grid.setContentsMargins(6, 6, 6, 6)
    panel.widget.setFixedWidth(PANEL)
    grid.addWidget(panel.widget, 0, 0)
    for column, view in enumerate(views, start=1):
        grid.addWidget(view, 0, column)
        grid.setColumnStretch(column, 1)
    words = QtWidgets.QLabel(f"{LABEL}.  {LICENCE}")
    words.setAlignment(QtCore.Qt.AlignRight)
    grid.addWidget(words, 1, 0, 1, len(views) + 1)
    window.setGeometry(0, 0, WIDTH, HEIGHT)
    window.show()
    return window


def grab(application, window, name, width=WIDTH) -> None:
    """Write what is on the screen."""
    for _ in range(20):
        application.processEvents()
    picture = application.primaryScreen().grabWindow(0, 0, 0, width, window.height())
    painter = QtGui.QPainter(picture)
    if width < WIDTH:  # the words below the views are cut off
        painter.fillRect(0, picture.height() - 24, width, 24, QtGui.QColor("#efefef"))
        painter.drawText(8, picture.height() - 8, LABEL)
    painter.end()
    OUT.mkdir(exist_ok=True)
    if not picture.save(str(OUT / f"{name}.png")):
        sys.exit(f"{OUT / name}.png could not be written")
    print(OUT.relative_to(ROOT) / f"{name}.png", picture.width(), "x", picture.height())


def draw(views, inside) -> None:
    """Fit the image into the views and draw them."""
    from MedDenoiseLib.Layout import VIEWS

    for tag, view in zip(VIEWS, views, strict=True):
        logic = inside.logic.GetSliceLogicByLayoutName(tag)
        if not view.connected:
            view.connect(logic)
        logic.ResizeSliceNode(*view.size_of_screen())
        logic.FitSliceToBackground()
        logic.SnapSliceOffsetToIJK()
        view.screen.GetRenderWindow().Render()


def main() -> None:
    """Click the panel and take the pictures."""
    from meddenoise.server.process import server_process
    from meddenoise.server.serve import free_port

    application = QtWidgets.QApplication([])
    application.setStyle("Fusion")
    with tempfile.TemporaryDirectory() as text, slicer_stand_in.installed() as inside:
        folder = Path(text)
        (folder / "studies").mkdir()
        home = {"MEDDENOISE_HOME": str(folder / "home")}
        with server_process(folder / "studies", port=free_port(), log=folder / "log", environment=home) as address:
            volume = load(inside)
            inside.logic.GetSelectionNode().SetActiveVolumeID(volume.GetID())
            panel = make_panel(inside)
            titles = (("Original", "#F34A33"), ("Denoised", "#6EB04B"), ("Difference", "#EDD54C"))
            views = [View(*title) for title in titles]
            window = make_window(panel, views)
            panel.enter()
            panel.ui.addressBox.setEditText(address)
            panel.ui.connectButton.click()
            wait(application, lambda: panel.runner.state == "idle")
            panel.ui.modalityBox.setCurrentIndex(panel.ui.modalityBox.findData("CT"))
            panel.ui.denoiseButton.click()
            wait(application, lambda: panel.runner.state == "idle" or "Denoising slice" in panel.ui.progressText.text())
            grab(application, window, "panel", PANEL + 12)
            wait(application, lambda: panel.runner.state == "idle")
            if panel.logic.shown is None:
                sys.exit(panel.ui.progressText.text())
            difference = panel.logic.shown.difference.GetDisplayNode()
            views[-1].add_legend(difference, "HU")
            draw(views, inside)
            grab(application, window, "compare")
            panel.cleanup()
            for view in views:
                view.screen.Finalize()
            window.close()
            training_pictures(application, inside, (address, folder / "home"), OUT, LABEL, wait)


if __name__ == "__main__":
    main()
