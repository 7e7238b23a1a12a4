"""What MONAI Label calls scoring: numbers about each image, kept with the datastore's information about it.

A score stays as long as the files it was made from, and what it was made with, are the same. The files are known by
their SHA-256, which is asked for only where a file's size, times or place changed.
"""

from __future__ import annotations

import hashlib
import logging
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from meddenoise.errors import InputError, OptionError, ServiceError
from meddenoise.server.problems import Problem

logger = logging.getLogger(__name__)

IMAGE, REFERENCE = "image", "final"
"""What a score is made from: the image itself, and labels by their tags; MONAI Label's `final` is the clean partner."""
RESULT = "denoised_"
"""How the tags of our own results begin."""


class Images(Protocol):
    """The part of a datastore that is scored."""

    def list_images(self) -> list[str]: ...  # noqa: D102 - MONAI Label's own, as are the next five
    def get_unlabeled_images(self) -> list[str]: ...  # noqa: D102
    def get_image_info(self, image_id: str) -> dict[str, Any]: ...  # noqa: D102
    def update_image_info(self, image_id: str, info: dict[str, Any]) -> None: ...  # noqa: D102
    def get_labels_by_image_id(self, image_id: str) -> dict[str, str]: ...  # noqa: D102
    def get_label_uri(self, label_id: str, label_tag: str) -> str: ...  # noqa: D102
    def stamp(self, image_id: str, tag: str = "") -> str | None:
        """What changes whenever the image, or its label of a tag, does; None where that cannot be told."""
        ...

    def borrowed(self, image_id: str) -> AbstractContextManager[Path]:
        """The image's file or folder, for the time of a block."""
        ...


@dataclass(frozen=True)
class Method:
    """One way to score.

    Attributes:
        name: Key of the number in an image's information; what it means stands under ``NAME_score``.
        description: One sentence for a client.
        measure: From the files of an image by tag ("image" is the image itself) to what is known then, with the number
            as "value". Errors of ours mean that the image cannot be scored.
        version: What the number depends on beside the files, in words; another means that it is made anew.
        compares: Whether it needs the clean partner; images without one are then passed over.
    """

    name: str
    description: str
    measure: Callable[[Mapping[str, Path]], dict[str, Any]]
    version: Callable[[], str]
    compares: bool = False


@dataclass
class Summary:
    """How many images were scored now (those that failed included), had their score, or have no clean partner."""

    scored: int = 0
    unchanged: int = 0
    without_reference: int = 0
    failed: dict[str, str] = field(default_factory=dict)


def score_images(method: Method, images: Images, wanted: list[str] | None = None, most: int = 0) -> dict[str, Any]:
    """Score images one by one; each score is kept at once, and what cannot be scored is kept as failed.

    Args:
        method: The score.
        images: The datastore.
        wanted: Ids of some of its images; all by default.
        most: Score at most so many now; 0 for no limit.

    Returns:
        JSON-able: "method", the counts of Summary, "failed" with a sentence by image, and "seconds".

    Raises:
        OptionError: An id is none of the datastore's, or ``most`` is no count.
    """
    check_wanted(images, wanted, most)
    summary, start = Summary(), time.perf_counter()
    for image in images.list_images() if wanted is None else wanted:
        if most and summary.scored >= most:
            break
        _score(method, images, image, summary)
    return {"method": method.name, **vars(summary), "seconds": round(time.perf_counter() - start, 3)}


def check_wanted(images: Images, wanted: Any, most: Any) -> None:
    """Raise OptionError unless these are ids of the datastore, or None for all, and a count, 0 for no limit."""
    if wanted is not None and not (isinstance(wanted, list) and all(isinstance(image, str) for image in wanted)):
        raise OptionError(f"images must be a list of image ids, got {wanted!r}")
    if unknown := sorted(set(wanted or ()) - set(images.list_images())):
        raise OptionError(f"images must be of the datastore, which has no {unknown[0]!r}")
    if isinstance(most, bool) or not isinstance(most, int) or most < 0:
        raise OptionError(f"max_samples must be a whole number from 0, got {most!r}")


def score_of(name: str, info: Mapping[str, Any], stamps: Mapping[str, str | None]) -> dict[str, Any]:
    """What an image's information holds of a score; empty where a file has changed since, or cannot be told."""
    held = info.get(f"{name}_score") or {}
    return held if held.get("stamps") == stamps and None not in stamps.values() else {}


def _score(method: Method, images: Images, image: str, summary: Summary) -> None:
    tags = _tags(method, images, image)
    if tags is None:
        summary.without_reference += 1
        return
    stamps = {tag: images.stamp(image, "" if tag == IMAGE else tag) for tag in (IMAGE, *tags)}
    version, info = method.version(), images.get_image_info(image)
    before = info.get(f"{method.name}_score") or {}
    before = before if before.get("version") == version else {}
    now = before and score_of(method.name, info, stamps)
    if now:
        summary.unchanged += 1
    else:
        try:
            found = _measured(method, images, image, tags, before)
        except (ServiceError, Problem) as error:  # the PACS's fault, not the image's: nothing is kept of it
            summary.failed[image] = str(error.detail if isinstance(error, Problem) else error)
            return
        summary.unchanged += found is before
        summary.scored += found is not before
        now = {**found, "version": version, "stamps": stamps}
        images.update_image_info(image, {method.name: now["value"], f"{method.name}_score": now})
    if "failed" in now:
        summary.failed[image] = now["failed"]


def _measured(
    method: Method, images: Images, image: str, tags: Sequence[str], before: dict[str, Any]
) -> dict[str, Any]:
    """What the measure finds; the very ``before`` where that was found on the same content."""
    start, sha256 = time.perf_counter(), dict[str, str]()
    with images.borrowed(image) as file:
        files = {IMAGE: file, **{tag: Path(images.get_label_uri(image, tag)) for tag in tags}}
        try:
            sha256 = {tag: hash_of(file) for tag, file in files.items()}
            if before.get("sha256") == sha256:
                return before
            found = method.measure(files)
        except (InputError, OptionError) as error:
            found = {"value": None, "failed": str(error)}
        except OSError as error:
            found = {"value": None, "failed": f"it cannot be read ({error.strerror or type(error).__name__})"}
    if "failed" in found:
        logger.warning("scoring %s: an image failed; its score says why", method.name)  # its id may be a name
    return {**found, "sha256": sha256, "ts": int(time.time()), "seconds": round(time.perf_counter() - start, 3)}


def _tags(method: Method, images: Images, image: str) -> list[str] | None:
    """The labels that a score is made from; None where the clean partner it needs is not there."""
    if not method.compares:
        return []
    tags = sorted(images.get_labels_by_image_id(image))
    return [REFERENCE, *(tag for tag in tags if tag.startswith(RESULT))] if REFERENCE in tags else None


def hash_of(path: Path) -> str:
    """SHA-256 of a file, or of the files of a folder in whatever order and under whatever names."""
    if path.is_dir():
        inner = sorted(hash_of(file) for file in path.iterdir())
        return hashlib.sha256("".join(inner).encode()).hexdigest()
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
