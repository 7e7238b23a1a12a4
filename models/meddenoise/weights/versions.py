"""Changes to the versions of a model: publish, activate, roll back, delete.

A change is made beside its place and appears by one rename, so that the model that is served survives whatever ends a
change half way. Those who change stand in line for one lock, which the system takes from a process that ends.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, replace
from pathlib import Path

from filelock import FileLock, Timeout
from torch import nn

from meddenoise.errors import ModelError, OptionError, OutputError
from meddenoise.weights.files import Card, load_verified, read_card_file, save
from meddenoise.weights.site import folder, pinned, site_folder
from meddenoise.weights.store import (
    ACTIVE,
    BUILT_IN,
    SITE_NAME,
    SITE_VERSION,
    State,
    built_in_card,
    card_file,
    number_of,
    read_state,
    site_versions,
    versions,
)

__all__ = ["BUILT_IN", "KEPT", "activate", "delete", "publish", "remove", "rollback", "versions"]

KEPT = 5
"""Versions of a site that are kept; older ones go when a new one comes."""
REMEMBERED = 20
"""Activations that can be rolled back."""
LOCK_SECONDS = 60.0


def publish(
    network: nn.Module,
    card: Card,
    *,
    beside: Callable[[Path], None] | None = None,
    instead_of: str | None = None,
    keep: int = KEPT,
) -> Card:
    """Make a network the active version of the model its card names, and drop the oldest versions.

    Args:
        network: On any device.
        card: Its name is the model's; its version is that of the model it was made from, and gets a number added.
        beside: Writes further files into the version's folder, before anybody can see it.
        instead_of: The checksum of the active version that this one was found better than; None for any.
        keep: Versions of the site to keep; the active one, the one before it, and those that a kept version needs for
            some modalities are always kept.

    Returns:
        The card as published.

    Raises:
        OptionError: MEDDENOISE_WEIGHTS names the only folder of models, or the name or version cannot be a site's.
        ModelError: The active version is no longer the one named by ``instead_of``, or one that the card names for some
            modality is gone.
        OutputError: The data folder cannot be written, or the disk is full; the active version is untouched.
    """
    from meddenoise.io.atomic import replacing_folder

    name = card.name
    with _changing(name) as state:
        if instead_of is not None and instead_of != _checksum(name):
            raise ModelError(f"another version of {name} was activated meanwhile; compare with that one")
        if gone := [version for version in card.elsewhere.values() if card_file(name, version) is None]:
            raise ModelError(f"{name} {gone[0]}, which is to denoise some modalities, is gone")
        before = site_versions(name)
        number = 1 + max([state.number, *map(number_of, before)])
        version = f"{card.version.split('+')[0]}+site.{number}"
        if not SITE_VERSION.fullmatch(version):
            raise OptionError(f"a version must be letters, digits or . _ -, got {card.version[:60]!r}")
        with replacing_folder(site_folder() / name / version) as place:
            published = save(network, replace(card, version=version), place)
            if beside is not None:
                beside(place)
        moved = _moved(name, replace(state, number=number), version)
        kept = {*[*before, version][-max(keep, 1) :], moved.active, *moved.before[:1]}
        dropped = {*before} - kept - {needed for one in kept for needed in _needed_by(name, one)}
        _write(name, replace(moved, before=[one for one in moved.before if one not in dropped]))
        for one in dropped:
            _take_away(site_folder() / name / one)
    return published


def activate(name: str, version: str) -> Card:
    """Make a version the one that counts, once its weights are found sound; BUILT_IN goes back to the installed one.

    Raises:
        OptionError: MEDDENOISE_WEIGHTS names the only folder of models.
        ModelError: No such version, or its weights are missing or damaged.
        OutputError: The data folder cannot be written.
    """
    with _changing(name) as state:
        version, path = _find(name, version)
        _, card = load_verified(path)
        if version != state.active:
            _write(name, _moved(name, state, version))
    return card


def rollback(name: str) -> Card:
    """Make the version that was active before this one the one that counts again.

    Raises:
        OptionError: MEDDENOISE_WEIGHTS names the only folder of models.
        ModelError: There was none, or its weights are missing or damaged.
        OutputError: The data folder cannot be written.
    """
    with _changing(name) as state:
        if not state.before:
            raise ModelError(f"{name} has no earlier version to go back to; see: meddenoise models show {name}")
        version, path = _find(name, state.before[0])
        _, card = load_verified(path)
        _write(name, replace(state, active=version, before=state.before[1:]))
    return card


def delete(name: str, version: str) -> None:
    """Delete a version that the site made and that is not active.

    Raises:
        OptionError: It is the active or the built-in one, or another one needs it for some modality; or
            MEDDENOISE_WEIGHTS names the only folder of models.
        ModelError: No such version.
        OutputError: The data folder cannot be written.
    """
    with _changing(name) as state:
        version, path = _find(name, version)
        if version == BUILT_IN:
            raise OptionError(f"the built-in version of {name} cannot be deleted; all others can go back to it")
        if version == state.active:
            raise OptionError(f"{name} {version} is active and cannot be deleted; activate another version first")
        if needing := [one for one in site_versions(name) if version in _needed_by(name, one)]:
            raise OptionError(
                f"{name} {version} denoises some modalities for {', '.join(needing)} and cannot be deleted before"
            )
        # First the state, so that the number is not given again and nothing rolls back to what is going.
        number = max(state.number, number_of(version))
        _write(name, replace(state, number=number, before=[one for one in state.before if one != version]))
        _take_away(path.parent)


def remove(name: str) -> None:
    """Take away a site's own model with all of its versions.

    Raises:
        OptionError: The model is published, or MEDDENOISE_WEIGHTS names the only folder of models.
        ModelError: No such model.
        OutputError: The data folder cannot be written.
    """
    if (folder() / f"{name}.json").is_file():
        raise OptionError(f"{name} is a published model and stays")
    with _changing(name):
        files = [site_folder() / f"{name}{end}" for end in (".json", ".safetensors")]
        if not files[0].is_file() and not site_versions(name):
            raise ModelError(f"no model {name!r} of this site's own")
        for file in files:
            file.unlink(missing_ok=True)
        _take_away(site_folder() / name)


def _find(name: str, version: str) -> tuple[str, Path]:
    """What a version is called here, and its card's file; the built-in one also goes by its own number."""
    path = card_file(name, version)
    if path is None:
        known = [one.version for one in versions(name)]
        raise ModelError(f"{name} has no version {version[:80]!r}; it has: {', '.join(known) or 'none'}")
    return (BUILT_IN if path == built_in_card(name) else version), path


def _needed_by(name: str, version: str) -> set[str]:
    """The versions that denoise some modality for a version; none for one that cannot be read."""
    path = card_file(name, version)
    with suppress(ModelError):
        return set(read_card_file(path).elsewhere.values()) if path is not None else set()
    return set()


def _checksum(name: str) -> str:
    path = card_file(name)
    return read_card_file(path).sha256 if path is not None else ""


def _moved(name: str, state: State, version: str) -> State:
    """The state with another version active."""
    is_first = state.active == BUILT_IN and built_in_card(name) is None  # a new model of the site's own
    before = [] if is_first else [state.active, *state.before]
    return replace(state, active=version, before=before[:REMEMBERED])


def _take_away(place: Path) -> None:
    """Delete a folder: gone at once by a rename, and piece by piece after that."""
    if place.exists():
        hidden = place.with_name(f".{place.name}")
        shutil.rmtree(hidden, ignore_errors=True)
        place.rename(hidden)
        shutil.rmtree(hidden, ignore_errors=True)


def _write(name: str, state: State) -> None:
    from meddenoise.io.atomic import replacing_file  # light rooms import this one, and meddenoise.io is not light

    with replacing_file(site_folder() / name / ACTIVE) as temporary:
        temporary.write_text(json.dumps(asdict(state), indent=2) + "\n", encoding="utf-8")


@contextmanager
def _changing(name: str) -> Iterator[State]:
    """Be the only one who changes versions, and clear away what a killed process left; gives the state found."""
    if pinned():
        raise OptionError(
            f"MEDDENOISE_WEIGHTS names the only folder of models ({folder()}), so versions do not count; unset it, or "
            f"put the models into {site_folder()}"
        )
    if not SITE_NAME.fullmatch(name):
        raise OptionError(f"a model's name must be letters, digits or . _ -, got {name[:80]!r}")
    try:
        site_folder().mkdir(parents=True, exist_ok=True)
        with FileLock(site_folder() / ".lock", timeout=LOCK_SECONDS):
            for left in [*(site_folder() / name).glob(".*"), *site_folder().glob(f".{name}")]:
                shutil.rmtree(left, ignore_errors=True)
            yield read_state(name)
    except Timeout as error:
        raise OutputError(f"another program is changing the versions in {site_folder()}; try again later") from error
    except OSError as error:
        raise OutputError(
            f"{site_folder()} cannot be changed ({error.strerror or error}); name another folder in MEDDENOISE_HOME"
        ) from error
