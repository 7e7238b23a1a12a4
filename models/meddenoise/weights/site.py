"""Where weights lie: the published ones in this package, a site's own in its data folder."""

from __future__ import annotations

import os
import sys
from pathlib import Path


def folder() -> Path:
    """The folder of the published weights: the environment variable MEDDENOISE_WEIGHTS, else this package."""
    return Path(os.environ.get("MEDDENOISE_WEIGHTS") or Path(__file__).parent)


def pinned() -> bool:
    """Whether MEDDENOISE_WEIGHTS names the only folder of models; a site's own do not count then."""
    return bool(os.environ.get("MEDDENOISE_WEIGHTS"))


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
    """The folder of a site's own models and versions; it need not exist.

    NAME.safetensors with NAME.json is a model put there by hand, NAME/ holds the versions of a model.
    """
    return data_folder() / "models"
