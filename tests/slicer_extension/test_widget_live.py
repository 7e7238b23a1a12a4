"""The panel, clicked, with a really running server and the published weights."""

import time

import numpy as np
import pytest

pytest.importorskip("slicer", reason="slicer-core is not installed")
pytest.importorskip("PySide6", reason="PySide6 is not installed")

import slicer.util
import vtk

from scene import GRIDS, phantom

sitk = pytest.importorskip("SimpleITK", reason="SimpleITK is not installed")


def click(button):
    assert button.isEnabled(), button.toolTip()
    button.click()


@pytest.fixture
def connected(makePanel, hand, serverAddress):
    """A panel that was connected by its button."""
    panel = makePanel()
    panel.enter()
    panel.ui.addressBox.setEditText(serverAddress)
    click(panel.ui.connectButton)
    hand.idle(panel)
    assert panel.server.info is not None, panel.ui.connectionText.text()
    return panel


def denoise(panel, hand):
    """Press the button and wait for what comes."""
    click(panel.ui.denoiseButton)
    hand.idle(panel)
    assert panel.logic.shown is not None, panel.ui.progressText.text()
    return panel.logic.shown


def choose(panel, volume, modality):
    panel.ui.inputSelector.setCurrentNode(volume)
    panel.ui.modalityBox.setCurrentIndex(panel.ui.modalityBox.findData(modality))


def geometry(node):
    matrix = vtk.vtkMatrix4x4()
    node.GetIJKToRASMatrix(matrix)
    return [matrix.GetElement(row, column) for row in range(4) for column in range(4)]


def test_input_is_never_changed_and_results_lie_on_its_grid(connected, hand, inside):
    volume = inside.volume(phantom((5, 40, 48), np.uint16), grid=GRIDS["left-handed"])
    before = slicer.util.arrayFromVolume(volume).copy()
    choose(connected, volume, "CT")
    comparison = denoise(connected, hand)
    assert np.array_equal(slicer.util.arrayFromVolume(volume), before)
    denoised = slicer.util.arrayFromVolume(comparison.denoised)
    assert denoised.dtype == before.dtype
    assert not np.array_equal(denoised, before)
    difference = slicer.util.arrayFromVolume(comparison.difference)
    assert np.array_equal(difference, before.astype(np.float32) - denoised.astype(np.float32))
    for node in (comparison.denoised, comparison.difference):
        assert geometry(node) == pytest.approx(geometry(volume))


def test_strength_of_none_gives_the_input_back(connected, hand, inside):
    volume = inside.volume(phantom((3, 48, 48), np.int16))
    choose(connected, volume, "MR")
    comparison = denoise(connected, hand)
    connected.ui.strengthSlider.setValue(0)
    hand.until(lambda: comparison.strength == 0, 5)
    assert np.array_equal(slicer.util.arrayFromVolume(comparison.denoised), slicer.util.arrayFromVolume(volume))


def test_uncertainty_comes_along_when_ticked(connected, hand, inside):
    choose(connected, inside.volume(phantom((2, 48, 48), np.float32)), "PET")
    connected.ui.uncertaintyBox.click()
    comparison = denoise(connected, hand)
    values = slicer.util.arrayFromVolume(comparison.uncertainty)
    assert values.shape == (2, 48, 48)
    assert values.min() >= 0
    assert values.max() > 0


def test_cancel_ends_within_a_second_and_the_server_takes_the_next(connected, hand, inside):
    choose(connected, inside.volume(phantom((40, 256, 256), np.int16)), "CT")
    click(connected.ui.denoiseButton)
    hand.until(lambda: connected.ui.progressText.text().startswith(("Denoising", "Waiting")), 60)
    click(connected.ui.denoiseButton)
    start = time.monotonic()
    hand.idle(connected)
    assert time.monotonic() - start < 2
    assert "Canceled" in connected.ui.progressText.text()
    assert connected.logic.comparisons == []
    choose(connected, inside.volume(phantom((2, 40, 40), np.int16), "small"), "CT")
    denoise(connected, hand)


def test_window_stays_alive_while_the_server_works(connected, hand, inside):
    """The event loop goes round at least every tenth of a second."""
    choose(connected, inside.volume(phantom((12, 192, 192), np.int16)), "CT")
    click(connected.ui.denoiseButton)
    longest, last = 0.0, time.monotonic()
    while connected.runner.state == "running" and "Receiving" not in connected.ui.progressText.text():
        hand.turn()
        longest, last = max(longest, time.monotonic() - last), time.monotonic()
    hand.idle(connected)
    assert longest < 0.3


def test_server_that_went_away_is_told_in_words(makePanel, hand):
    from meddenoise.server.serve import free_port

    panel = makePanel()
    panel.ui.addressBox.setEditText(f"http://127.0.0.1:{free_port()}")
    click(panel.ui.connectButton)
    hand.idle(panel)
    assert "refuses the connection" in panel.ui.connectionText.text()


def test_refused_consent_reaches_no_server(makePanel, hand, serverAddress):
    hand.agrees = False
    panel = makePanel()
    panel.ui.addressBox.setEditText(serverAddress)
    click(panel.ui.connectButton)
    assert panel.runner.state == "idle"
    assert panel.server.info is None
    assert "Nothing was sent" in panel.ui.connectionText.text()


def spacing(image):
    return [*image.GetSpacing(), 1.0][:3]


REAL = {
    "CT": "CT/IBSI_STS_003_CT/CT_image.nii.gz",
    "MR": "MR/torchio_fernando_FLAIR/t2.nii.gz",
    "PET": "PET/IBSI_STS_005_PET/PET_image.nii.gz",
    "XR": "XR/NIH_00000218_000/00000218_000.png",
}


@pytest.mark.parametrize("modality", sorted(REAL))
def test_real_images_of_every_modality_get_less_noisy(connected, hand, inside, real_images, modality):
    image = sitk.ReadImage(str(real_images / REAL[modality]))
    values = np.atleast_3d(sitk.GetArrayFromImage(image))
    values = values[None, :, :, 0] if modality == "XR" else values  # the film: one slice, one of its equal colors
    few = values[len(values) // 2 : len(values) // 2 + 4]
    volume = inside.volume(few, modality, grid=np.diag([-1.0, -1.0, 1.0, 1.0]) @ np.diag([*spacing(image), 1.0]))
    choose(connected, volume, modality)
    comparison = denoise(connected, hand)
    change = slicer.util.arrayFromVolume(comparison.difference)
    assert change.any()
    assert np.abs(change).mean() < 0.25 * few.std()
    assert comparison.modality == modality
    rows = connected.logic.statistics(comparison)
    noise = next(row for row in rows if "oise" in row.quantity)
    if noise.original and noise.denoised:
        assert noise.denoised < noise.original
