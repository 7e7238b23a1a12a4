"""MedDenoiseTraining.py, through stand-ins of the classes that Slicer derives modules from."""

import importlib.util
import sys
import unittest
from types import SimpleNamespace

import pytest

pytest.importorskip("slicer", reason="slicer-core is not installed")
pytest.importorskip("PySide6", reason="PySide6 is not installed")

from scene import phantom


@pytest.fixture
def module(inside, makeStore, monkeypatch, request):
    """MedDenoiseTraining.py, loaded as Slicer loads a module."""
    import qt_stand_in

    store = makeStore()
    monkeypatch.setattr(qt_stand_in, "QSettings", lambda: store, raising=False)
    file = request.path.parents[2] / "slicer_extension" / "MedDenoiseTraining" / "MedDenoiseTraining.py"
    spec = importlib.util.spec_from_file_location("MedDenoiseTraining", file)
    loaded = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, "MedDenoiseTraining", loaded)
    spec.loader.exec_module(loaded)
    return loaded


@pytest.fixture
def widget(module, unheard):
    widget = module.MedDenoiseTrainingWidget()
    widget.setup()
    yield widget
    widget.cleanup()


def test_module_describes_itself_and_needs_the_first(module):
    described = module.MedDenoiseTraining(SimpleNamespace()).parent
    assert described.title == "MedDenoise Training"
    assert described.categories == ["Filtering"]
    assert described.dependencies == ["MedDenoise"]
    assert "stay on the server" in described.helpText
    assert "Research use, not a medical device" in described.helpText.replace("\n", " ")


def test_widget_shows_the_page(widget):
    assert widget.layout.indexOf(widget.page.widget) >= 0
    widget.enter()
    widget.exit()


def test_scene_close_reaches_the_page(widget, inside):
    volume = inside.volume(phantom())
    widget.page.ui.imageSelector.setCurrentNode(volume)
    inside.scene.Clear(0)
    assert widget.page.ui.imageSelector.currentNode() is None


def test_cleanup_leaves_no_observer_and_may_come_twice(module, inside):
    def observed():
        events = (inside.scene.StartCloseEvent, inside.scene.NodeAddedEvent, inside.scene.NodeRemovedEvent)
        return [bool(inside.scene.HasObserver(event)) for event in events]

    before = observed()
    widget = module.MedDenoiseTrainingWidget()
    widget.setup()
    widget.cleanup()
    widget.cleanup()
    assert observed() == before


def test_page_can_be_opened_again_after_a_reload(module):
    for _ in range(2):
        widget = module.MedDenoiseTrainingWidget()
        widget.setup()
        widget.enter()
        widget.cleanup()


def test_self_test_of_the_module_passes(module):
    case = module.MedDenoiseTrainingTest()
    case.runTest()
    assert isinstance(case, unittest.TestCase)
