"""From the button of the 3D Slicer extension to the shown result: the seconds beside the server's denoising.

A 512x512x100 int16 CT goes from the scene through the panel to a server on this machine and back, until three views
show it. Subtracted is what the server says its model took. Scene and logic are slicer-core's, the window a stand-in
without a screen: drawing on a graphics card is not in the figure.

    python benchmarks/slicer_roundtrip.py [--repeats 3]
"""

from __future__ import annotations

import argparse
import ast
import os
import re
import statistics
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
EXTENSION = ROOT / "slicer_extension"
os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")
sys.path[:0] = [str(ROOT / "models"), str(EXTENSION / "MedDenoise"), str(ROOT / "tests" / "slicer_extension")]

import numpy as np
import slicer
import slicer.util
from common import publish, table
from PySide6 import QtCore, QtWidgets

import slicer_stand_in
from meddenoise.server.process import server_process
from meddenoise.server.serve import free_port

SHAPE = (100, 512, 512)
LIMIT = 3.0
"""Seconds that everything but the denoising may take."""


def volume_of(inside):
    """Water in air with noise, as int16 in HU."""
    _slices, rows, columns = SHAPE
    y, x = np.mgrid[:rows, :columns]
    body = np.where((y - rows / 2) ** 2 + (x - columns / 2) ** 2 < (rows / 2.5) ** 2, 40.0, -1000.0)
    noise = np.random.default_rng(0).normal(0, 25, SHAPE).astype(np.float32)
    array = np.rint(body[None] + noise).clip(-1024, 3071).astype(np.int16)
    return inside.volume(array, "CT", (400, 40), np.diag([-0.7, -0.7, 1.0, 1.0]))


def server_seconds(log: Path) -> float:
    """What the model took for the last image, by the server's own log."""
    said = re.findall(r"seconds (\{[^}]*\})", log.read_text(errors="replace"))
    return ast.literal_eval(said[-1])["infer"]


def make_panel(inside, settings):
    """The extension's panel, whose user agrees to everything."""
    from MedDenoiseLib.Logic import Logic
    from MedDenoiseLib.Settings import SessionSecrets, Settings
    from MedDenoiseLib.Widget import Surroundings, Widget, makeClient

    widget = slicer.util.loadUI(str(EXTENSION / "MedDenoise" / "Resources" / "UI" / "MedDenoise.ui"))
    around = Surroundings(
        scene=inside.scene,
        logic=Logic(inside.scene, inside.logic, inside.colorLogic),
        settings=Settings(QtCore.QSettings(str(settings), QtCore.QSettings.IniFormat)),
        secrets=SessionSecrets(),
        makeClient=makeClient,
        ask=lambda _question: True,
        askFolder=lambda: "",
    )
    return Widget(widget, slicer.util.childWidgetVariables(widget), around)


class Watch:
    """The seconds of each stage, seen where the user sees them: in the panel's words."""

    def __init__(self, application, panel):
        self._application = application
        self._panel = panel

    def rest(self) -> None:
        """Let the event loop run until the panel is at rest."""
        while self._panel.runner.state != "idle":
            self._application.processEvents(QtCore.QEventLoop.WaitForMoreEvents, 5)

    def press(self) -> dict[str, float]:
        """Press the button once; seconds until it returned, until the answer was there, and until it was shown."""
        start = time.monotonic()
        self._panel.ui.denoiseButton.click()
        pressed = time.monotonic()
        answered = []
        forget = self._panel.runner.whenStateChanged

        def changed():
            answered.append(time.monotonic())
            forget()

        self._panel.runner.whenStateChanged = changed
        self.rest()
        shown = time.monotonic()
        self._panel.runner.whenStateChanged = forget
        if self._panel.logic.shown is None:
            sys.exit(self._panel.ui.progressText.text())
        return {"total": shown - start, "prepare": pressed - start, "accept and show": shown - answered[-1]}


def measure(repeats: int) -> list[dict[str, float]]:
    """Seconds of each press."""
    application = QtWidgets.QApplication([])
    runs = []
    with tempfile.TemporaryDirectory() as text, slicer_stand_in.installed() as inside:
        folder, log = Path(text), Path(text, "log")
        (folder / "studies").mkdir()
        home = {"MEDDENOISE_HOME": str(folder / "home")}
        with server_process(folder / "studies", port=free_port(), log=log, environment=home) as address:
            panel = make_panel(inside, folder / "settings.ini")
            watch = Watch(application, panel)
            panel.ui.inputSelector.setCurrentNode(volume_of(inside))
            panel.ui.modalityBox.setCurrentIndex(panel.ui.modalityBox.findData("CT"))
            panel.ui.addressBox.setEditText(address)
            panel.ui.connectButton.click()
            watch.rest()
            for _ in range(repeats):
                run = watch.press()
                run["server's denoising"] = server_seconds(log)
                run["the rest"] = run["total"] - run["server's denoising"]
                run["transfer and waiting"] = run["the rest"] - run["prepare"] - run["accept and show"]
                runs.append(run)
                panel.logic.remove(panel.logic.shown)
            panel.cleanup()
    return runs


def main() -> None:
    """Measure, and keep what was measured."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=1)
    runs = measure(parser.parse_args().repeats)
    names = ("total", "server's denoising", "the rest", "prepare", "transfer and waiting", "accept and show")
    middle = {name: statistics.median(run[name] for run in runs) for name in names}
    rows = [[name, f"{seconds:.2f}"] for name, seconds in middle.items()]
    shape = "x".join(map(str, reversed(SHAPE)))
    head = f"From the button to the shown result, {shape} int16, {os.cpu_count()} cores, median of {len(runs)}:"
    tail = f"The limit for the rest is {LIMIT:g} s. Stand-in window, not 3D Slicer desktop; drawing not included."
    figures = {"shape": SHAPE, "runs": runs, "median": middle, "limit_s": LIMIT, "cores": os.cpu_count()}
    publish("slicer-roundtrip", f"{head}\n\n{table(['', 'seconds'], rows)}\n\n{tail}", figures)


if __name__ == "__main__":
    main()
