"""Makes the extension's files importable as 3D Slicer does, and a panel that can be clicked.

Of the project's own package only the server is used here, and only where it is installed: an environment that has just
what 3D Slicer ships runs the rest with `pytest --confcutdir=tests/slicer_extension tests/slicer_extension`.
"""

import importlib.util
import os
import sys
import threading
import time
from pathlib import Path

import pytest

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
MODULE = ROOT / "slicer_extension" / "MedDenoise"
UI = MODULE / "Resources" / "UI" / "MedDenoise.ui"
TRAINING = MODULE.with_name("MedDenoiseTraining")

# All modules of an extension lie flat on sys.path; the stand-ins beside the tests.
for folder in (TRAINING, MODULE, HERE):
    if str(folder) not in sys.path:
        sys.path.insert(0, str(folder))


class Store(dict):
    """qt.QSettings in memory; only the main thread may ask it, as with all of Qt."""

    def value(self, key, default=None):
        assert threading.current_thread() is threading.main_thread()
        return self.get(key, default)

    def setValue(self, key, value):
        self[key] = value

    def remove(self, key):
        self.pop(key, None)


@pytest.fixture
def makeStore():
    """makeStore() gives settings in memory."""
    return Store


@pytest.fixture(scope="session")
def qtApplication():
    """The QApplication, without a screen."""
    pytest.importorskip("PySide6", reason="PySide6 is not installed")
    os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")
    from PySide6 import QtWidgets

    return QtWidgets.QApplication.instance() or QtWidgets.QApplication([])


@pytest.fixture
def inside(qtApplication):
    """What is inside the stand-in application: the scene and its logics, see scene.Application."""
    pytest.importorskip("slicer", reason="slicer-core is not installed")
    import slicer_stand_in

    with slicer_stand_in.installed() as inside:
        yield inside


class Hand:
    """The user's hand on a panel: waits as the event loop does, answers questions, remembers them."""

    def __init__(self, application):
        self._application = application
        self.questions = []
        self.agrees = True
        self.folder = ""

    def ask(self, question):
        self.questions.append(question)
        return self.agrees

    def askFolder(self):
        return self.folder

    def turn(self):
        """One turn of the event loop."""
        self._application.processEvents()
        time.sleep(0.001)

    def until(self, condition, seconds=60):
        """Let the event loop run until something is so."""
        end = time.monotonic() + seconds
        while not condition():
            assert time.monotonic() < end, "it did not happen in time"
            self.turn()

    def idle(self, panel, seconds=120):
        """Let the event loop run until the panel is at rest."""
        self.until(lambda: panel.runner.state == "idle", seconds)

    def connect(self, panel):
        """Press Connect and wait for the answer."""
        panel.ui.connectButton.click()
        self.idle(panel)


@pytest.fixture
def hand(qtApplication):
    return Hand(qtApplication)


@pytest.fixture
def unheard(monkeypatch):
    """Errors that left a slot: Qt only prints them, so the test fails for them in the end."""
    lost = []
    monkeypatch.setattr(sys, "excepthook", lambda _kind, error, _traceback: lost.append(error))
    yield
    for error in lost:
        raise error


@pytest.fixture
def makePanel(inside, hand, unheard):
    """makePanel(makeClient=...) gives a panel on the scene; it is cleaned up after the test."""
    import slicer

    from MedDenoiseLib.Logic import Logic
    from MedDenoiseLib.Settings import SessionSecrets, Settings
    from MedDenoiseLib.Widget import Surroundings, Widget, makeClient

    made = []

    def make(client=None, store=None):
        widget = slicer.util.loadUI(str(UI))
        around = Surroundings(
            scene=inside.scene,
            logic=Logic(inside.scene, inside.logic, inside.colorLogic),
            settings=Settings(Store() if store is None else store),
            secrets=SessionSecrets(),
            makeClient=makeClient if client is None else lambda *_args: client,
            ask=hand.ask,
            askFolder=hand.askFolder,
        )
        panel = Widget(widget, slicer.util.childWidgetVariables(widget), around)
        widget.resize(480, 1000)
        widget.show()
        made.append(panel)
        return panel

    yield make
    for panel in made:
        panel.cleanup()
        panel.widget.close()
        panel.widget.deleteLater()


@pytest.fixture
def makePage(inside, hand, unheard):
    """makePage(client) gives an administrator's page on the scene; it is cleaned up after the test."""
    from training_page import pageOver

    made = []

    def make(client=None, store=None):
        page = pageOver(inside, Store() if store is None else store, hand.ask, client)
        page.widget.resize(480, 1600)
        page.widget.show()
        made.append(page)
        return page

    yield make
    for page in made:
        page.cleanup()
        page.widget.close()
        page.widget.deleteLater()


@pytest.fixture
def scripted(inside):
    """A scripted that does what the test tells it."""
    from scripted_client import ScriptedClient

    return ScriptedClient()


@pytest.fixture
def volume(inside):
    """A volume whose name must not get out."""
    from scene import phantom

    return inside.volume(phantom(), "CT of Jane Doe")


@pytest.fixture
def ready(makePanel, hand, scripted, volume):
    """A connected panel with a CT that can be denoised."""
    panel = makePanel(scripted)
    hand.connect(panel)
    panel.enter()
    panel.ui.inputSelector.setCurrentNode(volume)
    panel.ui.modalityBox.setCurrentIndex(1)
    assert panel.ui.denoiseButton.isEnabled(), panel.ui.denoiseButton.toolTip()
    return panel


@pytest.fixture
def done(ready, hand):
    """A panel that shows a result."""
    ready.ui.denoiseButton.click()
    hand.idle(ready)
    return ready


@pytest.fixture(scope="session")
def serverAddress(serverFolder):
    """Address of a really running MedDenoise server with the published weights."""
    return serverFolder[0]


@pytest.fixture(scope="session")
def serverFolder(tmp_path_factory):
    """The same with the folder that holds its `studies` and its `home`."""
    for package in ("monailabel", "meddenoise"):
        if importlib.util.find_spec(package) is None:
            pytest.skip(f"{package} is not installed: no server to click against")
    from meddenoise.server.process import server_process
    from meddenoise.server.serve import free_port

    folder = tmp_path_factory.mktemp("server")
    (folder / "studies").mkdir()
    home = {"MEDDENOISE_HOME": str(folder / "home")}
    with server_process(folder / "studies", port=free_port(), log=folder / "log", environment=home) as address:
        yield address, folder
