"""The series of a PACS as items of a batch: each is fetched when its turn comes, and kept no longer than that."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

from meddenoise.batch import Item
from meddenoise.errors import InputError, OptionError
from meddenoise.io import Deidentifier, Provenance, Source, find_sources, write_dicom_series
from meddenoise.server.home import data_folder
from meddenoise.server.pacs import Pacs, Series, pacs_of
from meddenoise.volume import Volume

KILOBYTES = 512
"""What an object of a series is taken to weigh where only the time left is estimated from it."""


@dataclass(frozen=True)
class PacsSeries:
    """One series in a PACS; see meddenoise.batch.Remote.

    Attributes:
        url: The PACS's DICOMweb address.
        series: As the PACS lists it.
        deidentifier: Takes out of results who the patient is.
    """

    url: str
    series: Series
    deidentifier: Deidentifier | None = None

    @property
    def identity(self) -> str:
        """What is in a series never changes under its UID, but more may come to it."""
        return f"{self.series.uid} {self.series.instances}{' de-identified' if self.deidentifier else ''}"

    @property
    def size(self) -> int:
        """A guess."""
        return (self.series.instances or 1) * KILOBYTES * 1024

    def fetch(self, folder: Path) -> list[Source]:
        """The images of the series: several where it holds several volumes, or views of no common place."""
        pacs_of(self.url).fetch(self.series, folder)
        sources, skipped = find_sources([folder])
        if not sources[0].files:
            raise InputError(f"series {self.series.uid} holds no image to denoise; {'; '.join(skipped[:1])}")
        return sources

    def store(self, volume: Volume, provenance: Provenance, folder: Path, run: str) -> None:
        """Store a result as a derived series, in the study of its source unless de-identified."""
        pacs_of(self.url).store(write_dicom_series(volume, folder, provenance, run=run, deidentifier=self.deidentifier))


def pacs_items(
    url: str, output: Path | None = None, *, model: str, form: str | None = None
) -> tuple[list[Item], list[str], Path]:
    """The image series of a PACS, results of ours left out; results go back into it, or into an output folder.

    Returns:
        The items, keyed by SeriesInstanceUID; nothing that was passed over; and the folder for the batch's journal,
        which is the output folder or one beside the server's data.

    Raises:
        OptionError: Another format than DICOM.
        ServiceError: The PACS does not answer.
    """
    if form not in (None, "dicom"):
        raise OptionError(f"results from a PACS are DICOM, not {form}; leave --format out")
    pacs = pacs_of(url)
    items = [item_of(pacs, series, output) for series in pacs.series() if not series.ours]
    return items, [], output or journal_folder(pacs, model)


def item_of(
    pacs: Pacs, series: Series, output: Path | None = None, *, deidentifier: Deidentifier | None = None
) -> Item:
    """One series as an item."""
    place = None if output is None else output / series.uid
    return Item(series.uid, PacsSeries(pacs.url, series, deidentifier), place, as_dicom=True)


def journal_folder(pacs: Pacs, model: str) -> Path:
    """Where is remembered what was stored in a PACS."""
    return data_folder() / "batches" / hashlib.sha256(pacs.url.encode()).hexdigest()[:16] / Path(model).stem
