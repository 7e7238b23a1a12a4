"""The panel, where it matters most: tokens, agreements, what outlives a click, and what a real Slicer does besides."""

import gc
import weakref

import numpy as np
import pytest

pytest.importorskip("slicer", reason="slicer-core is not installed")
pytest.importorskip("PySide6", reason="PySide6 is not installed")

import slicer
from PySide6 import QtCore, QtTest

from MedDenoiseLib.Images import voxels
from MedDenoiseLib.Runner import IDLE, RUNNING, Runner
from scene import compare, phantom
from scripted_client import ScriptedClient


class TestToken:
    def test_token_of_one_host_is_not_offered_to_another(self, makePanel, hand):
        panel = makePanel(ScriptedClient())
        panel.ui.addressBox.setEditText("https://one.example:1")
        panel.ui.tokenEdit.setText("secret of one")
        hand.connect(panel)
        panel.ui.addressBox.setEditText("https://two.example:2")
        assert panel.ui.tokenEdit.text() == ""
        panel.ui.addressBox.setEditText("https://one.example:1")
        assert panel.ui.tokenEdit.text() == "secret of one"

    def test_token_stays_while_only_the_port_is_corrected(self, makePanel):
        panel = makePanel(ScriptedClient())
        panel.ui.addressBox.setEditText("https://one.example:1")
        panel.ui.tokenEdit.setText("secret of one")
        for address in ("https://one.example:", "https://one.example:x", "https://one.example:12"):
            panel.ui.addressBox.setEditText(address)
        assert panel.ui.tokenEdit.text() == "secret of one"


class TestPlainHttp:
    def test_unencrypted_way_to_another_computer_is_said_before_and_in_the_question(self, makePanel, hand):
        panel = makePanel(ScriptedClient())
        panel.ui.addressBox.setEditText("http://hospital.example:8000")
        assert "not encrypted" in panel.ui.consentText.text()
        assert panel.ui.consentText.isVisible()
        hand.connect(panel)
        assert "not encrypted" in hand.questions[0]
        assert "not encrypted" in panel.ui.consentText.text()

    @pytest.mark.parametrize(
        "address", ["https://hospital.example:8443", "http://127.0.0.1:8000", "http://localhost:8000"]
    )
    def test_encrypted_or_local_ways_need_no_warning(self, makePanel, hand, address):
        panel = makePanel(ScriptedClient())
        panel.ui.addressBox.setEditText(address)
        hand.connect(panel)
        assert "encrypted" not in hand.questions[0] + panel.ui.consentText.text()


class TestRunner:
    class Timer:
        def start(self): ...

        def stop(self): ...

    @pytest.mark.parametrize("end", ["done", "abandoned"])
    def test_what_the_work_was_for_is_let_go(self, end):
        class Image:
            pass

        image = Image()
        gone = weakref.ref(image)
        runner = Runner(self.Timer())
        heard = []
        runner.start(RUNNING, lambda *_: None, lambda _r, image=image: heard.append(type(image)), heard.append)
        del image
        if end == "abandoned":
            runner.abandon()
        while runner.state != IDLE:
            runner.tick()
        gc.collect()
        assert gone() is None
        assert heard == ([] if end == "abandoned" else [Image])


class TestCleanup:
    def test_choices_in_the_scene_survive_the_panel(self, makePanel, inside):
        panel = makePanel(ScriptedClient())
        volume = inside.volume(phantom())
        panel.ui.inputSelector.setCurrentNode(volume)
        panel.cleanup()
        assert panel.logic.parameters.inputVolume is volume


class TestSceneClose:
    @pytest.mark.parametrize("state", ["idle", "connecting", "running", "canceling"])
    def test_panel_is_at_rest_and_works_again_whatever_it_did(self, makePanel, hand, inside, state):
        client = ScriptedClient()
        panel = makePanel(client)
        if state != "connecting":
            ready(panel, hand, inside)
        if state != "idle":
            client.go.clear()
            (panel.ui.connectButton if state == "connecting" else panel.ui.denoiseButton).click()
        if state == "canceling":
            panel.runner.cancel()
        assert panel.runner.state == state
        panel.onSceneStartClose()
        inside.scene.Clear(0)
        panel.onSceneEndClose()
        assert panel.runner.state == "idle"
        assert panel.logic.comparisons == []
        client.go.set()
        ready(panel, hand, inside)
        panel.ui.denoiseButton.click()
        hand.idle(panel)
        assert len(panel.logic.comparisons) == 1


def ready(panel, hand, inside):
    """Connected, with an image chosen."""
    hand.connect(panel)
    panel.ui.inputSelector.setCurrentNode(inside.volume(phantom((8, 40, 40))))
    panel.ui.modalityBox.setCurrentIndex(1)


class TestSecondPanel:
    def test_results_made_elsewhere_are_listed_when_the_module_is_shown(self, makePanel, inside, tmp_path):
        panel = makePanel(ScriptedClient())
        logic, comparison = compare(inside, tmp_path)
        panel.enter()
        assert [panel.ui.comparisonBox.itemText(0)] == [comparison.name]
        logic.remove(comparison)
        assert panel.ui.comparisonBox.count() == 0
        logic.close()


class TestKey:
    def test_typing_is_not_taken_for_the_key(self, makePanel, hand, inside, qtApplication):
        panel = makePanel(ScriptedClient())
        panel.enter()
        panel.widget.activateWindow()
        pressed = []
        panel._key.activated.connect(lambda: pressed.append(True))
        for field in (panel.ui.tokenEdit, panel.ui.addressBox.lineEdit()):
            field.setFocus()
            field.clear()
            QtTest.QTest.keyClick(field, QtCore.Qt.Key_D)
            assert field.text() == "d"
        assert pressed == []


class TestResult:
    @pytest.fixture
    def done(self, makePanel, hand, inside):
        panel = makePanel(ScriptedClient())
        ready(panel, hand, inside)
        panel.ui.uncertaintyBox.setChecked(True)
        panel.ui.denoiseButton.click()
        hand.idle(panel)
        assert panel.logic.shown is not None
        return panel

    def test_flicker_button_is_up_again_once_the_denoised_image_is_shown_anew(self, done):
        done.ui.flickerButton.click()
        assert done.ui.flickerButton.isChecked()
        done.ui.compareButton.click()
        assert not done.ui.flickerButton.isChecked()

    def test_map_stays_ticked_while_another_result_goes(self, done, hand):
        done.ui.denoiseButton.click()
        hand.idle(done)
        done.ui.mapBox.click()
        first = done.logic.comparisons[0]
        slicer.mrmlScene.RemoveNode(first.denoised)
        assert done.ui.mapBox.isChecked()
        done.ui.compareButton.click()
        assert not done.ui.mapBox.isChecked()

    def test_strength_that_cannot_be_mixed_any_more_is_told(self, done, hand):
        done.logic.shown.denoised.SetSpacing(9, 9, 9)
        done.ui.strengthSlider.setValue(40)
        hand.until(lambda: "original's grid" in done.ui.resultText.text(), 5)

    def test_export_that_fails_unforeseen_is_told(self, done, hand, tmp_path, caplog):
        def fail(*_):
            raise OSError("disk full")

        done.logic.exportDicom = fail
        hand.folder = str(tmp_path)
        done.ui.exportButton.click()
        assert "disk full" in done.ui.resultText.text()
        assert "MedDenoise failed" in caplog.text

    def test_new_box_can_be_dragged_and_is_measured_at_once(self, done):
        roi = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLMarkupsROINode", "R")
        done.ui.measureSelector.setCurrentNode(roi)
        done.ui.measureSelector.nodeAddedByUser.emit(roi)
        assert any(roi.GetSize())
        assert done.ui.figuresTable.rowCount() == 6

    def test_new_region_lies_on_the_volume(self, done, hand):
        roi = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLMarkupsROINode", "R")
        done.ui.regionSelector.setCurrentNode(roi)
        done.ui.regionSelector.nodeAddedByUser.emit(roi)
        before = voxels(done.logic.parameters.inputVolume).copy()
        done.ui.denoiseButton.click()
        hand.idle(done)
        assert len(done.logic.comparisons) == 2
        np.testing.assert_array_equal(voxels(done.logic.parameters.inputVolume), before)
