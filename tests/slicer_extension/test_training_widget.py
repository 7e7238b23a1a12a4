"""The administrator's page, clicked, with a server in memory."""

import tempfile
import time
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("slicer", reason="slicer-core is not installed")
pytest.importorskip("PySide6", reason="PySide6 is not installed")

import slicer

import qt_stand_in
from MedDenoiseLib import Errors
from MedDenoiseTrainingLib.Training import DONE, FAILED, Training
from scene import grid, phantom
from scripted_training import BETTER, OPTIONS, ScriptedTraining, running


@pytest.fixture
def client(inside):
    return ScriptedTraining()


@pytest.fixture
def page(makePage, hand, client):
    """A connected page that is shown."""
    page = makePage(client)
    hand.connect(page)
    page.enter()
    assert page.server.info is not None, page.ui.connectionText.text()
    return page


def click(button):
    assert button.isEnabled(), button.toolTip()
    button.click()


def choose(page, volume, partner=None):
    page.ui.imageSelector.setCurrentNode(volume)
    page.ui.partnerSelector.setCurrentNode(partner)
    page.ui.modalityBox.setCurrentIndex(1)


def look(page, hand):
    """Ask how far the training is, once the question before is answered."""
    hand.until(lambda: page.watch.runner.state == "idle", 5)
    page.watch.look()


def option(page, name):
    """The widget of an option."""
    return page.ui.optionsSection.findChild(qt_stand_in.QWidget, f"option_{name}")


class TestConnecting:
    def test_everything_is_off_before_with_the_reason(self, makePage, client):
        ui = makePage(client).ui
        buttons = (ui.uploadButton, ui.trainButton, ui.activateButton, ui.rollBackButton, ui.deleteButton)
        for button in (*buttons, ui.refreshButton):
            assert not button.isEnabled()
            assert button.toolTip() == "Connect to a server first."

    def test_user_agrees_to_what_stays_there_apart_from_denoising(
        self, makePage, makePanel, makeStore, hand, client, scripted
    ):
        store = makeStore()
        hand.connect(makePanel(scripted, store))
        assert len(hand.questions) == 1
        page = makePage(client, store)
        hand.connect(page)
        assert len(hand.questions) == 2
        assert "STAY on 127.0.0.1" in hand.questions[1]
        hand.connect(makePage(client, store))
        assert len(hand.questions) == 2

    def test_nothing_is_asked_of_a_host_that_the_user_refuses(self, makePage, hand, client):
        hand.agrees = False
        page = makePage(client)
        hand.connect(page)
        assert client.calls == []
        assert "Nothing was sent" in page.ui.connectionText.text()

    def test_connected_page_says_what_the_datastore_holds(self, page):
        assert "0 images" in page.ui.connectionText.text()

    @pytest.mark.parametrize("kind", [Errors.Forbidden, Errors.CannotConnect, Errors.TimedOut, Errors.WrongService])
    def test_failure_is_told_in_its_own_words(self, makePage, hand, client, kind):
        client.error = kind("This went wrong.", "This is the way out.")
        page = makePage(client)
        hand.connect(page)
        assert page.ui.connectionText.text() == "This went wrong. This is the way out."
        assert not page.ui.trainButton.isEnabled()

    def test_withdrawn_agreement_disconnects(self, page, client):
        page.ui.withdrawButton.click()
        assert page.server.info is None
        assert not page.ui.trainButton.isEnabled()
        assert page.ui.versionsTable.rowCount() == 0
        looks = client.looks
        page.watch.look()
        assert client.looks == looks


class TestUploading:
    def test_image_and_partner_are_sent_and_counted_and_their_files_removed(self, page, hand, client, inside):
        before = set(Path(tempfile.gettempdir()).glob("MedDenoise-*"))
        choose(page, inside.volume(phantom(), "CT of Jane Doe"), inside.volume(phantom(seed=1), "full dose"))
        page.ui.patientEdit.setText("patient 7")
        name = page.ui.nameEdit.text()
        click(page.ui.uploadButton)
        hand.idle(page)
        ((deposit,),) = client.asked("store")
        assert (deposit.name, deposit.patient, deposit.modality) == (name, "patient 7", "CT")
        assert all(b"Jane" not in content and b"patient" not in content for content in client.seen[0])
        assert f"Stored as {name}, with its clean partner." in page.ui.uploadText.text()
        assert "1 image, 1 of them" in page.ui.connectionText.text()
        assert page.ui.nameEdit.text() != name
        assert page.ui.partnerSelector.currentNode() is None
        assert set(Path(tempfile.gettempdir()).glob("MedDenoise-*")) == before

    def test_suggested_name_says_nothing_of_the_image(self, page, volume):
        choose(page, volume)
        assert "Jane" not in page.ui.nameEdit.text() + page.ui.patientEdit.text()

    def test_patient_of_a_dicom_image_gets_a_pseudonym_by_itself(self, page, volume):
        hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(slicer.mrmlScene)
        patient = hierarchy.CreateSubjectItem(hierarchy.GetSceneItemID(), "Jane Doe")
        hierarchy.SetItemAttribute(patient, "DICOM.PatientID", "4711")
        hierarchy.CreateItem(hierarchy.CreateStudyItem(patient, "study"), volume)
        page.ui.imageSelector.setCurrentNode(volume)
        assert page.ui.patientEdit.text().startswith("P-")
        assert "4711" not in page.ui.patientEdit.text()

    def test_partner_that_lies_elsewhere_is_refused_before_anything_is_sent(self, page, inside, client):
        moved = inside.volume(phantom(), "moved", grid=grid(origin=(0, 0, 9)))
        choose(page, inside.volume(phantom()), moved)
        assert not page.ui.uploadButton.isEnabled()
        assert "its middle lies 9 mm away" in page.ui.imageText.text()
        assert "Resample" in page.ui.uploadButton.toolTip()
        page.ui.partnerSelector.setCurrentNode(None)
        assert page.ui.uploadButton.isEnabled()
        assert not page.ui.imageText.isVisible()

    def test_modality_must_be_chosen_where_it_cannot_be_guessed(self, page, inside):
        page.ui.imageSelector.setCurrentNode(inside.volume(phantom()))
        assert not page.ui.uploadButton.isEnabled()
        assert "modality" in page.ui.uploadButton.toolTip()

    def test_volume_on_display_is_preselected(self, makePage, client, inside, volume):
        inside.logic.GetSelectionNode().SetActiveVolumeID(volume.GetID())
        page = makePage(client)
        page.enter()
        assert page.ui.imageSelector.currentNode() is volume

    def test_bad_voxels_and_bad_names_are_told(self, page, hand, client, inside):
        bad = phantom(dtype=np.float32)
        bad[0, 0, 0] = np.nan
        choose(page, inside.volume(bad, "broken"))
        click(page.ui.uploadButton)
        assert "NaN" in page.ui.uploadText.text()
        choose(page, inside.volume(phantom()))
        page.ui.nameEdit.setText("../etc")
        click(page.ui.uploadButton)
        assert "letters A-Z" in page.ui.uploadText.text()
        assert client.asked("store") == []
        assert page.runner.state == "idle"

    def test_refusal_of_the_server_is_shown_as_it_is(self, page, hand, client, volume):
        choose(page, volume)
        client.error = Errors.Refused("127.0.0.1 refused: the images are those of a PACS.", "")
        click(page.ui.uploadButton)
        hand.idle(page)
        assert page.ui.uploadText.text() == "127.0.0.1 refused: the images are those of a PACS."

    def test_upload_turns_into_cancel(self, page, hand, client, volume):
        choose(page, volume)
        client.go.clear()
        click(page.ui.uploadButton)
        assert page.ui.uploadButton.text() == "Cancel"
        hand.until(lambda: "1.0 of 2.0 MB" in page.ui.uploadText.text(), 5)
        assert page.ui.uploadBar.isVisible()
        assert not page.ui.trainButton.isEnabled()
        click(page.ui.uploadButton)
        hand.idle(page)
        assert "Canceled" in page.ui.uploadText.text()
        assert page.ui.uploadButton.text() == "&Upload"
        assert not page.ui.uploadBar.isVisible()

    def test_cancel_that_comes_once_all_is_done_changes_nothing(self, page, hand, client, volume):
        choose(page, volume)
        click(page.ui.uploadButton)
        while not page.runner._job.finished:
            time.sleep(0.001)
        click(page.ui.uploadButton)
        hand.idle(page)
        assert page.ui.uploadText.text().startswith("Stored as")
        assert client.images == 1

    def test_upload_counts_as_done_even_where_the_server_then_falls_silent(self, page, hand, client, volume):
        choose(page, volume)
        overview = client.overview

        def silent(canceled=lambda: False):
            raise Errors.CannotConnect("127.0.0.1 refuses the connection.", "Check it.")

        client.overview = silent
        click(page.ui.uploadButton)
        hand.idle(page)
        assert page.ui.uploadText.text().startswith("Stored as")
        assert "refuses the connection" in page.ui.versionsText.text()
        client.overview = overview

    def test_scene_close_stops_an_upload_and_leaves_a_training_alone(self, page, hand, client, volume, inside):
        choose(page, volume)
        client.go.clear()
        click(page.ui.uploadButton)
        page.onSceneStartClose()
        inside.scene.Clear(0)
        assert page.runner.state == "idle"
        assert page.ui.imageSelector.currentNode() is None
        client.go.set()
        click(page.ui.trainButton)
        page.onSceneStartClose()
        hand.idle(page)
        assert page.training.running


class TestOptions:
    def test_widgets_are_made_of_what_is_announced(self, page):
        kinds = {name: type(option(page, name)).__name__ for name in [one.name for one in OPTIONS]}
        assert kinds == {
            "minutes": "QLineEdit",
            "epochs": "QSpinBox",
            "device": "QComboBox",
            "publish": "QCheckBox",
            "patient_from": "QLineEdit",
        }
        assert option(page, "minutes").toolTip() == "minutes: How long it may take."
        assert page.training.form.values() == {option.name: option.default for option in OPTIONS}

    def test_option_that_nobody_knew_before_is_shown_and_sent(self, page, hand, client):
        page.ui.trainerBox.setCurrentIndex(1)
        assert "Trains the other" in page.ui.trainerText.text()
        assert option(page, "minutes") is None or not option(page, "minutes").isVisible()
        option(page, "brand_new").setText("1e-3")
        click(page.ui.trainButton)
        hand.idle(page)
        assert client.asked("start") == [("gan", {"brand_new": 0.001})]

    def test_what_is_entered_is_sent_and_defaults_come_back(self, page, hand, client):
        option(page, "minutes").setText("2.5")
        option(page, "epochs").setValue(3)
        option(page, "device").setCurrentIndex(1)
        option(page, "publish").setChecked(False)
        option(page, "patient_from").setText("_")
        entered = {"minutes": 2.5, "epochs": 3, "device": "cpu", "publish": False, "patient_from": "_"}
        assert page.training.form.values() == entered
        click(page.ui.trainButton)
        hand.idle(page)
        assert client.asked("start") == [("student", entered)]
        client.now = None
        look(page, hand)
        hand.until(page.ui.defaultsButton.isEnabled, 5)
        click(page.ui.defaultsButton)
        assert page.training.form.values() == {option.name: option.default for option in OPTIONS}

    def test_number_that_is_none_is_told_and_nothing_is_asked(self, page, client):
        option(page, "minutes").setText("soon")
        click(page.ui.trainButton)
        assert page.ui.trainingText.text().startswith("Minutes must be a number, got 'soon'.")
        assert client.asked("start") == []

    def test_server_without_trainings_leaves_the_button_off(self, makePage, hand):
        page = makePage(ScriptedTraining(trainers=()))
        hand.connect(page)
        assert not page.ui.trainButton.isEnabled()
        assert page.ui.trainButton.toolTip() == "The server trains nothing."

    def test_entries_survive_an_upload(self, page, hand, volume):
        option(page, "minutes").setText("3")
        choose(page, volume)
        click(page.ui.uploadButton)
        hand.idle(page)
        assert option(page, "minutes").text() == "3"


class TestTraining:
    def test_start_says_what_it_learns_from_and_turns_into_stop(self, page, hand, client):
        client.go.clear()
        click(page.ui.trainButton)
        assert page.ui.trainButton.text() == "Cancel"
        client.go.set()
        hand.idle(page)
        assert "of 3 patients, 1 of them only to compare on" in page.ui.trainingText.text()
        assert "⚠ one" in page.ui.trainingText.text()
        assert page.ui.trainButton.text() == "Stop trainin&g"
        hand.until(lambda: page.ui.trainingBar.maximum() == 40, 5)
        assert page.ui.trainingBar.value() == 3
        assert page.ui.linesEdit.toPlainText() == "a\nb"
        assert not page.ui.trainerBox.isEnabled()
        click(page.ui.trainButton)
        hand.idle(page)
        assert client.asked("stop") == [()]
        assert "was stopped after step 3 of 40" in page.ui.statusText.text()
        assert page.ui.trainButton.text() == "Start trainin&g"
        assert page.ui.trainerBox.isEnabled()

    def test_waiting_for_the_answer_can_be_given_up(self, page, hand, client):
        client.go.clear()
        click(page.ui.trainButton)
        click(page.ui.trainButton)
        hand.idle(page)
        assert "Canceled" in page.ui.trainingText.text()

    @pytest.mark.parametrize(
        "sentence",
        ["127.0.0.1 refused: no images to train on: the datastore is empty.", "127.0.0.1 refused: patch must be 16."],
    )
    def test_refusal_is_shown_as_the_sentence_it_is(self, page, hand, client, sentence):
        client.error = Errors.Refused(sentence, "")
        click(page.ui.trainButton)
        hand.idle(page)
        assert page.ui.trainingText.text() == sentence
        assert page.ui.trainButton.text() == "Start trainin&g"

    def test_training_that_runs_already_is_found(self, makePage, hand):
        page = makePage(ScriptedTraining(now=running(losses={"l1": 0.0123}, secondsLeft=300)))
        hand.connect(page)
        assert page.ui.statusText.text() == (
            "Student: training the student, step 3 of 40, loss 0.0123, about 5 min left"
        )
        assert page.ui.trainButton.text() == "Stop trainin&g"

    def test_it_is_looked_at_again_and_again_and_ends_with_the_new_versions(self, page, hand, client, monkeypatch):
        monkeypatch.setattr("MedDenoiseTrainingLib.Watch.OFTEN", 20)
        click(page.ui.trainButton)
        hand.idle(page)
        looks = client.looks
        hand.until(lambda: client.looks > looks + 2, 5)
        client.names.append("0.2.0+site.3")
        client.active = "0.2.0+site.3"
        client.now = Training(DONE, "student", verdict=BETTER, published="0.2.0+site.3", ended="2026-01-02 03:04:05")
        page.ui.modelBox.setCurrentIndex(1)
        hand.until(lambda: page.ui.versionsTable.rowCount() == 4, 5)
        assert page.versions.version.name == "0.2.0+site.3"
        assert "It is used from now on as version 0.2.0+site.3." in page.ui.statusText.text()
        assert not page.ui.trainingBar.isVisible()

    def test_failed_training_says_why(self, page, hand, client):
        client.now = Training(FAILED, "student", problem="the disk is full", ended="2026-01-02")
        look(page, hand)
        hand.until(lambda: "the disk is full" in page.ui.statusText.text(), 5)

    def test_server_that_falls_silent_is_told_and_asked_again(self, page, hand, client, monkeypatch):
        monkeypatch.setattr("MedDenoiseTrainingLib.Watch.SELDOM", 20)
        client.now = running()
        look(page, hand)
        hand.until(lambda: page.training.running, 5)
        client.watchError = Errors.CannotConnect("127.0.0.1 refuses the connection.", "Check it.")
        look(page, hand)
        hand.until(lambda: "refuses the connection" in page.ui.statusText.text(), 5)
        assert page.training.running
        client.watchError = None
        hand.until(lambda: "step 3 of 40" in page.ui.statusText.text(), 5)

    def test_hidden_page_asks_nothing_and_asks_at_once_when_it_is_shown(self, page, hand, client, monkeypatch):
        monkeypatch.setattr("MedDenoiseTrainingLib.Watch.OFTEN", 10)
        client.now = running()
        page.exit()
        looks, end = client.looks, time.monotonic() + 0.1
        hand.until(lambda: time.monotonic() > end, 5)
        assert client.looks == looks
        page.enter()
        hand.until(lambda: page.training.running, 5)

    def test_page_stays_alive_while_a_server_does_not_answer(self, page, hand, client):
        client.go.clear()
        click(page.ui.trainButton)
        longest, last, end = 0.0, time.monotonic(), time.monotonic() + 0.5
        while time.monotonic() < end:
            hand.turn()
            longest, last = max(longest, time.monotonic() - last), time.monotonic()
        client.go.set()
        hand.idle(page)
        assert longest < 0.3


class TestVersions:
    def cells(self, page, row):
        return [page.ui.versionsTable.item(row, column).text() for column in range(3)]

    def test_active_version_is_marked_and_chosen_with_its_comparison(self, page):
        assert self.cells(page, 0) == ["0.2.0 (built-in)", "", ""]
        assert self.cells(page, 2) == ["0.2.0+site.2 ← active", "2026-01-02 03:04", "-6.0 % ± 1.0"]
        assert page.versions.version.name == "0.2.0+site.2"
        assert page.ui.versionText.text() == f"{BETTER[0].upper()}{BETTER[1:]}."
        assert [page.ui.casesTable.item(0, column).text() for column in range(5)] == [
            "patient 1, CT",
            "0.5",
            "0.47",
            "-6.0 %",
            "-0.1 HU",
        ]
        assert not page.ui.activateButton.isEnabled()
        assert "active" in page.ui.activateButton.toolTip()

    def test_chosen_version_is_activated_and_stays_chosen(self, page, hand, client):
        page.ui.versionsTable.setCurrentCell(1, 0)
        click(page.ui.activateButton)
        hand.idle(page)
        assert client.asked("activate") == [("student", "0.2.0+site.1")]
        assert page.ui.versionsText.text() == "Version 0.2.0+site.1 is used from now on."
        assert self.cells(page, 1)[0] == "0.2.0+site.1 ← active"
        assert page.versions.version.name == "0.2.0+site.1"

    def test_rolling_back_shows_what_is_active_then(self, page, hand, client):
        click(page.ui.rollBackButton)
        hand.idle(page)
        assert client.asked("rollBack") == [("student",)]
        assert self.cells(page, 0)[0] == "0.2.0 (built-in) ← active"
        assert page.versions.version.name == "built-in"

    def test_deleting_asks_before_and_does_nothing_where_the_user_refuses(self, page, hand, client):
        page.ui.versionsTable.setCurrentCell(1, 0)
        hand.agrees = False
        click(page.ui.deleteButton)
        assert "Delete version 0.2.0+site.1 of student from 127.0.0.1?" in hand.questions[-1]
        assert client.asked("delete") == []
        hand.agrees = True
        click(page.ui.deleteButton)
        hand.idle(page)
        assert client.asked("delete") == [("student", "0.2.0+site.1")]
        assert page.ui.versionsTable.rowCount() == 2

    def test_built_in_version_cannot_be_deleted(self, page):
        page.ui.versionsTable.setCurrentCell(0, 0)
        assert not page.ui.deleteButton.isEnabled()
        assert "built-in" in page.ui.deleteButton.toolTip()

    def test_model_that_cannot_be_used_says_why(self, page):
        page.ui.modelBox.setCurrentIndex(1)
        assert page.ui.versionText.text() == "its weights are damaged"
        assert page.ui.versionsTable.rowCount() == 0

    def test_refusal_is_shown_and_nothing_changes(self, page, hand, client):
        client.error = Errors.Refused("127.0.0.1 refused: student has no earlier version.", "")
        click(page.ui.rollBackButton)
        hand.idle(page)
        assert page.ui.versionsText.text() == "127.0.0.1 refused: student has no earlier version."
        assert self.cells(page, 2)[0].endswith("active")


class TestPictures:
    def test_first_patient_of_the_chosen_version_is_shown_and_the_others_by_name(self, page, hand, client):
        hand.until(lambda: page.ui.pictureView.pixmap().width() > 0, 5)
        assert client.asked("picture") == [("student", "0.2.0+site.2", "comparison-patient-1.png")]
        assert [page.ui.pictureBox.itemText(index) for index in range(2)] == ["CT phantom", "patient 1"]
        page.ui.pictureBox.setCurrentIndex(0)
        hand.until(lambda: len(client.asked("picture")) == 2 and page.ui.zoomButton.isEnabled(), 5)
        assert client.asked("picture")[1][2] == "comparison-CT-phantom.png"

    def test_version_without_pictures_shows_none(self, page):
        page.ui.versionsTable.setCurrentCell(0, 0)
        assert not page.ui.pictureView.isVisible()
        assert not page.ui.pictureBox.isVisible()

    def test_zoom_opens_a_window_that_goes_with_the_page(self, page, hand):
        hand.until(page.ui.zoomButton.isEnabled, 5)
        click(page.ui.zoomButton)
        window = page.pictures._window
        assert window.isVisible()
        assert window.windowTitle() == "patient 1"
        page.cleanup()
        assert not window.isVisible()

    def test_picture_that_does_not_come_says_why(self, makePage, hand, client):
        page = makePage(client)
        hand.connect(page)
        hand.until(lambda: page.pictures.runner.state == "idle", 5)
        client.error = Errors.ServerFailed("127.0.0.1 failed: 500.", "Look into its log.")
        page.ui.pictureBox.setCurrentIndex(0)
        hand.until(lambda: "127.0.0.1 failed" in page.ui.pictureView.text(), 5)

    def test_pictures_leave_no_files(self, page, hand):
        before = set(Path(tempfile.gettempdir()).glob("MedDenoise-*"))
        hand.until(page.ui.zoomButton.isEnabled, 5)
        assert set(Path(tempfile.gettempdir()).glob("MedDenoise-*")) <= before


class TestCleanup:
    @pytest.mark.parametrize("doing", ["nothing", "connecting", "uploading", "starting", "watching"])
    def test_page_goes_away_whatever_it_does(self, makePage, hand, client, volume, doing):
        page = makePage(client)
        if doing != "connecting":
            hand.connect(page)
        if doing in ("connecting", "uploading", "starting"):
            client.go.clear()
        choose(page, volume)
        button = {"connecting": "connectButton", "uploading": "uploadButton", "starting": "trainButton"}.get(doing)
        if button:
            click(getattr(page.ui, button))
        if doing == "watching":
            look(page, hand)
        page.cleanup()
        page.cleanup()
        assert page.runner.state == "idle"
        assert page.watch.runner.state == "idle"
        client.go.set()
        end = time.monotonic() + 0.05
        hand.until(lambda: time.monotonic() > end, 5)

    def test_token_is_hidden_and_never_written(self, makePage, hand, client, makeStore):
        store = makeStore()
        page = makePage(client, store)
        page.ui.tokenEdit.setText("very-secret-token")
        hand.connect(page)
        assert page.ui.tokenEdit.echoMode() == qt_stand_in.QLineEdit.Password
        assert "very-secret-token" not in repr(store)
