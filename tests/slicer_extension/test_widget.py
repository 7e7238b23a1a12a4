"""The panel, clicked: connecting, and choosing what to denoise."""

import numpy as np
import pytest

pytest.importorskip("slicer", reason="slicer-core is not installed")
pytest.importorskip("PySide6", reason="PySide6 is not installed")


import qt_stand_in
from MedDenoiseLib import Errors
from scene import phantom
from scripted_client import BRAIN, STUDENT, ScriptedClient

FAILURES = sorted(Errors.MedDenoiseError.__subclasses__(), key=lambda kind: kind.__name__)
FAILURES = [kind for kind in FAILURES if kind.__module__ == Errors.__name__]
FAILURES = [kind for kind in FAILURES if kind not in (Errors.Canceled, Errors.ConsentMissing)]  # told in our words


class TestConnecting:
    def test_button_says_to_connect_first(self, makePanel, volume):
        panel = makePanel()
        assert not panel.ui.denoiseButton.isEnabled()
        assert "Connect" in panel.ui.denoiseButton.toolTip()

    def test_user_is_asked_once_for_each_host(self, makePanel, hand, scripted):
        panel = makePanel(scripted)
        hand.connect(panel)
        hand.connect(panel)
        assert len(hand.questions) == 1
        assert "127.0.0.1" in hand.questions[0]
        panel.ui.addressBox.setEditText("https://hospital.example:8443")
        hand.connect(panel)
        assert len(hand.questions) == 2
        assert "hospital.example" in hand.questions[1]

    def test_nothing_is_asked_of_a_host_that_the_user_refuses(self, makePanel, hand, scripted):
        hand.agrees = False
        panel = makePanel(scripted)
        hand.connect(panel)
        assert scripted.infos == 0
        assert "Nothing was sent" in panel.ui.connectionText.text()
        assert not panel.ui.withdrawButton.isVisible()

    def test_withdrawn_agreement_is_asked_for_again(self, makePanel, hand, scripted):
        panel = makePanel(scripted)
        hand.connect(panel)
        panel.ui.withdrawButton.click()
        assert panel.server.info is None
        assert not panel.ui.denoiseButton.isEnabled()
        hand.connect(panel)
        assert len(hand.questions) == 2

    def test_address_that_worked_is_remembered_and_one_that_failed_is_not(self, makePanel, hand, makeStore):
        store = makeStore()
        panel = makePanel(ScriptedClient(error=Errors.TimedOut("Too slow.")), store)
        panel.ui.addressBox.setEditText("http://wrong.example:1")
        hand.connect(panel)
        assert panel.server.settings.addresses == []
        panel = makePanel(ScriptedClient(), store)
        panel.ui.addressBox.setEditText("http://right.example:2")
        hand.connect(panel)
        assert panel.server.settings.addresses == ["http://right.example:2"]
        assert makePanel(None, store).ui.addressBox.currentText() == "http://right.example:2"

    def test_token_is_hidden_and_never_written(self, makePanel, hand, scripted, makeStore):
        store = makeStore()
        panel = makePanel(scripted, store)
        panel.ui.tokenEdit.setText("very-secret-token")
        hand.connect(panel)
        assert panel.ui.tokenEdit.echoMode() == qt_stand_in.QLineEdit.Password
        assert "very-secret-token" not in repr(store)

    @pytest.mark.parametrize("kind", FAILURES, ids=lambda kind: kind.__name__)
    def test_every_failure_is_told_in_its_own_words(self, makePanel, hand, kind):
        panel = makePanel(ScriptedClient(error=kind("This went wrong.", "This is the way out.")))
        hand.connect(panel)
        assert panel.ui.connectionText.text() == "This went wrong. This is the way out."
        assert panel.ui.connectButton.isEnabled()

    def test_failure_that_nobody_foresaw_is_told_and_logged(self, makePanel, hand, caplog):
        panel = makePanel(ScriptedClient(error=ZeroDivisionError("division by zero")))
        hand.connect(panel)
        assert "division by zero" in panel.ui.connectionText.text()
        assert "MedDenoise failed" in caplog.text

    def test_bad_address_is_told_without_asking_anyone(self, makePanel, hand, scripted):
        panel = makePanel(scripted)
        panel.ui.addressBox.setEditText("ftp://somewhere")
        hand.connect(panel)
        assert hand.questions == []
        assert "http://" in panel.ui.connectionText.text()

    def test_connect_turns_into_cancel(self, makePanel, hand, scripted):
        scripted.go.clear()
        panel = makePanel(scripted)
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
        hand.connect(panel)
        panel.ui.inputSelector.setCurrentNode(volume)
        panel.ui.modalityBox.setCurrentIndex(1)
        assert "no model" in panel.ui.denoiseButton.toolTip()
