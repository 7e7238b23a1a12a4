"""Slicer's translations: `tr` and `translate`. Where there are none, outside of Slicer, texts stay English."""

from __future__ import annotations

try:
    from slicer.i18n import tr, translate
except ImportError:

    def tr(text: str) -> str:
        """The text as it is."""
        return text

    def translate(context: str, text: str) -> str:
        """The text as it is."""
        return text


__all__ = ["tr", "translate"]
