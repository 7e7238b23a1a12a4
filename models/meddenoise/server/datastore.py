"""Where images come from, as MONAI Label sees it: a studies folder, or a PACS over DICOMweb."""

from __future__ import annotations

import hashlib
import logging
import os
import tempfile
import threading
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from monailabel.config import settings
from monailabel.interfaces.datastore import Datastore

from meddenoise.errors import OptionError, ServiceError
from meddenoise.io import Deidentifier, Provenance, write_dicom_series
from meddenoise.io.dicom_file import read_head
from meddenoise.server.image_info import InfoFile, StudiesFolder
from meddenoise.server.pacs import Pacs, Series
from meddenoise.server.problems import Problem, http_errors, problem_of
from meddenoise.volume import Volume

logger = logging.getLogger(__name__)

PATTERNS = ("*.nii.gz", "*.nii", "*.nrrd", "*.mha", "*.dcm", "*.png", "*.jpg", "*.jpeg", "*.tif", "*.tiff")
"""Files taken as images; each DICOM file is one image of its own (a DICOM series comes through a session)."""

LIST_SECONDS = 15.0
"""How long a list of the PACS's series is given out again before the PACS is asked anew."""


def studies_folder(folder: str) -> StudiesFolder:
    """The datastore over a folder, for every format that can be denoised from a single file."""
    return StudiesFolder(
        folder,
        extensions=list(PATTERNS),
        auto_reload=settings.MONAI_LABEL_DATASTORE_AUTO_RELOAD,
        read_only=settings.MONAI_LABEL_DATASTORE_READ_ONLY,
    )


class PacsDatastore(Datastore):  # type: ignore[misc] # MONAI Label ships no types
    """The image series of a PACS; an image's id is its SeriesInstanceUID, its path a folder of DICOM files.

    Series are fetched when they are first asked for and kept in the cache as long as the PACS has as many objects in
    them. Results of ours are not listed, and can be asked for by id. What a client would have as a label is refused.

    Args:
        pacs: Where the series are.
        cache: Folder for fetched series of every PACS.
    """

    def __init__(self, pacs: Pacs, cache: Path) -> None:
        self.pacs = pacs
        self.cache = cache / hashlib.sha256(pacs.url.encode()).hexdigest()[:16]
        self.cache.mkdir(parents=True, exist_ok=True, mode=0o700)
        self.deidentifier = Deidentifier()  # one for all results: they stay together by study and patient
        self._listed: tuple[float, dict[str, Series]] | None = None
        self._info = InfoFile(self.cache.with_suffix(".json"))
        self._locks: defaultdict[str, threading.Lock] = defaultdict(threading.Lock)

    def name(self) -> str:
        """The address of the PACS."""
        return self.pacs.url

    def set_name(self, name: str) -> None:
        """Refuse: the address is given at the start."""
        raise _refusal("renamed")

    def description(self) -> str:
        """What this is."""
        return f"Image series of the PACS at {self.pacs.url}"

    def set_description(self, description: str) -> None:
        """Refuse."""
        raise _refusal("described")

    def series(self) -> list[Series]:
        """The image series of the PACS without results of ours; asked anew after LIST_SECONDS.

        Raises:
            ServiceError: The PACS does not answer.
        """
        return list(self._by_uid().values())

    def _by_uid(self) -> dict[str, Series]:
        if self._listed is None or time.monotonic() - self._listed[0] > LIST_SECONDS:
            found = {series.uid: series for series in self.pacs.series() if not series.ours}
            self._listed = (time.monotonic(), found)
        return self._listed[1]

    def list_images(self) -> list[str]:
        """Ids of the image series."""
        with http_errors():
            return [series.uid for series in self.series()]

    def get_unlabeled_images(self, label_tag: str | None = None, labels: list[str] | None = None) -> list[str]:
        """All images: there are no labels here."""
        return self.list_images()

    def get_labeled_images(self, label_tag: str | None = None, labels: list[str] | None = None) -> list[str]:
        """None: there are no labels here."""
        return []

    def get_image_uri(self, image_id: str) -> str:
        """The folder with the series' files, fetched if need be; empty where the PACS has no such series.

        Raises:
            Problem: The PACS does not answer, or does not send the series.
        """
        with http_errors():
            series = self.pacs.find(image_id)
            if series is None:
                return ""
            folder = self.cache / series.uid
            with self._locks[series.uid]:
                if not _holds(folder, series):
                    start = time.perf_counter()
                    self.pacs.fetch(series, folder)
                    logger.info("fetched series %s in %.1f s", series.uid, time.perf_counter() - start)
                else:
                    os.utime(folder)  # a clean-up by age must see that it is in use
            return str(folder)

    def get_image(self, image_id: str, params: Any = None) -> Any:
        """Refuse: a series is many files."""
        raise _refusal("downloaded as one file; ask the PACS for them")

    def get_image_info(self, image_id: str) -> dict[str, Any]:
        """What the PACS lists about a series, without anything about the patient."""
        found = self._by_uid().get(image_id)
        listed = {} if found is None else {"modality": found.modality, "instances": found.instances}
        return {**listed, **self._info.of(image_id)}

    def update_image_info(self, image_id: str, info: dict[str, Any]) -> None:
        """Keep it beside the fetched series; it stays when those are purged."""
        self._info.update(image_id, info)

    def stamp(self, image_id: str, tag: str = "") -> str | None:
        """What changes whenever the series does: how many objects it has, since an object never changes in DICOM.

        None for a label, since there are none here, and where the PACS does not say.
        """
        found = None if tag else self._by_uid().get(image_id)
        return None if found is None or found.instances is None else f"{found.instances} instances"

    @contextmanager
    def borrowed(self, image_id: str) -> Iterator[Path]:
        """The series' files, for the time of the block: the cache does not grow by a whole PACS that is gone through.

        Raises:
            ServiceError: The PACS does not answer, or does not send the series.
        """
        series = self.pacs.find(image_id)
        if series is None:
            raise ServiceError(f"the PACS at {self.pacs.url} has no series {image_id} any more")
        if _holds(self.cache / series.uid, series):
            yield Path(self.get_image_uri(image_id))
            return
        with tempfile.TemporaryDirectory(prefix="meddenoise-") as folder:
            self.pacs.fetch(series, Path(folder) / series.uid)
            yield Path(folder) / series.uid

    def store(self, volume: Volume, provenance: Provenance, *, deidentify: bool = False) -> dict[str, Any]:
        """Store a result in the PACS as a derived series, in the study of its source unless de-identified.

        Args:
            volume: A denoised volume that was read from this datastore.
            provenance: What it was made with.
            deidentify: Take out of the header who the patient is.

        Returns:
            JSON-able: "study", "series", "instances" and "deidentified".

        Raises:
            OptionError: The volume did not come from this PACS.
            ServiceError: The PACS does not answer, or refuses it.
        """
        sources = volume.header.sources
        if not sources or not all(source.resolve().is_relative_to(self.cache.resolve()) for source in sources):
            raise OptionError("store is for images of the PACS: name one by its SeriesInstanceUID, or leave store out")
        with tempfile.TemporaryDirectory(prefix="meddenoise-") as folder:
            deidentifier = self.deidentifier if deidentify else None
            files = write_dicom_series(volume, Path(folder) / "series", provenance, deidentifier=deidentifier)
            head = read_head(files[0], ["StudyInstanceUID", "SeriesInstanceUID"])
            assert head is not None, files[0]
            self.pacs.store(files)
        self._listed = None
        logger.info("stored series %s with %d objects", head.SeriesInstanceUID, len(files))
        return {
            "study": str(head.StudyInstanceUID),
            "series": str(head.SeriesInstanceUID),
            "instances": len(files),
            "deidentified": deidentify,
        }

    def save_label(self, image_id: str, label_filename: str, label_tag: str, label_info: dict[str, Any]) -> str:
        """Refuse: only results of ours go to the PACS, and as images."""
        raise _refusal("given labels; results are stored by the option store of infer")

    def get_label(self, label_id: str, label_tag: str, params: Any = None) -> Any:
        """Refuse: there are none."""
        raise _refusal("asked for labels")

    def get_label_uri(self, label_id: str, label_tag: str) -> str:
        """Empty: there are none."""
        return ""

    def get_label_info(self, label_id: str, label_tag: str) -> dict[str, Any]:
        """Empty: there are none."""
        return {}

    def get_labels_by_image_id(self, image_id: str) -> dict[str, str]:
        """Empty: there are none."""
        return {}

    def get_label_by_image_id(self, image_id: str, tag: str) -> str:
        """Empty: there are none."""
        return ""

    def update_label_info(self, label_id: str, label_tag: str, info: dict[str, Any]) -> None:
        """Refuse: there are none."""
        raise _refusal("given labels")

    def add_image(self, image_id: str, image_filename: str, image_info: dict[str, Any]) -> str:
        """Refuse: images get into the PACS by the PACS's own ways."""
        raise _refusal("added to; send the image along with infer, or store it in the PACS")

    def remove_image(self, image_id: str) -> None:
        """Refuse: this server deletes nothing in a PACS."""
        raise _refusal("removed from")

    def remove_label(self, label_id: str, label_tag: str) -> None:
        """Refuse: this server deletes nothing in a PACS."""
        raise _refusal("removed from")

    def get_dataset_archive(self, limit_cases: int | None) -> str:
        """Refuse: it would be the whole PACS."""
        raise _refusal("downloaded as an archive")

    def datalist(self) -> list[dict[str, Any]]:
        """Empty: there are no pairs to train on."""
        return []

    def refresh(self) -> None:
        """Ask the PACS anew next time."""
        self._listed = None

    def status(self) -> dict[str, Any]:
        """Counts under MONAI Label's keys; where the PACS is silent, the reason, so that ``/info`` still answers."""
        counts = {"total": 0, "completed": 0, "label_tags": {}, "train": []}
        try:
            return {**counts, "total": len(self.series())}
        except ServiceError as error:
            return {**counts, "problem": str(error)}

    def json(self) -> dict[str, Any]:
        """Every series with what the PACS lists about it."""
        with http_errors():
            objects = {
                series.uid: {"image": {"ext": "", "info": self.get_image_info(series.uid)}, "labels": {}}
                for series in self.series()
            }
        return {"name": self.name(), "description": self.description(), "objects": objects}


def _refusal(what: str) -> Problem:
    """The answer to what makes no sense with a PACS behind the server."""
    return problem_of(OptionError(f"the images are those of a PACS, which cannot be {what}"))


def _holds(folder: Path, series: Series) -> bool:
    """Whether the folder holds the series as the PACS has it now."""
    if not folder.is_dir():
        return False
    return series.instances is None or sum(1 for _ in folder.iterdir()) == series.instances


def need_pacs(datastore: Any) -> PacsDatastore:
    """The datastore, if it is a PACS.

    Raises:
        OptionError: It is a folder.
    """
    if not isinstance(datastore, PacsDatastore):
        raise OptionError(
            "store needs a PACS behind the server: start it with --studies http://pacs:8042/dicom-web, or leave it out"
        )
    return datastore
