"""Looks through a datastore, a studies folder or a PACS, for what a training can learn from."""

from __future__ import annotations

import hashlib
import json
import shutil
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import psutil  # type: ignore[import-untyped]

from meddenoise.errors import InputError, OutputError
from meddenoise.io.atomic import replacing_file
from meddenoise.server.datastore import PacsDatastore, studies_folder
from meddenoise.server.pacs import cache_folder, pacs_of
from meddenoise.server.scores import REFERENCE, RESULT
from meddenoise.server.site_data import SiteData, decide
from meddenoise.server.site_images import Looked, Partner, look_at
from meddenoise.server.train_options import TrainOptions
from meddenoise.volume import MODALITIES, Modality

SEEN = "seen.json"
"""In the folder of trainings: what was seen of each image."""
DEFINITION = 2
"""Raised whenever something else is looked at, so that all images are looked at anew."""
SAVE_SECONDS = 5.0
GIB = 1 << 30
ROOM, WORK = 0.5, 1.5
"""GiB of disk and memory that a training takes beside its data."""

Tags = Mapping[str, bool]
"""Of the partners of an image; True for a clean one."""


@dataclass(frozen=True)
class Survey:
    """What was found.

    Attributes:
        images: The tags of each chosen image's partners.
        seen: What was seen of those that were looked at.
        stamps: What changes whenever the files of an image or of its partners do.
    """

    images: Mapping[str, Tags]
    seen: Mapping[str, Looked]
    stamps: Mapping[str, str]

    @property
    def whole(self) -> bool:
        """Whether all were looked at."""
        return len(self.seen) == len(self.images)

    def identity(self) -> str:
        """Changes with the images, their partners and their content."""
        return hashlib.sha256(json.dumps(dict(self.stamps), sort_keys=True).encode()).hexdigest()


def open_datastore(studies: str) -> Any:
    """The datastore that a server has for a studies folder or the address of a PACS.

    Raises:
        ServiceError: The address is none.
    """
    return PacsDatastore(pacs_of(studies), cache_folder()) if "://" in studies else studies_folder(studies)


def survey(
    datastore: Any,
    options: TrainOptions,
    folder: Path,
    *,
    seconds: float | None = None,
    tell: Callable[[int, int], None] = lambda done, total: None,
) -> Survey:
    """Look at the images of a datastore, those that were looked at before and have not changed excepted.

    Args:
        datastore: A studies folder or a PACS, whose series are fetched.
        options: Which images, and what their partners are.
        folder: Of trainings; it keeps what was seen.
        seconds: Look at no further image after this time; at one at least.
        tell: Called with how many images of how many were looked at.

    Raises:
        InputError: The datastore holds no images.
        ServiceError: The PACS does not answer.
    """
    images = _chosen(_partners(datastore, options), options.max_images)
    if not images:
        raise InputError("no images to train on: the datastore is empty")
    stamps = {image: _stamp(datastore, image, tags, options) for image, tags in images.items()}
    memory = _read(folder / SEEN)
    seen: dict[str, Looked] = {}
    start = saved = time.monotonic()
    for done, image in enumerate(sorted(images, key=volume_order), 1):
        known = memory.get(stamps[image])
        if known is None:
            if seconds is not None and seen and time.monotonic() - start > seconds:
                continue
            known = _look(datastore, image, images[image], options)
            memory[stamps[image]] = known
            if time.monotonic() - saved > SAVE_SECONDS:
                saved = time.monotonic()
                _write(folder / SEEN, memory)
        seen[image] = known
        tell(done, len(images))
    _write(folder / SEEN, {stamp: looked for stamp, looked in memory.items() if stamp in set(stamps.values())})
    return Survey(images, seen, stamps)


def checked(found: Survey, datastore: Any, options: TrainOptions, folder: Path) -> SiteData:
    """What the training learns from, as far as was seen; it fits on the disk and into memory.

    Raises:
        InputError: Nothing can be learned from them, or what check_room raises; in one sentence.
    """
    site = decide(found.seen, options, strict_partners=not isinstance(datastore, PacsDatastore))
    used = {one.image: one.looked.voxels for one in site.examples}
    copies = 2 if site.kind == "paired" else 1
    check_room(round(copies * sum(used.values()) * len(found.images) / len(found.seen)), folder, images=len(used))
    return site


def check_room(voxels: int, folder: Path, *, images: int) -> None:
    """Raise unless the data and the checkpoints fit on the disk and into memory.

    Args:
        voxels: Of all images and partners.
        folder: On the disk that they are kept on.
        images: How many there are, for the way out.

    Raises:
        OutputError: Too little disk.
        InputError: Too little memory.
    """
    size = 4.0 * voxels / GIB
    free, memory = shutil.disk_usage(folder).free / GIB, psutil.virtual_memory().available / GIB
    fewer = "train on fewer images (max_images)"
    if size + ROOM > free:
        raise OutputError(
            f"the training would take {size + ROOM:.1f} GiB of disk for {images} images, and {free:.1f} GiB are free "
            f"in the server's data folder; free some, or {fewer}"
        )
    if 2.0 * size + WORK > memory:
        raise InputError(
            f"the training would take {2.0 * size + WORK:.1f} GiB of memory for {images} images, and {memory:.1f} GiB "
            f"are free; {fewer}"
        )


def files_of(site: SiteData, datastore: Any) -> dict[tuple[str, str | None], Path]:
    """Where the images and their partners are; the series of a PACS are fetched if need be.

    Raises:
        Problem: The PACS does not answer.
    """
    return {
        (one.image, tag): _path(datastore, one.image, tag)
        for one in site.examples
        for tag in dict.fromkeys((None, one.partner))
    }


def volume_order(image: str) -> str:
    """An order in which the first images are a fair choice."""
    return hashlib.sha256(image.encode()).hexdigest()


def _partners(datastore: Any, options: TrainOptions) -> dict[str, Tags]:
    if isinstance(datastore, PacsDatastore):
        return _series(datastore, options.clean_series.casefold())
    return {
        image: {tag: tag == REFERENCE for tag in datastore.get_labels_by_image_id(image) if not tag.startswith(RESULT)}
        for image in datastore.list_images()
    }


def _series(datastore: PacsDatastore, words: str) -> dict[str, Tags]:
    """The series that are not named as clean, each with those of its study and modality that are."""
    listed = datastore.series()
    clean = {series.uid for series in listed if words and words in series.description.casefold()}
    return {
        one.uid: {
            other.uid: True
            for other in listed
            if other.uid in clean and (other.study, other.modality) == (one.study, one.modality)
        }
        for one in listed
        if one.uid not in clean
    }


def _chosen(images: Mapping[str, Tags], most: int) -> dict[str, Tags]:
    """At most so many, those with partners first, evenly spread."""
    found: list[str] = []
    for wanted in (True, False):
        names = sorted(image for image, tags in images.items() if bool(tags) is wanted)
        room = min(most - len(found), len(names))
        found += [names[i] for i in np.unique(np.linspace(0, len(names) - 1, room).round().astype(int))] if room else []
    return {image: images[image] for image in sorted(found)}


def _stamp(datastore: Any, image: str, tags: Tags, options: TrainOptions) -> str:
    """What was seen stands under this; all that it depends on is in it."""
    remote = isinstance(datastore, PacsDatastore)
    of_tags = [
        (tag, datastore.stamp(tag) if remote else datastore.stamp(image, tag), clean)
        for tag, clean in sorted(tags.items())
    ]
    told = _told(datastore, image, options)
    facts = [DEFINITION, datastore.name(), image, datastore.stamp(image), of_tags, told, options.modality]
    facts += [kind] if (kind := _kind(datastore, image)) else []
    return hashlib.sha256(json.dumps(facts).encode()).hexdigest()


def _told(datastore: Any, image: str, options: TrainOptions) -> str:
    """The patient's name as it was told with the upload, else by the image's id; "" where nothing was said."""
    told = datastore.get_image_info(image).get("patient")
    if told:
        return str(told)
    named = options.patient_from and options.patient_from in image
    return image.split(options.patient_from, maxsplit=1)[0] if named else ""


def _kind(datastore: Any, image: str) -> Modality | None:
    """The modality as it was told with the upload, since many files do not say it; a PACS says its own."""
    told = None if isinstance(datastore, PacsDatastore) else datastore.get_image_info(image).get("modality")
    return next((modality for modality in MODALITIES if modality == told), None)


def _look(datastore: Any, image: str, tags: Tags, options: TrainOptions) -> Looked:
    return look_at(
        _path(datastore, image, None),
        {tag: _path(datastore, image, tag) for tag in tags},
        {tag for tag, clean in tags.items() if clean},
        told=_told(datastore, image, options),
        otherwise=image,
        modality=options.modality,
        kind=_kind(datastore, image),
    )


def _path(datastore: Any, image: str, tag: str | None) -> Path:
    if isinstance(datastore, PacsDatastore):
        return Path(datastore.get_image_uri(tag or image))
    return Path(datastore.get_label_uri(image, tag) if tag else datastore.get_image_uri(image))


def _read(path: Path) -> dict[str, Looked]:
    try:
        held = json.loads(path.read_text(encoding="utf-8"))
        return {
            stamp: Looked(**{**one, "partners": tuple(Partner(**partner) for partner in one["partners"])})
            for stamp, one in held.items()
        }
    except (OSError, ValueError, TypeError, KeyError, AttributeError):
        return {}  # all of it can be seen again


def _write(path: Path, memory: Mapping[str, Looked]) -> None:
    with replacing_file(path) as fresh:
        fresh.write_text(json.dumps({stamp: asdict(looked) for stamp, looked in memory.items()}), encoding="utf-8")
