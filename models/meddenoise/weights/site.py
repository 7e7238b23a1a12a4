"""Where a hospital keeps its own versions of the models."""

from __future__ import annotations

import os
import sys
from pathlib import Path


def data_folder() -> Path:
    """The user's own folder for what a server writes; the environment variable MEDDENOISE_HOME overrides it."""
    if named := os.environ.get("MEDDENOISE_HOME"):
        return Path(named)
    if sys.platform == "win32":
        return Path(os.environ.get("LOCALAPPDATA", Path.home() / "AppData/Local")) / "meddenoise"
    if sys.platform == "darwin":
        return Path.home() / "Library/Application Support/meddenoise"
    return Path(os.environ.get("XDG_DATA_HOME") or Path.home() / ".local/share") / "meddenoise"


def site_folder() -> Path:
    """The folder of a site's own models, each NAME.safetensors with its NAME.json; it need not exist."""
    return data_folder() / "models"
