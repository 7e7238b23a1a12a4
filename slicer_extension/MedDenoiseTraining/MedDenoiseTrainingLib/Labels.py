"""What all sections do with their labels and buttons."""

from __future__ import annotations

from typing import Any


def setText(label: Any, text: str) -> None:
    """Show a text; where there is none, no room is kept for it."""
    label.setText(text)
    label.setVisible(bool(text))


def enable(button: Any, refusal: str, ready: str) -> None:
    """Let a button be pressed unless there is a reason against it, which its tooltip then says."""
    button.setEnabled(not refusal)
    button.setToolTip(refusal or ready)
