"""The administrator's page, clicked, with a really running server: upload, train, watch, stop, choose versions."""

import numpy as np
import pytest

pytest.importorskip("slicer", reason="slicer-core is not installed")
pytest.importorskip("PySide6", reason="PySide6 is not installed")
pytest.importorskip("monailabel", reason="runs a server, which needs monailabel")

from meddenoise.server.process import server_process
from meddenoise.server.serve import free_port

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


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_uploaded_pairs_are_trained_on_watched_stopped_found_again_and_gone_on_with(site, makePage, hand, inside):
    page = connected(makePage(), hand, site)
    for patient in range(3):
        pair = [inside.volume(anatomy(patient, noise, 2 * patient + noise), f"P{patient}") for noise in (30, 4)]
        said = upload(page, hand, *pair, patient=f"patient {patient}")
        assert "with its clean partner" in said
    assert "3 images, 3 of them with a clean partner" in said
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
    click(page.ui.trainButton)
    hand.idle(page)
    assert "Goes on" in page.ui.trainingText.text()
    hand.until(lambda: not page.training.running, 500)
    assert page.training.training.state == "done", page.ui.statusText.text()
    assert page.training.training.verdict
    assert "version" in page.ui.statusText.text()
