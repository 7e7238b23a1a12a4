"""Where the server's app is, and where the server may write."""

from __future__ import annotations

import shutil
import sys
import sysconfig
import tempfile
from pathlib import Path

import meddenoise
from meddenoise.errors import ServiceError
from meddenoise.weights.site import data_folder

__all__ = ["APP", "PACKAGE", "app_folder", "copy_app", "data_folder", "why_not_writable"]

APP = Path("apps/meddenoise")
PACKAGE = Path(meddenoise.__file__).resolve().parent


def app_folder() -> Path:
    """A writable app folder: the checkout's own, else a fresh copy of it or of the installed one in the data folder.

    MONAI Label creates folders inside the app it serves, so an installed one cannot be served where it lies.

    Raises:
        ServiceError: There is no app, or the data folder cannot be written.
    """
    checkout = PACKAGE.parents[1] / APP
    places = [checkout, *(folder / "share/meddenoise" / APP for folder in _installed_data())]
    found = next((place for place in places if (place / "main.py").is_file()), None)
    if found is None:
        raise ServiceError(f"no server app in {', '.join(map(str, places))}; install meddenoise again")
    in_place = found == checkout and why_not_writable(found) is None
    return found if in_place else copy_app(found, data_folder() / APP)


def why_not_writable(folder: Path) -> str | None:
    """The reason why no file can be made in a folder, or None where one can."""
    try:
        with tempfile.TemporaryFile(dir=folder):
            return None
    except OSError as error:
        return error.strerror or str(error)


def _installed_data() -> list[Path]:
    """Where an installer may have put data files: of this environment, of the user, or beside the package."""
    user = sysconfig.get_path("data", sysconfig.get_preferred_scheme("user"))
    return [Path(sysconfig.get_path("data")), Path(sys.prefix), Path(user), PACKAGE.parent]


def copy_app(app: Path, target: Path) -> Path:
    """Copy an app's code, without the modes of an installed tree, which may be read-only; returns the target.

    Raises:
        ServiceError: The target cannot be written.
    """
    try:
        for file in sorted(app.rglob("*.py")):
            copy = target / file.relative_to(app)
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(file, copy)
    except OSError as error:
        raise ServiceError(
            f"{target} cannot be written ({error.strerror}); name a folder that can in the variable MEDDENOISE_HOME"
        ) from error
    return target
