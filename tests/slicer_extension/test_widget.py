"""The panel, clicked: what can be pressed when, what is said, and what is left behind."""

import pytest

pytest.importorskip("slicer", reason="slicer-core is not installed")
pytest.importorskip("PySide6", reason="PySide6 is not installed")



def test_button_says_what_is_missing(makePanel):
    panel = makePanel()
    assert not panel.ui.denoiseButton.isEnabled()
    assert "Connect" in panel.ui.denoiseButton.toolTip()
