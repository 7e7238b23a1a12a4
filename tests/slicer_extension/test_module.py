"""MedDenoise.py, through stand-ins of the classes that Slicer derives modules from."""

import importlib.util
import sys
import unittest
from types import SimpleNamespace

import pytest

pytest.importorskip("slicer", reason="slicer-core is not installed")
pytest.importorskip("PySide6", reason="PySide6 is not installed")

import slicer

from scene import phantom


@pytest.fixture
def module(inside, store, monkeypatch, module_file):
    """MedDenoise.py, loaded as Slicer loads a module."""
    import qt_stand_in

    monkeypatch.setattr(qt_stand_in, "QSettings", lambda: store, raising=False)
    spec = importlib.util.spec_from_file_location("MedDenoise", module_file)
    loaded = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, "MedDenoise", loaded)
    spec.loader.exec_module(loaded)
    return loaded


@pytest.fixture
def store(makeStore):
    return makeStore()


@pytest.fixture
def module_file(request):
    return request.path.parents[2] / "slicer_extension" / "MedDenoise" / "MedDenoise.py"


@pytest.fixture
def widget(module, unheard):
    widget = module.MedDenoiseWidget()
    widget.setup()
    yield widget
    widget.cleanup()


def test_module_describes_itself(module):
    described = module.MedDenoise(SimpleNamespace()).parent
    assert described.title == "MedDenoise"
    assert described.categories == ["Filtering"]
    assert "Research use, not a medical device" in described.helpText
    assert "cite" in described.acknowledgementText
    assert described.contributors


def test_layout_is_known_once_the_application_started(module, inside):
    from MedDenoiseLib.Layout import LAYOUT

    module.MedDenoise(SimpleNamespace())
    inside.layoutNode.SetLayoutDescription(LAYOUT, "")
    for function in slicer.app.started:
        function()
    assert "MedDenoiseOriginal" in inside.layoutNode.GetLayoutDescription(LAYOUT)


def test_application_without_windows_starts(module, monkeypatch):
    monkeypatch.setattr(slicer.app, "layoutManager", lambda: None)
    module.MedDenoise.whenStarted()


def test_widget_shows_the_panel(widget):
    assert widget.layout.indexOf(widget.panel.widget) >= 0
    widget.enter()
    assert widget.panel._key.isEnabled()
    widget.exit()
    assert not widget.panel._key.isEnabled()


def test_scene_close_reaches_the_panel(widget, inside):
    volume = inside.volume(phantom())
    widget.panel.ui.inputSelector.setCurrentNode(volume)
    inside.scene.Clear(0)
    assert widget.panel.ui.inputSelector.currentNode() is None
    assert widget.panel.runner.state == "idle"
    widget.panel.ui.inputSelector.setCurrentNode(inside.volume(phantom(), "next"))
    assert widget.panel.logic.parameters.inputVolume.GetName() == "next"


def test_volume_loaded_while_the_module_is_shown_is_chosen(widget, inside):
    widget.enter()
    first = inside.volume(phantom(), "first")
    inside.logic.GetSelectionNode().SetActiveVolumeID(first.GetID())
    assert widget.panel.ui.inputSelector.currentNode() is first
    assert widget.panel.logic.parameters.inputVolume is first
    inside.logic.GetSelectionNode().SetActiveVolumeID(inside.volume(phantom(), "second").GetID())
    assert widget.panel.logic.parameters.inputVolume is first  # what is chosen stays


def test_volume_loaded_while_another_module_is_shown_waits(widget, inside):
    inside.logic.GetSelectionNode().SetActiveVolumeID(inside.volume(phantom()).GetID())
    assert widget.panel.logic.parameters.inputVolume is None
    widget.enter()
    assert widget.panel.logic.parameters.inputVolume is not None
    inside.scene.Clear(0)
    assert widget.panel.logic.parameters.inputVolume is None


def test_cleanup_leaves_no_observer_and_may_come_twice(module, inside):
    def observed():
        events = (inside.scene.StartCloseEvent, inside.scene.EndCloseEvent, inside.scene.EndImportEvent)
        events += (inside.scene.NodeAddedEvent, inside.scene.NodeRemovedEvent)
        return [bool(inside.scene.HasObserver(event)) for event in events]

    before = observed()
    widget = module.MedDenoiseWidget()
    widget.setup()
    widget.cleanup()
    widget.cleanup()
    assert observed() == before


def test_panel_can_be_opened_again_after_a_reload(module):
    for _ in range(2):
        widget = module.MedDenoiseWidget()
        widget.setup()
        widget.enter()
        widget.cleanup()


def test_self_test_of_the_module_passes(module, inside):
    case = module.MedDenoiseTest()
    case.runTest()
    assert isinstance(case, unittest.TestCase)
