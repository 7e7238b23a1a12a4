"""The panel, clicked: what can be pressed when, what is said, and what is left behind."""

from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("slicer", reason="slicer-core is not installed")
pytest.importorskip("PySide6", reason="PySide6 is not installed")

import slicer
import slicer.util

import qt_stand_in
from MedDenoiseLib import Errors
from scene import phantom
from scripted_client import BRAIN, STUDENT, ScriptedClient

FAILURES = sorted(Errors.MedDenoiseError.__subclasses__(), key=lambda kind: kind.__name__)
FAILURES = [kind for kind in FAILURES if kind.__module__ == Errors.__name__]
FAILURES = [kind for kind in FAILURES if kind not in (Errors.Canceled, Errors.ConsentMissing)]  # told in our words


@pytest.fixture
def client():
    return ScriptedClient()


@pytest.fixture
def volume(inside):
    return inside.volume(phantom(), "CT of Jane Doe")


def connect(panel, hand):
    panel.ui.connectButton.click()
    hand.idle(panel)


@pytest.fixture
def ready(makePanel, hand, client, volume):
    """A connected panel with a CT that can be denoised."""
    panel = makePanel(client)
    connect(panel, hand)
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


class TestConnecting:
    def test_button_says_to_connect_first(self, makePanel, volume):
        panel = makePanel()
        assert not panel.ui.denoiseButton.isEnabled()
        assert "Connect" in panel.ui.denoiseButton.toolTip()

    def test_user_is_asked_once_for_each_host(self, makePanel, hand, client):
        panel = makePanel(client)
        connect(panel, hand)
        connect(panel, hand)
        assert len(hand.questions) == 1
        assert "127.0.0.1" in hand.questions[0]
        panel.ui.addressBox.setEditText("https://hospital.example:8443")
        connect(panel, hand)
        assert len(hand.questions) == 2
        assert "hospital.example" in hand.questions[1]

    def test_nothing_is_asked_of_a_host_that_the_user_refuses(self, makePanel, hand, client):
        hand.agrees = False
        panel = makePanel(client)
        connect(panel, hand)
        assert client.infos == 0
        assert "Nothing was sent" in panel.ui.connectionText.text()
        assert not panel.ui.withdrawButton.isVisible()

    def test_withdrawn_agreement_is_asked_for_again(self, makePanel, hand, client):
        panel = makePanel(client)
        connect(panel, hand)
        panel.ui.withdrawButton.click()
        assert panel.server.info is None
        assert not panel.ui.denoiseButton.isEnabled()
        connect(panel, hand)
        assert len(hand.questions) == 2

    def test_address_that_worked_is_remembered_and_one_that_failed_is_not(self, makePanel, hand, makeStore):
        store = makeStore()
        panel = makePanel(ScriptedClient(error=Errors.TimedOut("Too slow.")), store)
        panel.ui.addressBox.setEditText("http://wrong.example:1")
        connect(panel, hand)
        assert panel.server.settings.addresses == []
        panel = makePanel(ScriptedClient(), store)
        panel.ui.addressBox.setEditText("http://right.example:2")
        connect(panel, hand)
        assert panel.server.settings.addresses == ["http://right.example:2"]
        assert makePanel(None, store).ui.addressBox.currentText() == "http://right.example:2"

    def test_token_is_hidden_and_never_written(self, makePanel, hand, client, makeStore):
        store = makeStore()
        panel = makePanel(client, store)
        panel.ui.tokenEdit.setText("very-secret-token")
        connect(panel, hand)
        assert panel.ui.tokenEdit.echoMode() == qt_stand_in.QLineEdit.Password
        assert "very-secret-token" not in repr(store)

    @pytest.mark.parametrize("kind", FAILURES, ids=lambda kind: kind.__name__)
    def test_every_failure_is_told_in_its_own_words(self, makePanel, hand, kind):
        panel = makePanel(ScriptedClient(error=kind("This went wrong.", "This is the way out.")))
        connect(panel, hand)
        assert panel.ui.connectionText.text() == "This went wrong. This is the way out."
        assert panel.ui.connectButton.isEnabled()

    def test_failure_that_nobody_foresaw_is_told_and_logged(self, makePanel, hand, caplog):
        panel = makePanel(ScriptedClient(error=ZeroDivisionError("division by zero")))
        connect(panel, hand)
        assert "division by zero" in panel.ui.connectionText.text()
        assert "MedDenoise failed" in caplog.text

    def test_bad_address_is_told_without_asking_anyone(self, makePanel, hand, client):
        panel = makePanel(client)
        panel.ui.addressBox.setEditText("ftp://somewhere")
        connect(panel, hand)
        assert hand.questions == []
        assert "http://" in panel.ui.connectionText.text()

    def test_connect_turns_into_cancel(self, makePanel, hand, client):
        client.go.clear()
        panel = makePanel(client)
        panel.ui.connectButton.click()
        assert panel.ui.connectButton.text() == "Cancel"
        panel.ui.connectButton.click()
        hand.idle(panel)
        assert "Canceled" in panel.ui.connectionText.text()

    def test_edited_address_no_longer_counts_as_connected(self, ready):
        ready.ui.addressBox.setEditText("http://elsewhere.example:9")
        assert not ready.ui.denoiseButton.isEnabled()


class TestChoosing:
    def test_volume_on_display_is_preselected(self, makePanel, volume, inside):
        inside.logic.GetSelectionNode().SetActiveVolumeID(volume.GetID())
        panel = makePanel()
        panel.enter()
        assert panel.ui.inputSelector.currentNode() is volume

    def test_recommended_model_follows_the_modality(self, ready):
        assert ready.image.model is STUDENT
        ready.ui.modalityBox.setCurrentIndex(2)
        assert ready.image.model is BRAIN
        assert "For heads." in ready.ui.modelText.text()

    def test_model_chosen_for_a_modality_is_remembered(self, ready):
        ready.ui.modalityBox.setCurrentIndex(2)
        ready.ui.modelBox.setCurrentIndex(0)
        ready.ui.modalityBox.setCurrentIndex(1)
        ready.ui.modalityBox.setCurrentIndex(2)
        assert ready.image.model is STUDENT

    def test_model_that_was_not_made_for_the_modality_is_said_to_be(self, ready):
        ready.ui.modelBox.setCurrentIndex(1)
        assert "not made for CT" in ready.ui.modelText.text()

    def test_unknown_modality_must_be_chosen(self, ready):
        ready.ui.modalityBox.setCurrentIndex(0)
        assert not ready.ui.denoiseButton.isEnabled()
        assert "modality" in ready.ui.denoiseButton.toolTip()

    def test_uncertainty_is_offered_where_the_model_gives_it(self, ready):
        assert ready.ui.uncertaintyBox.isEnabled()
        ready.ui.modelBox.setCurrentIndex(1)
        assert not ready.ui.uncertaintyBox.isEnabled()

    def test_volume_with_nan_is_refused_with_the_reason(self, ready, inside):
        bad = phantom(dtype=np.float32)
        bad[0, 0, 0] = np.nan
        ready.ui.inputSelector.setCurrentNode(inside.volume(bad, "broken"))
        ready.ui.modalityBox.setCurrentIndex(1)
        assert not ready.ui.denoiseButton.isEnabled()
        assert "NaN" in ready.ui.denoiseButton.toolTip()
        assert "NaN" in ready.ui.inputText.text()

    def test_label_maps_and_color_are_not_even_listed(self, ready, inside):
        inside.scene.AddNewNodeByClass("vtkMRMLLabelMapVolumeNode", "labels")
        inside.scene.AddNewNodeByClass("vtkMRMLVectorVolumeNode", "color")
        names = [ready.ui.inputSelector.itemText(index) for index in range(ready.ui.inputSelector.count())]
        assert "CT of Jane Doe" in names
        assert not {"labels", "color"} & set(names)

    def test_server_without_models_leaves_the_button_off_with_the_reason(self, makePanel, hand, volume):
        panel = makePanel(ScriptedClient(models=()))
        connect(panel, hand)
        panel.ui.inputSelector.setCurrentNode(volume)
        panel.ui.modalityBox.setCurrentIndex(1)
        assert "no model" in panel.ui.denoiseButton.toolTip()


class TestDenoising:
    def test_result_is_shown_and_the_input_is_untouched(self, done, volume):
        assert done.logic.shown.original is volume
        assert done.logic.layout.shown
        assert np.array_equal(slicer.util.arrayFromVolume(volume), phantom())
        assert "Done" in done.ui.progressText.text()

    def test_neither_name_nor_path_of_the_volume_is_sent(self, done, client):
        request, files = client.requests[0], client.seen[0]
        assert files == [Path(request.imagePath).name]
        assert "Jane" not in repr(request)

    def test_nothing_is_left_on_disk(self, done, client):
        assert not Path(client.requests[0].folder).exists()

    def test_button_turns_into_cancel_and_cancel_changes_nothing(self, ready, hand, client, inside):
        client.go.clear()
        nodes = inside.scene.GetNumberOfNodes()
        ready.ui.denoiseButton.click()
        assert ready.ui.denoiseButton.text() == "Cancel"
        assert not ready.ui.connectButton.isEnabled()
        ready.ui.denoiseButton.click()
        hand.idle(ready, 2)
        assert "Canceled" in ready.ui.progressText.text()
        assert inside.scene.GetNumberOfNodes() == nodes
        assert not Path(client.requests[0].folder).exists()
        assert ready.ui.denoiseButton.text().replace("&", "") == "Denoise"

    @pytest.mark.parametrize(
        ("step", "words", "value"),
        [
            (("sending", 0.5, "3 of 6 MB"), "Sending: 3 of 6 MB", 500),
            (("waiting", None, "2 before this one"), "Waiting in line: 2 before this one", None),
            (("denoising", 0.25, "slice 2 of 8"), "Denoising: slice 2 of 8", 250),
            (("receiving", 1.0, ""), "Receiving…", 1000),
        ],
    )
    def test_progress_is_shown_by_stage(self, ready, hand, client, step, words, value):
        client.script = [step]
        client.go.clear()
        ready.ui.denoiseButton.click()
        hand.until(lambda: ready.ui.progressText.text() == words, 5)
        bar = ready.ui.progressBar
        assert bar.isVisible()
        assert bar.maximum() == 0 if value is None else bar.value() == value
        client.go.set()
        hand.idle(ready)
        assert not bar.isVisible()

    def test_error_is_told_and_the_button_works_again(self, ready, hand, client):
        client.error = Errors.ServerFailed("The server failed.", "Look into its log.")
        ready.ui.denoiseButton.click()
        hand.idle(ready)
        assert ready.ui.progressText.text() == "The server failed. Look into its log."
        client.error = None
        ready.ui.denoiseButton.click()
        hand.idle(ready)
        assert ready.logic.shown is not None

    def test_scene_closed_meanwhile_stops_all(self, ready, hand, client, inside):
        client.go.clear()
        ready.ui.denoiseButton.click()
        ready.onSceneStartClose()
        inside.scene.Clear(0)
        ready.onSceneEndClose()
        assert ready.runner.state == "idle"
        assert not Path(client.requests[0].folder).exists()
        client.go.set()
        hand.turn()
        assert ready.logic.comparisons == []
        assert not ready.ui.denoiseButton.isEnabled()

    def test_input_deleted_meanwhile_does_no_harm(self, ready, hand, client, inside, volume):
        client.go.clear()
        ready.ui.denoiseButton.click()
        hand.until(lambda: client.requests)
        inside.scene.RemoveNode(volume)
        client.go.set()
        hand.idle(ready)
        assert "went wrong" not in ready.ui.progressText.text()

    def test_region_limits_what_is_sent(self, ready, hand, client, inside):
        region = inside.scene.AddNewNodeByClass("vtkMRMLMarkupsROINode", "box")
        region.SetCenter(12, 10, 3)
        region.SetSize(8, 6, 4)
        ready.ui.regionSelector.setCurrentNode(region)
        ready.ui.denoiseButton.click()
        hand.idle(ready)
        assert ready.logic.shown is not None, ready.ui.progressText.text()

    def test_uncertainty_is_asked_for_when_ticked(self, ready, hand, client):
        ready.ui.uncertaintyBox.click()
        ready.ui.denoiseButton.click()
        hand.idle(ready)
        assert client.requests[0].uncertainty
        assert ready.logic.shown.uncertainty is not None
        ready.ui.mapBox.click()
        assert ready.ui.mapBox.isChecked()


class TestResult:
    def test_everything_is_off_before_there_is_a_result(self, ready):
        for name in ("compareButton", "flickerButton", "removeButton", "keepButton", "exportButton", "strengthSlider"):
            assert not getattr(ready.ui, name).isEnabled(), name

    def test_figures_are_in_the_table(self, done):
        table = done.ui.figuresTable
        texts = [table.item(row, 0).text() for row in range(table.rowCount())]
        assert any("oise" in text for text in texts)

    def test_warnings_of_the_server_are_shown(self, ready, hand, client):
        client.warnings = ("The units are doubtful.",)
        ready.ui.denoiseButton.click()
        hand.idle(ready)
        assert "The units are doubtful." in ready.ui.warningsText.text()

    def test_strength_mixes_without_asking_the_server(self, done, hand, client):
        done.ui.strengthSlider.setValue(25)
        hand.until(lambda: done.logic.shown.strength == pytest.approx(0.25), 5)
        assert len(client.requests) == 1

    def test_flicker_switches_and_the_button_shows_it(self, done):
        done.ui.flickerButton.click()
        assert done.ui.flickerButton.isChecked()
        done.ui.flickerButton.click()
        assert not done.ui.flickerButton.isChecked()

    def test_key_works_only_while_the_module_is_shown(self, done):
        done.enter()
        assert done._key.isEnabled()
        done._key.activated.emit()
        assert done.ui.flickerButton.isChecked()
        done.exit()
        assert not done._key.isEnabled()

    def test_earlier_layout_comes_back(self, done, inside):
        done.ui.restoreButton.click()
        assert inside.layoutNode.GetViewArrangement() == slicer.vtkMRMLLayoutNode.SlicerLayoutFourUpView
        done.ui.compareButton.click()
        assert done.logic.layout.shown

    def test_results_of_two_models_are_kept_side_by_side(self, done, hand):
        first = done.logic.shown
        done.ui.modelBox.setCurrentIndex(1)
        done.ui.denoiseButton.click()
        hand.idle(done)
        assert done.ui.comparisonBox.count() == 2
        assert done.logic.shown != first
        done.ui.comparisonBox.setCurrentIndex(0)
        assert done.logic.shown == first

    def test_removed_result_leaves_the_scene_after_a_question(self, done, hand, volume):
        hand.agrees = False
        done.ui.removeButton.click()
        assert done.logic.shown is not None
        hand.agrees = True
        done.ui.removeButton.click()
        assert done.logic.comparisons == []
        assert slicer.util.getNodesByClass("vtkMRMLScalarVolumeNode") == [volume]

    def test_kept_result_stays_as_plain_volumes(self, done):
        done.ui.keepButton.click()
        assert done.ui.comparisonBox.count() == 0
        assert len(slicer.util.getNodesByClass("vtkMRMLScalarVolumeNode")) == 3

    def test_figures_of_a_drawn_region_take_their_place(self, done, inside):
        whole = [done.ui.figuresTable.item(0, column).text() for column in range(3)]
        region = inside.scene.AddNewNodeByClass("vtkMRMLMarkupsROINode", "box")
        region.SetCenter(12, 10, 3)
        region.SetSize(12, 10, 5)
        done.ui.measureSelector.setCurrentNode(region)
        assert [done.ui.figuresTable.item(0, column).text() for column in range(3)] != whole
        done.ui.measureSelector.setCurrentNode(None)
        assert [done.ui.figuresTable.item(0, column).text() for column in range(3)] == whole

    def test_export_without_slicers_dicom_module_says_what_to_do(self, done, hand, tmp_path):
        hand.folder = str(tmp_path)
        done.ui.exportButton.click()
        assert done.ui.resultText.text()
        assert done.ui.resultText.isVisible()

    def test_linked_windows_can_be_unlinked(self, done, volume):
        done.ui.linkWindowsBox.click()
        volume.GetDisplayNode().SetWindowLevel(111, 22)
        assert done.logic.shown.denoised.GetDisplayNode().GetWindow() != 111
        done.ui.linkWindowsBox.click()
        volume.GetDisplayNode().SetWindowLevel(222, 33)
        assert done.logic.shown.denoised.GetDisplayNode().GetWindow() == 222


class TestLeaving:
    def test_nothing_ticks_or_observes_after_cleanup(self, done, inside):
        done.cleanup()
        assert not done._timer.isActive()
        assert done.logic.onChanged is None
        before = done.ui.inputSelector.count()
        inside.volume(phantom(), "another")
        assert done.ui.inputSelector.count() == before

    def test_cleanup_while_running_ends_the_job(self, ready, hand, client):
        client.go.clear()
        ready.ui.denoiseButton.click()
        hand.until(lambda: client.requests)
        ready.cleanup()
        assert ready.runner.state == "idle"
        assert not Path(client.requests[0].folder).exists()

    def test_panel_made_again_finds_the_results(self, done, makePanel, client):
        done.cleanup()
        again = makePanel(client)
        assert again.ui.comparisonBox.count() == 1
        assert again.logic.shown is not None
