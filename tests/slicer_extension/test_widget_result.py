"""The panel, clicked: denoising, what comes of it, and what is left behind."""

from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("slicer", reason="slicer-core is not installed")
pytest.importorskip("PySide6", reason="PySide6 is not installed")

import slicer
import slicer.util

from MedDenoiseLib import Errors
from scene import phantom


class TestDenoising:
    def test_result_is_shown_and_the_input_is_untouched(self, done, volume):
        assert done.logic.shown.original is volume
        assert done.logic.layout.shown
        assert np.array_equal(slicer.util.arrayFromVolume(volume), phantom())
        assert "Done" in done.ui.progressText.text()

    def test_neither_name_nor_path_of_the_volume_is_sent(self, done, scripted):
        request, files = scripted.requests[0], scripted.seen[0]
        assert files == [Path(request.imagePath).name]
        assert "Jane" not in repr(request)

    def test_nothing_is_left_on_disk(self, done, scripted):
        assert not Path(scripted.requests[0].folder).exists()

    def test_button_turns_into_cancel_and_cancel_changes_nothing(self, ready, hand, scripted, inside):
        scripted.go.clear()
        nodes = inside.scene.GetNumberOfNodes()
        ready.ui.denoiseButton.click()
        assert ready.ui.denoiseButton.text() == "Cancel"
        assert not ready.ui.connectButton.isEnabled()
        ready.ui.denoiseButton.click()
        hand.idle(ready, 2)
        assert "Canceled" in ready.ui.progressText.text()
        assert inside.scene.GetNumberOfNodes() == nodes
        assert not Path(scripted.requests[0].folder).exists()
        assert ready.ui.denoiseButton.text().replace("&", "") == "Denoise"

    @pytest.mark.parametrize(
        ("step", "words", "value"),
        [
            (("sending", 0.5, "3 of 6 MB"), "Sending: 3 of 6 MB", 500),
            (("waiting", None, "place 2 in line"), "Waiting: place 2 in line", None),
            (("denoising", 0.25, "2 of 8"), "Denoising slice 2 of 8", 250),
            (("denoising", 0.5, "uncertainty: 4 of 8"), "Denoising: uncertainty: 4 of 8", 500),
            (("receiving", 1.0, ""), "Receiving…", 1000),
        ],
    )
    def test_progress_is_shown_by_stage(self, ready, hand, scripted, step, words, value):
        scripted.script = [step]
        scripted.go.clear()
        ready.ui.denoiseButton.click()
        hand.until(lambda: ready.ui.progressText.text() == words, 5)
        bar = ready.ui.progressBar
        assert bar.isVisible()
        assert bar.maximum() == 0 if value is None else bar.value() == value
        scripted.go.set()
        hand.idle(ready)
        assert not bar.isVisible()

    def test_error_is_told_and_the_button_works_again(self, ready, hand, scripted):
        scripted.error = Errors.ServerFailed("The server failed.", "Look into its log.")
        ready.ui.denoiseButton.click()
        hand.idle(ready)
        assert ready.ui.progressText.text() == "The server failed. Look into its log."
        scripted.error = None
        ready.ui.denoiseButton.click()
        hand.idle(ready)
        assert ready.logic.shown is not None

    def test_scene_closed_meanwhile_stops_all(self, ready, hand, scripted, inside):
        scripted.go.clear()
        ready.ui.denoiseButton.click()
        ready.onSceneStartClose()
        inside.scene.Clear(0)
        ready.onSceneEndClose()
        assert ready.runner.state == "idle"
        assert not Path(scripted.requests[0].folder).exists()
        scripted.go.set()
        hand.turn()
        assert ready.logic.comparisons == []
        assert not ready.ui.denoiseButton.isEnabled()

    def test_input_deleted_meanwhile_does_no_harm(self, ready, hand, scripted, inside, volume):
        scripted.go.clear()
        ready.ui.denoiseButton.click()
        hand.until(lambda: scripted.requests)
        inside.scene.RemoveNode(volume)
        scripted.go.set()
        hand.idle(ready)
        assert "went wrong" not in ready.ui.progressText.text()

    def test_region_limits_what_is_sent(self, ready, hand, scripted, inside):
        region = inside.scene.AddNewNodeByClass("vtkMRMLMarkupsROINode", "box")
        region.SetCenter(12, 10, 3)
        region.SetSize(8, 6, 4)
        ready.ui.regionSelector.setCurrentNode(region)
        ready.ui.denoiseButton.click()
        hand.idle(ready)
        assert ready.logic.shown is not None, ready.ui.progressText.text()

    def test_uncertainty_is_asked_for_when_ticked(self, ready, hand, scripted):
        ready.ui.uncertaintyBox.click()
        ready.ui.denoiseButton.click()
        hand.idle(ready)
        assert scripted.requests[0].uncertainty
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

    def test_warnings_of_the_server_are_shown(self, ready, hand, scripted):
        scripted.warnings = ("The units are doubtful.",)
        ready.ui.denoiseButton.click()
        hand.idle(ready)
        assert "The units are doubtful." in ready.ui.warningsText.text()

    def test_strength_mixes_without_asking_the_server(self, done, hand, scripted):
        done.ui.strengthSlider.setValue(25)
        hand.until(lambda: done.logic.shown.strength == pytest.approx(0.25), 5)
        assert len(scripted.requests) == 1

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

    def test_cleanup_while_running_ends_the_job(self, ready, hand, scripted):
        scripted.go.clear()
        ready.ui.denoiseButton.click()
        hand.until(lambda: scripted.requests)
        ready.cleanup()
        assert ready.runner.state == "idle"
        assert not Path(scripted.requests[0].folder).exists()

    def test_panel_made_again_finds_the_results(self, done, makePanel, scripted):
        done.cleanup()
        again = makePanel(scripted)
        assert again.ui.comparisonBox.count() == 1
        assert again.logic.shown is not None
