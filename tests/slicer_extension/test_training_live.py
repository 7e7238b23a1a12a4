"""The administrator's page, clicked, with a really running server: upload, train, watch, stop, choose versions."""

import os
from unittest import mock

import numpy as np
import pytest

pytest.importorskip("slicer", reason="slicer-core is not installed")
pytest.importorskip("PySide6", reason="PySide6 is not installed")
pytest.importorskip("monailabel", reason="runs a server, which needs monailabel")

import requests

from meddenoise import Denoiser, weights
from meddenoise.comparison import Case, compare, write
from meddenoise.phantom import phantom as phantom_of
from meddenoise.server.datastore import studies_folder
from meddenoise.server.process import server_process
from meddenoise.server.serve import free_port
from meddenoise.server.site_survey import survey
from meddenoise.server.train_options import TrainOptions
from meddenoise.weights import versions
from scene import GRIDS

QUICK = {"minutes": "0", "steps": 40, "patch": 32, "batch": 2, "seed": 3}


def click(button):
    assert button.isEnabled(), button.toolTip()
    button.click()


class Site:
    """A running server with its folders."""

    def __init__(self, folder, address):
        self.studies, self.home, self.address = folder / "studies", folder / "home", address


@pytest.fixture
def site(tmp_path):
    """A server of its own, whose datastore is empty."""
    (tmp_path / "studies").mkdir()
    home = {"MEDDENOISE_HOME": str(tmp_path / "home"), "CUDA_VISIBLE_DEVICES": ""}
    with server_process(tmp_path / "studies", port=free_port(), log=tmp_path / "log", environment=home) as address:
        yield Site(tmp_path, address)


def connected(page, hand, site):
    """Press Connect; the page is shown."""
    page.ui.addressBox.setEditText(site.address)
    click(page.ui.connectButton)
    hand.idle(page)
    assert page.server.info is not None, page.ui.connectionText.text()
    page.enter()
    return page


def anatomy(patient, noise, seed):
    """A CT of a disk of soft tissue in air with something of its own in it, as noisy as is asked for."""
    rows, columns = np.mgrid[:64, :64] - 32.0
    image = np.full((9, 64, 64), -1000.0)
    image[:, np.hypot(rows, columns) < 26] = 40.0
    image[:, np.hypot(rows - 8 + 3 * patient, columns + 4) < 6 + patient] = 300.0
    return np.rint(image + np.random.default_rng(seed).normal(0, noise, image.shape)).astype(np.int16)


def upload(page, hand, image, partner=None, patient=""):
    """Choose and press Upload; returns what is said of it."""
    ui = page.ui
    ui.imageSelector.setCurrentNode(image)
    ui.partnerSelector.setCurrentNode(partner)
    ui.modalityBox.setCurrentIndex(ui.modalityBox.findData("CT"))
    ui.patientEdit.setText(patient)
    click(ui.uploadButton)
    hand.idle(page)
    return ui.uploadText.text()


def enter(page, **options):
    """Put options into their widgets."""
    for name, value in options.items():
        widget = page.training.form._widgets[name]
        widget.setText(value) if hasattr(widget, "setText") else widget.setValue(value)


@pytest.fixture
def shared(serverFolder):
    """The server that all tests share, without images and versions after."""
    address, folder = serverFolder
    site = Site(folder, address)
    yield site
    for image in list(requests.get(f"{address}/datastore/?output=all", timeout=30).json()["objects"]):
        requests.delete(f"{address}/datastore/image", params={"id": image}, timeout=30)
    with mock.patch.dict(os.environ, {"MEDDENOISE_HOME": str(site.home)}):
        versions.activate("student", "built-in")
        for one in versions.versions("student")[1:]:
            versions.delete("student", one.version)


def published(site, factor, found=None):
    """A version of the student whose weights are multiplied."""
    network, card = weights.load("student@built-in")
    for parameter in network.parameters():
        parameter.mul_(factor)
    beside = None if found is None else lambda folder: write(found, folder)
    with mock.patch.dict(os.environ, {"MEDDENOISE_HOME": str(site.home)}):
        return versions.publish(network, card, beside=beside).version


def said(site, path):
    return requests.get(f"{site.address}{path}", timeout=30).json()


def test_options_of_every_training_are_those_that_the_server_announces(makePage, hand, shared):
    page = connected(makePage(), hand, shared)
    trainers = said(shared, "/info/")["trainers"]
    assert {"student", "two_stage", "gan"} <= set(trainers)
    for index, (name, about) in enumerate(trainers.items()):
        page.ui.trainerBox.setCurrentIndex(index)
        assert page.training.trainer.name == name
        values = page.training.form.values()
        expected = {key: value[0] if isinstance(value, list) else value for key, value in about["config"].items()}
        assert values == expected
        assert all(option.help for option in page.training.trainer.options)


def test_pair_lies_in_the_datastore_as_the_servers_training_takes_it(makePage, hand, inside, shared):
    page = connected(makePage(), hand, shared)
    pair = [inside.volume(anatomy(1, noise, noise), "CT of Jane Doe", grid=GRIDS["oblique"]) for noise in (30, 4)]
    page.ui.nameEdit.setText("ct-1")
    assert "with its clean partner" in upload(page, hand, *pair, patient="patient 1")
    datastore = studies_folder(str(shared.studies))
    home = shared.home / "training"
    home.mkdir(parents=True, exist_ok=True)
    seen = survey(datastore, TrainOptions(), home).seen["ct-1"]
    assert (seen.modality, seen.slices, seen.clean, seen.problem) == ("CT", 9, ["final"], "")
    assert "Jane" not in (shared.studies / "datastore_v2.json").read_text()
    assert b"Jane" not in (shared.studies / "ct-1.nrrd").read_bytes()
    page.ui.nameEdit.setText("ct-1")
    assert "has an image called 'ct-1' already" in upload(page, hand, *pair)


def test_cancelled_upload_leaves_nothing_on_the_server(makePage, hand, inside, shared):
    page = connected(makePage(), hand, shared)
    ui = page.ui
    ui.imageSelector.setCurrentNode(inside.volume(np.zeros((100, 512, 512), np.int16)))
    ui.modalityBox.setCurrentIndex(1)
    click(ui.uploadButton)
    hand.until(lambda: "Sending" in ui.uploadText.text() and "MB" in ui.uploadText.text(), 30)
    click(ui.uploadButton)
    hand.idle(page)
    assert "Canceled" in ui.uploadText.text()
    assert said(shared, "/datastore/?output=all")["objects"] == {}


@pytest.mark.parametrize("patients", [0, 1])
def test_too_few_images_are_refused_in_the_servers_sentence(makePage, hand, inside, shared, patients):
    page = connected(makePage(), hand, shared)
    for _ in range(patients):
        upload(page, hand, inside.volume(anatomy(1, 30, 1)))
    click(page.ui.trainButton)
    hand.idle(page)
    expected = ("no images to train on: the datastore is empty", "CT images of 1 patient are too few")[patients]
    assert expected in page.ui.trainingText.text()
    assert page.ui.trainButton.text() == "Start trainin&g"


def test_versions_are_shown_with_pictures_activated_rolled_back_and_deleted(makePage, hand, shared):
    truth, noisy = phantom_of((8, 48, 64))
    student = Denoiser.load("student@built-in", device="cpu")
    case = Case(noisy, truth)
    made = [published(shared, 0.95), published(shared, 0.9, compare(student, student, [case], [case]))]
    page = connected(makePage(), hand, shared)
    ui = page.ui
    ui.modelBox.setCurrentIndex(ui.modelBox.findText("student"))
    assert page.versions.version.name == made[1]
    assert "Not better than" in ui.versionText.text()
    assert ui.casesTable.rowCount() == 2
    hand.until(lambda: ui.pictureView.pixmap().width() > 100, 30)
    ui.versionsTable.setCurrentCell(1, 0)
    click(ui.activateButton)
    hand.idle(page)
    assert said(shared, "/info/")["models"]["student"]["version"] == made[0]
    click(ui.rollBackButton)
    hand.idle(page)
    assert said(shared, "/info/")["models"]["student"]["version"] == made[1]
    ui.versionsTable.setCurrentCell(1, 0)
    click(ui.deleteButton)
    hand.idle(page)
    assert made[0] in hand.questions[-1]
    assert [one["name"] for one in said(shared, "/models/student")["versions"]] == ["built-in", made[1]]
    assert ui.versionsTable.rowCount() == 2


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_uploaded_pairs_are_trained_on_watched_stopped_found_again_and_gone_on_with(site, makePage, hand, inside):
    page = connected(makePage(), hand, site)
    for patient in range(3):
        pair = [inside.volume(anatomy(patient, noise, 2 * patient + noise), f"P{patient}") for noise in (30, 4)]
        said = upload(page, hand, *pair, patient=f"patient {patient}")
        assert "with its clean partner" in said
    assert "3 images, 3 of them with a clean partner" in page.ui.connectionText.text()
    assert len(list((site.studies / "labels" / "final").glob("*.nrrd"))) == 3
    enter(page, **QUICK)
    click(page.ui.trainButton)
    hand.idle(page)
    assert "of 3 patients" in page.ui.trainingText.text(), page.ui.trainingText.text()
    hand.until(lambda: page.training.running and page.training.training.step > 4, 300)
    assert "loss" in page.ui.statusText.text()
    other = connected(makePage(), hand, site)  # as after a restart of Slicer
    assert other.training.running
    click(other.ui.trainButton)
    hand.idle(other)
    assert other.training.training.state == "stopped"
    hand.until(lambda: not page.training.running, 30)
    assert "was stopped" in page.ui.statusText.text()
    hand.idle(page)  # it looks for new versions
    click(page.ui.trainButton)
    hand.idle(page)
    assert "Goes on" in page.ui.trainingText.text()
    hand.until(lambda: not page.training.running, 500)
    assert page.training.training.state == "done", page.ui.statusText.text()
    assert page.training.training.verdict
    assert "version" in page.ui.statusText.text()
