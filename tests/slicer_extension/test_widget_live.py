"""The panel, clicked, with a really running server and the published weights."""

import numpy as np
import pytest

pytest.importorskip("slicer", reason="slicer-core is not installed")
pytest.importorskip("PySide6", reason="PySide6 is not installed")

import slicer.util

from scene import GRIDS, phantom


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


def test_denoise_button_brings_a_comparison(connected, hand, inside):
    volume = inside.volume(phantom((6, 64, 64), np.int16), grid=GRIDS["oblique"])
    connected.ui.inputSelector.setCurrentNode(volume)
    connected.ui.modalityBox.setCurrentIndex(1)
    before = slicer.util.arrayFromVolume(volume).copy()
    comparison = denoise(connected, hand)
    assert np.array_equal(slicer.util.arrayFromVolume(volume), before)
    assert comparison.denoised.GetName() == f"{volume.GetName()} denoised"
    assert connected.ui.figuresTable.rowCount() > 0
