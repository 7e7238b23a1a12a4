"""Addresses that have no public home yet.

PLACEHOLDERS, all of them: example.org belongs to nobody. The root CMakeLists.txt and MedDenoise.json repeat HOME, as
the Extensions Index reads it there; a test holds the three together.
"""

from __future__ import annotations

HOME = "https://example.org/SlicerMedDenoise"
"""PLACEHOLDER: the repository that holds extension and server."""

FILES = HOME + "/raw/main"
"""PLACEHOLDER: where single files of the repository can be fetched, such as icon and screenshots."""

DOCUMENTATION = HOME + "/blob/main/slicer_extension/README.md"
ISSUES = HOME + "/issues"
SERVER_GUIDE = HOME + "/blob/main/docs/server.md"

DEFAULT_SERVER = "http://127.0.0.1:8000"
"""No placeholder: where `meddenoise serve` listens on the user's own computer."""
