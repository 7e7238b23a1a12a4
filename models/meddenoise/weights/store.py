"""Where the versions of a model lie, and which of them counts.

In the site's folder, ``NAME/VERSION/`` holds the weights with their card and what was measured of them, and
``NAME/active.json`` says which version counts. Both appear by a rename of something already on the disk: whoever reads
finds the old state or the new one, also after a kill, a power cut or on a full disk.
"""

from __future__ import annotations

import json
import re
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from meddenoise.errors import ModelError
from meddenoise.weights.files import Card, read_card_file
from meddenoise.weights.site import folder, pinned, site_folder

BUILT_IN = "built-in"
"""The version that is not a site's: the package's, or for a model that was put into the site's folder by hand, that."""
SITE_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
"""What a site may call a model: the name becomes part of addresses and file names."""
SITE_VERSION = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,40}\+site\.([0-9]{1,9})")
"""A version of a site: that of the model it was made from, and a number that no other version of the model has had."""
ACTIVE = "active.json"
COLOUR = "colour"
"""Stands among the modalities of Card.elsewhere for colour images, which are of none."""


@dataclass(frozen=True)
class Version:
    """One version of a model.

    Attributes:
        version: What it is called: BUILT_IN, or as SITE_VERSION.
        card: Its card; for the built-in version, with its own version number.
        folder: Where its files are.
        active: Whether it is the one that counts.
        made: When it was written.
    """

    version: str
    card: Card
    folder: Path
    active: bool
    made: datetime


@dataclass(frozen=True)
class State:
    """What ACTIVE holds.

    Attributes:
        active: The version that counts.
        before: Those that were active before it, latest first.
        number: The highest number a version got.
    """

    active: str = BUILT_IN
    before: list[str] = field(default_factory=list)
    number: int = 0


def built_in_card(name: str) -> Path | None:
    """The card's file of the version that no site made, or None where there is no such version."""
    published = folder() / f"{name}.json"
    if published.is_file():
        return published
    by_hand = site_folder() / f"{name}.json"
    return by_hand if not pinned() and SITE_NAME.fullmatch(name) and by_hand.is_file() else None


def site_models() -> list[str]:
    """Names of the models of which a site's own version is active, or of which that cannot be told."""
    if pinned():
        return []
    names = [path.parent.name for path in site_folder().glob(f"*/{ACTIVE}")]
    return [name for name in names if SITE_NAME.fullmatch(name) and _counts(name)]


def card_file(name: str, version: str | None = None) -> Path | None:
    """The card's file of a version, or of the active one; None where there is none.

    Args:
        name: Of the model.
        version: BUILT_IN, the built-in version's own number, or a site's version; None for the active one.

    Raises:
        ModelError: The active version is gone, or the file that says which it is is damaged.
    """
    if pinned() or not SITE_NAME.fullmatch(name):
        return built_in_card(name) if version in (None, BUILT_IN) else None
    wanted = version or read_state(name).active
    if wanted in site_versions(name):
        return site_folder() / name / wanted / f"{name}.json"
    built_in = built_in_card(name)
    if wanted == BUILT_IN or (built_in is not None and read_card_file(built_in).version == wanted):
        return built_in
    if version is None:
        raise ModelError(
            f"the active version {wanted} of {name} is gone; choose another with: meddenoise models activate {name} "
            "VERSION"
        )
    return None


def versions(name: str) -> list[Version]:
    """All versions of a model that can be read, the built-in one first and the latest last; none of an unknown model.

    Raises:
        ModelError: The file that says which version is active is damaged.
    """
    found = []
    active = BUILT_IN if pinned() else read_state(name).active
    for version in [BUILT_IN, *([] if pinned() else site_versions(name))]:
        path = card_file(name, version)
        with suppress(ModelError, OSError):  # deleted meanwhile, or damaged
            if path is not None:
                made = datetime.fromtimestamp(path.stat().st_mtime, UTC)
                found.append(Version(version, read_card_file(path), path.parent, version == active, made))
    return found


def site_versions(name: str) -> list[str]:
    """A site's own versions of a model, the latest last; SITE_NAME must fit the name."""
    place = site_folder() / name
    found = [path.name for path in place.iterdir() if SITE_VERSION.fullmatch(path.name)] if place.is_dir() else []
    return sorted(found, key=number_of)


def number_of(version: str) -> int:
    """The number of a site's version; 0 of any other."""
    found = SITE_VERSION.fullmatch(version)
    return int(found[1]) if found else 0


def read_state(name: str) -> State:
    """Which version of a model counts.

    Raises:
        ModelError: The file that says so is damaged.
    """
    path = site_folder() / name / ACTIVE
    try:
        return State(**json.loads(path.read_text(encoding="utf-8")))
    except FileNotFoundError:
        return State()
    except (OSError, ValueError, TypeError) as error:
        raise ModelError(f"{path} is damaged ({error}); delete it to go back to the built-in version") from error


def _counts(name: str) -> bool:
    try:
        return read_state(name).active != BUILT_IN
    except ModelError:
        return True
